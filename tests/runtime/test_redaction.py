"""No password, key or login reaches a message, a record or a page."""

import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from skipthink_ray.config import TrackingConfig
from skipthink_ray.config.base import without_password
from skipthink_ray.runtime.artifacts import Folder
from skipthink_ray.runtime.experiment import how_to_compare, server_uri
from skipthink_ray.runtime.redaction import shown
from skipthink_ray.runtime.tracking import check_server, send_unsent, start_tracker

NAMES = ("MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD")


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch) -> str:
    """MLFLOW_TRACKING_URI with a login, at an address where nobody listens."""
    for name in NAMES:
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://someone:pl%40nted@127.0.0.1:9/mlflow")
    return "pl@nted"


def test_texts_hide_logins_and_secret_parameters():
    assert shown("at postgresql://me:pw@db/x and http://h/y@z") == "at postgresql://***@db/x and http://h/y@z"
    assert shown("https://h/x?sig=abc&page=2") == "https://h/x?sig=***&page=2"


def test_the_login_of_mlflow_moves_to_the_variables_that_its_client_reads(planted, tmp_path):
    from mlflow.tracking._tracking_service.utils import get_default_host_creds

    uri = server_uri(TrackingConfig(), Folder.open(str(tmp_path)))
    assert uri == os.environ["MLFLOW_TRACKING_URI"] == "http://127.0.0.1:9/mlflow"
    assert get_default_host_creds(uri).password == planted


def test_messages_about_a_silent_server_do_not_show_its_password(planted, tmp_path: Path, caplog):
    storage, said, errors = Folder.open(str(tmp_path)), list[str](), list[str]()
    storage.child("run").write_json("untracked.json", [])
    calls = (
        lambda: check_server(TrackingConfig(), storage),
        lambda: start_tracker(TrackingConfig(), storage, "run", "key", said.append),
        lambda: send_unsent(TrackingConfig(), storage, "run", said.append),
    )
    for call in calls:
        try:
            call()
        except ValueError as error:
            errors.append(str(error))
    assert len(errors) == 2
    assert len(said) == 1
    for text in (*errors, *said, caplog.text):
        assert "pl" not in text.replace("please", "").replace("complete", "") or "nted" not in text
        assert "someone" not in text
    assert "MLflow at 'http://127.0.0.1:9/mlflow' does not answer" in errors[0]


def test_how_to_open_a_database_hides_its_password(monkeypatch, tmp_path):
    monkeypatch.setattr("skipthink_ray.runtime.experiment.experiment_id", lambda *_: "1")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://me:planted@db/mlflow")
    how = how_to_compare(TrackingConfig(), Folder.open(str(tmp_path)), "sweep", "x") or ""
    assert how.startswith("mlflow ui --backend-store-uri 'postgresql://***@db/mlflow'")


@pytest.mark.parametrize(
    "address",
    [
        "abfs://container@account.dfs.core.windows.net/runs",
        "abfss://container@account/runs",
        "s3://bucket/runs?endpoint_override=http://127.0.0.1:9000",
        "/data/part-?_tokens.jsonl",
        "http://host/a@b",
    ],
)
def test_an_address_without_a_secret_is_accepted(address):
    assert without_password(address) == address


@pytest.mark.parametrize(
    "address",
    [
        "abfs://container:planted@account/runs",
        "abfs://account/runs?client_secret=planted",
        "s3://key:planted@bucket/runs",
        "http://me:planted@host?x",
    ],
)
def test_an_address_with_a_secret_is_refused_without_repeating_it(address):
    with pytest.raises(ValidationError, match="must not contain a user or password") as refused:
        TrackingConfig(uri=address)
    assert "planted" not in str(refused.value)


def test_the_query_of_an_address_stays_at_its_end():
    """S3 with another endpoint names it there."""
    folder = Folder.open("s3://bucket/runs?endpoint_override=127.0.0.1%3A9000&scheme=http")
    child = folder.child("a").child("b")
    assert child.uri == "s3://bucket/runs/a/b?endpoint_override=127.0.0.1%3A9000&scheme=http"
    assert (child.path, child.name) == ("bucket/runs/a/b", "b")
    assert child.parent == folder.child("a")
    assert Folder.open(child.uri).path == child.path
