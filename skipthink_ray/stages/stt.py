"""Stage 6: skip-thinking training from the pretrained weights, on CWT items and skip items (method §3).

Artifact: `student/`, `history/`, `epochs.json`.
"""

from typing import Any

from skipthink_ray.stages.context import Context
from skipthink_ray.stages.training import train_stage


def make(context: Context) -> dict[str, Any]:
    """Train with Ray Train. Returns updates, tokens, seconds and the final loss."""
    start = context.inputs["cwt" if context.config.stt.start == "cwt" else "chunks"]
    return train_stage(
        context, "stt", samples=context.inputs["cwt"], student=start, skips=context.inputs["skips"]
    )
