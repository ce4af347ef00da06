"""Shared by base, cwt and stt: train with Ray Train, show progress, print the result and warnings."""

from typing import Any

from skipthink_ray.reporting.findings import training_findings
from skipthink_ray.runtime.artifacts import Folder
from skipthink_ray.stages.context import Context
from skipthink_ray.training.batches import Stage
from skipthink_ray.training.launch import Request, launch, total_updates


def train_stage(
    context: Context, stage: Stage, samples: Folder, student: Folder, skips: Folder | None = None
) -> dict[str, Any]:
    config, sizes = context.config, context.inputs["chunks"].read_json("summary.json")
    updates = total_updates(config, stage, sizes["train"], sizes["num_chunks"])
    request = Request(stage, config, updates, samples, student, skips, context.out)
    with context.line("updates", updates) as line:
        summary = launch(request, line, context.stopper)
    rate = summary["item_tokens"] / max(summary["seconds"], 1e-9)
    context.say(
        f"{summary['updates']} updates in {summary['seconds']:.1f} s "
        f"({rate:,.0f} tokens/s, {summary['backend']}), loss {summary['final_loss_nats']:.3f} nats"
    )
    return {**summary, "warnings": context.warn(training_findings(stage, config, summary))}
