"""Stage 4: chunk-wise training. Before an epoch, each worker searches chunks for its share of the rationales.

Artifact: `student/`, `samples/` (CHUNKED_SCHEMA: the training samples with their final chunks), `history/`,
`epochs.json`.
"""

from typing import Any

from skipthink_ray.stages.context import Context
from skipthink_ray.stages.training import train_stage


def make(context: Context) -> dict[str, Any]:
    """Train with Ray Train. Returns M, updates, tokens, seconds, search seconds and the final loss."""
    samples = context.inputs["samples"]
    return train_stage(context, "cwt", samples=samples)
