"""The skip search against the paper's loop, with random oracles in place of a student."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skipthink_ray.config import SkipsConfig
from skipthink_ray.method.skipping import find_kept


class Oracle:
    """Right or wrong at random, but always the same for the same sample and chunks. Remembers what it was asked."""

    def __init__(self, seed: int, num_rows: int, num_chunks: int, right_share: float = 0.6) -> None:
        self.right = np.random.default_rng(seed).random((num_rows, 2**num_chunks)) < right_share
        self.asked: list[tuple[int, tuple[bool, ...]]] = []

    def one(self, row: int, kept) -> bool:
        return bool(self.right[row, sum(2**m for m, keep in enumerate(kept) if keep)])

    def __call__(self, rows: np.ndarray, kept_RM: np.ndarray) -> np.ndarray:
        self.asked += [(int(row), tuple(kept.tolist())) for row, kept in zip(rows, kept_RM, strict=True)]
        return np.array([self.one(row, kept) for row, kept in zip(rows, kept_RM, strict=True)], dtype=bool)


@st.composite
def problems(draw):
    """(which chunks hold steps, an oracle)"""
    num_chunks = draw(st.integers(1, 6))
    filled = draw(st.lists(st.integers(1, num_chunks), min_size=1, max_size=12))
    present_RM = np.arange(num_chunks) < np.array(filled)[:, None]
    return present_RM, Oracle(draw(st.integers(0, 2**32 - 1)), len(filled), num_chunks)


def _by_the_paper(present: list[bool], oracle: Oracle, row: int, may_skip) -> list[bool]:
    """One sample: the answer from all chunks; then without each in turn, cumulatively."""
    kept = list(present)
    if not oracle.one(row, kept):
        return kept
    for m in range(len(kept)):
        if kept[m] and may_skip(m):
            without = [keep and at != m for at, keep in enumerate(kept)]
            if oracle.one(row, without):
                kept = without
    return kept


@given(problems())
def test_the_sequential_search_is_the_papers_loop(problem):
    present_RM, oracle = problem
    kept_RM, right_R = find_kept(present_RM, oracle, SkipsConfig())
    for row, present in enumerate(present_RM.tolist()):
        assert kept_RM[row].tolist() == _by_the_paper(present, oracle, row, lambda m: True)
        assert right_R[row] == oracle.one(row, present)


@given(problems())
def test_interior_keeps_the_first_and_the_last_chunk_that_hold_steps(problem):
    present_RM, oracle = problem
    kept_RM, _ = find_kept(present_RM, oracle, SkipsConfig(skippable="interior"))
    for row, present in enumerate(present_RM.tolist()):
        last = sum(present) - 1
        assert kept_RM[row].tolist() == _by_the_paper(present, oracle, row, lambda m, last=last: 0 < m < last)
        assert kept_RM[row, 0]
        assert kept_RM[row, last]


@pytest.mark.parametrize("search", ["sequential", "all"])
@given(problem=problems())
def test_wrong_with_every_chunk_keeps_every_chunk(problem, search):
    present_RM, _ = problem
    kept_RM, right_R = find_kept(present_RM, lambda rows, kept_RM: np.zeros(len(rows), bool), SkipsConfig(search=search))
    assert (kept_RM == present_RM).all()
    assert not right_R.any()


@given(problems())
def test_all_skips_every_chunk_where_the_student_is_right_and_asks_once(problem):
    present_RM, oracle = problem
    kept_RM, right_R = find_kept(present_RM, oracle, SkipsConfig(search="all"))
    assert len(oracle.asked) == len(present_RM)
    assert (kept_RM == (present_RM & ~right_R[:, None])).all()


@given(problems())
def test_all_of_the_interior_leaves_first_and_last(problem):
    present_RM, oracle = problem
    kept_RM, right_R = find_kept(present_RM, oracle, SkipsConfig(search="all", skippable="interior"))
    for kept, present, right in zip(kept_RM.tolist(), present_RM.tolist(), right_R, strict=True):
        ends = {0, sum(present) - 1}
        assert kept == [here and (at in ends or not right) for at, here in enumerate(present)]


@pytest.mark.parametrize("skippable", ["any", "interior"])
@pytest.mark.parametrize("search", ["sequential", "all"])
@given(problem=problems())
def test_empty_chunks_are_never_asked_about_nor_kept(problem, search, skippable):
    present_RM, oracle = problem
    kept_RM, _ = find_kept(present_RM, oracle, SkipsConfig(search=search, skippable=skippable))
    assert not (kept_RM & ~present_RM).any()
    assert not any(keep and not here for row, kept in oracle.asked for keep, here in zip(kept, present_RM[row], strict=True))
    assert len(set(oracle.asked)) == len(oracle.asked), "nothing is asked twice, as an empty chunk's question would be"
