"""RCTD in full mode, as rctd-py has it, with likelihood tables computed here.

The package downloads its tables; they are integrals that can be computed: the probability of k counts when the expected
count x is multiplied by a heavy-tailed log-normal error of spread σ,

    Q_σ[k, x] = log ∫ Poisson(k; x eʸ) h(y / σ) / σ dy,

with ``h`` normal within three standard deviations and falling with the square beyond, as in RCTD's paper. They are
kept in the file that ``tables`` names, which takes some minutes once. Filters are opened so that every spot and every
cell type is fitted: they would leave out spots that have a truth.
"""

import os
import tempfile
from pathlib import Path

import numpy as np
from peers_io import annotated, bound_torch, now, read_input, write_result
from scipy.special import gammaln

_LARGEST_COUNT = 1002
_STEP, _REACH = 4e-3, 20.0


def main():
    bound_torch()
    given, options = read_input()
    tables = Path(options["tables"])
    if not tables.exists():
        write_tables(tables)
    os.environ["RCTD_Q_MATRICES"] = str(tables)
    from rctd import Reference, run_rctd
    from rctd._types import RCTDConfig

    cells = annotated(given["reference"], cell_type=given["labels"])
    spots = annotated(given["X"])
    config = RCTDConfig(
        UMI_min=1, counts_MIN=1, UMI_min_sigma=options["smallest_for_sigma"], device="cpu", compile=False
    )
    start = now()
    found = run_rctd(spots, Reference(cells, cell_min=1, min_UMI=1), mode="full", config=config)
    weights = np.full((len(found.pixel_mask), len(given["types"])), np.nan)
    names = [str(name) for name in found.cell_type_names]
    columns = [names.index(str(name)) for name in given["types"]]
    weights[found.pixel_mask] = np.asarray(found.weights)[:, columns]
    weights = np.clip(weights, 0, None)
    write_result(weights / weights.sum(axis=1, keepdims=True), given["types"], now() - start, "rctd-py")


def write_tables(path):
    """Log-probabilities for every spread that RCTD tries, on the package's grid of expected counts."""
    from rctd._likelihood import build_x_vals
    from rctd._sigma import SIGMA_ALL

    x_vals = build_x_vals()
    logs = np.arange(-_REACH, _REACH + _STEP / 2, _STEP)
    weights = np.vstack([_heavy_tailed(logs / (sigma / 100)) / (sigma / 100) for sigma in SIGMA_ALL]) * _STEP
    counts = np.arange(_LARGEST_COUNT + 1)
    tables = np.empty((len(SIGMA_ALL), len(counts), len(x_vals)))
    for i, x in enumerate(x_vals):
        expected = np.log(x) + logs
        poisson = np.exp(np.outer(expected, counts) - np.exp(expected)[:, None] - gammaln(counts + 1))
        tables[:, :, i] = weights @ poisson
    tables = np.log(np.maximum(tables, 1e-300))
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".npz", delete=False) as file:
        np.savez(file, X_vals=x_vals, **{f"Q_{sigma}": table for sigma, table in zip(SIGMA_ALL, tables)})
    Path(file.name).replace(path)


def _heavy_tailed(z):
    """Density that is normal within 3 and ``a / (|z| − 7/3)²`` beyond, where value and slope meet."""
    from scipy.stats import norm

    meeting, offset = 3.0, 7 / 3
    a = (meeting - offset) ** 2 * norm.pdf(meeting)
    total = 1 - 2 * norm.sf(meeting) + 2 * a / (meeting - offset)
    tail = a / np.maximum(np.abs(z) - offset, meeting - offset) ** 2
    return np.where(np.abs(z) < meeting, norm.pdf(z), tail) / total


if __name__ == "__main__":
    main()
