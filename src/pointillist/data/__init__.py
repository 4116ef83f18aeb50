"""Spots, references and gene sets: read, checked, simulated and written.

Names are imported when first used: a workflow that only asks what a file holds loads no AnnData.
"""

from importlib import import_module

_HOME = {
    "Contents": "contents",
    "check_gene_sets": "gene_sets",
    "check_reference": "checks",
    "check_shared_genes": "genes",
    "check_spots": "checks",
    "inspect": "inspection",
    "read_coordinates": "positions",
    "read_gene_sets": "gene_sets",
    "read_positions": "positions",
    "read_reference": "readers",
    "read_spots": "readers",
    "recognise_format": "formats",
    "simulate_tissue": "simulation",
    "write_h5ad": "files",
    "write_table": "files",
}

__all__ = sorted(_HOME)


def __getattr__(name):
    if name in _HOME:
        return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return __all__
