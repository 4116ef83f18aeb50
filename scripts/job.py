"""What every script does around its work: the log, the threads, and errors said in one line each."""

import logging
import os
import sys
import traceback
from contextlib import contextmanager
from pathlib import Path

# A checkout uses the library that lies in it, whatever else is installed.
_SOURCE = Path(__file__).resolve().parents[1] / "src"
if _SOURCE.is_dir():
    sys.path.insert(0, str(_SOURCE))

import pointillist  # noqa: E402
from pointillist.errors import InputError  # noqa: E402

_LIBRARY = str(Path(pointillist.__file__).parent)


@contextmanager
def job(snakemake):
    """Run a script's work, given Snakemake's record of the job.

    Progress goes to the rule's log and, in short, to the screen. BLAS, numba and torch get the threads that
    `numeric_threads` says, so that results do not depend on ``--cores``. What a user can mend is said without a
    traceback; set ``POINTILLIST_DEBUG=1`` to have it all the same.
    """
    from threadpoolctl import threadpool_limits

    log = _open_log(snakemake)
    name = " ".join(map(str, [snakemake.rule, *dict(snakemake.wildcards).values()]))
    os.environ["NUMBA_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = str(snakemake.threads)
    try:
        with threadpool_limits(snakemake.threads):
            yield log
    except InputError as error:
        _stop(log, "\n".join(map(str, error.problems)), snakemake)
    except ValueError as error:
        # Raised by the library on purpose, it is an explanation; raised below it, it is a fault of ours.
        if not traceback.extract_tb(error.__traceback__)[-1].filename.startswith(_LIBRARY):
            raise
        where = " ".join(f"{key}={value}" for key, value in dict(snakemake.wildcards).items())
        _stop(log, f"ERROR [{snakemake.rule}] {where}: {error}", snakemake)
    log.info("%s: done", name)


def _open_log(snakemake):
    log = logging.getLogger("pointillist")
    log.setLevel(logging.INFO)
    log.propagate = False
    handlers = [logging.StreamHandler(sys.stderr)]
    if snakemake.log:
        handlers.append(logging.FileHandler(snakemake.log[0], mode="w", encoding="utf-8"))
        # Warnings and tracebacks that libraries write belong into the log too.
        logging.captureWarnings(True)
        logging.getLogger("py.warnings").addHandler(handlers[-1])
        sys.excepthook = _log_fault(log, sys.excepthook)
    label = ":".join([snakemake.rule, *map(str, dict(snakemake.wildcards).values())])
    for handler in handlers:
        handler.setFormatter(logging.Formatter(f"%(asctime)s [{label}] %(message)s", "%H:%M:%S"))
        log.addHandler(handler)
    return log


def _log_fault(log, hook):
    def write(kind, error, trace):
        log.error("a fault of Pointillist's, please report it:\n%s", "".join(traceback.format_exception(error)))
        if os.environ.get("POINTILLIST_DEBUG"):
            hook(kind, error, trace)

    return write


def _stop(log, text, snakemake):
    for line in text.splitlines():
        log.error("%s", line)
    if os.environ.get("POINTILLIST_DEBUG"):
        traceback.print_exc()
    sys.exit(2)
