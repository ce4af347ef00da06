"""The arms of the comparison on a pretrained student, as data: SmolLM2-135M on real MultiArith."""

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any, Literal

from skipthink_ray.config import PipelineConfig
from skipthink_ray.presets import smollm2

Stage = Literal["few-shot", "base", "cwt", "stt"]
SHOTS = 4
"""Worked training examples in front of a question that the student answers before it is trained."""
UPDATES = 342
"""Of base, cwt and stt: two epochs of chunk-wise training on the 273 samples that are not dev."""
SHARED: dict[str, Any] = {
    "task": "multiarith",
    "evaluation.batch_size": 60,
    "evaluation.max_new_tokens": 160,
    "skips.max_new_tokens": 16,
    "skips.max_chunk_tokens": 96,
}
BF16 = {f"{stage}.precision": "bf16" for stage in ("base", "cwt", "stt")}
"""The arms of the table train in bf16, which is faster on a CPU with AVX-512 BF16."""


@dataclass(frozen=True)
class Arm:
    name: str
    stage: Stage
    updates: int = UPDATES
    overrides: dict[str, Any] = field(default_factory=dict)
    """Dotted configuration keys, on top of SHARED and the preset `smollm2`."""
    samples: int | None = None
    """Training samples; None takes all that are not dev."""
    cwt: "Arm | None" = None
    """stt: the student that judges the skips."""
    best_epoch: bool = False
    """base: the weights after the epoch with the best dev accuracy, instead of the last ones."""

    @property
    def key(self) -> str:
        """The same for the same training; skips decide only what stt trains on."""
        without = ("evaluation",) if self.stage == "stt" else ("evaluation", "skips")
        values = {
            key: value for key, value in (SHARED | self.overrides).items() if key.split(".")[0] not in without
        }
        text = json.dumps(
            [self.stage, self.updates, self.samples, self.cwt and self.cwt.key, values], sort_keys=True
        )
        digest = hashlib.sha256(text.encode()).hexdigest()[:12]
        return f"{digest}-best-epoch" if self.best_epoch else digest

    def config(self) -> PipelineConfig:
        """KeyError or pydantic's ValidationError if an override names no field."""
        values = smollm2().model_dump()
        for key, value in (SHARED | self.overrides).items():
            *parents, name = key.split(".")
            part = values
            for parent in parents:
                part = part[parent]
            if name not in part:
                raise KeyError(key)
            part[name] = value
        return PipelineConfig.model_validate(values)


def marker_arm(start: str | None, marker_start: str, stds: float | None) -> Arm:
    """48 updates on 96 samples at a constant rate: the beginning of a longer run."""
    rate = "common rate" if stds is None else f"rate of {stds:g} stds"
    front = {"\n": "line break", "": "nothing"}[start or ""]
    overrides = {
        "student.prompt_start": start,
        "student.marker_start": marker_start,
        "cwt.optim.marker_lr_stds": stds,
        "cwt.optim.schedule": "constant",
        "cwt.optim.warmup_share": 0.0,
        "cwt.search.method": "average",
    }
    return Arm(f"{front} in front, {marker_start}, {rate}", "cwt", 48, overrides, samples=96)


MARKERS = (
    marker_arm("\n", "mean", 0.1),
    marker_arm("", "mean", None),
    marker_arm("", "mean", 0.1),
    marker_arm("\n", "mean", None),
    marker_arm("\n", "mean", 0.3),
    marker_arm("\n", "noise", 0.1),
    marker_arm("\n", "words", 0.1),
    marker_arm("\n", "mean", 0.03),
)
FEW_SHOT = Arm(f"before training, {SHOTS} examples in the prompt", "few-shot", updates=0)
BASE = Arm("Base", "base", overrides=BF16)
BASE_BEST = Arm("Base, best epoch by dev", "base", overrides=BF16, best_epoch=True)
AVERAGE = Arm("CWT, average chunks", "cwt", overrides=BF16 | {"cwt.search.method": "average"})
GREEDY = Arm("CWT, greedy chunks", "cwt", overrides=BF16)


def stt_arm(judge: str, skippable: str, shuffled: bool = False) -> Arm:
    overrides = BF16 | {"skips.judge": judge, "skips.skippable": skippable, "skips.shuffled": shuffled}
    name = f"STT, judge {judge}, {skippable}" + (", shuffled" if shuffled else "")
    return Arm(name, "stt", overrides=overrides, cwt=GREEDY)


FP32 = (
    Arm("Base, fp32, another CPU", "base"),
    Arm("Base, best epoch by dev, fp32, another CPU", "base", best_epoch=True),
    Arm("CWT, greedy chunks, fp32, another CPU", "cwt"),
)
"""Arms of an earlier version of the table. They are shown if they are measured, and not run."""
TABLE = (
    FEW_SHOT,
    BASE,
    BASE_BEST,
    GREEDY,
    stt_arm("reading", "any"),
    stt_arm("writing", "any"),
    stt_arm("writing", "any", shuffled=True),
    stt_arm("reading", "any", shuffled=True),
    stt_arm("writing", "interior"),
    stt_arm("reading", "interior"),
    AVERAGE,
)
