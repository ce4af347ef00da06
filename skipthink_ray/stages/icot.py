"""Optional stage: a student that answers without a rationale, by ICoT-SI or answer only (method §8).

Artifact: `student/`, `history/`, `epochs.json` (with the rationale tokens that each epoch still had).
"""

from typing import Any

from skipthink_ray.stages.context import Context
from skipthink_ray.stages.training import train_stage
from skipthink_ray.training.plan import longest_rationale


def make(context: Context) -> dict[str, Any]:
    """Returns updates, tokens, seconds, the final loss, and the rationale tokens of the last update."""
    samples, icot = context.inputs["samples"], context.config.icot
    if icot.removal == "stepwise":
        longest = longest_rationale(samples)
        context.say(f"removes {icot.tokens_per_epoch} rationale tokens per epoch; the longest has {longest}")
    else:
        context.say("answer only: no item has a rationale")
    summary = train_stage(context, "icot", 1, samples, student=samples)
    left = context.out.read_json("epochs.json")[-1]["last_rationale_tokens"]
    return {**summary, "last_rationale_tokens": left}
