"""A trial is given up if its loss is far above the lowest loss that a trial of its task had at that point."""

from dataclasses import replace

import pytest

from skipthink_ray.presets import PRESETS
from skipthink_ray.runtime.artifacts import Folder
from skipthink_ray.tuning.early_stopping import Watch
from skipthink_ray.tuning.plan import Trial, plan_trials
from skipthink_ray.tuning.space import EarlyStop, Space, read_space
from skipthink_ray.tuning.sweep import Sweep, stopped

UPDATES = 100
RULE = EarlyStop(at_shares=(0.2, 0.5), slack=1.5)


@pytest.fixture
def sweep(tmp_path) -> Sweep:
    return Sweep(Folder.open(str(tmp_path)), "sweep")


def _trials() -> list[Trial]:
    bases = [PRESETS["tiny"]().model_copy(update={"task": task}) for task in ("multiarith", "svamp")]
    return plan_trials("sweep", bases, read_space("chunks")[1], 2)


def _train(watch: Watch, loss: float, updates: int = UPDATES) -> int:
    """Train at a constant loss, ten updates at a time. Returns the updates made until the trial stops."""
    for start in range(0, updates, 10):
        rows = [(update, {"cwt/loss_nats": loss}) for update in range(start, start + 10)]
        if watch("cwt", UPDATES, rows):
            return start + 10
    return updates


def test_a_hopeless_trial_stops_at_the_first_point_and_says_why(sweep):
    good, bad, *_ = _trials()
    assert _train(Watch(sweep, good, RULE), 1.0) == UPDATES
    watch = Watch(sweep, bad, RULE)
    assert _train(watch, 1.6) == 20
    assert watch.reason == (
        "stopped early after 20 of 100 updates of cwt: "
        f"its loss of 1.600 nats is 1.6 times that of {good.name}"
    )


@pytest.mark.parametrize(("loss", "made"), [(1.5, UPDATES), (1.51, 20)])
def test_slack_is_the_largest_ratio_that_goes_on(sweep, loss, made):
    good, other, *_ = _trials()
    _train(Watch(sweep, good, RULE), 1.0)
    assert _train(Watch(sweep, other, RULE), loss) == made


def test_only_losses_at_the_same_point_and_of_the_same_task_are_compared(sweep):
    good, other, of_another_task, _ = _trials()
    _train(Watch(sweep, good, RULE), 1.0, updates=20)
    assert _train(Watch(sweep, of_another_task, RULE), 9.0) == UPDATES
    watch = Watch(sweep, other, RULE)
    _train(watch, 1.4, updates=40)
    assert not watch("cwt", UPDATES, [(update, {"cwt/loss_nats": 9.0}) for update in range(40, UPDATES)])
    assert watch.passed == {"0.2": 1.4, "0.5": 9.0}, "the other has no loss at half of its updates"


def test_a_trial_that_continues_from_a_checkpoint_is_compared_as_before(sweep):
    """Its workers report the whole history again."""
    good, bad, *_ = _trials()
    _train(Watch(sweep, good, RULE), 1.0)
    history = [(update, {"cwt/loss_nats": 2.0}) for update in range(30)]
    assert Watch(sweep, bad, RULE)("cwt", UPDATES, history)


def test_metrics_that_a_restarted_board_has_lost_stop_nothing(sweep):
    good, bad, *_ = _trials()
    _train(Watch(sweep, good, RULE), 1.0)
    watch = Watch(sweep, bad, RULE)
    assert not watch("cwt", UPDATES, [(45, {"cwt/loss_nats": 9.0})])
    assert watch("cwt", UPDATES, [(49, {"cwt/loss_nats": 9.0})])
    assert watch.passed == {"0.5": 9.0}


def test_other_stages_are_not_compared(sweep):
    good, bad, *_ = _trials()
    _train(Watch(sweep, good, RULE), 1.0)
    rows = [(update, {"stt/loss_nats": 9.0}) for update in range(UPDATES)]
    assert not Watch(sweep, bad, RULE)("stt", UPDATES, rows)


def test_a_stopped_trial_is_no_failure_and_does_not_run_again(sweep):
    trial = _trials()[0]
    record = stopped(trial, "stopped early")
    sweep.record(record)
    assert not record.is_done
    assert not record.has_failed
    assert sweep.to_run([trial]) == []
    assert sweep.records([trial])[trial.name] == record
    assert replace(record, stopped=False).has_failed


@pytest.mark.parametrize("stop", [{"slack": 0.9}, {"at_shares": []}, {"at_shares": [1.5]}])
def test_a_rule_that_makes_no_sense_is_refused(stop):
    with pytest.raises(ValueError, match="stop"):
        Space.model_validate({"draw": {"cwt.num_chunks": {"int": [2, 3]}}, "stop": stop})
