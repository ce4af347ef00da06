"""The arms of the evidence, as data: an arm is a name and what it overrides in the configuration that all share."""

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any, Literal

from skipthink_ray.config import PipelineConfig
from skipthink_ray.presets import toy

Stage = Literal["base", "cwt", "stt"]
UPDATES = {"multiarith": 1000, "tracking_shuffled_objects": 800}
"""Of every training run (base, cwt, stt) of a task, but that of Base with equal epochs."""
SEEDS = (0, 1, 2)
REVISION = 1
"""Raised where results are void for a reason that no arm names: the preset `toy`, the training or the initial weights changed."""
TASKS: dict[str, dict[str, Any]] = {
    "multiarith": {"rationales.difficulty": 1},
    "tracking_shuffled_objects": {"rationales.difficulty": 1},
}
"""Tasks, with what is particular to them."""
SHARED: dict[str, Any] = {
    "rationales.train_questions": 1000,
    "rationales.test_questions": 300,
    "evaluation.batch_size": 150,
    "evaluation.max_new_tokens": 128,
    "skips.batch_size": 128,
    "skips.max_new_tokens": 8,
    "student.width": 64,
    "student.heads": 4,
    "student.max_tokens": 256,
    "cwt.stage_updates": "mixed",
    "stt.stage_updates": "mixed",
    "cwt.answer_chunk_dropout": 0.0,
    "stt.answer_chunk_dropout": 0.0,
    "cwt.search.method": "greedy",
    "cwt.search.objective": "chunk",
    "skips.search": "sequential",
    "skips.skippable": "any",
    "skips.gate": "own",
}
"""What all arms have in common, on top of the preset `toy`; defaults that the evidence may change are spelled out."""


@dataclass(frozen=True)
class Arm:
    name: str
    overrides: dict[str, Any] = field(default_factory=dict)
    """Dotted configuration keys."""
    equal_epochs: bool = False
    """base: as many passes over the questions as cwt makes, instead of as many updates."""


def _both(**values: Any) -> dict[str, Any]:
    """The same of cwt and stt."""
    return {f"{stage}.{key}": value for stage in ("cwt", "stt") for key, value in values.items()}


CHUNKERS = (
    Arm("average", {"cwt.search.method": "average"}),
    Arm("greedy, chunk"),
    Arm("greedy, pair", {"cwt.search.objective": "pair"}),
    Arm("annealed", {"cwt.search.method": "annealed"}),
    Arm("optimal", {"cwt.search.method": "optimal"}),
)
BASES = (Arm("Base, equal updates"), Arm("Base, equal epochs", equal_epochs=True))
UPDATE_ARMS = tuple(
    Arm(f"{updates}, dropout {dropout:g}", _both(stage_updates=updates, answer_chunk_dropout=dropout))
    for updates, dropout in (
        ("mixed", 0.0),
        ("mixed", 0.2),
        ("mixed", 0.5),
        ("grouped", 0.0),
        ("grouped", 0.5),
    )
)
GATES = tuple(
    Arm(name, {f"skips.{key}": value for key, value in skips.items()})
    for name, skips in {
        "own, sequential": {"search": "sequential"},
        "own, exhaustive": {"search": "exhaustive"},
        "own, skip all": {"search": "all"},
        "own, sequential, interior": {"search": "sequential", "skippable": "interior"},
        "margin of 2 nats, sequential": {"search": "sequential", "margin_nats": 2.0},
        "agreement of 3, sequential": {"search": "sequential", "agreement_passes": 3},
        "cross-fitted in 2 folds, sequential": {"search": "sequential", "gate": "cross_fitted", "folds": 2},
    }.items()
)
"""All with the cwt student of "greedy, chunk": the arms differ in skips and in the stt that follows. The last trains its own judges."""
GATES_AFTER_DROPOUT = tuple(Arm(arm.name, _both(answer_chunk_dropout=0.2) | arm.overrides) for arm in GATES)
"""The same with the cwt student of "mixed, dropout 0.2", which answers without its chunks more often than it should."""
NUM_CHUNKS = tuple(Arm(f"M = {count}", {"chunks.num_chunks": count}) for count in range(1, 9))

PARTS = {
    "base": BASES,
    "chunkers": CHUNKERS,
    "updates": UPDATE_ARMS,
    "gates": GATES,
    "gates_after_dropout": GATES_AFTER_DROPOUT,
    "num_chunks": NUM_CHUNKS,
}
TABLES = (
    ("base", "base"),
    ("chunkers", "cwt"),
    ("chunkers", "stt"),
    ("updates", "cwt"),
    ("updates", "skips"),
    ("updates", "stt"),
    ("gates", "skips"),
    ("gates", "stt"),
    ("gates_after_dropout", "skips"),
    ("gates_after_dropout", "stt"),
    ("num_chunks", "cwt"),
    ("num_chunks", "stt"),
)
"""Part and what is shown of it."""


@dataclass(frozen=True)
class Run:
    """What is done at once: stt includes the skips and what they start from, but for a cwt student that is in the cache."""

    part: str
    """A table that it belongs to; another part may need the same run."""
    arm: Arm
    stage: Stage
    task: str
    seed: int

    def key(self) -> str:
        """The same for the same overrides, under whatever name: a finished one is not done again."""
        without = () if self.stage == "stt" else ("skips", "stt")
        return digest(
            [REVISION, self.stage, self.arm.equal_epochs, UPDATES[self.task], self._decisive(*without)]
        )

    def cwt_key(self) -> str:
        """The same for runs that start from the same cwt student."""
        return digest([REVISION, UPDATES[self.task], self._decisive("skips", "stt")])

    def _decisive(self, *without: str) -> dict[str, Any]:
        return {key: value for key, value in self.overrides().items() if key.split(".")[0] not in without}

    def overrides(self) -> dict[str, Any]:
        """Dotted keys on top of the preset `toy`."""
        return {"task": self.task, "seed": self.seed} | SHARED | TASKS[self.task] | self.arm.overrides

    def config(self) -> PipelineConfig:
        """KeyError or pydantic's ValidationError where an override names no field."""
        values = toy().model_dump()
        for key, value in self.overrides().items():
            *parents, name = key.split(".")
            part = values
            for parent in parents:
                part = part[parent]
            part[name] = value
        return PipelineConfig.model_validate(values)


def runs() -> list[Run]:
    """All of the evidence, each run once, in an order in which whole comparisons are finished early."""
    listed: dict[str, Run] = {}

    def add(part: str, arms: tuple[Arm, ...], stage: Stage, task: str, *seeds: int) -> None:
        for run in (Run(part, arm, stage, task, seed) for seed in seeds for arm in arms):
            listed.setdefault(run.key(), run)

    for task in TASKS:
        for seed in SEEDS:
            add("base", BASES, "base", task, seed)
            add("chunkers", CHUNKERS, "cwt", task, seed)
            add("gates", GATES, "stt", task, seed)
            add("updates", UPDATE_ARMS, "cwt", task, seed)
            add("chunkers", CHUNKERS, "stt", task, seed)
    for seed in SEEDS:  # the other toy is answered at chance by all
        add("updates", UPDATE_ARMS, "stt", "multiarith", seed)
        add("gates_after_dropout", GATES_AFTER_DROPOUT, "stt", "multiarith", seed)
        add("num_chunks", NUM_CHUNKS, "cwt", "multiarith", seed)
        add("num_chunks", NUM_CHUNKS, "stt", "multiarith", seed)
    add("num_chunks", NUM_CHUNKS, "cwt", "tracking_shuffled_objects", *SEEDS[:1])
    return list(listed.values())


def digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]
