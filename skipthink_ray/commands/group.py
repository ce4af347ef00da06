"""Runs for a group of tasks, side by side if the cluster has room, and one table of their results."""

import os
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.table import Table

from skipthink_ray.config import PipelineConfig
from skipthink_ray.identity import stages_of
from skipthink_ray.pipeline import is_finished, open_run, processes_at_once
from skipthink_ray.reporting.table import FAILED, Row, add_runs, main_numbers, plain_table
from skipthink_ray.runtime.artifacts import Folder
from skipthink_ray.runtime.console import TERMINATED, say
from skipthink_ray.runtime.job import how_to_continue
from skipthink_ray.runtime.logged import end_on_sigterm
from skipthink_ray.runtime.store import REPORT
from skipthink_ray.runtime.tracking import check_server

POLL_S = 0.5
GRACE_S = 120.0
"""Seconds that stopped runs may take to end. Each saves a checkpoint first."""


@dataclass(frozen=True)
class Outcome:
    """How the run of one task ended."""

    config: PipelineConfig
    code: int
    """Exit code; 0 is done."""
    error: str = ""


Run = Callable[[PipelineConfig], Outcome]


def run_tasks(
    configs: Sequence[PipelineConfig], run: Callable[[PipelineConfig], int], words: Sequence[str]
) -> int:
    """Run the tasks of a group, side by side if the cluster has room. Returns the exit code of `run_group`.

    run: runs a task in this process. words: the options of the group's command.
    Raises ValueError if the tracking server does not answer. Once tasks run, it may go away.
    """
    left = [config for config in configs if not _is_finished(config)]
    if left:  # the tasks have one server, and go on without it
        from skipthink_ray.preflight import check_writable

        storage = Folder.open(left[0].storage_path)
        check_writable(storage)
        check_server(left[0].tracking, storage)
        configs = [config.starting_without_server() for config in configs]
    if len(left) > 1:
        code = _run_side_by_side(configs, words)
        if code is not None:
            return code
    console = Console(width=None if sys.stdout.isatty() else 120)
    return run_group(configs, partial(_in_this_process, run), console)


def _is_finished(config: PipelineConfig) -> bool:
    try:
        return is_finished(open_run(config), stages_of(config))
    except ValueError:  # its run will say so
        return False


def _run_side_by_side(configs: Sequence[PipelineConfig], words: Sequence[str]) -> int | None:
    """The exit code of `run_group`, or None if the cluster has room for one task only."""
    from skipthink_ray.runtime.cluster import connect, disconnect, environment, room  # imports Ray
    from skipthink_ray.runtime.progress import quiet

    end_on_sigterm()
    cluster = configs[0].cluster
    with quiet(Path(os.devnull)) as console:  # each task has a log of its own
        try:
            connect(cluster)
            at_once = room(cluster) // processes_at_once(configs[0])
            if at_once < 2:
                return None
            tasks = Processes(words, {**os.environ, **environment()}, console)
            return run_group(configs, tasks.run, console, at_once, tasks.terminate)
        except SystemExit:
            say(console, f"skipthink: terminated; {how_to_continue()}")
            return TERMINATED
        finally:
            disconnect()


def run_group(
    configs: Sequence[PipelineConfig],
    run: Run,
    console: Console,
    at_once: int = 1,
    stop: Callable[[], None] = lambda: None,
) -> int:
    """Call `run` on every configuration, also after a failure, and print the table of results.

    at_once: how many may run at the same time. With 1, they run in this thread. Otherwise each runs in a
    thread of its own, and a signal calls `stop`, which must end them.
    Returns the exit code: 0 if all runs are done, 1 if one failed, 143 if SIGTERM ended a run in this thread.
    """
    numbers = {config.name: f"{number}/{len(configs)}" for number, config in enumerate(configs, start=1)}

    def announced(config: PipelineConfig) -> Outcome:
        say(console, f"\n{numbers[config.name]} {config.task}")
        return run(config)

    if at_once == 1:  # in this thread, where signals arrive
        outcomes = list[Outcome]()
        for config in configs:
            outcomes.append(announced(config))
            if outcomes[-1].code == TERMINATED:
                return TERMINATED
    else:
        with ThreadPoolExecutor(at_once) as pool:
            try:
                futures = [pool.submit(announced, config) for config in configs]
                while wait(futures, POLL_S).not_done:
                    pass  # a signal that arrives just before a wait is noticed after it
                outcomes = [future.result() for future in futures]
            except BaseException:  # a signal
                pool.shutdown(wait=False, cancel_futures=True)
                stop()
                raise
    console.print()
    console.print(table_of(outcomes))
    for failed in (outcome for outcome in outcomes if outcome.code):
        reason = failed.error or "see above"
        say(console, f"skipthink: {failed.config.task} failed: {reason}")
    return int(any(outcome.code for outcome in outcomes))


def _in_this_process(run: Callable[[PipelineConfig], int], config: PipelineConfig) -> Outcome:
    try:
        return Outcome(config, run(config))
    except ValueError as error:  # the user's error; the other tasks may still run
        return Outcome(config, 2, str(error))


@dataclass
class Processes:
    """Runs in processes of their own. Their lines are printed after the name of the task."""

    words: Sequence[str]
    """The options of the group's command."""
    environment: dict[str, str]
    console: Console
    running: list[subprocess.Popen[str]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    stopping: bool = False

    def run(self, config: PipelineConfig) -> Outcome:
        """Run a task of the group to its end, with the command that would run it alone."""
        command = ["run", *self.words, "--task", config.task, "--name", config.name]
        if config.tracking.may_be_away:
            command.append("--tracking.may-be-away")
        if config.rationales.path:
            command += ["--rationales.path", config.rationales.path]
        tell = partial(say, self.console, stage=config.task)
        tell(f"skipthink {shlex.join(command)}")
        with self.lock:
            if self.stopping:
                return Outcome(config, TERMINATED)
            process = self._start(command)
            self.running.append(process)
        error, out = "", process.stdout
        assert out  # it is a pipe
        for line in out:
            tell(line.rstrip("\n"))
            if line.startswith("skipthink: "):
                error = line.removeprefix("skipthink: ").strip()
        return Outcome(config, process.wait(), error)

    def _start(self, command: Sequence[str]) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "skipthink_ray.cli", *command],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,  # Ctrl-C reaches the group's process alone, which then ends all
        )

    def terminate(self) -> None:
        """Start no more processes, and end those that run as SIGTERM does. Kills those that take too long."""
        with self.lock:
            self.stopping = True
        for process in self.running:
            if process.poll() is None:
                process.terminate()
        deadline = time.monotonic() + GRACE_S
        for process in self.running:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()


def table_of(outcomes: list[Outcome]) -> Table:
    """One row per task: accuracy in every mode, token ratio and speed-up, or "failed"."""
    table = plain_table()
    table.add_column("task")
    rows = list[Row]()
    for outcome in outcomes:
        config = outcome.config
        report = Folder.open(config.storage_path).child(config.name).child(REPORT)
        rows.append(([config.task], FAILED if outcome.code else main_numbers(report)))
    add_runs(table, rows)
    return table
