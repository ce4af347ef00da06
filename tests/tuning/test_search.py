"""When a sweep gives up, and how many trials it runs at once."""

from collections.abc import Iterator

import pytest
import ray

from skipthink_ray.pipeline import processes_at_once
from skipthink_ray.presets import PRESETS
from skipthink_ray.tuning.search import StopIfAllFail, concurrent_trials


@pytest.fixture(scope="module")
def two_cpus() -> Iterator[None]:
    """A Ray cluster with two CPUs."""
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


def _stops_after(*reasons: str) -> list[bool]:
    stopper, found = StopIfAllFail(), list[bool]()
    for number, reason in enumerate(reasons):
        assert not stopper(str(number), {"reason": reason}), "no trial is stopped on its own"
        found.append(stopper.stop_all())
    return found


def test_a_sweep_stops_when_its_first_three_trials_fail_for_one_reason():
    assert _stops_after("no disk", "no disk", "no disk") == [False, False, True]
    assert not any(_stops_after("no disk", "other", "no disk"))
    assert not any(_stops_after("no disk", "", "no disk", "no disk")), (
        "one trial is done, so the others may be"
    )


@pytest.mark.ray
@pytest.mark.parametrize(("workers", "actors", "at_once"), [(1, 1, 2), (1, 2, 1), (2, 1, 1), (8, 1, 1)])
def test_a_trial_uses_its_widest_stage_at_once_and_as_many_run_as_fit(two_cpus, workers, actors, at_once):
    tiny = PRESETS["tiny"]()
    cluster = tiny.cluster.model_copy(update={"num_workers": workers, "num_actors": actors})
    base = tiny.model_copy(update={"cluster": cluster})
    assert processes_at_once(base) == max(workers, actors)
    assert ray.cluster_resources()["CPU"] == 2
    assert concurrent_trials(base) == at_once
