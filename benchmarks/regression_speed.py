"""How fast many spots are regressed on a shared signature, and whether the answer is the optimum.

Ours against a loop of `scipy.optimize.nnls` and, where the peers' Python is given, against flashdeconv, on the same
simulated counts and with the same threads, in one run. SciPy gets the fastest honest form: the G × K problem of each
spot is first reduced to K × K, with ``R Rᵀ = L Lᵀ`` to ``min ‖Lᵀf − L⁻¹Rx‖``, so that its loop, too, passes over the
sample once and never sees a gene again.

    python benchmarks/regression_speed.py --output DIR [--peers PYTHON] [--spots 100000]
"""

import argparse
import json
import os
import sys

_THREADS = next((arg.split("=")[-1] for arg in sys.argv if arg.startswith("--threads=")), "2")
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[_name] = _THREADS

import resource  # noqa: E402
import subprocess  # noqa: E402
import time  # noqa: E402
from pathlib import Path  # noqa: E402

import numpy as np  # noqa: E402
from scipy import linalg, sparse  # noqa: E402
from scipy.optimize import nnls  # noqa: E402

import data  # noqa: E402, F401  (finds the checkout's own library)
from pointillist.deconvolution import constrained_regression  # noqa: E402
from pointillist.deconvolution._least_squares import kkt_residual  # noqa: E402
from pointillist.seeds import generator  # noqa: E402

_BLOCK = 2000


def simulate_counts(n_spots, n_genes, n_types, seed=0, counts_per_spot=400.0):
    """Poisson counts of spots that mix one to five cell types.

    Drawn in blocks straight into the arrays of one CSR matrix, so that a million spots are never held twice.

    Returns
    -------
    X : CSR of float32, spots × genes
    R : ndarray, cell types × genes
        Expected counts per 10,000.
    proportions : ndarray, spots × cell types
    """
    rng = generator(seed, "regression speed")
    R = rng.gamma(0.35, size=n_genes) * rng.lognormal(0, 1, (n_types, n_genes))
    R /= R.sum(axis=1, keepdims=True)
    proportions = np.zeros((n_spots, n_types))
    values, indices = np.empty(0, dtype=np.float32), np.empty(0, dtype=np.int32)
    indptr = np.zeros(n_spots + 1, dtype=np.int64)
    filled = 0
    for start in range(0, n_spots, _BLOCK):
        part = slice(start, min(start + _BLOCK, n_spots))
        size = part.stop - part.start
        weights = rng.gamma(1.0, size=(size, n_types))
        rank = rng.random((size, n_types)).argsort(axis=1).argsort(axis=1)
        weights *= rank < rng.integers(1, 6, (size, 1))
        proportions[part] = weights / weights.sum(axis=1, keepdims=True)
        depth = counts_per_spot * rng.lognormal(0, 0.4, (size, 1))
        block = sparse.csr_matrix(rng.poisson(depth * (proportions[part] @ R)).astype(np.float32))
        end = filled + block.nnz
        if end > len(values):
            expected = int(1.03 * end * n_spots / part.stop) + 1
            values.resize(expected, refcheck=False)
            indices.resize(expected, refcheck=False)
        values[filled:end], indices[filled:end] = block.data, block.indices
        indptr[start + 1 : part.stop + 1] = filled + block.indptr[1:]
        filled = end
    X = sparse.csr_matrix((n_spots, n_genes), dtype=np.float32)
    X.data, X.indices = values[:filled], indices[:filled]
    X.indptr = indptr.astype(np.int32) if filled < 2**31 else indptr
    return X, R * 1e4, proportions


def scipy_loop(X, R):
    """Coefficients by `scipy.optimize.nnls`, one spot after another, each reduced to a K × K problem."""
    lower = linalg.cholesky(R @ R.T, lower=True)
    right = linalg.solve_triangular(lower, (X @ R.T).T, lower=True).T
    upper = np.ascontiguousarray(lower.T)
    return np.array([nnls(upper, spot)[0] for spot in right])


def scipy_on_genes(X, R):
    """Coefficients by `scipy.optimize.nnls` on all genes, which squares no condition number."""
    return np.array([nnls(R.T, X[[spot]].toarray().ravel().astype(float))[0] for spot in range(X.shape[0])])


def flashdeconv(python, X, R, folder, threads):
    """Proportions and seconds of flashdeconv, in its own Python."""
    folder.mkdir(parents=True, exist_ok=True)
    given, found = folder / "speed.npz", folder / "speed_flashdeconv.npz"
    side = int(np.ceil(np.sqrt(X.shape[0])))
    places = np.column_stack(np.unravel_index(np.arange(X.shape[0]), (side, side))).astype(float)
    np.savez(
        given,
        X_data=X.data,
        X_indices=X.indices,
        X_indptr=X.indptr,
        X_shape=X.shape,
        signature=R,
        types=[f"type{k:02d}" for k in range(len(R))],
        coordinates=places,
    )
    script = Path(__file__).with_name("peers_flashdeconv.py")
    environment = os.environ | {name: str(threads) for name in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS")}
    subprocess.run([python, str(script), str(given), str(found), '{"seed": 0}'], env=environment, check=True)
    given.unlink()
    with np.load(found) as stored:
        return stored["proportions"], float(stored["seconds"]), str(stored["version"])


def main():
    arguments = _arguments()
    X, R, truth = simulate_counts(arguments.spots, arguments.genes, arguments.types, arguments.seed)
    before = _peak()
    density = X.nnz / X.shape[0] / X.shape[1]
    print(f"{X.shape[0]} spots × {X.shape[1]} genes × {len(R)} types, {density:.1%} filled, {_THREADS} threads")
    report = {
        "spots": X.shape[0],
        "genes": X.shape[1],
        "types": len(R),
        "density": density,
        "threads": int(_THREADS),
        "matrix_gb": (X.data.nbytes + X.indices.nbytes + X.indptr.nbytes) / 1e9,
    }

    seconds = []
    for _ in range(arguments.repeats):
        start = time.perf_counter()
        result = constrained_regression(X, R)
        seconds.append(time.perf_counter() - start)
    report |= {"ours_seconds": min(seconds), "ours_all_seconds": seconds}
    report |= {"peak_before_gb": before, "peak_gb": _peak(), "ours_rmse": _rmse(result.proportions, truth)}
    cross, gram = _cross(X, R), R @ R.T
    report["kkt_residual"] = float(kkt_residual(gram, cross, result.abundance).max())

    some = np.linspace(0, X.shape[0] - 1, min(arguments.subset, X.shape[0])).astype(int)
    exact = scipy_on_genes(X[some], R)
    report["largest_difference"] = float(np.abs(exact - result.abundance[some]).max() / exact.max())
    if not arguments.ours_only:
        start = time.perf_counter()
        looped = scipy_loop(X, R)
        report["scipy_seconds"] = time.perf_counter() - start
        report["scipy_times_ours"] = report["scipy_seconds"] / report["ours_seconds"]
        report["largest_difference_from_loop"] = float(np.abs(looped - result.abundance).max() / looped.max())
        if arguments.peers:
            found, taken, version = flashdeconv(arguments.peers, X, R, arguments.output, arguments.threads)
            report |= {"flashdeconv_seconds": taken, "flashdeconv_times_ours": taken / report["ours_seconds"]}
            report |= {"flashdeconv_rmse": _rmse(found, truth), "flashdeconv_version": version}
    arguments.output.mkdir(parents=True, exist_ok=True)
    path = arguments.output / f"regression_speed_{X.shape[0]}.json"
    path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(path.read_text(encoding="utf-8"))


def _cross(X, R):
    return np.vstack([X[start : start + _BLOCK].astype(float) @ R.T for start in range(0, X.shape[0], _BLOCK)])


def _rmse(found, truth):
    return float(np.sqrt(np.nanmean((found - truth) ** 2)))


def _peak():
    """Most memory that the process has held so far, in GB (Linux counts it in KiB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def _arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="folder of the results")
    parser.add_argument("--peers", help="Python of the peers; without it flashdeconv is left out")
    parser.add_argument("--spots", type=int, default=100_000)
    parser.add_argument("--genes", type=int, default=2000)
    parser.add_argument("--types", type=int, default=12)
    parser.add_argument("--threads", type=int, default=2, help="written --threads=N, as it is read before numpy is")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--subset", type=int, default=1000, help="spots compared with SciPy on all genes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--ours-only", action="store_true", help="time and memory of ours alone")
    return parser.parse_args()


if __name__ == "__main__":
    main()
