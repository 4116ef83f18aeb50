"""Stable marriage beside algmatch on random markets: unequal sizes, incomplete lists, the proposers' best matching.

python benchmarks/marriage_agreement.py --peers PYTHON [--markets 300]
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

from pointillist.archetypes import stable_marriage  # noqa: E402


def random_market(rng):
    """Scores of both sides; NaN where one side does not accept the other."""
    n_men, n_women = rng.integers(2, 25, 2)
    accepted = rng.random((n_men, n_women)) < rng.uniform(0.3, 1)
    men = np.where(accepted, rng.permuted(np.arange(n_men * n_women)).reshape(n_men, n_women), np.nan)
    women = np.where(accepted, rng.permuted(np.arange(n_men * n_women)).reshape(n_men, n_women), np.nan).T
    names = [f"{i + 1:02d}" for i in range(n_men)], [f"{j + 1:02d}" for j in range(n_women)]
    return pd.DataFrame(men, *names), pd.DataFrame(women, *names[::-1])


def ranked(scores):
    return {
        str(int(name)): [int(other) for other in row.dropna().sort_values(ascending=False).index]
        for name, row in scores.iterrows()
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", required=True, help="Python of the peers")
    parser.add_argument("--markets", type=int, default=300)
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    markets = [random_market(rng) for _ in range(args.markets)]
    ours = [{str(int(m)): str(int(w)) for m, w in stable_marriage(*market).items()} for market in markets]
    with tempfile.TemporaryDirectory() as folder:
        given, got = Path(folder) / "in.json", Path(folder) / "out.json"
        given.write_text(json.dumps([{"men": ranked(men), "women": ranked(women)} for men, women in markets]))
        subprocess.run([args.peers, Path(__file__).with_name("peers_marriage.py"), given, got], check=True)
        theirs = json.loads(got.read_text())
    same = sum(mine == other for mine, other in zip(ours, theirs))
    print(f"{same} of {len(markets)} markets have the same matching")
    sys.exit(same != len(markets))


if __name__ == "__main__":
    main()
