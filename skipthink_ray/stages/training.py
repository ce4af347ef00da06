"""Shared by base, cwt, stt and icot: training with a progress line, the printed result, and warnings."""

from typing import Any

from skipthink_ray.reporting.findings import training_findings
from skipthink_ray.rows import TRACKED, tracked, tracked_epochs
from skipthink_ray.runtime.artifacts import Folder
from skipthink_ray.stages.context import Context
from skipthink_ray.training.batches import Stage
from skipthink_ray.training.launch import Request, launch
from skipthink_ray.training.plan import total_updates


def train_stage(
    context: Context,
    stage: Stage,
    num_chunks: int,
    samples: Folder,
    student: Folder,
    skips: Folder | None = None,
) -> dict[str, Any]:
    """Train with Ray Train, with the arguments of Request. Returns updates, tokens, seconds and losses."""
    config, before = context.config, context.inputs["samples"]
    updates = total_updates(config, stage, before, before.read_json("summary.json")["train"])
    request = Request(stage, config, updates, num_chunks, samples, student, skips, context.out)
    with context.line("updates", updates) as line:
        summary = launch(request, line, context.stopper)
    _track_again(context, summary["updates"])
    rate = summary["item_tokens"] / max(summary["seconds"], 1e-9)
    context.say(
        f"{summary['updates']} updates in {summary['seconds']:.1f} s "
        f"({rate:,.0f} tokens/s, {summary['backend']}), loss {summary['final_loss_nats']:.3f} nats"
    )
    return {**summary, "warnings": context.warn(training_findings(stage, config, summary))}


def _track_again(context: Context, updates: int) -> None:
    """Track the updates and epochs that were lost, if the driver or the progress actor died."""
    for batch in context.out.table("history").to_batches(columns=["update", *TRACKED]):
        context.tracker.metrics(tracked(context.name, batch.to_pylist()))
    context.tracker.metrics(tracked_epochs(context.name, context.out.read_json("epochs.json"), updates))
