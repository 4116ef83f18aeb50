"""Archetypal analysis by partipy and by archetypes, each with its defaults, on one matrix.

Run by the peers' own Python as ``peers_archetypes.py INPUT.npz OUTPUT.npz OPTIONS``, with the JSON options
``n_archetypes`` and ``seeds``. The squared error is computed here for all alike, from the points and weights of each.
"""

import json
import sys
import warnings
from importlib.metadata import version

import numpy as np
from peers_io import now


def with_partipy(X, n_archetypes, seed):
    from partipy.arch import AA

    model = AA(n_archetypes=n_archetypes, seed=seed, early_stopping=True)
    start = now()
    model.fit(X)
    return np.asarray(model.A) @ np.asarray(model.Z), now() - start


def with_archetypes(X, n_archetypes, seed):
    from archetypes import AA

    model = AA(n_archetypes=n_archetypes, random_state=seed)
    start = now()
    weights = model.fit_transform(X)
    return weights @ model.archetypes_, now() - start


def main():
    warnings.filterwarnings("ignore")
    X = np.load(sys.argv[1])["X"]
    options = json.loads(sys.argv[3])
    found = {}
    for name, fit in (("partipy", with_partipy), ("archetypes", with_archetypes)):
        runs = []
        for seed in options["seeds"]:
            fitted, seconds = fit(X, options["n_archetypes"], seed)
            runs.append({"explained": 1 - ((X - fitted) ** 2).sum() / ((X - X.mean(0)) ** 2).sum(), "seconds": seconds})
        found[f"{name} {version(name)}"] = runs
    np.savez(sys.argv[2], result=json.dumps(found))


if __name__ == "__main__":
    main()
