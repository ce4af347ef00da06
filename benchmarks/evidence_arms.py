"""The arms of the evidence as data. An arm is a name with overrides of the shared configuration."""

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any, Literal

from skipthink_ray.config import PipelineConfig
from skipthink_ray.presets import toy

Stage = Literal["base", "cwt", "stt"]
UPDATES = {"multiarith": 1000, "tracking_shuffled_objects": 800}
"""Updates of every training run (base, cwt, stt) by task. Only Base with equal epochs makes fewer."""
SEEDS = (0, 1, 2)
REVISION = 1
"""Raise it if results become void for a reason outside the arms: changes of the preset `toy`, the training or
the initial weights."""
TASKS: dict[str, dict[str, Any]] = {
    "multiarith": {"rationales.difficulty": 1},
    "tracking_shuffled_objects": {"rationales.difficulty": 1},
}
"""Tasks with their own overrides."""
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
"""Overrides of the preset `toy` that all arms share. Defaults that the evidence may change are listed
explicitly."""


@dataclass(frozen=True)
class Arm:
    name: str
    overrides: dict[str, Any] = field(default_factory=dict)
    """Dotted configuration keys."""
    equal_epochs: bool = False
    """For base: match cwt's passes over the questions instead of its updates."""


def _both(**values: Any) -> dict[str, Any]:
    """The same overrides for cwt and stt."""
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
"""All arms use the cwt student of "greedy, chunk" and differ only in skips and stt. The last one trains its
own judges."""
GATES_AFTER_DROPOUT = tuple(Arm(arm.name, _both(answer_chunk_dropout=0.2) | arm.overrides) for arm in GATES)
"""The same arms with the cwt student of "mixed, dropout 0.2", which too often answers without its chunks."""
NUM_CHUNKS = tuple(Arm(f"M = {count}", {"cwt.num_chunks": count}) for count in range(1, 9))

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
"""(part, stage) of each table."""


@dataclass(frozen=True)
class Run:
    """A unit of work.

    A run of stt includes the skips and, unless it is cached, the cwt student before them.
    """

    part: str
    """A part that the run belongs to. Other parts may share the run."""
    arm: Arm
    stage: Stage
    task: str
    seed: int

    def key(self) -> str:
        """A key that depends on the overrides but not on the arm's name, so that no run is repeated."""
        without = () if self.stage == "stt" else ("skips", "stt")
        return digest(
            [REVISION, self.stage, self.arm.equal_epochs, UPDATES[self.task], self._decisive(*without)]
        )

    def cwt_key(self) -> str:
        """A key that runs with the same cwt student share."""
        return digest([REVISION, UPDATES[self.task], self._decisive("skips", "stt")])

    def _decisive(self, *without: str) -> dict[str, Any]:
        return {key: value for key, value in self.overrides().items() if key.split(".")[0] not in without}

    def overrides(self) -> dict[str, Any]:
        """Dotted keys on top of the preset `toy`."""
        return {"task": self.task, "seed": self.seed} | SHARED | TASKS[self.task] | self.arm.overrides

    def config(self) -> PipelineConfig:
        """Raises KeyError or pydantic's ValidationError if an override names an unknown field."""
        values = toy().model_dump()
        for key, value in self.overrides().items():
            *parents, name = key.split(".")
            part = values
            for parent in parents:
                part = part[parent]
            part[name] = value
        return PipelineConfig.model_validate(values)


def runs() -> list[Run]:
    """All runs of the evidence, each once, ordered so that complete comparisons finish early."""
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
    for seed in SEEDS:  # on the other toy, all students answer at chance
        add("updates", UPDATE_ARMS, "stt", "multiarith", seed)
        add("gates_after_dropout", GATES_AFTER_DROPOUT, "stt", "multiarith", seed)
        add("num_chunks", NUM_CHUNKS, "cwt", "multiarith", seed)
        add("num_chunks", NUM_CHUNKS, "stt", "multiarith", seed)
    add("num_chunks", NUM_CHUNKS, "cwt", "tracking_shuffled_objects", *SEEDS[:1])
    return list(listed.values())


def digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]
