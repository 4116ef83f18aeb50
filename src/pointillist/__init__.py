"""Pointillist: which pure colours are in each dot of a spatial transcriptomics sample.

Submodules are imported when first used, so that ``import pointillist`` costs nothing and the methods
that need torch or scanpy load them only when called.
"""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version

_SUBMODULES = (
    "archetypes",
    "data",
    "deconvolution",
    "embedding",
    "factorization",
    "metrics",
    "plotting",
    "preprocessing",
    "report",
    "signature",
)

try:
    __version__ = version("pointillist")
except PackageNotFoundError:  # a checkout that was put on the path without being installed
    __version__ = "0+unknown"

__all__ = ["__version__", *_SUBMODULES]


def __getattr__(name):
    if name in _SUBMODULES:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return __all__
