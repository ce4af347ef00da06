"""Stage 6: skip-thinking training from the pretrained weights, on CWT items and skip items (method §3).

Artifact: `student/`, `history/`, `epochs.json`.
"""

from typing import Any

from skipthink_ray.stages.context import Context
from skipthink_ray.stages.training import train_stage


def make(context: Context) -> dict[str, Any]:
    """Returns updates, tokens, seconds and the final loss."""
    cwt, skips = context.inputs["cwt"], context.inputs["skips"]
    start = cwt if context.config.stt.start == "cwt" else context.inputs["samples"]
    num_chunks = cwt.read_json("summary.json")["num_chunks"]
    return train_stage(context, "stt", num_chunks, samples=cwt, student=start, skips=skips)
