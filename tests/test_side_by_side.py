"""The schedule of stages: order, room, failures, interruptions. Most stages are toys."""

import threading
import time
from collections.abc import Callable

import pytest

from skipthink_ray.config import PipelineConfig
from skipthink_ray.identity import stages_of, upstream
from skipthink_ray.pipeline import TRAINING, processes
from skipthink_ray.runtime.cluster import NoRoom
from skipthink_ray.side_by_side import Schedule, Work

LONG_S = 30.0
"""A wait that only a failing test reaches the end of."""
STAGES = stages_of(PipelineConfig())


class Toys:
    """Stages with the inputs of the real ones. Each notes its start and its end."""

    def __init__(self, **makes: Callable[[], None]) -> None:
        self.makes = makes
        self.log: list[str] = []
        self.begun = {name: threading.Event() for name in STAGES}
        self.stopped = threading.Event()

    def make(self, name: str) -> None:
        self.log.append(f"+{name}")
        self.begun[name].set()
        try:
            self.makes.get(name, lambda: None)()
        finally:
            self.log.append(f"-{name}")

    def run(self, room: int, workers: int = 1, actors: int = 2) -> list[str]:
        config = PipelineConfig.model_validate({"cluster": {"num_workers": workers, "num_actors": actors}})
        stages = {
            name: Work(
                lambda name=name: self.make(name),
                frozenset(upstream(name, STAGES)),
                processes(name, config),
                name in TRAINING,
            )
            for name in STAGES
        }
        Schedule(stages, room).run(self.stop)
        return self.log

    def stop(self) -> bool:
        self.stopped.set()
        return True

    def meets(self, name: str) -> Callable[[], None]:
        """A stage that ends only if another one has begun."""

        def make() -> None:
            assert self.begun[name].wait(LONG_S), f"{name} did not begin"

        return make


def one_after_another() -> list[str]:
    return [event for name in STAGES for event in (f"+{name}", f"-{name}")]


def test_without_room_for_two_the_stages_run_one_after_another():
    assert Toys().run(room=2, workers=2) == one_after_another()


def test_a_single_stage_starts_even_if_it_needs_more_than_the_room():
    assert Toys().run(room=1, workers=2) == one_after_another()


def test_base_and_cwt_run_at_the_same_time_if_there_is_room_for_both():
    toys = Toys()
    toys.makes = {"base": toys.meets("cwt"), "cwt": toys.meets("base")}
    log = toys.run(room=2)
    assert max(log.index("+base"), log.index("+cwt")) < min(log.index("-base"), log.index("-cwt"))
    for name in STAGES:
        for needed in upstream(name, STAGES):
            assert log.index(f"-{needed}") < log.index(f"+{name}")


@pytest.mark.parametrize(("room", "beside"), [(2, False), (3, True)])
def test_skips_runs_beside_base_only_if_its_actors_have_room_too(room, beside):
    toys, seen = Toys(), list[bool]()
    toys.makes = {"base": lambda: seen.append(toys.begun["skips"].wait(2.0 if beside else 0.5))}
    toys.run(room)
    assert seen == [beside]


def test_skips_needs_room_for_its_workers_if_it_trains_a_student_for_each_fold():
    config = {"cluster": {"num_workers": 4, "num_actors": 1}}
    assert processes("skips", PipelineConfig.model_validate(config)) == 1
    folds = {**config, "skips": {"gate": "cross_fitted"}}
    assert processes("skips", PipelineConfig.model_validate(folds)) == 4


def test_the_first_error_is_raised_after_the_other_stage_was_stopped():
    toys = Toys()

    def fail() -> None:
        assert toys.begun["cwt"].wait(LONG_S)
        raise RuntimeError("base failed: too hot")

    def train() -> None:
        assert toys.stopped.wait(LONG_S), "nobody stopped it"
        time.sleep(0.2)  # an end takes some time
        raise RuntimeError("cwt failed: stopped")

    toys.makes = {"base": fail, "cwt": train}
    with pytest.raises(RuntimeError, match="base failed: too hot"):
        toys.run(room=2)
    assert toys.log[-1] == "-cwt", "the run ends after the stopped stage"
    assert "+skips" not in toys.log


def test_an_interruption_of_a_stage_in_the_calling_thread_stops_the_others():
    toys = Toys()

    def train() -> None:
        assert toys.stopped.wait(LONG_S), "nobody stopped it"

    def interrupt() -> None:
        raise KeyboardInterrupt

    toys.makes = {"base": train, "skips": interrupt}
    with pytest.raises(KeyboardInterrupt):
        toys.run(room=3)
    assert toys.log[-1] == "-base"


def test_a_stage_that_found_no_room_beside_another_is_made_again_alone():
    toys, tries = Toys(), []

    def train() -> None:
        tries.append("-base" in toys.log)
        if len(tries) == 1:
            raise NoRoom("cwt failed: no room")

    def base() -> None:
        assert toys.begun["cwt"].wait(LONG_S)
        while not tries:
            time.sleep(0.01)
        time.sleep(0.2)

    toys.makes = {"base": base, "cwt": train}
    log = toys.run(room=2)
    assert tries == [False, True]
    assert log.count("+cwt") == 2
    assert log[-1] == "-report"


def test_a_stage_that_found_no_room_although_it_ran_alone_is_made_again():
    """Another job was faster. A cluster that is too small was refused before."""
    tries = list[int]()

    def train() -> None:
        tries.append(1)
        if len(tries) < 3:
            raise NoRoom("base failed: no room")

    assert Toys(base=train).run(room=2, workers=2)[-1] == "-report"
    assert len(tries) == 3
