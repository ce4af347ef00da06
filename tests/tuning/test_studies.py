"""Optuna's draws depend on the records of a sweep, and on nothing else."""

import math

import pytest

from skipthink_ray.presets import PRESETS
from skipthink_ray.runtime.artifacts import Folder
from skipthink_ray.tuning.plan import Trial
from skipthink_ray.tuning.space import Space
from skipthink_ray.tuning.studies import Studies
from skipthink_ray.tuning.sweep import Sweep, done, failed

TASKS = ("multiarith", "svamp")
BASES = [PRESETS["tiny"]().model_copy(update={"task": task}) for task in TASKS]
BEST_LR = 1e-3


def _space(**search: object) -> Space:
    draw = {
        "cwt.optim.lr": {"loguniform": [1e-6, 1.0]},
        "cwt.search.method": {"choice": ["average", "greedy"]},
        "cwt.search.eta_nats": {"uniform": [0.1, 0.5], "when": {"cwt.search.method": ["greedy"]}},
    }
    return Space.model_validate({"draw": draw, "search": {"kind": "optuna", **search}})


@pytest.fixture
def sweep(tmp_path) -> Sweep:
    return Sweep(Folder.open(str(tmp_path)), "sweep")


def _studies(sweep: Sweep, space: Space, samples: int) -> Studies:
    return Studies(sweep, space, BASES, sweep.known_trials(BASES, space), samples)


def _accuracy(trial: Trial) -> float:
    """Highest at BEST_LR."""
    return 100 - 10 * abs(math.log10(trial.drawn.get("cwt.optim.lr", 1.0) / BEST_LR))


def _run(sweep: Sweep, studies: Studies) -> list[Trial]:
    """Run all trials, one at a time."""
    trials = []
    while trial := studies.next():
        numbers = {"skip_accuracy_pct": _accuracy(trial), "skip_tokens": 20.0, "questions": 50}
        sweep.record(done(trial, numbers))
        studies.ended(trial)
        trials.append(trial)
    return trials


def _distance(trials: list[Trial]) -> float:
    """Mean distance to the best learning rate, in powers of ten."""
    return sum(abs(math.log10(trial.drawn["cwt.optim.lr"] / BEST_LR)) for trial in trials) / len(trials)


def test_draws_come_closer_to_the_best_learning_rate(sweep):
    """Independent draws have a mean distance of 1.5."""
    trials = [trial for trial in _run(sweep, _studies(sweep, _space(), 40)) if trial.task == "svamp"]
    assert len(trials) == 40
    assert _distance(trials[20:]) < 0.75


def test_every_task_has_its_samples_in_turn_and_its_trials_differ(sweep):
    studies = _studies(sweep, _space(), 3)
    assert len(studies) == 6
    trials = _run(sweep, studies)
    assert len(studies) == 0
    assert [trial.task for trial in trials] == ["multiarith", "svamp"] * 3
    assert len({trial.name for trial in trials}) == 6
    for trial in trials:
        assert ("cwt.search.eta_nats" in trial.drawn) == (trial.drawn["cwt.search.method"] == "greedy")


def test_a_sweep_that_continues_knows_its_trials_and_draws_others(sweep):
    space = _space()
    before = _run(sweep, _studies(sweep, space, 3))
    assert _run(sweep, _studies(sweep, space, 3)) == []
    after = _run(sweep, _studies(sweep, space, 5))
    assert len(after) == 4
    assert not {trial.name for trial in before} & {trial.name for trial in after}
    assert {trial.name for trial in sweep.known_trials(BASES, space)} == {
        trial.name for trial in before + after
    }


def test_a_failed_trial_is_run_again_before_new_ones(sweep):
    studies = _studies(sweep, _space(), 1)
    lost, diverged = studies.next(), studies.next()
    assert lost
    assert diverged
    sweep.record(failed(lost, "its process died", again=True))
    sweep.record(failed(diverged, "loss became nan", again=False))
    for trial in (lost, diverged):
        studies.ended(trial)
    again = _studies(sweep, _space(), 2)
    assert len(again) == 3
    assert again.next() == lost
    sweep.record(done(lost, {"skip_accuracy_pct": 77.0, "skip_tokens": 20.0, "questions": 50}))
    again.ended(lost)
    assert again.studies[0].study.best_value == 77.0


def test_a_small_space_ends_with_its_last_trial(sweep):
    space = Space.model_validate(
        {"draw": {"skips.skippable": {"choice": ["any", "interior"]}}, "search": {"kind": "optuna"}}
    )
    studies = _studies(sweep, space, 9)
    assert len(_run(sweep, studies)) == 2 * len(TASKS)
    assert len(studies) == 0


def test_two_goals_learn_from_tokens_too(sweep):
    trials = _run(sweep, _studies(sweep, _space(goals="accuracy_and_tokens"), 4))
    assert len(trials) == 8


def test_another_configuration_has_trials_of_its_own(sweep):
    _run(sweep, _studies(sweep, _space(), 2))
    others = [base.model_copy(update={"seed": 5}) for base in BASES]
    assert sweep.known_trials(others, _space()) == []


@pytest.mark.parametrize(
    ("search", "draw", "fault"),
    [
        ({"goals": "accuracy_and_tokens"}, {"int": [2, 3]}, "goals: .* needs kind: optuna"),
        ({"kind": "optuna"}, {"choice": [[1], [2]]}, r"cwt\.num_chunks: optuna chooses between numbers"),
    ],
)
def test_what_optuna_cannot_draw_is_refused(search, draw, fault):
    with pytest.raises(ValueError, match=fault):
        Space.model_validate({"draw": {"cwt.num_chunks": draw}, "search": search})
