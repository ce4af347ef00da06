"""Processes that read a remote folder at the same time download it once."""

import subprocess
import sys
from pathlib import Path

import pytest

from skipthink_ray.runtime.copies import shared_copy

READER = """
import sys, time
from pathlib import Path
from skipthink_ray.runtime.copies import shared_copy

def download(copy):
    with open("downloads", "a") as file:
        file.write("x")
    time.sleep(1)
    (copy / "weights").write_text("all of them")
    {after}

with shared_copy("s3://bucket/student", download) as copy:
    text = (copy / "weights").read_text()
    Path(f"{{sys.argv[1]}}.reads").touch()
    while len(list(Path().glob("*.reads"))) < int(sys.argv[2]):
        time.sleep(0.01)
    print(text, (copy / "weights").exists())
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    return tmp_path


def _readers(folder: Path, number: int, after: str = "") -> list[str]:
    code = READER.format(after=after)
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(index), str(number)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=folder,
        )
        for index in range(number)
    ]
    return [process.communicate(timeout=60)[0] for process in processes]


def _copies(folder: Path) -> list[Path]:
    return [path for path in folder.glob("skipthink-*/*") if path.suffix != ".lock"]


def test_readers_at_the_same_time_share_one_copy_and_the_last_removes_it(folder: Path):
    assert _readers(folder, 4) == ["all of them True\n"] * 4
    assert (folder / "downloads").read_text() == "x"
    assert _copies(folder) == []


def test_a_killed_download_is_made_again(folder: Path):
    assert _readers(folder, 1, after="import os; os.kill(os.getpid(), 9)") == [""]
    assert [path.suffix for path in _copies(folder)] == [".partial"]
    assert _readers(folder, 2) == ["all of them True\n"] * 2
    assert (folder / "downloads").read_text() == "xx"


def test_the_copy_of_a_killed_reader_is_not_used(folder: Path):
    after = "import threading, os; threading.Timer(0.5, os.kill, (os.getpid(), 9)).start(); sys.argv[2] = '2'"
    assert _readers(folder, 1, after) == [""]
    assert len(_copies(folder)) == 1
    for file in folder.glob("*.reads"):
        file.unlink()
    _copies(folder)[0].joinpath("weights").write_text("old")
    assert _readers(folder, 1) == ["all of them True\n"]


def test_a_failed_download_raises_and_leaves_nothing(folder: Path):
    def fail(copy: Path) -> None:
        (copy / "half").touch()
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space left"), shared_copy("s3://bucket/student", fail):
        pass
    assert _copies(folder) == []


def test_a_folder_that_others_may_write_is_refused(folder: Path):
    with shared_copy("s3://bucket/student", lambda copy: None):
        (own,) = folder.glob("skipthink-*")
    own.chmod(0o777)
    with pytest.raises(PermissionError, match="closed to other users"), shared_copy("s3://b", print):
        pass
