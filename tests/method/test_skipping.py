"""The skip searches, compared with their definitions. Random oracles replace the student."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skipthink_ray.config import SkipsConfig
from skipthink_ray.method import skipping
from skipthink_ray.method.skipping import MAX_EXHAUSTIVE_CHUNKS, check_search, fold_of

SEARCHES = ("sequential", "exhaustive", "all")


class Oracle:
    """Random verdicts that depend only on the sample and the kept chunks. Records all questions."""

    def __init__(self, seed: int, num_rows: int, num_chunks: int, right_share: float = 0.6) -> None:
        self.right = np.random.default_rng(seed).random((num_rows, 2**num_chunks)) < right_share
        self.asked: list[tuple[int, tuple[bool, ...]]] = []
        self.given: list[int] = []

    def one(self, row: int, kept) -> bool:
        return bool(self.right[row, sum(2**m for m, keep in enumerate(kept) if keep)])

    def __call__(self, rows: np.ndarray, kept_RM: np.ndarray, given: int) -> np.ndarray:
        self.given += [given] * len(rows)
        self.asked += [(int(row), tuple(kept.tolist())) for row, kept in zip(rows, kept_RM, strict=True)]
        return np.array([self.one(row, kept) for row, kept in zip(rows, kept_RM, strict=True)], dtype=bool)


@st.composite
def problems(draw):
    """(which chunks have steps, an oracle)"""
    num_chunks = draw(st.integers(1, 6))
    filled = draw(st.lists(st.integers(1, num_chunks), min_size=1, max_size=12))
    present_RM = np.arange(num_chunks) < np.array(filled)[:, None]
    return present_RM, Oracle(draw(st.integers(0, 2**32 - 1)), len(filled), num_chunks)


def find_kept(present_RM, oracle, config, tokens_RM=None):
    """The search; by default each chunk has one token."""
    return skipping.find_kept(
        present_RM, present_RM.astype(int) if tokens_RM is None else tokens_RM, oracle, config
    )


def _tokens(draw, present_RM):
    """1 to 4 tokens per chunk, so that subsets tie, and 0 for empty chunks."""
    return present_RM * np.random.default_rng(draw(st.integers(0, 2**32 - 1))).integers(
        1, 5, present_RM.shape
    )


def _by_the_paper(present: list[bool], oracle: Oracle, row: int, may_skip) -> list[bool]:
    """The paper's loop for one sample: leave out each chunk in turn, cumulatively."""
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
def test_with_writing_the_student_sees_only_the_kept_chunks_before_the_tested_one(problem):
    """The kept chunks before c_m are given; the student writes c_m+1 .. c_M."""
    present_RM, oracle = problem
    num_rows, num_chunks = present_RM.shape
    kept_RM, right_R = find_kept(present_RM, oracle, SkipsConfig(judge="writing"))
    expected_RM, questions = (
        present_RM.copy(),
        {(row, tuple(present_RM[row].tolist()), num_chunks) for row in range(num_rows)},
    )
    for row in np.flatnonzero(right_R):
        for m in np.flatnonzero(present_RM[row]):
            before = [keep and at < m for at, keep in enumerate(expected_RM[row].tolist())]
            expected_RM[row, m] = not oracle.one(row, before)
            questions.add((int(row), tuple(before), int(m) + 1))
    assert (kept_RM == expected_RM).all()
    asked = [(row, kept, given) for (row, kept), given in zip(oracle.asked, oracle.given, strict=True)]
    assert set(asked) == questions
    assert len(asked) == len(questions)


@given(problems())
def test_interior_keeps_the_first_and_the_last_non_empty_chunk(problem):
    present_RM, oracle = problem
    kept_RM, _ = find_kept(present_RM, oracle, SkipsConfig(skippable="interior"))
    for row, present in enumerate(present_RM.tolist()):
        last = sum(present) - 1
        assert kept_RM[row].tolist() == _by_the_paper(present, oracle, row, lambda m, last=last: 0 < m < last)
        assert kept_RM[row, 0]
        assert kept_RM[row, last]


@pytest.mark.parametrize("search", SEARCHES)
@given(problem=problems())
def test_if_the_answer_from_all_chunks_is_wrong_all_chunks_are_kept(problem, search):
    present_RM, _ = problem
    kept_RM, right_R = find_kept(
        present_RM, lambda rows, kept_RM, given: np.zeros(len(rows), bool), SkipsConfig(search=search)
    )
    assert (kept_RM == present_RM).all()
    assert not right_R.any()


@given(problems())
def test_all_skips_every_chunk_if_the_student_is_right_and_asks_once(problem):
    present_RM, oracle = problem
    kept_RM, right_R = find_kept(present_RM, oracle, SkipsConfig(search="all"))
    assert len(oracle.asked) == len(present_RM)
    assert (kept_RM == (present_RM & ~right_R[:, None])).all()


@given(problems())
def test_all_with_interior_keeps_the_first_and_the_last_chunk(problem):
    present_RM, oracle = problem
    kept_RM, right_R = find_kept(present_RM, oracle, SkipsConfig(search="all", skippable="interior"))
    for kept, present, right in zip(kept_RM.tolist(), present_RM.tolist(), right_R, strict=True):
        ends = {0, sum(present) - 1}
        assert kept == [here and (at in ends or not right) for at, here in enumerate(present)]


@pytest.mark.parametrize("skippable", ["any", "interior"])
@pytest.mark.parametrize("search", SEARCHES)
@given(problem=problems())
def test_empty_chunks_are_never_tested_or_kept(problem, search, skippable):
    present_RM, oracle = problem
    kept_RM, _ = find_kept(present_RM, oracle, SkipsConfig(search=search, skippable=skippable))
    assert not (kept_RM & ~present_RM).any()
    assert not any(
        keep and not here
        for row, kept in oracle.asked
        for keep, here in zip(kept, present_RM[row], strict=True)
    )
    assert len(set(oracle.asked)) == len(oracle.asked), (
        "no question is asked twice, which a test of an empty chunk would do"
    )


@pytest.mark.parametrize("skippable", ["any", "interior"])
@given(data=st.data())
def test_exhaustive_finds_the_cheapest_right_subset_and_asks_no_costlier_one(data, skippable):
    present_RM, oracle = data.draw(problems())
    tokens_RM = _tokens(data.draw, present_RM)
    kept_RM, right_R = find_kept(
        present_RM, oracle, SkipsConfig(search="exhaustive", skippable=skippable), tokens_RM
    )
    for row, (present, tokens) in enumerate(zip(present_RM.tolist(), tokens_RM.tolist(), strict=True)):
        best = _cheapest(
            present,
            tokens,
            oracle,
            row,
            range(1, sum(present) - 1) if skippable == "interior" else range(len(present)),
        )
        assert kept_RM[row].tolist() == (list(best) if right_R[row] else present)
        asked = [kept for asked_row, kept in oracle.asked if asked_row == row][1:]
        assert all(_cost(kept, tokens) <= _cost(best, tokens) for kept in asked)


def _cost(kept, tokens):
    """Tokens, then chunks, then whether an earlier chunk is missing."""
    return (
        sum(count for keep, count in zip(kept, tokens, strict=True) if keep),
        sum(kept),
        [not keep for keep in kept],
    )


def _cheapest(present, tokens, oracle, row, may_skip):
    options = product(
        *([True, False] if here and m in may_skip else [here] for m, here in enumerate(present))
    )
    return min(
        (kept for kept in options if kept == tuple(present) or oracle.one(row, kept)),
        key=lambda kept: _cost(kept, tokens),
    )


@pytest.mark.parametrize("skippable", ["any", "interior"])
@given(data=st.data())
def test_exhaustive_keeps_no_more_tokens_than_sequential_and_both_are_right(data, skippable):
    present_RM, oracle = data.draw(problems())
    tokens_RM = _tokens(data.draw, present_RM)
    configs = [SkipsConfig(search=search, skippable=skippable) for search in ("exhaustive", "sequential")]
    (fewest_RM, right_R), (kept_RM, _) = (
        find_kept(present_RM, oracle, config, tokens_RM) for config in configs
    )
    assert ((fewest_RM * tokens_RM).sum(1) <= (kept_RM * tokens_RM).sum(1)).all()
    for row in np.flatnonzero(right_R):
        assert oracle.one(row, fewest_RM[row])
        assert oracle.one(row, kept_RM[row])


def test_exhaustive_cannot_be_combined_with_writing():
    with pytest.raises(ValueError, match=r"set skips\.search to sequential, or skips\.judge to reading"):
        SkipsConfig(judge="writing", search="exhaustive")


@pytest.mark.parametrize("skippable", ["any", "interior"])
@given(problem=problems(), seed=st.integers(0, 2**32 - 1))
def test_shuffling_keeps_the_skips_per_chunk_index_and_skips_only_skippable_chunks(problem, seed, skippable):
    present_RM, oracle = problem
    kept_RM, _ = find_kept(present_RM, oracle, SkipsConfig(skippable=skippable))
    may_skip_RM = present_RM & skipping.skippable(present_RM, skippable)
    shuffled_RM = skipping.shuffle_skips(kept_RM, may_skip_RM, seed)
    assert (shuffled_RM.sum(0) == kept_RM.sum(0)).all()
    assert (shuffled_RM | may_skip_RM == present_RM).all(), (
        "chunks that may not be skipped are kept, and empty ones never are"
    )
    assert (shuffled_RM == skipping.shuffle_skips(kept_RM, may_skip_RM, seed)).all()


def test_every_sample_is_equally_likely_to_get_a_shuffled_skip():
    """Of 8 samples, one skips c_1 and four skip c_2. Over many seeds, all samples get an equal share."""
    kept_RM = np.ones((8, 2), dtype=bool)
    kept_RM[0, 0] = kept_RM[:4, 1] = False
    draws = [~skipping.shuffle_skips(kept_RM, np.ones_like(kept_RM), seed) for seed in range(4000)]
    assert np.abs(np.mean(draws, axis=0) - [1 / 8, 1 / 2]).max() < 0.04
    both = np.mean([draw[:, 0] & draw[:, 1] for draw in draws])
    assert both == pytest.approx(1 / 16, abs=0.01), "the indices are drawn independently of each other"


def test_exhaustive_refuses_too_many_chunks():
    check_search(SkipsConfig(search="exhaustive"), MAX_EXHAUSTIVE_CHUNKS)
    with pytest.raises(ValueError, match=r"skips\.search: exhaustive .* M is 7 here"):
        check_search(SkipsConfig(search="exhaustive"), MAX_EXHAUSTIVE_CHUNKS + 1)


@given(st.lists(st.text(), min_size=1, max_size=50), st.integers(2, 5), st.integers(0, 9))
def test_the_fold_of_a_question_does_not_depend_on_other_questions_or_white_space(questions, folds, seed):
    found = {question.strip(): fold_of(question, folds, seed) for question in questions}
    assert all(0 <= fold < folds for fold in found.values())
    assert all(fold_of(f" {question}\n", folds, seed) == fold for question, fold in found.items())


def test_folds_have_similar_sizes_and_depend_on_the_seed():
    folds = [[fold_of(f"How many are {number}?", 4, seed) for number in range(4000)] for seed in (0, 1)]
    assert all(900 < folds[0].count(fold) < 1100 for fold in range(4))
    assert 900 < sum(one == other for one, other in zip(*folds, strict=True)) < 1100
