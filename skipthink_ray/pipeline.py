"""The stages of a run. Each reads artifacts and makes one, unless a run has made it already.

Stages that do not need each other train side by side if the cluster has room: base beside cwt, skips and stt.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from rich.console import Console

from skipthink_ray.config import PipelineConfig
from skipthink_ray.identity import identify, stages_of, upstream
from skipthink_ray.method.modes import STUDENT_OF
from skipthink_ray.options import flatten
from skipthink_ray.runtime.artifacts import Folder, digest
from skipthink_ray.runtime.console import say
from skipthink_ray.runtime.lock import only_writer
from skipthink_ray.runtime.store import Run
from skipthink_ray.runtime.tracker import Labels
from skipthink_ray.runtime.tracking import send_unsent, start_tracker

if TYPE_CHECKING:
    from skipthink_ray.making import Maker
    from skipthink_ray.runtime.progress import Watch

TRAINING = tuple(STUDENT_OF.values())
"""Stages that run in a thread, so that others can start meanwhile."""


@dataclass(frozen=True)
class Part:
    """How a run is part of a sweep or an ablation. Its tracking server may be away while the run starts."""

    labels: Labels | None = None
    """Parameters and tags for MLflow. None: every configuration key, and the task."""
    at_once: int | None = None
    """The most workers or actors to use at once. None: as many as fit on the cluster."""
    watch: "Watch | None" = None
    """May give up a stage that trains."""


def run(
    config: PipelineConfig,
    console: Console,
    command: str,
    only: Sequence[str] = (),
    part: Part | None = None,
) -> Run:
    """Run all stages, or `only` some.

    Raises ValueError for errors the user can fix, and Stopped if a stage is given up.
    """
    checked = config.starting_without_server() if part else config  # a sweep or ablation has found the server
    part = part or Part()
    names = [*(only or stages_of(config))]
    if "icot" in names and not config.icot.removal:
        raise ValueError("icot.removal: the stage icot is off; set --icot.removal stepwise (ICoT-SI) or all")
    current, tell = open_run(config), partial(say, console)
    if is_finished(current, names):
        for name in names:
            current.link(name)
        if "report" in names:
            from skipthink_ray.reporting.table import show_report

            show_report(current.artifact("report"), console)
        send_unsent(config.tracking, current.storage, config.name, tell)
        tell(f"Nothing to do: {current.folder.uri} is finished.")
        return current
    tell(f"Run in {current.folder.uri}; starting Ray ...")
    from skipthink_ray.making import Maker, tracked  # imports Ray
    from skipthink_ray.preflight import check_run
    from skipthink_ray.reporting.published import data_of, publish, source_of
    from skipthink_ray.runtime.progress import Bars

    check_run(checked, current, names, tell)
    with only_writer(current.folder):
        key = f"{current.folder.uri} {digest(current.identities['report'])}"
        labels = part.labels or Labels(flatten(config.model_dump()), {"task": config.task})
        tags = {**labels.tags, "data": data_of(current)}
        tracker = start_tracker(checked.tracking, current.storage, config.name, key, tell, tags)
        with tracked(tracker):
            tracker.params(labels.params)
            tracker.dataset(config.task, tags["data"], source_of(current))
            current.record(command, config.model_dump(mode="json"))
            _make_all(names, Maker(config, current, console, tracker, names, Bars(part.watch)), part.at_once)
            publish(current, tracker, config.tracking)
            if how := tracker.how_to_open():
                tell(f"Metrics: {how}")
    return current


def open_run(config: PipelineConfig) -> Run:
    """The configured run and the identities of its artifacts. Raises ValueError as `identify` does."""
    return Run(Folder.open(config.storage_path), config.name, identify(config))


def is_finished(current: Run, names: Sequence[str]) -> bool:
    """Whether a run has nothing to do for these stages."""
    return all(current.is_done(name) for name in names) and current.is_recorded()


def _make_all(names: list[str], maker: "Maker", at_once: int | None) -> None:
    """Make the stages in the order of their inputs, side by side if the cluster has room for them."""
    from skipthink_ray.runtime.cluster import room
    from skipthink_ray.side_by_side import Schedule, Work

    needed = {name: processes(name, maker.config) for name in names}
    stages = {
        name: Work(
            make=partial(maker.make, name, needed[name]),
            needs=frozenset(upstream(name, stages_of(maker.config))),
            processes=0 if maker.current.is_done(name) else needed[name],
            in_thread=name in TRAINING,
        )
        for name in names
    }
    Schedule(stages, at_once or room(maker.config.cluster)).run(maker.stopper.stop)


def processes_at_once(config: PipelineConfig) -> int:
    """The most workers or actors that any stage of a run needs at once."""
    return max(processes(name, config) for name in stages_of(config))


def processes(name: str, config: PipelineConfig) -> int:
    """The number of workers or actors that a stage needs at once."""
    workers, actors = config.cluster.num_workers, config.cluster.num_actors
    if name == "skips" and config.skips.gate == "cross_fitted":
        return max(workers, actors)  # it trains a student for each fold first
    if name == "report":
        return 0
    return workers if name in TRAINING else actors
