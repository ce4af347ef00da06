"""Actors that all data sets of a cluster share."""

from collections.abc import Iterator
from typing import Any

import pytest
import ray
from ray.util.placement_group import placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from skipthink_ray.runtime.actors import start_shared_actors
from skipthink_ray.runtime.cluster import disconnect

HEAD = "node:__internal_head__"


@pytest.fixture
def cluster() -> Iterator[None]:
    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    disconnect()


@ray.remote(num_cpus=2)
class Guest:
    """Uses all CPUs of the cluster."""

    def is_there(self) -> bool:
        return True


@ray.remote(num_cpus=0)
class Trial:
    """Uses a data set with a pool of actors, as a trial of Ray Tune does."""

    def run(self) -> None:
        start_shared_actors()


@pytest.mark.ray
def test_a_trial_that_ends_does_not_take_the_actors_of_other_data_sets_with_it(cluster):
    guest: Any = Guest.remote()
    assert ray.get(guest.is_there.remote())
    start_shared_actors()
    group = placement_group([{HEAD: 0.001}])
    ray.get(group.ready())
    inside = PlacementGroupSchedulingStrategy(group, placement_group_capture_child_tasks=True)
    trial: Any = Trial.options(scheduling_strategy=inside).remote()
    ray.get(trial.run.remote())
    remove_placement_group(group)
    with pytest.raises(ray.exceptions.RayActorError):
        ray.get(trial.run.remote())
    tracker = ray.get_actor("ActorLocationTracker", namespace="ActorLocationTracker")
    assert ray.get(tracker.get_actor_locations.remote([])) == {}
    start_shared_actors()
