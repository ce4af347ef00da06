"""Stage 3: Base, a student trained on full-thinking items (method §2: q, then r and ` --> y`).

Artifact: `student/` (Hugging Face folder), `history/` (HISTORY_SCHEMA), `epochs.json`.
"""

from typing import Any

from skipthink_ray.stages.context import Context
from skipthink_ray.stages.training import train_stage


def make(context: Context) -> dict[str, Any]:
    """Returns updates, tokens, seconds and the final loss."""
    samples = context.inputs["samples"]
    return train_stage(context, "base", 1, samples, student=samples)
