"""A search space: which configuration keys a sweep draws, and how. It is data, in a YAML file.

`draw` maps dotted keys to their ranges, in the order in which they are drawn:

    draw:
      cwt.num_chunks: {int: [2, 8]}
      cwt.search.method: {choice: [average, greedy]}
      cwt.search.eta_nats: {loguniform: [0.01, 0.5], when: {cwt.search.method: [greedy]}}
"""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Self, cast

import numpy as np
from pydantic import Field, model_validator

from skipthink_ray.config import PipelineConfig
from skipthink_ray.config.base import Config, PositiveInt, Share
from skipthink_ray.identity import EXECUTION
from skipthink_ray.method.modes import Mode
from skipthink_ray.options import known_keys, nearest, suggestion
from skipthink_ray.settings import read_mapping, validate

SHIPPED = "tune_spaces"
"""The folder with the spaces that have a name, in the working directory or beside the package."""
OUTSIDE = {*EXECUTION, "name", "task", "own_task", "evaluation", "report"}
"""First parts of keys that no sweep draws, because they do not change what a trial learns."""


class Draw(Config):
    """The values of one key: exactly one of int, uniform, loguniform and choice."""

    int_: Annotated[tuple[int, int] | None, Field(alias="int")] = None
    """Lowest and highest whole number."""
    uniform: tuple[float, float] | None = None
    """Lowest and highest number."""
    loguniform: tuple[Annotated[float, Field(gt=0.0)], float] | None = None
    """Lowest and highest number; the logarithm is uniform."""
    choice: Annotated[list[Any] | None, Field(min_length=1)] = None
    """The values."""
    when: dict[str, list[Any]] = Field(default_factory=dict)
    """The key is set only if these keys, drawn before it, have one of these values."""

    @model_validator(mode="before")
    @classmethod
    def is_a_range(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            raise ValueError("write how it is drawn, as in {int: [2, 8]} or {choice: [a, b]}")
        return cast(dict[str, Any], value)

    @model_validator(mode="after")
    def is_one_kind(self) -> Self:
        ranges = [kind for kind in (self.int_, self.uniform, self.loguniform) if kind]
        if len(ranges) + (self.choice is not None) != 1:
            raise ValueError("give exactly one of int, uniform, loguniform and choice")
        for low, high in ranges:
            if low > high:
                raise ValueError(f"the range [{low:g}, {high:g}] is empty; write the smaller number first")
        return self

    def draw(self, rng: np.random.Generator) -> Any:
        if self.choice is not None:
            return self.choice[int(rng.integers(len(self.choice)))]
        if self.int_:
            return int(rng.integers(*self.int_, endpoint=True))
        if self.loguniform:
            low, high = self.loguniform
            return float(np.exp(rng.uniform(np.log(low), np.log(high))))
        low, high = self.uniform or (0.0, 1.0)
        return float(rng.uniform(low, high))

    def ends(self) -> list[Any]:
        """The extreme values, or all of a choice."""
        return self.choice or [*(self.int_ or self.uniform or self.loguniform or ())]

    def cells(self, key: str) -> list[Any]:
        """All values. Raises ValueError for a continuous range."""
        if self.int_:
            return [*range(self.int_[0], self.int_[1] + 1)]
        if self.choice is None:
            raise ValueError(f"{key}: a grid needs choice or int; a continuous range cannot be listed")
        return self.choice

    def applies(self, drawn: dict[str, Any]) -> bool:
        return all(drawn.get(key) in values for key, values in self.when.items())


class Search(Config):
    """How the space is searched."""

    kind: Literal["random", "grid", "optuna"] = "random"
    """random: independent draws; grid: every combination; optuna: each draw depends on the results so far."""
    samples: PositiveInt = 16
    """Trials per task. A grid has as many as it has cells."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the draws."""
    goals: Literal["accuracy", "accuracy_and_tokens"] = "accuracy"
    """What optuna searches for: a high accuracy on dev, or also few tokens."""

    @model_validator(mode="after")
    def has_goals_for_optuna_only(self) -> Self:
        if self.goals != "accuracy" and self.kind != "optuna":
            raise ValueError(f"goals: {self.goals} needs kind: optuna; other kinds draw without a goal")
        return self


class Choose(Config):
    """How the trial of a task is chosen, by its answers to dev questions in one mode."""

    mode: Mode = "skip"
    within_standard_errors: Annotated[float, Field(ge=0.0)] = 1.0
    """Among the trials whose accuracy is within this many standard errors of the best one, the one with the
    fewest tokens is chosen."""


class EarlyStop(Config):
    """When a trial is given up, by its training loss in cwt."""

    at_shares: Annotated[tuple[Share, ...], Field(min_length=1)] = (0.25, 0.5)
    """Shares of the updates of cwt after which trials of a task are compared."""
    slack: Annotated[float, Field(ge=1.0)] = 1.5
    """A trial stops if its loss there is more than this many times the lowest one so far."""


class Space(Config):
    """A search space and how to search it."""

    about: str = ""
    """What the sweep answers, in a few words."""
    defaults: dict[str, Any] = Field(default_factory=dict)
    """Values of configuration keys that the preset, the file and the options leave at their default."""
    draw: dict[str, Draw] = Field(default_factory=dict)
    """Configuration keys that differ between trials."""
    arms: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Instead of `draw`: settings by name, each a trial."""
    search: Search = Search()
    choose: Choose = Choose()
    stop: EarlyStop | None = None
    """Left out: every trial trains to its end."""

    @model_validator(mode="after")
    def has_known_keys(self) -> Self:
        known = known_keys(PipelineConfig)
        leaves = [key for key in known if not any(other.startswith(f"{key}.") for other in known)]
        if bool(self.draw) == bool(self.arms):
            raise ValueError("give either draw or arms, with at least one entry")
        of_arms = [key for settings in self.arms.values() for key in settings]
        for key in [*self.defaults, *self.draw, *of_arms]:
            if key not in leaves:
                raise ValueError(f"{key}: unknown key{suggestion(nearest(key, leaves))}")
            if key not in self.defaults and key.split(".")[0] in OUTSIDE:
                raise ValueError(f"{key}: this key does not change what a trial learns; set it as an option")
        drawn: list[str] = []
        for key, draw in self.draw.items():
            if key in self.defaults:
                raise ValueError(f"{key}: it is drawn, so it needs no default; remove one of the two")
            if self.search.kind == "optuna" and any(isinstance(value, list | dict) for value in draw.ends()):
                raise ValueError(
                    f"{key}: optuna chooses between numbers, texts and booleans only; use random"
                )
            for condition in draw.when:
                if condition not in drawn:
                    raise ValueError(f"{key}: its condition {condition} must be drawn before it")
            drawn.append(key)
        return self

    @property
    def is_listed(self) -> bool:
        """Whether `listed` gives the trials, whatever the number of samples."""
        return bool(self.arms) or self.search.kind == "grid"

    @property
    def draws_later(self) -> bool:
        """Whether draws depend on the results of earlier ones."""
        return self.search.kind == "optuna" and not self.arms

    def sample(self, number: int) -> dict[str, Any]:
        """Random draw `number`. It is the same however many draws there are."""
        return self._without_unset(self._values(number))

    def listed(self) -> Iterator[dict[str, Any]]:
        """Every arm, or every combination. Those that differ only in keys which are not set are equal."""
        if self.arms:
            yield from self.arms.values()
            return
        cells = {key: draw.cells(key) for key, draw in self.draw.items()}
        for combination in itertools.product(*cells.values()):
            yield self._without_unset(dict(zip(cells, combination, strict=True)))

    def extremes(self) -> Iterator[dict[str, Any]]:
        """For every extreme value of every key, a random draw with that value."""
        ends = [(key, end) for key, draw in self.draw.items() for end in draw.ends()]
        for number, (key, end) in enumerate(ends):
            yield self._without_unset(self._values(number) | {key: end})

    def _values(self, number: int) -> dict[str, Any]:
        rng = np.random.default_rng((self.search.seed, number))
        return {key: draw.draw(rng) for key, draw in self.draw.items()}

    def _without_unset(self, values: dict[str, Any]) -> dict[str, Any]:
        drawn: dict[str, Any] = {}
        for key, value in values.items():
            if self.draw[key].applies(drawn):
                drawn[key] = value
        return drawn


def read_space(name: str) -> tuple[str, Space]:
    """A space and its name: a file, or the name of a shipped one.

    Raises ValueError with the file, the key and the fault.
    """
    path = Path(name)
    if path.suffix in (".yaml", ".yml", ".json"):
        return path.stem, validate(Space, read_mapping(name, "the space"), name)
    folders = [Path.cwd() / SHIPPED, Path(__file__).parents[2] / SHIPPED]
    for folder in folders:
        if (file := folder / f"{name}.yaml").exists():
            return name, validate(Space, read_mapping(str(file), "the space"), f"{SHIPPED}/{name}.yaml")
    shipped = sorted({file.stem for folder in folders for file in folder.glob("*.yaml")})
    near = suggestion(nearest(name, shipped)) or f"; there are {', '.join(shipped)}, or name a .yaml file"
    raise ValueError(f"unknown space '{name}'{near}")
