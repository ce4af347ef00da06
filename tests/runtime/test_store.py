"""The store: runs share artifacts, one process makes each, and what no run needs can be deleted."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console

from skipthink_ray.commands.prune import find_unused, prune
from skipthink_ray.commands.runs import runs
from skipthink_ray.runtime.artifacts import Folder, begin, finish
from skipthink_ray.runtime.lock import wait_or_lock
from skipthink_ray.runtime.store import Run, read_view

MAKER = """
import sys, time
from skipthink_ray.runtime.artifacts import Folder
from skipthink_ray.runtime.lock import wait_or_lock

with wait_or_lock(Folder.open(sys.argv[1]), lambda: False, "first", print):
    print("made", flush=True)
    time.sleep(60)
"""


def _run(tmp_path: Path, name: str, **changes: int) -> Run:
    """A run of three stages; `changes` are settings by stage."""
    settings = {"rationales": 0, "cwt": 0, "report": 0} | changes
    identities, inputs = {}, {}
    for stage, setting in settings.items():
        identities[stage] = {"stage": stage, "config": setting, "inputs": dict(inputs)}
        inputs[stage] = str(identities[stage])
    return Run(Folder.open(str(tmp_path)), name, identities)


def _make(run: Run, task: str = "toy") -> list[str]:
    """Finish what the run lacks, as the pipeline does. Returns the stages that were made."""
    run.refuse_other_folders()
    run.record(f"skipthink run --name {run.name}", {"task": task})
    made = []
    for stage in run.identities:
        if not run.is_done(stage):
            with run.making(stage, print) as lease:
                assert lease
                begin(run.artifact(stage), run.identities[stage])
                lease.check()
                finish(run.artifact(stage), {})
            made.append(stage)
        run.link(stage)
    return made


def _text(work, *arguments) -> str:
    console = Console(width=140, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
    assert work(*arguments[:1], console, *arguments[1:]) == 0
    return console.export_text()


def test_a_second_run_makes_only_what_depends_on_its_changed_setting(tmp_path):
    assert _make(_run(tmp_path, "one")) == ["rationales", "cwt", "report"]
    assert _make(_run(tmp_path, "two", cwt=1)) == ["cwt", "report"]
    assert _make(_run(tmp_path, "two", cwt=1)) == []
    one, two = (os.path.realpath(tmp_path / name / "rationales") for name in ("one", "two"))
    assert one == two
    assert os.path.realpath(tmp_path / "one/cwt") != os.path.realpath(tmp_path / "two/cwt")
    assert (tmp_path / "two/cwt/_DONE").exists()


def test_another_setting_under_the_same_name_keeps_the_earlier_view_listed(tmp_path):
    first, second = _run(tmp_path, "one"), _run(tmp_path, "one", cwt=1)
    _make(first)
    assert _make(second) == ["cwt", "report"]
    view = read_view(second.folder)
    assert view
    assert [earlier["artifacts"]["cwt"] for earlier in view["earlier"]] == [
        Path(first.artifact("cwt").path).name
    ]
    assert os.path.realpath(tmp_path / "one/cwt") == second.artifact("cwt").path
    assert _make(first) == ["report"]  # the report is the run's own, and was overwritten
    again = read_view(first.folder)
    assert again
    assert len(again["earlier"]) == 1


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "old/cwt").mkdir(parents=True)
    (tmp_path / "old/cwt/config.json").write_text("{}")
    with pytest.raises(ValueError, match=r"old was written by an older skipthink_ray.*Choose another --name"):
        _make(_run(tmp_path, "old"))
    (tmp_path / "mine/cwt").mkdir(parents=True)
    with pytest.raises(ValueError, match="mine is not a run, but holds 'cwt'"):
        _make(_run(tmp_path, "mine"))
    with pytest.raises(ValueError, match="--name artifacts: this folder is not for runs"):
        _make(_run(tmp_path, "artifacts"))


@pytest.mark.parametrize("text", ["{", "[]", "{}"])
def test_a_damaged_view_is_named_with_what_to_do(tmp_path, text):
    _make(_run(tmp_path, "one"))
    (tmp_path / "one/run.json").write_text(text)
    for work in (runs, lambda path, console: prune(path, console, True)):
        with pytest.raises(ValueError, match=r"one/run\.json .*delete the run's folder"):
            work(str(tmp_path), Console())


def test_a_damaged_artifact_is_named(tmp_path):
    run = _run(tmp_path, "one")
    _make(run)
    Path(run.artifact("cwt").path, "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"config\.json is damaged .* delete that folder"):
        run.is_done("cwt")


def test_a_second_process_waits_with_a_word_and_takes_over_if_the_first_is_killed(tmp_path):
    folder, said = Folder.open(str(tmp_path / "artifact")), []
    first = subprocess.Popen([sys.executable, "-c", MAKER, folder.path], stdout=subprocess.PIPE, text=True)
    assert first.stdout
    assert first.stdout.readline() == "made\n"

    def is_made() -> bool:
        if said:  # the wait was announced: now the maker dies, and stays as a zombie until it is waited for
            os.kill(first.pid, signal.SIGKILL)
        return False

    started = time.monotonic()
    with wait_or_lock(folder, is_made, "second", said.append) as lease:
        assert lease
        lease.check()
    assert time.monotonic() - started < 30  # not the 60 s after which a silent host counts as dead
    first.wait()
    assert said == [f"waiting for run 'first' (process {first.pid} on {os.uname().nodename}), which makes it"]


def test_a_second_process_uses_what_the_first_one_made(tmp_path):
    folder, said = Folder.open(str(tmp_path / "artifact")), []
    first = subprocess.Popen([sys.executable, "-c", MAKER, folder.path], stdout=subprocess.PIPE, text=True)
    assert first.stdout
    assert first.stdout.readline() == "made\n"
    with wait_or_lock(folder, lambda: bool(said), "second", said.append) as lease:
        assert lease is None
    first.kill()
    first.wait()


def test_a_maker_that_was_thought_dead_does_not_finish(tmp_path):
    folder = Folder.open(str(tmp_path / "artifact"))
    with wait_or_lock(folder, lambda: False, "first", print) as lease:
        assert lease
        folder.write_json("_RUNNING.json", {**lease.owner, "id": "another", "seen": time.time()})
        with pytest.raises(RuntimeError, match="another process took over"):
            lease.check()


def test_runs_lists_every_run_and_its_earlier_settings(tmp_path):
    assert "No runs in" in _text(runs, str(tmp_path))
    _make(_run(tmp_path, "one"), "svamp")
    _make(_run(tmp_path, "one", cwt=1), "svamp")
    modes = {
        mode: {
            "accuracy_pct": {"value": value},
            "token_ratio": {"value": 2.5},
            "speedup": {"value": 2.25},
        }
        for mode, value in (("full", 91.25), ("staged", 70.75), ("skip", 90.5))
    }
    Folder.open(str(tmp_path / "one/report")).write_json("report.json", {"modes": modes})
    unfinished = _run(tmp_path, "two", rationales=1)
    unfinished.record("skipthink run --name two", {"task": "addsub"})
    rows = {
        line.split()[0] + (" (earlier)" if "(earlier)" in line else ""): line
        for line in _text(runs, str(tmp_path)).splitlines()
        if line.strip()
    }
    assert "svamp" in rows["one"]
    for shown in ("3 of 3", "91.2", "70.8", "90.5", "2.50", "2.25"):
        assert shown in rows["one"]
    assert "91.2" not in rows["one (earlier)"]
    assert "2 of 3" in rows["one (earlier)"]
    assert "0 of 3" in rows["two"]
    assert "addsub" in rows["two"]


def test_runs_shows_no_number_of_a_report_that_belongs_to_an_earlier_setting(tmp_path):
    _make(_run(tmp_path, "one"))
    number = {"value": 99.0}
    numbers = {"accuracy_pct": number, "token_ratio": number, "speedup": number}
    modes = dict.fromkeys(("full", "staged", "skip"), numbers)
    Folder.open(str(tmp_path / "one/report")).write_json("report.json", {"modes": modes})
    _run(tmp_path, "one", cwt=1).record("skipthink run --name one", {"task": "toy"})
    newest, earlier = (line for line in _text(runs, str(tmp_path)).splitlines() if line.startswith("one"))
    assert "1 of 3" in newest
    assert "99.0" not in newest
    assert "3 of 3" in earlier
    assert "99.0" in earlier


def test_prune_deletes_only_what_no_run_refers_to_and_nothing_without_being_told(tmp_path):
    one, two = _run(tmp_path, "one"), _run(tmp_path, "two", cwt=1)
    _make(one)
    _make(two)
    assert find_unused(one.storage) == []
    assert "belongs to a run" in _text(prune, str(tmp_path), True)
    Folder.open(str(tmp_path)).delete("two")
    assert "Nothing was deleted; add --delete" in _text(prune, str(tmp_path), False)
    assert two.is_done("cwt")
    with two.making("cwt", print):
        pass  # finished: no lease
    assert [unused.stage for unused in find_unused(one.storage)] == ["cwt"]
    assert "Deleted 1 artifacts" in _text(prune, str(tmp_path), True)
    assert not two.artifact("cwt").exists()
    assert one.is_done("cwt")
    assert one.is_done("rationales")


def test_prune_leaves_what_a_live_process_writes(tmp_path):
    run = _run(tmp_path, "one")
    with run.making("cwt", print):
        begin(run.artifact("cwt"), run.identities["cwt"])
        assert find_unused(run.storage) == []
    assert [unused.finished for unused in find_unused(run.storage)] == [False]
