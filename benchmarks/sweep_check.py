"""Whether a disturbed sweep ended as the undisturbed one did, on storage and in MLflow."""

import json
import re
from pathlib import Path
from typing import Any

import yaml
from mlflow import MlflowClient
from mlflow.entities import Run

from benchmarks.reliability_check import table_of, table_problem
from benchmarks.reliability_run import TRAINING
from skipthink_ray.runtime.outbox import UNSENT

TIMES = re.compile(r"seconds|latency|speedup|search_share|_s$")
"""Metrics that measure time; no two runs share their values."""
SHARED = ("rationales", "samples", "base")


def records(storage: Path) -> dict[str, dict[str, Any]]:
    """The trials of a sweep by name."""
    files = storage.glob("sweeps/*/trials/*.json")
    return {file.stem: json.loads(file.read_text()) for file in sorted(files)}


def problems(quiet: Path, storage: Path) -> list[str]:
    """What differs from the undisturbed sweep, and what is unsent."""
    theirs, ours = records(quiet), records(storage)
    found = [f"{file.parent.name} is not fully tracked" for file in storage.rglob(UNSENT)]
    if theirs.keys() != ours.keys():
        return [*found, f"trials {sorted(theirs)}, now {sorted(ours)}"]
    for name, record in theirs.items():
        if record["reason"].replace(str(quiet), "") != ours[name]["reason"].replace(str(storage), ""):
            found.append(f"{name} ended with '{ours[name]['reason']}'")
        elif not record["reason"]:
            found += _artifact_problems(quiet / record["run"], storage / record["run"])
    chosen = [sorted((one / "sweeps").glob("*/chosen/*.yaml")) for one in (quiet, storage)]
    before, now = ([_rate(file) for file in files] for files in chosen)
    if before != now:
        found.append(f"chosen {before}, now {now}")
    return [*found, *_tracking_problems(quiet, storage)]


def _rate(chosen: Path) -> float:
    return yaml.safe_load(chosen.read_text())["cwt"]["optim"]["lr"]


def _artifact_problems(theirs: Path, ours: Path) -> list[str]:
    """Chunks and skips must be equal, losses equal to float rounding."""
    tables = [("cwt", "samples"), ("skips", "skips"), *((stage, "history") for stage in TRAINING)]
    return [
        f"{ours.name}: {stage}/{name}: {difference}"
        for stage, name in tables
        if (difference := table_problem(table_of(theirs / stage / name), table_of(ours / stage / name)))
    ]


def _tracking_problems(quiet: Path, storage: Path) -> list[str]:
    """Runs, parameters, and the steps and values of all metrics must be equal."""
    theirs, ours = (_tracked(one) for one in (quiet, storage))
    found = [f"MLflow run {name} has a double or is missing" for name in sorted(theirs.keys() ^ ours.keys())]
    for name in sorted(theirs.keys() & ours.keys()):
        (status, parameters, metrics), (status_now, parameters_now, metrics_now) = theirs[name], ours[name]
        if status != status_now:
            found.append(f"MLflow run {name} is {status_now}, not {status}")
        if parameters != parameters_now:
            found.append(f"MLflow run {name} has other parameters")
        if metrics != metrics_now:
            keys = [key for key in metrics | metrics_now if metrics.get(key) != metrics_now.get(key)]
            found.append(f"MLflow run {name} has other metrics: {', '.join(sorted(keys))}")
    return found


def _tracked(storage: Path) -> dict[str, tuple[str, dict[str, str], dict[str, list[Any]]]]:
    """Status, parameters and metric histories by the names of a run and its parent.

    What trials share is made by any of them, so it is named without its parent.
    """
    client = _client(storage)
    runs = _runs(client)
    names = {run.info.run_id: run.info.run_name for run in runs}
    tracked = dict[str, Any]()
    for run in runs:
        parent = names.get(run.data.tags.get("mlflow.parentRunId", ""), "")
        name = run.info.run_name if run.info.run_name in SHARED else f"{parent}/{run.info.run_name}"
        while name in tracked:
            name += " (again)"
        histories = {key: _history(client, run, key) for key in run.data.metrics}
        tracked[name] = run.info.status, run.data.params, histories
    return tracked


def _history(client: MlflowClient, run: Run, key: str) -> list[Any]:
    """Step and value, rounded, of each metric; only the steps if it measures time."""
    history = client.get_metric_history(run.info.run_id, key)
    return sorted((one.step, 0.0 if TIMES.search(key) else round(one.value, 4)) for one in history)


def _client(storage: Path) -> MlflowClient:
    """Of the server's database, which stays when the server has ended."""
    return MlflowClient(f"sqlite:///{storage}/server.db")


def _runs(client: MlflowClient) -> list[Run]:
    experiment = client.get_experiment_by_name("skipthink")
    return list(client.search_runs([experiment.experiment_id], max_results=1000)) if experiment else []


def early_stops(storage: Path) -> dict[str, Any]:
    """The seconds from each early stop to the next trial's first update, and what the sweep left behind."""
    client, trials = _client(storage), records(storage)
    firsts = sorted(_first_updates(client).values())
    stops = [name for name, record in trials.items() if record["stopped"]]
    waits = list[float]()
    for name in stops:
        (losses,) = storage.glob(f"sweeps/*/losses/{name}.json")
        decided = losses.stat().st_mtime
        later = [first for first in firsts if first > decided]
        waits += [round(later[0] - decided, 1)] if later else []
    left = json.loads((storage / "left.json").read_text())
    faults = [f"placement group {name} is left" for name in left["placement_groups"]]
    faults += [f"{left['cpus']:g} CPUs are still in use"] if left["cpus"] else []
    faults += [f"{len(stops)} trials stopped early, not 2"] if len(stops) != 2 else []
    return {"next_update_s": waits, "faults": faults}


def _first_updates(client: MlflowClient) -> dict[str, float]:
    """When each run of cwt tracked its first update, in seconds since 1970."""
    firsts = dict[str, float]()
    for run in _runs(client):
        if run.info.run_name == "cwt":
            history = client.get_metric_history(run.info.run_id, "cwt/loss_nats")
            if history:
                firsts[run.info.run_id] = min(one.timestamp for one in history) / 1000
    return firsts
