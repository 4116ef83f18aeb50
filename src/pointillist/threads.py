"""Threads over parts of a sample, as many as BLAS may use: a rule's `threads` bounds both by bounding one."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from threadpoolctl import threadpool_info, threadpool_limits


@contextmanager
def worker_threads(at_most=None):
    """An executor with as many threads as BLAS may use now; BLAS itself uses one inside.

    Parameters
    ----------
    at_most : int, optional

    Yields
    ------
    ThreadPoolExecutor
    """
    found = max([pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"], default=1)
    n_threads = found if at_most is None else min(found, at_most)
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(n_threads) as workers:
        yield workers


def for_each_part(work, n, size):
    """Call `work` with slices of at most `size` of n things, several at a time where there are several.

    Parts are the same whatever the number of threads, and so are the bytes where there are several: BLAS uses one
    thread within each. A single part leaves BLAS its threads.
    """
    parts = [slice(start, min(start + size, n)) for start in range(0, n, size)]
    if len(parts) < 2:
        for part in parts:
            work(part)
        return
    with worker_threads() as workers:
        for _ in workers.map(work, parts):
            pass
