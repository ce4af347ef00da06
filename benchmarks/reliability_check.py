"""Whether the artifact that a disturbed run made equals that of the undisturbed run."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.dataset
from mlflow import MlflowClient
from safetensors.numpy import load_file

from benchmarks.reliability_run import NAME, TRAINING

TOLERANCE = 1e-5
"""Largest difference of losses and weights: float rounding."""
LOSSES = ("loss_nats",)
SECONDS = ("seconds", "batch_seconds")
"""Columns that no two runs have in common."""


def problem(calm: Path, storage: Path, stage: str) -> str:
    """The first difference of a stage's artifact; empty if there is none."""
    ours, theirs = (one / NAME / stage for one in (storage, calm))
    if not (ours / "_DONE").exists():
        return "not finished"
    names = sorted({file.parent.name for file in theirs.rglob("*.parquet")})
    for name in names:
        if found := table_problem(table_of(theirs / name), table_of(ours / name)):
            return f"table {name}: {found}"
    if (theirs / "student").exists() and (found := _student_problem(theirs, ours)):
        return found
    return _tracking_problem(storage, stage) if stage in TRAINING else ""


def table_of(folder: Path) -> pa.Table:
    table = pyarrow.dataset.dataset(folder, format="parquet").to_table()
    keys = [name for name in ("row", "mode", "update", "epoch") if name in table.column_names]
    return table.sort_by([(key, "ascending") for key in keys]) if keys else table


def table_problem(theirs: pa.Table, ours: pa.Table) -> str:
    if len(theirs) != len(ours):
        return f"{len(theirs)} rows, now {len(ours)}"
    for name in theirs.column_names:
        if name in LOSSES:
            if not np.allclose(theirs[name].to_numpy(), ours[name].to_numpy(), rtol=0, atol=TOLERANCE):
                return f"column {name} differs by more than float rounding"
        elif name not in SECONDS and theirs[name].to_pylist() != ours[name].to_pylist():
            return f"column {name} differs"
    return ""


def _student_problem(theirs: Path, ours: Path) -> str:
    before, now = (load_file(one / "student/model.safetensors") for one in (theirs, ours))
    same = before.keys() == now.keys() and all(
        np.allclose(before[name], now[name], rtol=0, atol=TOLERANCE) for name in before
    )
    return "" if same else "the student's weights differ by more than float rounding"


def _tracking_problem(storage: Path, stage: str) -> str:
    """Every update must be tracked exactly once."""
    client = MlflowClient(f"sqlite:///{storage}/mlflow.db")
    experiment = client.get_experiment_by_name("skipthink")
    runs = client.search_runs([experiment.experiment_id]) if experiment else []
    own = [one.info.run_id for one in runs if one.info.run_name == stage]
    if len(own) != 1:
        return f"{len(own)} runs of {stage} in MLflow"
    steps = sorted(metric.step for metric in client.get_metric_history(own[0], f"{stage}/loss_nats"))
    updates = table_of(storage / NAME / stage / "history")["update"].to_pylist()
    return "" if steps == updates else f"MLflow has {len(steps)} steps of {len(updates)} updates"
