"""Stage 8: the report, as a page for people and as JSON for programs.

Artifact: `report.json` (every number), `report.html` (the page, self-contained).
"""

import os
import platform
from datetime import UTC, datetime
from importlib import metadata
from typing import Any

import ray

from skipthink_ray.reporting.material import read_material
from skipthink_ray.reporting.numbers import build_report
from skipthink_ray.reporting.page import render
from skipthink_ray.reporting.table import print_table
from skipthink_ray.runtime.artifacts import CONFIG, digest
from skipthink_ray.runtime.store import VIEW
from skipthink_ray.stages.context import Context

PACKAGES = ("skipthink_ray", "ray", "torch", "transformers", "deepspeed", "mlflow", "pyarrow", "numpy")


def make(context: Context) -> dict[str, Any]:
    """Write report.json and report.html and print the table. Returns the main numbers, flat."""
    report = build_report(read_material(context.config, context.inputs, _made(context)))
    page = render(report)
    context.out.write_json("report.json", report)
    context.out.write_text("report.html", page)
    for name in ("report.json", "report.html"):
        context.tracker.artifact(name, context.out.read_text(name).encode())
    print_table(report, context.out.child("report.html").uri, context.console)
    return _main_numbers(report)


def _made(context: Context) -> dict[str, Any]:
    run = context.out.parent
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
