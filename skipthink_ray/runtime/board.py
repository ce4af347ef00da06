"""What the workers and actors of a run report to its driver: progress, remarks and metrics.

All stages of a run share one actor, because each process of Ray takes seconds of CPU to start. The actor
requests no CPU and lives on the driver's node. If it dies, Ray starts it again, empty, and calls it again for
what has not arrived. The metrics that it lost come from the stage's history when the stage ends.
"""

from dataclasses import dataclass, field
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayActorError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from skipthink_ray.runtime.tracker import Rows

ANSWER_S = 5.0


@dataclass
class News:
    """What a stage has reported. The driver takes each remark and each metric once."""

    done: int = 0
    total: int = 0
    note: str = ""
    remarks: list[str] = field(default_factory=list[str])
    metrics: Rows = field(default_factory=Rows)


class _Boards:
    """The news of each stage."""

    def __init__(self) -> None:
        self.news: dict[str, News] = {}
        self.given_up: dict[str, str] = {}

    def open(self, stage: str) -> None:
        self.news[stage] = News()
        self.given_up.pop(stage, None)

    def advance(self, stage: str, by: int) -> None:
        self._of(stage).done += by

    def reach(self, stage: str, done: int) -> None:
        self._of(stage).done = done

    def post(self, stage: str, done: int, total: int, note: str) -> None:
        news = self._of(stage)
        news.done, news.total, news.note = done, total, note

    def say(self, stage: str, remark: str) -> None:
        self._of(stage).remarks.append(remark)

    def log(self, stage: str, rows: Rows) -> None:
        self._of(stage).metrics.extend(rows)

    def give_up(self, stage: str, reason: str) -> None:
        self.given_up[stage] = reason

    def why_given_up(self, stage: str) -> str:
        return self.given_up.get(stage, "")

    def take(self, stage: str) -> News:
        news = self._of(stage)
        self.news[stage] = News(news.done, news.total, news.note)
        return news

    def _of(self, stage: str) -> News:
        return self.news.setdefault(stage, News())


def start_boards() -> Any:
    """The actor that the stages of a run share."""
    here: Any = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    options = {"num_cpus": 0, "max_restarts": -1, "max_task_retries": -1, "scheduling_strategy": here}
    return ray.remote(**options)(_Boards).remote()


@dataclass(frozen=True)
class Board:
    """Reports of one stage. Methods without a result return at once. It can be sent to other processes."""

    boards: Any
    stage: str
    is_watched: bool = False
    """Whether the driver may give the stage up, so that its workers have to ask."""

    def open(self) -> None:
        """Forget what the stage has reported before."""
        self.boards.open.remote(self.stage)

    def advance(self, by: int) -> None:
        """So many units more are done."""
        self.boards.advance.remote(self.stage, by)

    def reach(self, done: int) -> None:
        """So many units are done."""
        self.boards.reach.remote(self.stage, done)

    def post(self, done: int, total: int, note: str) -> None:
        """`done` of `total` units are done. `note` is shown beside them."""
        self.boards.post.remote(self.stage, done, total, note)

    def say(self, remark: str) -> None:
        """Print a line of its own."""
        self.boards.say.remote(self.stage, remark)

    def log(self, rows: Rows) -> None:
        self.boards.log.remote(self.stage, rows)

    def give_up(self, reason: str) -> None:
        """Ask the stage to end without a result."""
        self.boards.give_up.remote(self.stage, reason)

    def why_given_up(self) -> str:
        """The reason of `give_up`; empty if nobody called it, or if the actor does not answer."""
        try:
            return ray.get(self.boards.why_given_up.remote(self.stage), timeout=ANSWER_S)
        except (GetTimeoutError, RayActorError):
            return ""

    def take(self, timeout_s: float) -> News:
        """The news, for the driver. Raises Ray's errors if the actor is gone or too busy."""
        return ray.get(self.boards.take.remote(self.stage), timeout=timeout_s)
