"""The trials of a sweep: every draw of a space becomes a configuration for every task, with a key."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import chain
from typing import Any, Protocol

from skipthink_ray.config import PipelineConfig
from skipthink_ray.identity import identify, stages_of
from skipthink_ray.method.modes import STUDENT_OF
from skipthink_ray.options import nested
from skipthink_ray.runtime.artifacts import digest
from skipthink_ray.runtime.store import REPORT
from skipthink_ray.settings import configure
from skipthink_ray.tuning.space import Space

TRIED = 1000
"""Number of draws that are checked before the first trial, besides every extreme value."""
TRIES_PER_SAMPLE = 100
"""How many draws a new trial may take; a small space repeats itself."""
KEY_LENGTH = 8
UNSET = PipelineConfig()


@dataclass(frozen=True)
class Trial:
    """One draw of a space for one task."""

    sweep: str
    task: str
    drawn: dict[str, Any]
    """Values of the drawn keys."""
    config: PipelineConfig
    """The run that makes it."""
    key: str
    """A digest of all that the trial computes."""

    @property
    def name(self) -> str:
        return f"{self.task}-{self.key}"

    @property
    def stages(self) -> list[str]:
        """All but the report. The evaluation answers dev questions."""
        return [stage for stage in stages_of(self.config) if stage != REPORT]


class Source(Protocol):
    """The trials to run, one after another. Its length is the number of those that have not started."""

    def __len__(self) -> int: ...

    def next(self) -> Trial | None: ...

    def ended(self, trial: Trial) -> None: ...


class Planned:
    """Trials that are known in advance."""

    def __init__(self, trials: list[Trial]) -> None:
        self.left = [*trials]

    def __len__(self) -> int:
        return len(self.left)

    def next(self) -> Trial | None:
        return self.left.pop(0) if self.left else None

    def ended(self, trial: Trial) -> None: ...


def check_draws(base: PipelineConfig, space: Space) -> None:
    """Raises ValueError, with the key, if a draw of the space is not a valid configuration.

    Also if a draw does not train the student by whose answers the trial is chosen.
    """
    draws = space.listed() if space.is_listed else chain(space.extremes(), map(space.sample, range(TRIED)))
    for drawn in draws:
        config = settings(base, space, drawn)
        if STUDENT_OF[space.choose.mode] not in stages_of(config):
            raise ValueError(
                f"choose.mode: '{space.choose.mode}' needs the stage icot, which is off; "
                "set --icot.removal stepwise or all"
            )


def settings(base: PipelineConfig, space: Space, drawn: dict[str, Any]) -> PipelineConfig:
    """The configuration of a draw. Raises ValueError if it is not valid."""
    left = {key: value for key, value in space.defaults.items() if _value(base, key) == _value(UNSET, key)}
    return configure(base, nested(left | drawn), "the space")


def plan_trials(sweep: str, bases: Sequence[PipelineConfig], space: Space, samples: int) -> list[Trial]:
    """The trials of a random search or a grid. More samples give the same trials and further ones.

    All tasks have the same draws. Equal trials of a task are one.
    :param bases: one configuration per task
    """
    trials = []
    for base in bases:
        of_task: dict[str, Trial] = {}
        for drawn in _different(space.listed() if space.is_listed else _draws(space, samples)):
            trial = trial_of(sweep, base, space, drawn)
            of_task.setdefault(trial.key, trial)
            if len(of_task) == samples and not space.is_listed:
                break
        trials += of_task.values()
    return trials


def _draws(space: Space, samples: int) -> Iterator[dict[str, Any]]:
    return map(space.sample, range(samples * TRIES_PER_SAMPLE))


def _different(draws: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The draws without those that were there before."""
    seen: set[str] = set()
    for drawn in draws:
        if repr(drawn) not in seen:
            seen.add(repr(drawn))
            yield drawn


def trial_of(sweep: str, base: PipelineConfig, space: Space, drawn: dict[str, Any]) -> Trial:
    """The trial of a draw. It reads dev questions, and times as few of them as possible."""
    config = settings(base, space, drawn)
    evaluation = config.evaluation.model_copy(update={"split": "dev", "latency_questions": 2})
    config = config.model_copy(update={"evaluation": evaluation})
    key = digest(identify(config)["evaluation"])[:KEY_LENGTH]
    named = config.model_copy(update={"name": f"{sweep}-{base.task}-{key}"})
    return Trial(sweep, base.task, drawn, named, key)


def _value(config: PipelineConfig, key: str) -> Any:
    return reduce(getattr, key.split("."), config)
