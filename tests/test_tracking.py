"""Tracking against a real MLflow server on loopback, and against the embedded database."""

import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient

from skipthink_ray.config import TrackingConfig
from skipthink_ray.runtime.artifacts import Folder
from skipthink_ray.runtime.tracking import NullTracker, start_tracker


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("mlflow")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    uri = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{folder}/server.db", "--artifacts-destination", str(folder / "artifacts")]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        _wait_for(uri, process)
        yield uri
    finally:
        process.terminate()
        process.wait(20)


def _wait_for(uri: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and process.poll() is None:
        try:
            urllib.request.urlopen(f"{uri}/health", timeout=2).close()
            return
        except OSError:
            time.sleep(0.5)
    raise AssertionError("the MLflow server did not start")


def test_a_restart_goes_on_in_the_same_runs_and_tracks_no_step_twice(server: str, tmp_path: Path):
    storage = Folder.open(str(tmp_path))
    artifact = tmp_path / "report.json"
    artifact.write_text("{}")
    for last_step in (3, 6):  # the second pass is the restart: it repeats steps 0..3
        parent = start_tracker(TrackingConfig(uri=server), storage, "run", "key of the run")
        child = parent.child("cwt", "key of the stage")
        parent.params({"cwt.optim.lr": 0.1, "long": "x" * 10_000})
        for step in range(last_step):
            child.metrics({"cwt/loss_nats": 1.0 / (step + 1)}, step)
        child.artifact(artifact)
        child.end("FINISHED")
        parent.end("FINISHED")
    client = MlflowClient(server)
    experiment = client.get_experiment_by_name("skipthink")
    assert experiment
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    assert sorted(runs) == ["cwt", "run"]
    assert runs["cwt"].data.tags["mlflow.parentRunId"] == runs["run"].info.run_id
    assert runs["run"].data.params["cwt.optim.lr"] == "0.1"
    history = client.get_metric_history(runs["cwt"].info.run_id, "cwt/loss_nats")
    assert sorted((metric.step, metric.value) for metric in history) == [(step, 1.0 / (step + 1)) for step in range(6)]
    assert [file.path for file in client.list_artifacts(runs["cwt"].info.run_id)] == ["report.json"]


def test_the_embedded_database_lies_under_the_storage_path_and_says_how_to_open_it(tmp_path: Path):
    tracker = start_tracker(TrackingConfig(), Folder.open(str(tmp_path)), "run", "key")
    tracker.end("FINISHED")
    assert tracker.how_to_open() == f"mlflow ui --backend-store-uri 'sqlite:///{tmp_path}/mlflow.db'"
    assert (tmp_path / "mlflow.db").exists()


def test_nothing_is_tracked_when_tracking_is_off(tmp_path: Path):
    tracker = start_tracker(TrackingConfig(backend="off"), Folder.open(str(tmp_path)), "run", "key")
    assert isinstance(tracker, NullTracker)
    assert not list(tmp_path.iterdir())
