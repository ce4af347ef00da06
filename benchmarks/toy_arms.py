"""The arms of benchmarks/bench_toys.py as data. An arm is a shipped configuration with overrides."""

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.evidence_arms import digest
from skipthink_ray.config import PipelineConfig
from skipthink_ray.settings import load_config
from skipthink_ray.tasks.task import Task
from skipthink_ray.tasks.toys.tracking_shuffled_objects import phrased_row

CONFIGS = Path(__file__).parents[1] / "configs"


def _oracle(**switches: bool) -> type[Task]:
    """Toy TSO with another oracle, as a class for the configuration field `task`."""

    class Oracle(Task):
        def __init__(self) -> None:
            super().__init__("tracking_shuffled_objects", "choice", toy=partial(phrased_row, **switches))

    return Oracle


NamesDiffer = _oracle(same_names=False)
TwoBalls = _oracle(all_balls=False)
LettersApart = _oracle(letters_with_balls=False)
Former = _oracle(same_names=False, all_balls=False, letters_with_balls=False)


@dataclass(frozen=True)
class ToyArm:
    part: str
    name: str
    config: str
    """`toy` for the preset, else a file in configs/."""
    overrides: dict[str, Any] = field(default_factory=dict)
    """Dotted configuration keys."""
    whole: bool = False
    """True runs base, cwt, skips and stt; False runs only base."""
    seed: int = 0

    def key(self) -> str:
        """A key that arms with the same configuration share."""
        values = self.settings().model_dump(
            exclude={"name", "storage_path", "cluster", "endpoint", "tracking", "report"}
        )
        return digest([self.whole, values])

    def settings(self) -> PipelineConfig:
        """Raises ValueError for an override that names an unknown field."""
        preset, file = ("toy", None) if self.config == "toy" else ("default", str(CONFIGS / self.config))
        options = [part for key, value in self.overrides.items() for part in (f"--{key}", str(value))]
        return load_config(preset, file, [*options, "--seed", str(self.seed)])


WHOLE = (
    ToyArm("demo", "preset toy", "toy", whole=True),
    ToyArm("tso", "configs/toy_tso.yaml", "toy_tso.yaml", whole=True),
    ToyArm("llc", "configs/toy_llc.yaml", "toy_llc.yaml", whole=True),
)
ORACLES = (
    ToyArm("oracle", "as it is", "toy_tso.yaml"),
    *(
        ToyArm("oracle", name, "toy_tso.yaml", {"task": f"benchmarks.toy_arms:{oracle}"})
        for name, oracle in {
            "names differ": "NamesDiffer",
            "only the two balls that were swapped": "TwoBalls",
            "choices at the end of the question": "LettersApart",
            "all three": "Former",
        }.items()
    ),
)
STUDENTS = (
    ToyArm("student", "as it is", "toy_tso.yaml"),
    *(
        ToyArm("student", name, "toy_tso.yaml", overrides)
        for name, overrides in {
            "2 layers": {"student.layers": 2},
            "3 layers": {"student.layers": 3},
            "width 128": {"student.width": 128},
            "lr 5e-4": {"base.optim.lr": 5e-4},
            "lr 2e-3": {"base.optim.lr": 2e-3},
            "lr 5e-3": {"base.optim.lr": 5e-3},
            "batch 16": {"base.batch_size": 16},
        }.items()
    ),
)


def arms() -> list[ToyArm]:
    """All arms. The whole pipelines come first."""
    return [*WHOLE, *ORACLES, *STUDENTS]
