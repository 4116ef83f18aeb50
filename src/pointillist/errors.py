"""What is said to the user when an input is wrong: one line each, all of them at once."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong, or odd, with an input.

    Parameters
    ----------
    code : str
        Short stable name, such as ``log-normalised``.
    found, expected, fix : str
        What was found, what was expected, and one command or line that mends it.
    sample, file, column : str, optional
        Where it was found. ``column`` is a column, an AnnData key or a config key.
    level : {"error", "warning"}
    """

    code: str
    found: str
    expected: str = ""
    fix: str = ""
    sample: str | None = None
    file: str | None = None
    column: str | None = None
    level: str = "error"

    def __str__(self):
        where = " ".join(
            f"{name}={value}"
            for name, value in (("sample", self.sample), ("file", self.file), ("column", self.column))
            if value not in (None, "")
        )
        text = f"{self.level.upper()} [{self.code}]{' ' + where if where else ''}: found {self.found}"
        if self.expected:
            text += f", expected {self.expected}"
        text += "."
        return text + (f" Fix: {self.fix}" if self.fix else "")


class InputError(ValueError):
    """Raised with every problem that was found, never with the first alone.

    Parameters
    ----------
    problems : Problem or iterable of Problem
    """

    def __init__(self, problems):
        self.problems = (problems,) if isinstance(problems, Problem) else tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


def raise_errors(problems):
    """Raise `InputError` with the problems of level ``error``, if there are any.

    Raises
    ------
    InputError
    """
    errors = [problem for problem in problems if problem.level == "error"]
    if errors:
        raise InputError(errors)


def report_problems(problems):
    """Problems as a table with columns ``level, code, file, column, found, expected, fix``."""
    import pandas as pd

    columns = ["level", "code", "file", "column", "found", "expected", "fix"]
    return pd.DataFrame([[getattr(problem, name) for name in columns] for problem in problems], columns=columns)
