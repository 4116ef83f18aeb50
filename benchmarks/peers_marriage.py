"""Stable marriages by algmatch: ``peers_marriage.py INPUT.json OUTPUT.json``, run by the peers' own Python.

The input is a list of markets, each the ranked lists of men and of women by number; the output the man-optimal pairs.
"""

import json
import sys
from pathlib import Path

_HERE = Path(__file__).resolve().parent
sys.path[:] = [path for path in sys.path if Path(path).resolve() != _HERE]


def main():
    from algmatch import StableMarriageProblem

    solved = []
    for market in json.loads(Path(sys.argv[1]).read_text()):
        lists = {side: {int(name): ranks for name, ranks in market[side].items()} for side in ("men", "women")}
        found = StableMarriageProblem(dictionary=lists).get_stable_matching()
        pairs = found["man_sided"]
        solved.append({man.lstrip("m"): woman.lstrip("w") for man, woman in pairs.items() if woman})
    Path(sys.argv[2]).write_text(json.dumps(solved))


if __name__ == "__main__":
    main()
