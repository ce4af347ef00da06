"""`--task seven`: seven runs of one configuration, one of which fails, and the table of results."""

import io
import json
import os
import signal
import stat
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from benchmarks.servers import free_ports
from skipthink_ray.commands import group
from skipthink_ray.commands.group import Outcome, Processes, Run, run_group, run_tasks
from skipthink_ray.config import PipelineConfig, RationalesConfig, TrackingConfig
from skipthink_ray.pipeline import open_run
from skipthink_ray.settings import expand
from skipthink_ray.tasks import GROUPS, task_of


def seven(tmp_path: Path) -> list[PipelineConfig]:
    return expand(PipelineConfig(name="all", task="seven", storage_path=str(tmp_path), seed=3))


def write_report(config: PipelineConfig, skip_accuracy: float) -> None:
    """Write the part of report.json that the table reads."""
    accuracy = {
        mode: {"accuracy_pct": {"value": value}}
        for mode, value in (("full", 41.25), ("staged", 40.0), ("skip", skip_accuracy))
    }
    modes: dict[str, Any] = {
        **accuracy,
        "skip": {**accuracy["skip"], "token_ratio": {"value": 1.5}, "speedup": {"value": 1.375}},
    }
    folder = Path(config.storage_path) / config.name / "report"
    folder.mkdir(parents=True)
    (folder / "report.json").write_text(json.dumps({"task": config.task, "modes": modes}))


def table(configs: list[PipelineConfig], run: Run, at_once: int = 1) -> tuple[int, str]:
    screen = io.StringIO()
    code = run_group(configs, run, Console(file=screen, width=120), at_once)
    return code, screen.getvalue()


def test_seven_expands_to_seven_tasks_that_differ_in_task_and_name_only(tmp_path):
    configs = seven(tmp_path)
    assert [config.task for config in configs] == list(GROUPS["seven"])
    assert len({task_of(config).name for config in configs}) == 7
    assert [config.name for config in configs] == [f"all-{task}" for task in GROUPS["seven"]]
    same = {"name": "x", "task": "svamp"}
    assert all(config.model_copy(update=same) == configs[0].model_copy(update=same) for config in configs)


def test_a_single_task_stays_one_run():
    assert expand(PipelineConfig(task="svamp")) == [PipelineConfig(task="svamp")]


def test_the_input_path_of_a_group_names_the_task(tmp_path):
    source = RationalesConfig(source="file", path=f"{tmp_path}/{{task}}.jsonl")
    paths = [config.rationales.path for config in expand(PipelineConfig(task="seven", rationales=source))]
    assert paths == [f"{tmp_path}/{task}.jsonl" for task in GROUPS["seven"]]
    one = RationalesConfig(source="file", path="x.jsonl")
    with pytest.raises(ValueError, match=r"'x\.jsonl' is one path for all tasks of 'seven'; write \{task\}"):
        expand(PipelineConfig(task="seven", rationales=one))


def test_a_group_where_one_task_is_needed_is_refused():
    with pytest.raises(ValueError, match="'seven' is a group of 7 tasks, which only `skipthink run` accepts"):
        task_of(PipelineConfig(task="seven"))


@pytest.mark.parametrize("at_once", [1, 3])
def test_the_table_shows_every_report(tmp_path, at_once):
    def run(config: PipelineConfig) -> Outcome:
        write_report(config, skip_accuracy=39.5)
        return Outcome(config, 0)

    code, screen = table(seven(tmp_path), run, at_once)
    assert code == 0
    rows = [line.split() for line in screen.splitlines()]
    assert [row for row in rows if row and row[0] in GROUPS["seven"]] == [
        [task, "41.2", "40.0", "39.5", "1.50", "1.38"] for task in GROUPS["seven"]
    ]


def test_a_failure_is_reported_at_the_end_and_the_other_tasks_run(tmp_path):
    def run(config: PipelineConfig) -> Outcome:
        if config.task == "svamp":
            return Outcome(config, 2, "no such file: svamp.jsonl")
        if config.task == "addsub":
            return Outcome(config, 1)
        write_report(config, skip_accuracy=39.5)
        return Outcome(config, 0)

    code, screen = table(seven(tmp_path), run)
    assert code == 1
    lines = screen.splitlines()
    assert lines[-2:] == [
        "skipthink: addsub failed: see above",
        "skipthink: svamp failed: no such file: svamp.jsonl",
    ]
    assert [line.split()[1] for line in lines if line.split()[:1] == ["svamp"]] == ["failed"]
    assert sum("1.38" in line for line in lines) == 5


def test_a_terminated_run_ends_the_group(tmp_path):
    tried: list[str] = []

    def run(config: PipelineConfig) -> Outcome:
        tried.append(config.task)
        return Outcome(config, 143)

    assert table(seven(tmp_path), run)[0] == 143
    assert tried == ["single_eq"]


def test_as_many_tasks_run_at_once_as_there_is_room_for_and_a_signal_ends_them(tmp_path):
    """Three tasks meet at a barrier. Then a signal arrives."""
    meeting, ended, started = threading.Barrier(3), threading.Event(), list[str]()

    def run(config: PipelineConfig) -> Outcome:
        started.append(config.task)
        meeting.wait(timeout=30)
        if config.task == "single_eq":
            os.kill(os.getpid(), signal.SIGTERM)
        assert ended.wait(timeout=30)
        return Outcome(config, 143)

    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        with pytest.raises(SystemExit):
            run_group(seven(tmp_path), run, Console(file=io.StringIO()), 3, ended.set)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert len(started) == 3


def test_a_task_in_its_own_process_is_the_command_that_runs_it_alone(tmp_path):
    config = seven(tmp_path)[1]
    missing = config.rationales.model_copy(update={"source": "file", "path": str(tmp_path / "addsub.jsonl")})
    config = config.model_copy(update={"rationales": missing})
    words = [
        "--task",
        "seven",
        "--rationales.source",
        "file",
        "--rationales.path",
        f"{tmp_path}/{{task}}.jsonl",
    ]
    screen = io.StringIO()
    outcome = Processes(words, {**os.environ}, Console(file=screen, width=120)).run(config)
    assert outcome.code == 2
    assert outcome.error == f"rationales.path: no such file: {tmp_path}/addsub.jsonl"
    first, *lines = screen.getvalue().splitlines()
    assert first.startswith("addsub      skipthink run --task seven")
    assert first.endswith(f"--task addsub --name all-addsub --rationales.path {tmp_path}/addsub.jsonl")
    assert lines == [f"addsub      skipthink: {outcome.error}"]
    Processes([], {**os.environ}, Console(file=screen, width=200)).run(config.starting_without_server())
    assert "--name all-addsub --tracking.may-be-away --rationales.path" in screen.getvalue()


def test_a_task_without_its_file_does_not_stop_the_others(tmp_path, monkeypatch):
    for task in ("addsub", "svamp"):
        (tmp_path / f"{task}.jsonl").write_text(
            '{"question": "How many?", "answer": "1", "rationale": "One."}\n'
        )
    source = RationalesConfig(source="file", path=f"{tmp_path}/{{task}}.jsonl")
    tracking = TrackingConfig(backend="off")
    configs = expand(
        PipelineConfig(task="seven", storage_path=str(tmp_path), rationales=source, tracking=tracking)
    )
    monkeypatch.setattr(group, "_run_side_by_side", lambda *_: None)
    ran = list[str]()

    def run(config: PipelineConfig) -> int:
        open_run(config)
        ran.append(config.task)
        write_report(config, skip_accuracy=39.5)
        return 0

    assert run_tasks(configs, run, []) == 1
    assert ran == ["addsub", "svamp"]


def test_a_group_checks_its_server_once_and_tells_its_tasks_that_it_may_be_away(tmp_path, monkeypatch):
    away = f"http://127.0.0.1:{free_ports(1)[0]}"
    tracking = TrackingConfig(uri=away)
    configs = [config.model_copy(update={"tracking": tracking}) for config in seven(tmp_path)]
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(ValueError, match=rf"MLflow at '{away}' does not answer"):
        run_tasks(configs, lambda _: 0, [])

    checked = list[TrackingConfig]()  # the server answers the check, and goes away
    monkeypatch.setattr(group, "check_server", lambda config, _: checked.append(config))
    monkeypatch.setattr(group, "_run_side_by_side", lambda *_: None)
    ran = list[bool]()

    def run(config: PipelineConfig) -> int:
        ran.append(config.tracking.may_be_away)
        write_report(config, skip_accuracy=39.5)
        return 0

    assert run_tasks(configs, run, []) == 0
    assert ran == [True] * len(configs)
    assert checked == [tracking]


def test_processes_end_as_sigterm_ends_them_and_no_other_starts(tmp_path, monkeypatch):
    script = tmp_path / "python"
    script.write_text("#!/bin/sh\ntrap 'echo saved; exit 143' TERM\necho here\nwhile :; do sleep 0.1; done\n")
    script.chmod(stat.S_IRWXU)
    monkeypatch.setattr(sys, "executable", str(script))
    screen = io.StringIO()
    processes = Processes([], {**os.environ}, Console(file=screen, width=120))
    configs = seven(tmp_path)
    outcomes = list[Outcome]()
    thread = threading.Thread(target=lambda: outcomes.append(processes.run(configs[0])))
    thread.start()
    while "here" not in screen.getvalue():
        thread.join(0.05)
        assert thread.is_alive()
    processes.terminate()
    thread.join(30)
    assert [outcome.code for outcome in outcomes] == [143]
    assert "single_eq   saved" in screen.getvalue()
    assert processes.run(configs[1]).code == 143
    assert len(processes.running) == 1
