"""Settings checked against a JSON Schema: every problem at once, nearest keys suggested, defaults filled in."""

import difflib

import yaml
from jsonschema import Draft202012Validator, validators

from pointillist.errors import InputError, Problem


def check_settings(settings, schema, file):
    """Settings with every default filled in, and what is wrong with them.

    Parameters
    ----------
    settings : dict
    schema : dict
        JSON Schema, draft 2020-12, whose objects forbid unknown keys.
    file : str
        For the messages.

    Returns
    -------
    filled : dict
        A copy of `settings` with defaults.
    problems : list of Problem
    """
    filled = _plain(settings)
    errors = list(_FillingValidator(schema).iter_errors(filled))
    problems = [problem for error in errors for problem in _explain(error, file)]
    return filled, sorted(problems, key=lambda problem: (problem.column or "", problem.code))


def load_yaml(path):
    """A YAML file as plain Python values, in which no key may stand twice.

    Raises
    ------
    InputError
        The file is no YAML, or a key stands twice: YAML itself would silently keep the last.
    """
    with open(path, encoding="utf-8") as file:
        try:
            return yaml.load(file, Loader=_StrictLoader) or {}
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            found = getattr(error, "problem", None) or str(error)
            line = f"line {mark.line + 1}: " if mark else ""
            raise InputError(
                Problem("yaml", f"{line}{found}", "YAML with every key once", "mend that line", file=str(path))
            ) from None


def nearest(name, known, cutoff=0.6):
    """The known name most like `name`, or None when none reaches `cutoff` (difflib's ratio, 0 to 1)."""
    lowered = {item.lower(): item for item in known}
    match = difflib.get_close_matches(str(name).lower(), lowered, n=1, cutoff=cutoff)
    return lowered[match[0]] if match else None


def add_methods(schema, section, records, choice="methods"):
    """Put a stage's methods into the config's schema: the names to choose from, and the options of each.

    Parameters
    ----------
    schema : dict
        The config's schema; changed in place.
    section : str
        The stage's key.
    records : dict of str to Method
    choice : str
        The key that lists the methods.
    """
    properties = schema["properties"][section]["properties"]
    properties[choice]["items"] = {"enum": list(records)}
    for name, record in records.items():
        if record.options:
            properties[name] = options_schema(record)


def options_schema(record):
    """JSON Schema of one method's options."""
    return {
        "type": "object",
        "description": record.summary,
        "additionalProperties": False,
        "properties": dict(record.options),
        "default": {},
    }


def _extend_with_defaults(base):
    check_properties = base.VALIDATORS["properties"]

    def fill(validator, properties, instance, schema):
        if isinstance(instance, dict):
            for name, subschema in properties.items():
                if "default" in subschema:
                    instance.setdefault(name, _plain(subschema["default"]))
        yield from check_properties(validator, properties, instance, schema)

    return validators.extend(base, {"properties": fill})


_FillingValidator = _extend_with_defaults(Draft202012Validator)


def _explain(error, file):
    where = ".".join(map(str, error.absolute_path))
    match error.validator:
        case "additionalProperties":
            known = sorted(error.schema.get("properties", {}))
            for key in sorted(set(error.instance) - set(known), key=str):
                near = nearest(key, known)
                fix = f"write {near!r}" if near else f"use one of: {', '.join(known)}"
                column = f"{where}.{key}" if where else str(key)
                yield Problem("unknown-key", f"unknown key {key!r}", "a known key", fix, file=file, column=column)
        case "required":
            for key in error.validator_value:
                if key not in error.instance:
                    column = f"{where}.{key}" if where else key
                    yield Problem("missing-key", "nothing", f"the key {key!r}", "add it", file=file, column=column)
        case "enum":
            near = nearest(error.instance, map(str, error.validator_value))
            expected = f"one of: {', '.join(map(str, error.validator_value))}"
            fix = f"write {near!r}" if near else "use one of these"
            yield Problem("unknown-value", repr(error.instance), expected, fix, file=file, column=where)
        case "type" if _is_exponent(error.instance):
            value = f"{float(error.instance):.1e}"
            yield Problem(
                "wrong-type",
                f"the text {error.instance!r}: YAML reads a number with an exponent only where it has a point",
                "a number",
                f"write {value}",
                file=file,
                column=where,
            )
        case "anyOf" | "oneOf":
            kinds = " or ".join(
                str(option.get("type") or option.get("const") or option.get("enum")) for option in error.validator_value
            )
            yield Problem("wrong-value", repr(error.instance), kinds, "see config.yaml", file=file, column=where)
        case _:
            yield Problem("wrong-value", error.message, "", "see config.yaml", file=file, column=where)


def _is_exponent(value):
    if not isinstance(value, str) or "e" not in value.lower():
        return False
    try:
        float(value)
    except ValueError:
        return False
    return True


def _plain(value):
    """A deep copy in plain dicts and lists (Snakemake hands out subclasses)."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


class _StrictLoader(yaml.SafeLoader):
    def construct_mapping(self, node, deep=False):
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=deep)
            if key in seen:
                raise yaml.MarkedYAMLError(problem=f"the key {key!r} stands twice", problem_mark=key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)
