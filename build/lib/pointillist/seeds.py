"""One seed in the config, spread to every random draw by the draw's own name.

A draw's seed depends on the names alone, so that another sample, method or restart changes none of them.
"""

from hashlib import sha256

import numpy as np


def seed_for(seed, *names):
    """Seed of the draw called `names`, as an integer below 2**32.

    Parameters
    ----------
    seed : int
        The config's seed.
    *names : str or int
        For instance sample, method and restart.
    """
    return int(np.random.SeedSequence([int(seed), *_words(names)]).generate_state(1)[0])


def generator(seed, *names):
    """`numpy.random.Generator` of the draw called `names`; see `seed_for`."""
    return np.random.default_rng(np.random.SeedSequence([int(seed), *_words(names)]))


def _words(names):
    digest = sha256("\x1f".join(map(str, names)).encode()).digest()
    return np.frombuffer(digest, dtype="<u4").tolist()
