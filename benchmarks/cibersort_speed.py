"""CIBERSORT's batched solver beside the usual loop over libsvm: seconds, distance from the optimum, and from the truth.

The signature is gamma-distributed, and spots are Poisson counts around Dirichlet proportions of it. The loop is run on
a random part of the mixtures (spots and permutations alike) and its time multiplied up to all of them.

    python benchmarks/cibersort_speed.py --spots 1000 --genes 500 --types 22
"""

import argparse
import time

import numpy as np
from scipy import sparse
from sklearn.svm import NuSVR
from threadpoolctl import threadpool_limits

from pointillist.deconvolution.cibersort import cibersort


def simulate(n_spots, n_genes, n_types, seed):
    """Counts, signature and true proportions."""
    rng = np.random.default_rng(seed)
    signature = rng.gamma(0.5, 20.0, (n_types, n_genes))
    proportions = rng.dirichlet(np.full(n_types, 0.5), n_spots)
    return rng.poisson(proportions @ signature).astype(float), signature, proportions


def loop(mixtures, signature, nu, tolerance):
    """Proportions by libsvm, one mixture and ν at a time."""
    A = ((signature - signature.mean()) / signature.std(ddof=1)).T
    proportions = np.full((len(mixtures), len(signature)), np.nan)
    for row, y in enumerate(mixtures):
        y = (y - y.mean()) / y.std(ddof=1)
        lowest = np.inf
        for value in nu:
            model = NuSVR(kernel="linear", C=1.0, nu=value, tol=tolerance).fit(A, y)
            weights = np.clip(model.coef_.ravel(), 0, None)
            if not weights.any():
                continue
            weights /= weights.sum()
            rmse = np.sqrt(np.mean((A @ weights - y) ** 2))
            if rmse < lowest:
                lowest, proportions[row] = rmse, weights
    return proportions


def timed(function, *arguments, **options):
    """Result, seconds, and seconds of processor time over all threads."""
    start, start_cpu = time.perf_counter(), time.process_time()
    result = function(*arguments, **options)
    return result, time.perf_counter() - start, time.process_time() - start_cpu


def rmse(estimate, truth):
    return float(np.sqrt(np.nanmean((estimate - truth) ** 2)))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spots", type=int, default=1000)
    parser.add_argument("--genes", type=int, default=500)
    parser.add_argument("--types", type=int, default=22)
    parser.add_argument("--permutations", type=int, default=100)
    parser.add_argument("--nu", type=float, nargs="+", default=[0.25, 0.5, 0.75])
    parser.add_argument("--subset", type=int, default=30, help="mixtures that the loop is run on")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3, help="runs of the batched solver, of which the median counts")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()

    X, R, truth = simulate(arguments.spots, arguments.genes, arguments.types, arguments.seed)
    rng = np.random.default_rng(arguments.seed + 1)
    null = rng.choice(X.ravel(), (arguments.permutations, arguments.genes))
    n_mixtures = len(X) + len(null)
    chosen = rng.choice(n_mixtures, min(arguments.subset, n_mixtures), replace=False)
    chosen = np.sort(chosen)
    spots = chosen[chosen < len(X)]
    mixtures = np.vstack([X, null])[chosen]

    with threadpool_limits(arguments.threads):
        cibersort(X[:4], R, nu=arguments.nu, n_permutations=2)  # imports, and threads started
        runs = [
            timed(cibersort, sparse.csr_matrix(X), R, arguments.nu, arguments.permutations, seed=arguments.seed)
            for _ in range(arguments.repeats)
        ]
        ours, seconds, cpu = sorted(runs, key=lambda run: run[1])[len(runs) // 2]
        ours = ours.proportions
        usual, usual_seconds, usual_cpu = timed(loop, mixtures, R, arguments.nu, 1e-3)
        optimum = loop(X[spots], R, arguments.nu, 1e-7)
    usual = usual[: len(spots)]
    usual_seconds *= n_mixtures / len(mixtures)
    usual_cpu *= n_mixtures / len(mixtures)

    print(
        f"{arguments.spots} spots × {arguments.genes} genes × {arguments.types} types, ν in {arguments.nu}, "
        f"{arguments.permutations} permutations, {arguments.threads} threads\n"
        f"batched: the whole job, median of {arguments.repeats} runs ({', '.join(f'{run[1]:.2f}' for run in runs)} s)\n"
        f"loop: {len(mixtures)} random mixtures, its time multiplied by {n_mixtures}/{len(mixtures)}\n"
        f"from the optimum: largest difference of a proportion from tol 1e-7, on the {len(spots)} spots of these\n"
        "RMSE: to the planted proportions, over all spots and over those\n"
    )
    heads = f"{'seconds':>10}{'ratio':>8}{'CPU s':>8}{'ratio':>8}{'from the optimum':>18}{'RMSE':>9}"
    print(f"{'':28}{heads}{'(same spots)':>14}")
    rows = [
        ("batched primal-dual", seconds, cpu, ours[spots], f"{rmse(ours, truth):.5f}"),
        ("loop, NuSVR at tol 1e-3", usual_seconds, usual_cpu, usual, "–"),
    ]
    for name, took, worked, estimate, everywhere in rows:
        print(
            f"{name:28}{took:10.2f}{usual_seconds / took:8.1f}{worked:8.1f}{usual_cpu / worked:8.1f}"
            f"{np.abs(estimate - optimum).max():18.1e}{everywhere:>9}{rmse(estimate, truth[spots]):14.5f}"
        )


if __name__ == "__main__":
    main()
