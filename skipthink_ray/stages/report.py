"""Stage 8: the report, as a page for people and as JSON for programs.

Artifact: `report.json` (every number), `report.html` (the page, self-contained).
"""

import os
import platform
from datetime import UTC, datetime
from importlib import metadata
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import ray

from skipthink_ray.method.modes import modes_of
from skipthink_ray.reporting.numbers import Material, build_report, count_sizes
from skipthink_ray.reporting.page import render
from skipthink_ray.reporting.table import print_table
from skipthink_ray.rows import HELD_OUT
from skipthink_ray.runtime.artifacts import CONFIG, Folder, digest
from skipthink_ray.runtime.store import VIEW
from skipthink_ray.stages.context import Context

EXAMPLES = 5
"""Number of dropped rows to show for each reason."""
PACKAGES = ("skipthink_ray", "ray", "torch", "transformers", "deepspeed", "mlflow", "pyarrow", "numpy")


def make(context: Context) -> dict[str, Any]:
    """Write report.json and report.html and print the table. Returns the main numbers, flat."""
    report = build_report(_read(context))
    page = render(report)
    context.out.write_json("report.json", report)
    context.out.write_text("report.html", page)
    for name in ("report.json", "report.html"):
        context.tracker.artifact(name, context.out.read_text(name).encode())
    print_table(report, f"{context.out.uri}/report.html", context.console)
    return _main_numbers(report)


def _read(context: Context) -> Material:
    inputs, shown = context.inputs, context.config.report.samples
    numeric = ["row", "mode", "answer", "right", "tokens", "stopped", "loops", "batch_seconds"]
    num_chunks = inputs["cwt"].read_json("summary.json")["num_chunks"]
    evaluated = HELD_OUT[context.config.evaluation.split]
    return Material(
        config=context.config,
        summaries={name: folder.read_json("summary.json") for name, folder in inputs.items()},
        epochs=inputs["cwt"].read_json("epochs.json"),
        histories={stage: inputs[stage].table("history").to_table() for stage in modes_of(inputs).values()},
        answers=inputs["evaluation"].table("answers").to_table(columns=numeric),
        latencies=inputs["evaluation"].table("latencies").to_table(),
        sizes_MS=count_sizes(inputs["cwt"].table("samples").to_batches(columns=["chunk_steps"]), num_chunks),
        samples=_samples(inputs["cwt"], inputs["skips"], shown),
        questions=_questions(inputs, shown, evaluated),
        drops=[
            *_drops(inputs["rationales"], "rationales", "rows"),
            *_drops(inputs["samples"], "samples", "samples"),
        ],
        made=_made(context),
    )


def _first(
    folder: Folder, name: str, columns: list[str], number: int, rows: pc.Expression | None = None
) -> pa.Table:
    """The first rows of a table by `row`. Only row numbers are sorted, so the table may exceed memory."""
    table = folder.table(name)
    numbers = table.to_table(columns=["row"], filter=rows).sort_by("row")["row"].slice(0, number)
    return table.to_table(columns=columns, filter=pc.field("row").isin(numbers.to_pylist())).sort_by("row")


def _samples(cwt: Folder, skips: Folder, number: int) -> list[dict[str, Any]]:
    columns = ["row", "id", "question", "answer", "rationale", "chunk_steps"]
    samples = _first(cwt, "samples", columns, number).to_pylist()
    kept = _first(skips, "skips", ["row", "kept", "right"], number).to_pylist()
    if [row["row"] for row in samples] != [row["row"] for row in kept]:
        raise RuntimeError(f"report: the rows of {skips.uri} differ from those of {cwt.uri}")
    return [{**sample, **row} for sample, row in zip(samples, kept, strict=True)]


def _questions(inputs: dict[str, Folder], number: int, those: pc.Expression) -> list[dict[str, Any]]:
    about, modes = ["row", "id", "question", "answer"], modes_of(inputs)
    questions = _first(inputs["samples"], "samples", about, number, those).to_pylist()
    rows = pc.field("row").isin([question["row"] for question in questions])
    columns = ["text", "answer", "right", "tokens", "stopped"]
    table = inputs["evaluation"].table("answers").to_table(columns=["row", "mode", *columns], filter=rows)
    found = {
        (answer["row"], answer["mode"]): {name: answer[name] for name in columns}
        for answer in table.to_pylist()
    }
    return [
        {**question, "modes": {mode: found[question["row"], mode] for mode in modes}}
        for question in questions
    ]


def _drops(folder: Folder, stage: str, table: str) -> list[dict[str, Any]]:
    reasons: dict[str, int] = folder.read_json("summary.json")["reasons"]
    return [
        {
            "stage": stage,
            "reason": reason,
            "count": count,
            "examples": _first(
                folder, table, ["row", "id", "detail"], EXAMPLES, pc.field("reason") == reason
            ).to_pylist(),
        }
        for reason, count in sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
    ]


def _made(context: Context) -> dict[str, Any]:
    run = Folder(
        context.out.filesystem, context.out.path.rpartition("/")[0], context.out.uri.rpartition("/")[0]
    )
    folders = {**context.inputs, context.name: context.out}
    return {
        "command": run.read_json(VIEW)["command"],
        "written_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "folder": run.uri,
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}},
        "machine": {"platform": platform.platform(), "cpus": os.cpu_count()},
        "cluster": _cluster(),
        "digests": {name: digest(folder.read_json(CONFIG)) for name, folder in folders.items()},
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _cluster() -> dict[str, Any] | None:
    """The Ray cluster of this process; None if all earlier stages were finished before."""
    if not ray.is_initialized():
        return None
    resources = ray.cluster_resources()
    kinds = sorted(
        name.removeprefix("accelerator_type:") for name in resources if name.startswith("accelerator_type:")
    )
    nodes = sum(bool(node["Alive"]) for node in ray.nodes())
    return {
        "nodes": nodes,
        "cpus": resources.get("CPU", 0.0),
        "gpus": resources.get("GPU", 0.0),
        "accelerators": kinds,
    }


def _main_numbers(report: dict[str, Any]) -> dict[str, Any]:
    numbers: dict[str, Any] = {
        "questions": report["evaluation"]["questions"],
        "dropped": report["dropped"]["total"],
    }
    for mode, measured in report["modes"].items():
        for name in ("accuracy_pct", "difference_points", "tokens", "token_ratio", "latency_s", "speedup"):
            if name in measured:
                numbers[f"{mode}_{name}"] = measured[name]["value"]
    return numbers
