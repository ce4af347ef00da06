"""Tracking with a real MLflow server on loopback, and with the embedded database."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
from mlflow import MlflowClient

from benchmarks.servers import free_ports, mlflow_server
from skipthink_ray.config import TrackingConfig
from skipthink_ray.runtime.artifacts import Folder
from skipthink_ray.runtime.experiment import how_to_compare
from skipthink_ray.runtime.outbox import BATCH, UNSENT, Outbox, Unsent, read_unsent, write_unsent
from skipthink_ray.runtime.tracker import NullTracker
from skipthink_ray.runtime.tracking import check_server, send_unsent, start_tracker


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with mlflow_server(tmp_path_factory.mktemp("mlflow"), free_ports(1)[0]) as uri:
        yield uri


def test_a_restart_goes_on_in_the_same_runs_and_tracks_no_step_twice(server: str, tmp_path: Path):
    storage = Folder.open(str(tmp_path))
    for last_step in (3, 6):  # the second pass is the restart: it repeats steps 0..3
        parent = start_tracker(TrackingConfig(uri=server), storage, "run", "key of the run")
        child = parent.child("cwt", "key of the stage")
        parent.params({"cwt.optim.lr": 0.1, "long": "x" * 10_000})
        for step in range(last_step):
            child.metrics([(step, {"cwt/loss_nats": 1.0 / (step + 1)})])
        child.artifact("report.json", b"{}")
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
    assert sorted((metric.step, metric.value) for metric in history) == [
        (step, 1.0 / (step + 1)) for step in range(6)
    ]
    assert [file.path for file in client.list_artifacts(runs["cwt"].info.run_id)] == ["report.json"]


def test_steps_that_got_lost_are_tracked_later_and_no_step_twice(tmp_path: Path):
    rows = [(step, {"cwt/loss_nats": 1.0 / (step + 1)}) for step in range(2 * BATCH)]
    for received in (rows[:3] + rows[7:9], rows + rows[:5]):  # the second pass is a restart
        tracker = start_tracker(TrackingConfig(), Folder.open(str(tmp_path)), "run", "key")
        tracker.metrics(received)
    tracker.metrics(rows)
    tracker.end("FINISHED")
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    (run,) = client.search_runs(["1"])
    history = client.get_metric_history(run.info.run_id, "cwt/loss_nats")
    assert sorted(metric.step for metric in history) == [*range(2 * BATCH)]


def test_the_embedded_database_lies_under_the_storage_path_and_says_how_to_open_it(tmp_path: Path):
    tracker = start_tracker(TrackingConfig(), Folder.open(str(tmp_path)), "run", "key")
    tracker.end("FINISHED")
    assert tracker.how_to_open() == f"mlflow ui --backend-store-uri 'sqlite:///{tmp_path}/mlflow.db'"
    assert (tmp_path / "mlflow.db").exists()


def test_two_stages_at_once_lose_no_metric_and_end_with_their_own_status(tmp_path: Path):
    parent = start_tracker(TrackingConfig(), Folder.open(str(tmp_path)), "run", "key")
    both_track = Barrier(2)

    def work(stage: str, status: str) -> None:
        child = parent.child(stage, f"key of {stage}")
        both_track.wait(60)
        for step in range(20):
            child.metrics([(step, {f"{stage}/loss_nats": 1.0 / (step + 1)})])
        child.end(status)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(work, ("base", "cwt"), ("FAILED", "KILLED")))
    parent.end("FAILED")
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    experiment = client.get_experiment_by_name("skipthink")
    assert experiment
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    assert {name: run.info.status for name, run in runs.items()} == {
        "run": "FAILED",
        "base": "FAILED",
        "cwt": "KILLED",
    }
    for stage in ("base", "cwt"):
        history = client.get_metric_history(runs[stage].info.run_id, f"{stage}/loss_nats")
        assert sorted((metric.step, metric.value) for metric in history) == [
            (step, 1.0 / (step + 1)) for step in range(20)
        ]
        assert runs[stage].data.tags["mlflow.parentRunId"] == runs["run"].info.run_id


def test_runs_that_start_at_once_share_one_experiment_and_name_the_same_data(tmp_path: Path):
    both_start, runs, rounds = Barrier(2), 2, 5

    def work(number: int) -> None:
        for step in range(rounds):
            storage = Folder.open(str(tmp_path / str(step))).create()
            both_start.wait(120)
            tracker = start_tracker(TrackingConfig(), storage, f"run {number}", f"key {number}")
            both_start.wait(120)
            tracker.dataset("toy", "0123", {"path": "rows.jsonl"})
            tracker.end("FINISHED")

    with ThreadPoolExecutor(runs) as pool:
        list(pool.map(work, range(runs)))
    for step in range(rounds):
        client = MlflowClient(f"sqlite:///{tmp_path / str(step)}/mlflow.db")
        tracked = client.search_runs(["1"])
        assert len(tracked) == runs
        assert all(run.inputs.dataset_inputs for run in tracked)


def test_a_run_names_its_data_and_its_student_is_logged_once_and_registered(tmp_path: Path):
    student = tmp_path / "student"
    student.mkdir()
    (student / "README.md").write_text("# A card")
    for _ in range(2):  # the second pass is a restart
        tracker = start_tracker(
            TrackingConfig(), Folder.open(str(tmp_path)), "run", "key", tags={"task": "toy"}
        )
        tracker.dataset("toy", "0123", {"path": "rows.jsonl"})
        tracker.student(Folder.open(str(tmp_path)), "key of stt", "toy student")
        tracker.end("FINISHED")
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    experiment = client.get_experiment_by_name("skipthink")
    assert experiment
    (run,) = client.search_runs([experiment.experiment_id])
    (used,) = run.inputs.dataset_inputs
    assert (used.dataset.name, used.dataset.digest) == ("toy", "0123")
    assert json.loads(used.dataset.source) == {"path": "rows.jsonl"}
    (model,) = client.search_logged_models([experiment.experiment_id])
    assert model.tags["skipthink.task"] == "toy"
    assert (Path(model.artifact_location.removeprefix("file://")) / "README.md").read_text() == "# A card"
    (version,) = client.search_model_versions("name = 'toy student'")
    assert version.run_id == run.info.run_id


def test_a_student_that_is_logged_can_be_registered_later(tmp_path: Path):
    student = tmp_path / "student"
    student.mkdir()
    (student / "README.md").touch()
    tracker = start_tracker(TrackingConfig(), Folder.open(str(tmp_path)), "run", "key")
    for name in (None, "toy", "toy"):
        tracker.student(Folder.open(str(tmp_path)), "key of stt", name)
    tracker.end("FINISHED")
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    assert len(client.search_model_versions("name = 'toy'")) == 1
    assert len(client.search_logged_models(["1"])) == 1


def test_a_stage_that_is_made_again_runs_again(tmp_path: Path):
    parent = start_tracker(TrackingConfig(), Folder.open(str(tmp_path)), "run", "key")
    parent.child("cwt", "key of cwt").end("FAILED")
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    again = parent.child("cwt", "key of cwt")
    (cwt,) = client.search_runs(["1"], "attributes.run_name = 'cwt'")
    assert cwt.info.status == "RUNNING"
    again.end("FINISHED")
    assert client.get_run(cwt.info.run_id).info.status == "FINISHED"


def test_a_refused_batch_of_metrics_takes_no_other_with_it():
    outbox = Outbox(metrics=[("loss", 1.0, 1, step) for step in range(BATCH + 1)])
    outbox.drop_next()
    assert outbox.metrics == [("loss", 1.0, 1, BATCH)]


def test_a_damaged_file_of_unsent_data_is_named_with_the_remedy(tmp_path: Path):
    (tmp_path / "run").mkdir()
    for text in ("[{", '[{"name": "cwt"}]', "7"):
        (tmp_path / "run" / UNSENT).write_text(text)
        with pytest.raises(ValueError, match=rf"run/{UNSENT} is damaged .*Delete it"):
            start_tracker(TrackingConfig(), Folder.open(str(tmp_path)), "run", "key")


def test_a_student_that_cannot_be_stored_ends_nothing(tmp_path: Path):
    said: list[str] = []
    (tmp_path / "mlartifacts").touch()  # a file in the place of the folder for models
    (tmp_path / "student").mkdir()
    (tmp_path / "student/README.md").touch()
    tracker = start_tracker(TrackingConfig(), Folder.open(str(tmp_path)), "run", "key", said.append)
    tracker.student(Folder.open(str(tmp_path)), "key of stt", None)
    tracker.end("FINISHED")
    assert len(said) == 1
    assert "did not take the student" in said[0]


def test_what_is_unsent_is_the_same_after_a_way_over_storage(tmp_path: Path):
    run = Folder.open(str(tmp_path))
    full = Outbox(
        {"lr": "0.1"},
        {"name": "toy"},
        [("loss", 1.5, 1_700_000_000_000, 3)],
        {"a": b"\x00\xff"},
        {"folder": "runs/stt", "key": "key of stt", "registered_name": None},
        "KILLED",
    )
    unsent = [Unsent("run", "key", None, Outbox(), {"task": "toy"}), Unsent("cwt", "key of cwt", "key", full)]
    write_unsent(run, unsent)
    assert read_unsent(run) == unsent
    write_unsent(run, [])
    assert read_unsent(run) == []
    assert not list(tmp_path.iterdir())


def test_a_run_that_continues_sends_what_its_earlier_start_left_on_storage(tmp_path: Path):
    """The driver died while the server was away. One stage is over, the other one goes on."""
    storage = Folder.open(str(tmp_path))
    start_tracker(TrackingConfig(), storage, "run", "key").end("FINISHED")
    left = [
        Unsent("run", "key", None, Outbox(params={"lr": "0.1"}, status="KILLED")),
        Unsent(
            "base", "key of base", "key", Outbox(metrics=[("base/loss_nats", 2.0, 1, 0)], status="FINISHED")
        ),
        Unsent("cwt", "key of cwt", "key", Outbox(metrics=[("cwt/loss_nats", 3.0, 1, 0)])),
    ]
    write_unsent(storage.child("run"), left)
    parent = start_tracker(TrackingConfig(), storage, "run", "key")
    assert not (tmp_path / "run" / UNSENT).exists()
    cwt = parent.child("cwt", "key of cwt")
    for step in range(2):  # the resumed stage tracks its first step again
        cwt.metrics([(step, {"cwt/loss_nats": 3.0 - step})])
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    experiment = client.get_experiment_by_name("skipthink")
    assert experiment
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    statuses = {name: run.info.status for name, run in runs.items()}
    assert statuses == {"run": "RUNNING", "base": "FINISHED", "cwt": "RUNNING"}
    assert runs["run"].data.params == {"lr": "0.1"}
    assert runs["cwt"].data.tags["mlflow.parentRunId"] == runs["run"].info.run_id
    history = client.get_metric_history(runs["cwt"].info.run_id, "cwt/loss_nats")
    assert [(metric.step, metric.value) for metric in history] == [(0, 3.0), (1, 2.0)]


def test_nothing_is_tracked_when_tracking_is_off(tmp_path: Path):
    tracker = start_tracker(TrackingConfig(backend="off"), Folder.open(str(tmp_path)), "run", "key")
    assert isinstance(tracker, NullTracker)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_server_outage_stops_nothing_and_missed_values_are_sent_later(tmp_path: Path):
    port, said = free_ports(1)[0], list[str]()
    with mlflow_server(tmp_path, port) as uri:
        parent = start_tracker(TrackingConfig(uri=uri), Folder.open(str(tmp_path)), "run", "key", said.append)
        base = parent.child("base", "key of base")
        base.metrics([(0, {"base/loss_nats": 3.0})])
    started = time.monotonic()
    for step in range(1, 2500):
        base.metrics([(step, {"base/loss_nats": 3.0 / step})])
    base.end("FINISHED")
    cwt = parent.child("cwt", "key of cwt")  # a stage that begins while the server is away
    cwt.metrics([(0, {"cwt/loss_nats": 1.0})])
    cwt.artifact("log", b"a line")
    cwt.end("FINISHED")
    assert time.monotonic() - started < 60
    assert len(said) == 1
    assert "does not answer" in said[0]
    with mlflow_server(tmp_path, port) as uri:
        parent.end("FINISHED")
        client = MlflowClient(uri)
        experiment = client.get_experiment_by_name("skipthink")
        assert experiment
        runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
        assert {name: run.info.status for name, run in runs.items()} == dict.fromkeys(
            ("run", "base", "cwt"), "FINISHED"
        )
        assert runs["cwt"].data.tags["mlflow.parentRunId"] == runs["run"].info.run_id
        assert len(client.get_metric_history(runs["base"].info.run_id, "base/loss_nats")) == 2500
        assert runs["cwt"].data.metrics == {"cwt/loss_nats": 1.0}
        assert [file.path for file in client.list_artifacts(runs["cwt"].info.run_id)] == ["log"]
    assert len(said) == 2
    assert "answers again" in said[1]


@pytest.mark.slow
@pytest.mark.long
def test_a_part_of_a_sweep_starts_while_the_server_is_away_and_its_student_is_logged_later(tmp_path: Path):
    port, said, storage = free_ports(1)[0], list[str](), Folder.open(str(tmp_path))
    (tmp_path / "student").mkdir()
    (tmp_path / "student/README.md").write_text("# A card")
    config = TrackingConfig(uri=f"http://127.0.0.1:{port}", may_be_away=True)
    tags = {"sweep": "mine"}
    trial = start_tracker(config, storage, "trial", "key", said.append, tags)
    trial.params({"cwt.optim.lr": 0.1})
    trial.metrics([(0, {"dev/skip_tokens": 20.0})])
    trial.student(storage, "key of stt", None)
    trial.end("FINISHED")
    assert (tmp_path / "trial" / UNSENT).exists()
    assert len(said) == 2
    assert "does not answer" in said[0]
    assert "still does not answer" in said[1]
    with mlflow_server(tmp_path, port) as uri:
        send_unsent(config, storage, "trial")
        client = MlflowClient(uri)
        experiment = client.get_experiment_by_name("skipthink")
        assert experiment
        (run,) = client.search_runs([experiment.experiment_id])
        assert (run.info.run_name, run.info.status) == ("trial", "FINISHED")
        assert run.data.tags["skipthink.sweep"] == "mine", "the sweep's link finds it"
        assert (run.data.params, run.data.metrics) == ({"cwt.optim.lr": "0.1"}, {"dev/skip_tokens": 20.0})
        (model,) = client.search_logged_models([experiment.experiment_id])
        assert model.source_run_id == run.info.run_id
        assert [file.path for file in client.list_logged_model_artifacts(model.model_id)] == ["README.md"]
    assert not (tmp_path / "trial" / UNSENT).exists()


@pytest.mark.slow
@pytest.mark.long
def test_a_server_that_does_not_come_back_in_time_gets_its_data_from_storage_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    port, said = free_ports(1)[0], list[str]()
    with mlflow_server(tmp_path, port) as uri:
        parent = start_tracker(TrackingConfig(uri=uri), Folder.open(str(tmp_path)), "run", "key", said.append)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    with socket.socket() as silent:  # takes connections, and says nothing
        silent.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        silent.bind(("127.0.0.1", port))
        silent.listen()
        started = time.monotonic()
        for step in range(1000):
            parent.metrics([(step, {"base/loss_nats": 1.0})])
        parent.end("FINISHED")
        assert time.monotonic() - started < 40
    assert len(said) == 2
    assert "metrics are not tracked for now" in said[0]
    assert f"What it lacks is kept in {tmp_path}/run; the same command sends it" in said[1]
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    with mlflow_server(tmp_path, port) as uri:
        for _ in range(2):  # the second one finds nothing to send
            send_unsent(TrackingConfig(uri=uri), Folder.open(str(tmp_path)), "run")
        client = MlflowClient(uri)
        experiment = client.get_experiment_by_name("skipthink")
        assert experiment
        (run,) = client.search_runs([experiment.experiment_id])
        assert run.info.status == "FINISHED"
        history = client.get_metric_history(run.info.run_id, "base/loss_nats")
        assert [metric.step for metric in history] == [*range(1000)]
        assert not (tmp_path / "run" / UNSENT).exists()


def test_a_server_that_is_away_is_refused_unless_it_may_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    config, storage = TrackingConfig(uri=f"http://127.0.0.1:{free_ports(1)[0]}"), Folder.open(str(tmp_path))
    with pytest.raises(ValueError, match=r"does not answer: .* pass --tracking\.may-be-away"):
        check_server(config, storage)
    may_be_away = config.model_copy(update={"may_be_away": True})
    check_server(may_be_away, storage)
    assert how_to_compare(may_be_away, storage, "sweep", "mine") is None


def test_a_tracking_run_deleted_meanwhile_stops_nothing_and_is_reported_once(tmp_path: Path):
    said: list[str] = []
    tracker = start_tracker(TrackingConfig(), Folder.open(str(tmp_path)), "run", "key", said.append)
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    experiment = client.get_experiment_by_name("skipthink")
    assert experiment
    client.delete_experiment(experiment.experiment_id)
    for step in range(3):
        tracker.metrics([(step, {"base/loss_nats": 1.0})])
    tracker.end("FINISHED")
    assert len(said) == 1
    assert "refuses some of the data" in said[0]
    for may_be_away in (True, False):  # a server that refuses is not away
        with pytest.raises(
            ValueError,
            match=r"tracking\.experiment: the experiment 'skipthink' was deleted .* --experiment-id 1",
        ) as caught:
            start_tracker(TrackingConfig(may_be_away=may_be_away), Folder.open(str(tmp_path)), "run", "key")
    restore = str(caught.value).split("`")[1]
    subprocess.run(
        restore,
        shell=True,
        check=True,
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
    )
    start_tracker(TrackingConfig(), Folder.open(str(tmp_path)), "run", "key").end("FINISHED")
