"""Shared by base, cwt and stt: train with Ray Train, show progress, print the result and warnings."""

from typing import Any

from skipthink_ray.reporting.findings import training_findings
from skipthink_ray.runtime.artifacts import Folder
from skipthink_ray.stages.context import Context
from skipthink_ray.training.batches import Stage
from skipthink_ray.training.launch import Request, launch, planned_chunks, total_updates


def train_stage(
    context: Context,
    stage: Stage,
    samples: Folder,
    student: Folder | None = None,
    skips: Folder | None = None,
) -> dict[str, Any]:
    """student: the artifact whose student to start from; None: the student before training."""
    config, before = context.config, context.inputs["samples"]
    num_chunks, why = (None, "") if stage == "base" else planned_chunks(config, before)
    updates = total_updates(config, stage, before, before.read_json("summary.json")["train"])
    request = Request(stage, config, updates, num_chunks, samples, student or before, skips, context.out)
    if stage == "cwt":
        context.say(f"M = {num_chunks} ({why})")
    with context.line("updates", updates) as line:
        summary = launch(request, line, context.stopper)
    rate = summary["item_tokens"] / max(summary["seconds"], 1e-9)
    context.say(
        f"{summary['updates']} updates in {summary['seconds']:.1f} s "
        f"({rate:,.0f} tokens/s, {summary['backend']}), loss {summary['final_loss_nats']:.3f} nats"
    )
    made = {"num_chunks": num_chunks} if stage == "cwt" else {}
    return {**made, **summary, "warnings": context.warn(training_findings(stage, config, summary))}
