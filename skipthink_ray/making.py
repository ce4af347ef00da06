"""Makes the artifact of a stage: waits for other runs that make it, tracks it, and marks it as finished."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

from rich.console import Console

from skipthink_ray.config import PipelineConfig
from skipthink_ray.identity import answers_of, needs_of, visible
from skipthink_ray.method.modes import Mode, modes_of
from skipthink_ray.options import flatten
from skipthink_ray.preflight import check_samples
from skipthink_ray.runtime.artifacts import begin, digest, finish
from skipthink_ray.runtime.cluster import Need, require
from skipthink_ray.runtime.console import say
from skipthink_ray.runtime.lock import Lease
from skipthink_ray.runtime.progress import Bars
from skipthink_ray.runtime.stopping import Stopper
from skipthink_ray.runtime.store import Run, SharedTable
from skipthink_ray.runtime.tracker import Tracker
from skipthink_ray.runtime.waiting import wait_for_room
from skipthink_ray.stages.context import Context
from skipthink_ray.stages.table import MAKE


@dataclass(frozen=True)
class Maker:
    """Makes the artifacts of a run. Several threads may make different ones at the same time."""

    config: PipelineConfig
    current: Run
    console: Console
    tracker: Tracker
    """The run's own; each stage gets a child."""
    names: Sequence[str]
    """The stages that are to be made."""
    bars: Bars
    stopper: Stopper = field(default_factory=Stopper)

    def make(self, name: str, processes: int) -> None:
        """Make the artifact of a stage, unless a run has made it, and link it into the run's folder.

        processes: the workers or actors that it needs at once.
        """
        if self.current.is_done(name):
            self.current.link(name)
            self._say(name, "already done")
        else:
            self._wait_or_make(name, processes)
        if name == "samples" and {"skips", "icot", "evaluation"} & {*self.names}:
            check_samples(self.config, self.current.artifact(name))

    def _wait_or_make(self, name: str, processes: int) -> None:
        with self.current.making(name, lambda text: self._say(name, text), self.stopper.pause) as lease:
            if lease:
                self._wait_for_room(name, processes)
                self._make(name, lease)
            else:
                self.current.link(name)
                self._say(name, "made by another run")

    def _wait_for_room(self, name: str, processes: int) -> None:
        """Wait while other jobs use the cluster. Raises ValueError if it has become too small."""
        cluster, tell = self.config.cluster, partial(self._say, name)
        if name in ("rationales", "samples"):  # tasks, which can run one after another on one CPU
            cluster, processes = cluster.model_copy(update={"use_gpu": False, "cpus_per_worker": 1}), 1
        require(Need(name, processes), cluster, tell)
        wait_for_room(cluster, processes, tell, self.stopper.pause)

    def _make(self, name: str, lease: Lease) -> None:
        out, identity = self.current.artifact(name), self.current.identities[name]
        begin(out, identity)
        self.current.link(name)
        tracker = self.tracker.child(name, f"{out.uri} {digest(identity)}")
        with tracked(tracker):
            needs = needs_of(name, self.current.identities)
            inputs = {needed: self.current.artifact(needed) for needed in needs}
            seen = visible(name, self.config)
            answers = self._answers() if name == "evaluation" else {}
            context = Context(
                name, seen, self.console, tracker, out, inputs, self.bars, self.stopper, answers
            )
            summary = MAKE[name](context)
            numbers = {
                f"{name}/{key}": float(value)
                for key, value in flatten(summary).items()
                if isinstance(value, int | float)
            }
            tracker.metrics([(0, numbers)])
            lease.check()
            finish(out, summary)

    def _answers(self) -> dict[Mode, SharedTable]:
        say = partial(self._say, "evaluation")
        return {
            mode: SharedTable(self.current, answers_of(mode), say, self.stopper.pause)
            for mode in modes_of(self.current.identities)
        }

    def _say(self, name: str, text: str) -> None:
        say(self.console, text, name)


@contextmanager
def tracked(tracker: Tracker) -> Iterator[None]:
    """End a tracked run as FINISHED, as FAILED after an error, or as KILLED if it was stopped."""
    status = "KILLED"
    try:
        yield
        status = "FINISHED"
    except Exception:
        status = "FAILED"
        raise
    finally:
        tracker.end(status)
