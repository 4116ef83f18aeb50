"""Writes requirements.lock from the running environment, and envs/*.yaml from requirements.lock and environments.toml.

python envs/pin.py lock     exact versions of what is installed, to standard output
python envs/pin.py envs     conda environments with the lock's versions
"""

import sys
import tomllib
from importlib.metadata import distributions
from pathlib import Path

FOLDER = Path(__file__).parent
LOCK = FOLDER.parent / "requirements.lock"
NOT_LOCKED = {"pointillist", "pip"}


def lock():
    """Lines of the lock: no local suffix such as +cpu, and no CUDA package, which pip adds where torch needs it."""
    versions = {}
    for found in distributions():
        name = found.metadata["Name"].lower().replace("_", "-")
        if name not in NOT_LOCKED and not name.startswith(("nvidia-", "triton", "cuda-")):
            versions[name] = found.version.split("+")[0]
    header = [
        "# Exact versions, made by `make lock` from pyproject.toml against torch's CPU build.",
        "# It names no CUDA package: pip adds those itself where the torch that it finds needs them.",
    ]
    return "\n".join([*header, *(f"{name}=={versions[name]}" for name in sorted(versions))]) + "\n"


def read_lock():
    """Versions by name."""
    lines = (line.split("#")[0].strip() for line in LOCK.read_text(encoding="utf-8").splitlines())
    return dict(line.split("==") for line in lines if line)


def environments():
    """Text of each conda environment, by file name."""
    versions, texts = read_lock(), {}
    for name, settings in tomllib.loads((FOLDER / "environments.toml").read_text(encoding="utf-8")).items():
        lines = ["# Made by `make envs` from requirements.lock and envs/environments.toml.", "channels:"]
        lines += [f"  - {channel}" for channel in settings["channels"]]
        lines += ["dependencies:", f"  - python={settings['python']}"]
        lines += [f"  - {settings['conda'][package]}={versions[package]}" for package in sorted(settings["conda"])]
        texts[f"{name}.yaml"] = "\n".join(lines) + "\n"
    return texts


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["lock"]:
            print(lock(), end="")
        case ["envs"]:
            for file, text in environments().items():
                (FOLDER / file).write_text(text, encoding="utf-8")
        case _:
            sys.exit(__doc__)
