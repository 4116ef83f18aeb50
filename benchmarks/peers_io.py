"""What the scripts of the peers share: the input they read and the result they write.

Run by the peers' own Python, which has no Pointillist. A script is called as ``script INPUT.npz OUTPUT.npz OPTIONS``
where OPTIONS is JSON; threads are bounded by the environment that the caller gives.
"""

import json
import os
import sys
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
from scipy import sparse

# Snakemake writes folders beside this file that have the names of packages, such as tabulate.
_HERE = Path(__file__).resolve().parent
sys.path[:] = [path for path in sys.path if Path(path).resolve() != _HERE]


def read_input():
    """The arrays of the input and the options of the command line.

    Returns
    -------
    dict with ``X`` (CSR, spots × genes), ``reference`` (CSR, cells × genes) and ``labels`` or ``signature`` (cell types
    × genes) and ``types``, ``coordinates`` or None, and the options
    """
    with np.load(sys.argv[1], allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in stored.files}
    given = {name: _matrix(arrays, name) for name in ("X", "reference") if f"{name}_data" in arrays}
    given |= {name: arrays.get(name) for name in ("labels", "signature", "types", "coordinates")}
    if given["labels"] is not None:
        given["types"] = np.unique(given["labels"])
    return given, json.loads(sys.argv[3])


def write_result(proportions, types, seconds, package):
    """Proportions, spots × cell types, with the seconds that the fit took and the package's version."""
    np.savez(
        sys.argv[2],
        proportions=np.asarray(proportions, dtype=float),
        types=np.asarray(types, dtype=str),
        seconds=seconds,
        version=f"{package} {version(package)}",
    )


def bound_torch():
    """Torch's threads as the environment says; returns torch."""
    import torch

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))
    return torch


def annotated(matrix, **obs):
    """AnnData of a matrix whose genes are numbered."""
    from anndata import AnnData

    found = AnnData(sparse.csr_matrix(matrix, dtype=np.float32))
    found.var_names = [f"gene{g}" for g in range(matrix.shape[1])]
    found.obs_names = [f"row{s}" for s in range(matrix.shape[0])]
    for name, values in obs.items():
        found.obs[name] = values
    return found


def type_means(reference, labels, types):
    """Counts of each type's cells per 1 of their total, cell types × genes."""
    sums = np.vstack([np.asarray(reference[labels == name].sum(axis=0)).ravel() for name in types])
    return sums / sums.sum(axis=1, keepdims=True)


def now():
    """Wall-clock seconds."""
    return time.perf_counter()


def _matrix(arrays, name):
    parts = [arrays[f"{name}_{part}"] for part in ("data", "indices", "indptr")]
    return sparse.csr_matrix(tuple(parts), shape=tuple(arrays[f"{name}_shape"]))
