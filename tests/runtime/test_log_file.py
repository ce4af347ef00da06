"""The log of a run on local and on remote storage."""

import time
from pathlib import Path

import pytest
from pyarrow import fs

from skipthink_ray.config import PipelineConfig
from skipthink_ray.runtime import log_file
from skipthink_ray.runtime.artifacts import Folder


@pytest.fixture
def remote(tmp_path: Path) -> Folder:
    """A folder that is not on a local file system, as far as the log can see."""
    (tmp_path / "store").mkdir()
    store = fs.SubTreeFileSystem(str(tmp_path / "store"), fs.LocalFileSystem())
    return Folder(store, "run", "s3://bucket/run?scheme=http")


def test_on_a_local_disk_all_starts_append_to_one_file(tmp_path):
    config = PipelineConfig(name="one", storage_path=str(tmp_path))
    for _ in range(2):
        with log_file.log_file(config) as file:
            assert file.place() == str(tmp_path / "one/skipthink-one.log")
            file.path.open("a").write("line\n")
    assert file.path.read_text() == "line\nline\n"


def test_on_remote_storage_each_start_has_a_log_and_nothing_stays_on_the_machine(remote):
    for text in ("first", "second"):
        with log_file.copied(remote, "skipthink-run") as file:
            file.path.write_text(text)
            assert file.place() == f"s3://bucket/run/{file.path.name}?scheme=http"
        assert not file.path.parent.exists()
    assert sorted(remote.read_text(name) for name in remote.names()) == ["first", "second"]


def test_a_log_is_copied_while_the_run_goes_on(remote, monkeypatch):
    monkeypatch.setattr(log_file, "COPY_EVERY_S", 0.01)
    with log_file.copied(remote, "skipthink-run") as file:
        file.path.write_text("so far")
        deadline = time.monotonic() + 30
        while file.copied_bytes < len("so far"):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert remote.read_text(file.path.name) == "so far"


def test_a_log_that_cannot_be_copied_stays_on_the_machine_and_its_place_is_named(remote, tmp_path):
    (tmp_path / "store/run").write_text("a file in place of the folder")
    with log_file.copied(remote, "skipthink-run") as file:
        file.path.write_text("kept")
        assert file.place() == str(file.path)
    assert file.path.read_text() == "kept"
