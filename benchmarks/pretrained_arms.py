"""The arms of the comparison on a pretrained student, as data."""

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any, Literal

from skipthink_ray.config import PipelineConfig

Stage = Literal["base", "cwt", "stt"]
SHARED: dict[str, Any] = {
    "task": "multiarith",
    "evaluation.batch_size": 60,
    "evaluation.max_new_tokens": 160,
    "skips.max_new_tokens": 16,
    **{
        f"{stage}.{key}": value
        for stage in ("base", "cwt", "stt")
        for key, value in {
            "batch_size": 8, "optim.lr": 1e-4, "optim.schedule": "cosine", "optim.warmup_share": 0.05,
        }.items()
    },
}  # fmt: skip


@dataclass(frozen=True)
class Arm:
    name: str
    stage: Stage
    updates: int
    overrides: dict[str, Any] = field(default_factory=dict)
    samples: int | None = None
    """Training samples; None takes all that are not dev."""
    kept: bool = False
    """Whether the student is kept for other arms."""

    @property
    def training_key(self) -> str:
        without = {key: value for key, value in (SHARED | self.overrides).items() if not key.startswith(("evaluation", "skips"))}
        text = json.dumps([self.stage, self.updates, self.samples, without], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def config(self) -> PipelineConfig:
        """KeyError or pydantic's ValidationError if an override names no field."""
        values = PipelineConfig().model_dump()
        for key, value in (SHARED | self.overrides).items():
            *parents, name = key.split(".")
            part = values
            for parent in parents:
                part = part[parent]
            if name not in part:
                raise KeyError(key)
            part[name] = value
        return PipelineConfig.model_validate(values)


def marker_arm(start: str, stds: float | None, lr: float = 1e-4, **more: Any) -> Arm:
    """48 updates on 96 samples at a constant rate: the beginning of a longer run."""
    overrides = {
        "student.marker_start": start, "cwt.optim.marker_lr_stds": stds, "cwt.optim.lr": lr,
        "cwt.optim.schedule": "constant", "cwt.optim.warmup_share": 0.0, "cwt.search.method": "average", **more,
    }  # fmt: skip
    rate = "common rate" if stds is None else f"{stds:g} stds"
    name = f"{start}, {rate}, lr {lr:g}" + "".join(f", {key}={value}" for key, value in more.items())
    return Arm(name, "cwt", 48, overrides, samples=96)


MARKERS = (
    marker_arm("mean", 0.1),
    marker_arm("mean", None),
    marker_arm("mean", 0.3),
    marker_arm("noise", 0.1),
    marker_arm("mean", 0.03),
    marker_arm("words", 0.1),
    marker_arm("noise", None),
)
