"""Work over parts of a sample: every part once, errors not lost, threads bounded by BLAS's."""

import threading

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from pointillist.threads import for_each_part, worker_threads


def test_every_position_is_visited_once():
    visited = np.zeros(25, dtype=int)

    def visit(part):
        visited[part] += 1

    for_each_part(visit, 25, 10)
    assert (visited == 1).all()
    for_each_part(visit, 0, 10)
    assert (visited == 1).all()


def test_an_error_of_one_part_is_raised():
    def fail(part):
        if part.start == 20:
            raise ValueError("the third part")

    with pytest.raises(ValueError, match="third"):
        for_each_part(fail, 25, 10)


@pytest.mark.parametrize("allowed", [1, 2])
def test_threads_are_bounded_by_those_of_blas_which_uses_one_itself(allowed):
    def look(_):
        ready.wait(timeout=0.2) if allowed > 1 else None
        blas = [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]
        return threading.get_ident(), max(blas)

    ready = threading.Barrier(allowed)
    with threadpool_limits(allowed), worker_threads() as workers:
        seen = list(workers.map(look, range(allowed)))
    assert len({thread for thread, _ in seen}) == allowed
    assert {blas for _, blas in seen} == {1}
