"""Stage 4: chunk-wise training. Before an epoch, each worker searches chunks for its share of the rationales.

Artifact: `student/`, `samples/` (CHUNKED_SCHEMA, with the final chunks), `history/`, `epochs.json`.
"""

from typing import Any

from skipthink_ray.stages.context import Context
from skipthink_ray.stages.training import train_stage
from skipthink_ray.training.plan import planned_chunks


def make(context: Context) -> dict[str, Any]:
    """Decide M and train. Returns M, updates, tokens, seconds, search seconds and the final loss."""
    samples = context.inputs["samples"]
    num_chunks, why = planned_chunks(context.config, samples)
    context.say(f"M = {num_chunks} ({why})")
    return {"num_chunks": num_chunks, **train_stage(context, "cwt", num_chunks, samples, student=samples)}
