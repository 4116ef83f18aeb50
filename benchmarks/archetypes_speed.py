"""Archetypal analysis beside partipy and archetypes: explained variance at the same number, and seconds.

    python benchmarks/archetypes_speed.py --peers PYTHON [--data DIR] [--large]

On 10,000 simulated spots × 30 dimensions with 10 archetypes, and on the principal components of a real Visium section
(dlpfc 151507, 4,221 spots × 30). Every package runs with its defaults and once for each seed; ours with one start, with
three, and with its default of five. ``--large`` times 100,000 × 30 with 15 archetypes, ours only.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

from pointillist.archetypes import archetypal_analysis  # noqa: E402


def simulate(n_spots, n_dimensions, n_archetypes, seed=0):
    """Noisy mixtures of random vertices."""
    rng = np.random.default_rng(seed)
    vertices = rng.normal(size=(n_archetypes, n_dimensions))
    return rng.dirichlet(np.full(n_archetypes, 0.5), n_spots) @ vertices + rng.normal(0, 0.2, (n_spots, n_dimensions))


def run_peers(python, X, n_archetypes, seeds):
    with tempfile.TemporaryDirectory() as folder:
        given, got = Path(folder) / "in.npz", Path(folder) / "out.npz"
        np.savez(given, X=X)
        options = json.dumps({"n_archetypes": n_archetypes, "seeds": seeds})
        environment = os.environ | {"OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2", "NUMBA_NUM_THREADS": "2"}
        script = Path(__file__).with_name("peers_archetypes.py")
        subprocess.run([python, script, given, got, options], check=True, env=environment, capture_output=True)
        return json.loads(str(np.load(got)["result"]))


def run_ours(X, n_archetypes, seeds, n_starts):
    runs = []
    for seed in seeds:
        start = time.perf_counter()
        found = archetypal_analysis(X, n_archetypes, n_starts=n_starts, seed=seed)
        runs.append({"explained": found.explained_variance, "seconds": time.perf_counter() - start})
    return runs


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", help="Python of the peers")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--large", action="store_true")
    args = parser.parse_args()
    with threadpool_limits(2):
        if args.large:
            runs = run_ours(simulate(100_000, 30, 15), 15, args.seeds[:1], 5)
            print(f"100,000 × 30, 15 archetypes: {runs[0]['seconds']:.1f} s, explained {runs[0]['explained']:.4f}")
            return
        real = args.data / "dlpfc" / "151507_pcs.npz"
        sets = {"simulated 10,000 × 30, D = 10": (simulate(10_000, 30, 10), 10)}
        if real.exists():
            stored = np.load(real, allow_pickle=False)
            components = np.ascontiguousarray(stored[_matrix_name(stored)][:, :30], dtype=float)
            sets["dlpfc 151507, 4,221 × 30, D = 8"] = (components, 8)
        for name, (X, n_archetypes) in sets.items():
            found = {f"pointillist, n_starts={n}": run_ours(X, n_archetypes, args.seeds, n) for n in (1, 3, 5)}
            if args.peers:
                found |= run_peers(args.peers, X, n_archetypes, args.seeds)
            print(f"\n{name}\n{'':24}{'explained (mean, best)':>26}{'seconds (mean)':>16}")
            for package, runs in found.items():
                explained = [run["explained"] for run in runs]
                seconds = np.mean([run["seconds"] for run in runs])
                print(f"{package:24}{np.mean(explained):14.5f}, {max(explained):.5f}{seconds:19.2f}")


def _matrix_name(stored):
    return next(name for name in stored.files if stored[name].ndim == 2 and stored[name].shape[1] >= 30)


if __name__ == "__main__":
    main()
