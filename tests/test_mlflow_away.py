"""A run goes on while its MLflow server is away, for two minutes or for good."""

import os
import sys
import time
from pathlib import Path

from mlflow import MlflowClient

from benchmarks.servers import free_ports, mlflow_server
from skipthink_ray.runtime.outbox import UNSENT
from tests.conftest import LONG
from tests.processes import Started, start

pytestmark = LONG
OUTAGE_S = 120.0
TRAINED = ("base", "cwt", "stt")


def _run(folder: Path, uri: str, updates: int) -> Started:
    words = [sys.executable, "-m", "skipthink_ray.cli", "run", "--preset", "tiny", "--tracking.uri", uri]
    words += ["--storage-path", str(folder / "runs"), "--updates", str(updates)]
    return start(folder / "run.txt", {**os.environ, "PYTHONUNBUFFERED": "1"}, *words)


def _steps(client: MlflowClient, stage: str) -> list[int]:
    """The steps of a stage's loss in MLflow, sorted."""
    (run,) = client.search_runs(["1"], f"attributes.run_name = '{stage}'")
    assert run.info.status == "FINISHED"
    return sorted(metric.step for metric in client.get_metric_history(run.info.run_id, f"{stage}/loss_nats"))


def test_a_server_killed_in_cwt_and_at_the_end_of_skips_has_every_step_once_two_minutes_later(tmp_path: Path):
    updates, port = 24_000, free_ports(1)[0]
    with mlflow_server(tmp_path, port) as uri:
        run = _run(tmp_path, uri, updates)
        run.wait_for(" updates epoch ", run.wait_for("cwt         M ="))
    time.sleep(OUTAGE_S)
    with mlflow_server(tmp_path, port):
        while not [*tmp_path.glob("runs/artifacts/skips/*/_DONE")]:
            assert run.process.poll() is None, run.text()
            time.sleep(0.1)
    time.sleep(OUTAGE_S)
    with mlflow_server(tmp_path, port) as uri:
        assert run.end() == 0, run.text()
        said = " ".join(run.text().split())
        warnings = said.count("does not answer")
        assert 1 <= warnings <= 2, "one per outage; one for both if the backlog was not sent in between"
        assert said.count("answers again; the missing data is now tracked") == warnings
        client = MlflowClient(uri)
        for stage in TRAINED:
            assert _steps(client, stage) == [*range(updates)]
        assert not [*tmp_path.glob(f"runs/*/{UNSENT}")]


def test_without_the_server_the_run_ends_with_its_report_and_says_what_is_missing(tmp_path: Path):
    port = free_ports(1)[0]
    with mlflow_server(tmp_path, port) as uri:
        run = _run(tmp_path, uri, 400)
        run.wait_for(" updates epoch ")
    assert run.end() == 0, run.text()
    assert "speed-up" in run.text()
    assert "Report: " in run.text()
    assert "still does not answer. What it lacks is kept in" in " ".join(run.text().split())
    with mlflow_server(tmp_path, port) as uri:
        again = _run(tmp_path, uri, 400)
        assert again.end() == 0, again.text()
        client = MlflowClient(uri)
        for stage in TRAINED:
            assert _steps(client, stage) == [*range(400)]
