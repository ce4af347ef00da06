"""Every chunker against its definition, on random stage-loss matrices."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skipthink_ray.config import SearchConfig
from skipthink_ray.method.chunking import (
    SLICE_ROWS,
    STREAMS,
    Proposals,
    StageLosses,
    average_chunks,
    draw_proposals,
    energy,
    join_losses,
    movable,
    optimal_chunks,
    reach,
    search,
)

ROUNDING = 1e-9
"""Tolerance for sums in another order; the losses are about 1."""
METHODS = ("average", "greedy", "annealed", "optimal")


def _draw(seed: int, num_chunks: int, num_steps: list[int]) -> StageLosses:
    """Random matrices of rationales of different lengths; the padding is random too."""
    rng, shape = np.random.default_rng(seed), (len(num_steps), num_chunks, max(num_steps))
    count_RK = rng.integers(1, 12, (shape[0], shape[2])).astype(float)
    return StageLosses(rng.gamma(0.5, 1.0, shape) * count_RK[:, None], rng.gamma(0.5, 2.0, shape), count_RK)


def _one(losses: StageLosses, row: int, num_steps: int) -> StageLosses:
    return losses.part(np.array([row]), num_steps)


def _loss(losses: StageLosses, row: int, stage: int, start: int, end: int) -> float:
    """The formula of a chunk's loss, written out."""
    nll = (
        sum(losses.nll_RMK[row, stage, step] for step in range(start, end))
        + losses.eos_RMK[row, stage, end - 1]
    )
    return nll / (sum(losses.count_RK[row, step] for step in range(start, end)) + 1)


def _search(losses: StageLosses, ends_RM: np.ndarray, seed: int = 0, **config) -> np.ndarray:
    return search(losses, ends_RM, SearchConfig(**config), np.arange(len(ends_RM)), (seed, 0))


def _objective(
    losses: StageLosses, row: int, m: int, start: int, cut: int, stop: int, objective: str
) -> float:
    own = _loss(losses, row, m, start, cut)
    return own + _loss(losses, row, m + 1, cut, stop) if objective == "pair" else own


def _greedy_by_the_paper(
    losses: StageLosses, row: int, ends: list[int], eta: float, objective: str
) -> list[int]:
    """For m = 1..M-1: merge two chunks, try every cut, move the boundary if the loss falls by over eta."""
    ends = list(ends)
    for m in range(len(ends) - 1):
        start, stop = ends[m - 1] if m else 0, ends[m + 1]
        tried = {
            cut: _objective(losses, row, m, start, cut, stop, objective) for cut in range(start + 1, stop)
        }
        best = min(tried, key=lambda cut: tried[cut])
        if tried[ends[m]] - tried[best] > eta:
            ends[m] = best
    return ends


def _chunkings(num_steps: int, num_chunks: int) -> np.ndarray:
    return np.array([[*cuts, num_steps] for cuts in combinations(range(1, num_steps), num_chunks - 1)])


seeds = st.integers(0, 2**32 - 1)


@st.composite
def problems(draw, max_steps=12, max_chunks=5):
    """(matrix, average chunks, numbers of steps) of up to six rationales with more steps than chunks."""
    num_chunks = draw(st.integers(2, max_chunks))
    num_steps = draw(st.lists(st.integers(num_chunks + 1, max_steps), min_size=1, max_size=6))
    return (
        _draw(draw(seeds), num_chunks, num_steps),
        average_chunks(np.array(num_steps), num_chunks),
        num_steps,
    )


@given(st.lists(st.integers(0, 40), min_size=1, max_size=8), st.integers(1, 8))
def test_average_sizes_differ_by_at_most_one_and_cover_all_steps(num_steps, num_chunks):
    sizes_RM = np.diff(average_chunks(np.array(num_steps), num_chunks), axis=1, prepend=0)
    assert sizes_RM.shape == (len(num_steps), num_chunks)
    assert sizes_RM.sum(1).tolist() == num_steps
    assert (np.ptp(sizes_RM, axis=1) <= 1).all()
    assert (np.diff(sizes_RM, axis=1) <= 0).all(), "only trailing chunks may be empty"


def test_only_rationales_with_more_steps_than_chunks_are_movable():
    assert movable(average_chunks(np.array([3, 4, 5, 9]), 4)).tolist() == [False, False, True, True]
    assert not movable(average_chunks(np.array([9]), 1)).any()


@given(problems(), st.sampled_from(METHODS), seeds)
def test_every_chunker_returns_contiguous_chunks_that_are_never_empty(problem, method, seed):
    losses, ends_RM, num_steps = problem
    before_RM = ends_RM.copy()
    found_RM = _search(losses, ends_RM, seed, method=method, eta_nats=0.0)
    assert (np.diff(found_RM, axis=1, prepend=0) > 0).all()
    assert found_RM[:, -1].tolist() == num_steps
    assert (ends_RM == before_RM).all(), "the input is not overwritten"


@pytest.mark.parametrize("eta", [0.0, 0.1])
@pytest.mark.parametrize("objective", ["chunk", "pair"])
@given(problem=problems())
def test_greedy_is_the_papers_search(problem, objective, eta):
    losses, ends_RM, _ = problem
    found_RM = _search(losses, ends_RM, method="greedy", objective=objective, eta_nats=eta)
    expected = [
        _greedy_by_the_paper(losses, row, ends_RM[row].tolist(), eta, objective)
        for row in range(len(ends_RM))
    ]
    assert found_RM.tolist() == expected


@pytest.mark.parametrize("eta", [0.0, 0.1])
@pytest.mark.parametrize("objective", ["chunk", "pair"])
@given(problem=problems())
def test_greedy_lowers_its_objective_by_more_than_eta_wherever_it_moves(problem, objective, eta):
    losses, before_RM, _ = problem
    after_RM = _search(losses, before_RM, method="greedy", objective=objective, eta_nats=eta)
    for row, m in np.argwhere(before_RM != after_RM):
        start, stop = after_RM[row, m - 1] if m else 0, before_RM[row, m + 1]
        old, new = (
            _objective(losses, row, m, start, ends[row, m], stop, objective) for ends in (before_RM, after_RM)
        )
        assert old - new > eta


def test_a_larger_eta_moves_fewer_boundaries():
    losses, ends_RM = _draw(0, 4, [9] * 200), average_chunks(np.array([9] * 200), 4)
    moved = [
        (_search(losses, ends_RM, method="greedy", eta_nats=eta) != ends_RM).sum()
        for eta in (0.0, 0.1, 100.0)
    ]
    assert moved[0] > moved[1] > moved[2] == 0


@given(problems(), seeds)
@settings(max_examples=50)
def test_annealing_is_never_worse_than_its_start_and_depends_only_on_the_seed(problem, seed):
    losses, ends_RM, _ = problem
    found_RM, again_RM = (_search(losses, ends_RM, seed, method="annealed") for _ in range(2))
    assert (energy(losses, found_RM) <= energy(losses, ends_RM) + ROUNDING).all()
    assert (found_RM == again_RM).all()


def test_annealing_depends_on_its_seed_and_comes_close_to_the_optimum():
    losses, ends_RM = _draw(1, 4, [12] * 200), average_chunks(np.array([12] * 200), 4)
    found_RM, other_RM = (_search(losses, ends_RM, seed, method="annealed") for seed in (0, 1))
    assert (found_RM != other_RM).any()
    before, after, best = (
        energy(losses, ends).mean() for ends in (ends_RM, found_RM, optimal_chunks(losses, ends_RM))
    )
    assert before - after > 0.75 * (before - best)


def _annealed_one_by_one(
    losses: StageLosses, row: int, ends: list[int], config: SearchConfig, drawn: Proposals
) -> list[int]:
    """Textbook simulated annealing of one rationale; every energy is summed anew."""
    stages, ends = range(len(ends)), list(ends)

    def total(ends: list[int]) -> float:
        return sum(
            _loss(losses, row, m, start, end) for m, start, end in zip(stages, [0, *ends], ends, strict=False)
        )

    best, stream = list(ends), row % STREAMS
    for proposal in range(config.proposals):
        temperature = config.start_temperature_nats * config.cooling ** (proposal // (len(ends) - 1))
        moves = [(m, shift) for shift in (-1, 1) for m in stages[:-1]]
        shifted = [[end + shift * (at == m) for at, end in enumerate(ends)] for m, shift in moves]
        possible = [moved for moved in shifted if min(np.diff(moved, prepend=0)) > 0]
        moved = possible[int(drawn.move_PS[proposal, stream] * len(possible))]
        if np.exp(-drawn.patience_PS[proposal, stream]) < np.exp(-(total(moved) - total(ends)) / temperature):
            ends = moved
        if total(ends) < total(best) - ROUNDING:
            best = ends
    return best


@given(problems(max_steps=9), seeds)
@settings(max_examples=20)
def test_annealing_is_the_textbook_algorithm_on_the_same_random_numbers(problem, seed):
    losses, ends_RM, _ = problem
    config, drawn = SearchConfig(method="annealed", proposals=60), draw_proposals(60, (seed, 0))
    expected = [
        _annealed_one_by_one(losses, row, ends.tolist(), config, drawn) for row, ends in enumerate(ends_RM)
    ]
    assert energy(losses, np.array(expected)) == pytest.approx(
        energy(losses, _search(losses, ends_RM, seed, **config.model_dump()))
    )


@given(problems(), seeds, st.lists(st.integers(0, 10**6), min_size=6, max_size=6))
@settings(max_examples=30)
def test_random_numbers_depend_on_the_row_number_and_not_on_the_batch(problem, seed, numbers):
    losses, ends_RM, num_steps = problem
    config, numbers_R = SearchConfig(method="annealed"), np.array(numbers[: len(ends_RM)])
    together_RM = search(losses, ends_RM, config, numbers_R, (seed, 1))
    for row, steps in enumerate(num_steps):
        alone_RM = search(
            _one(losses, row, steps), ends_RM[row : row + 1], config, numbers_R[row : row + 1], (seed, 1)
        )
        assert alone_RM[0].tolist() == together_RM[row].tolist()


@given(problems(max_steps=8))
def test_optimal_is_the_minimum_over_all_chunkings(problem):
    losses, ends_RM, num_steps = problem
    found = energy(losses, optimal_chunks(losses, ends_RM))
    for row, steps in enumerate(num_steps):
        every_CM = _chunkings(steps, ends_RM.shape[1])
        energies = [
            sum(_loss(losses, row, m, *pair) for m, pair in enumerate(zip([0, *ends], ends, strict=False)))
            for ends in every_CM
        ]
        assert found[row] == pytest.approx(min(energies), abs=ROUNDING)


@given(problems(), seeds)
@settings(max_examples=50)
def test_optimal_is_never_above_greedy_or_annealed(problem, seed):
    losses, ends_RM, _ = problem
    best = energy(losses, optimal_chunks(losses, ends_RM))
    for method in ("greedy", "annealed"):
        found_RM = _search(losses, ends_RM, seed, method=method)
        assert (best <= energy(losses, found_RM) + ROUNDING).all()


@given(problems(), st.sampled_from(["greedy", "annealed", "optimal"]), st.sampled_from(["chunk", "pair"]))
def test_losses_beyond_reach_do_not_change_the_result(problem, method, objective):
    losses, ends_RM, _ = problem
    config = {"method": method, "objective": objective, "eta_nats": 0.0}
    stage_M1, step_K = np.arange(ends_RM.shape[1])[:, None], np.arange(losses.count_RK.shape[1])
    beyond_RMK = (step_K < stage_M1) | (step_K >= reach(ends_RM, SearchConfig(**config))[..., None])
    other = StageLosses(
        np.where(beyond_RMK, 0.0, losses.nll_RMK), np.where(beyond_RMK, 0.0, losses.eos_RMK), losses.count_RK
    )
    assert (_search(other, ends_RM, **config) == _search(losses, ends_RM, **config)).all()


@given(problems())
def test_searching_rationales_together_equals_searching_them_one_by_one(problem):
    losses, ends_RM, num_steps = problem
    for method in ("greedy", "optimal"):
        together_RM = _search(losses, ends_RM, method=method, eta_nats=0.0)
        for row, steps in enumerate(num_steps):
            alone_RM = _search(_one(losses, row, steps), ends_RM[row : row + 1], method=method, eta_nats=0.0)
            assert alone_RM[0].tolist() == together_RM[row].tolist()


@pytest.mark.parametrize("method", METHODS)
def test_searching_many_rationales_equals_searching_joined_parts(method):
    num_steps = np.random.default_rng(0).integers(5, 20, 2 * SLICE_ROWS + 100)
    losses, ends_RM = _draw(2, 4, num_steps.tolist()), average_chunks(num_steps, 4)
    whole_RM = _search(losses, ends_RM, method=method)
    halves = [
        losses.part(rows, num_steps[rows].max()) for rows in np.array_split(np.arange(len(num_steps)), 2)
    ]
    assert (_search(join_losses(halves), ends_RM, method=method) == whole_RM).all()
    assert (whole_RM != ends_RM).any() == (method != "average")
