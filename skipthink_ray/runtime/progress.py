"""A live progress line per running stage; all other output goes to a log file.

Workers and actors report to a `Board` (board.py). A thread of the driver polls it, draws the line, and passes
metrics to the tracker. So only the driver needs access to the tracking server.
"""

import contextlib
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ray.exceptions import GetTimeoutError, RayActorError
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from skipthink_ray.runtime.board import Board, News, start_boards
from skipthink_ray.runtime.console import say
from skipthink_ray.runtime.pace import PlainLines
from skipthink_ray.runtime.tracker import Rows, Tracker

POLL_S = 0.5


Watch = Callable[[str, int, Rows], str]
"""(stage, total units, new metrics) -> why the stage is to be given up; empty if it goes on."""


class Bars:
    """The boards of a run's stages, and their live bars. A console can show one live display only.

    watch: is shown the metrics of every stage, and may give the stage up.
    """

    def __init__(self, watch: Watch | None = None) -> None:
        self.watch, self.lock = watch, threading.Lock()
        self.display: Progress | None = None
        self.boards: Any = None

    def board(self, stage: str) -> Board:
        """An empty board for a stage."""
        with self.lock:
            if self.boards is None:
                self.boards = start_boards()
        board = Board(self.boards, stage, is_watched=self.watch is not None)
        board.open()
        return board

    def add(self, console: Console, name: str, unit: str, total: int) -> tuple[Progress, TaskID]:
        """Show a bar. Returns the display that has it, and the bar's id there."""
        with self.lock:
            if self.display is None:
                self.display = Progress(
                    TextColumn("{task.description:<11}"),
                    BarColumn(30),
                    MofNCompleteColumn(),
                    TextColumn("{task.fields[unit]} {task.fields[note]}"),
                    TimeElapsedColumn(),
                    TextColumn("left"),
                    TimeRemainingColumn(),
                    console=console,
                    transient=True,
                    disable=not console.is_terminal,
                )
                self.display.start()
            return self.display, self.display.add_task(name, total=total or None, unit=unit, note="")

    def remove(self, display: Progress, bar: TaskID) -> None:
        """Remove a bar, and with the last one the display."""
        with self.lock:
            display.remove_task(bar)
            if not display.tasks:
                display.stop()
                self.display = None


class StageLine:
    """The progress line of one stage: a live bar on a terminal, else plain lines (pace.py)."""

    def __init__(
        self, console: Console, name: str, unit: str, total: int, tracker: Tracker, bars: Bars
    ) -> None:
        self.console, self.name, self.unit, self.total, self.tracker = console, name, unit, total, tracker
        self.board, self.bars = bars.board(name), bars
        self.display, self.bar = bars.add(console, name, unit, total)
        self.stop, self.thread = threading.Event(), threading.Thread(target=self._follow, daemon=True)
        self.plain = PlainLines(name, unit, time.monotonic())
        self.shown = News()
        """The last news with a count; a progress actor that started again has none."""
        self.failure: Exception | None = None

    def __enter__(self) -> "StageLine":
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self.thread.join()
        self.bars.remove(self.display, self.bar)
        if self.failure:
            raise self.failure

    def _follow(self) -> None:
        try:
            while not self.stop.wait(POLL_S):
                self._poll()
            self._poll()
        except Exception as error:  # noqa: BLE001  # __exit__ raises it on the driver's main thread
            self.failure = error

    def _poll(self) -> None:
        try:
            news = self.board.take(timeout_s=30)
        except (GetTimeoutError, RayActorError):
            return  # the cluster is busy or gone; the stage itself reports that
        if news.done or news.total:
            self.shown = news
        done, total, note = self.shown.done, self.shown.total or self.total, self.shown.note
        for remark in news.remarks:
            say(self.console, remark, self.name)
        self.display.update(self.bar, completed=done, total=total or None, note=note)
        if not self.console.is_terminal and (line := self.plain.line(time.monotonic(), done, total, note)):
            say(self.console, line)
        if news.metrics:
            self.tracker.metrics(news.metrics)
        if self.bars.watch and (reason := self.bars.watch(self.name, total, news.metrics)):
            self.board.give_up(reason)


@contextlib.contextmanager
def quiet(log_file: Path) -> Iterator[Console]:
    """Redirect all output, also that of native libraries, to a log file.

    Yields a console on the real stdout.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    saved = [os.dup(1), os.dup(2)]
    with open(log_file, "ab", buffering=0) as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    width = None if os.isatty(saved[0]) else 120
    try:
        with os.fdopen(os.dup(saved[0]), "w", encoding="utf-8", errors="replace") as screen:
            yield Console(file=screen, width=width)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for number, descriptor in enumerate(saved, start=1):
            os.dup2(descriptor, number)
            os.close(descriptor)


def cause(error: BaseException) -> str:
    """The last line that names an exception. Ray puts pages of text around the cause of a remote failure."""
    lines = [line.strip() for line in (str(error).strip() or repr(error)).splitlines()]
    named = [line for line in lines if re.match(r"[\w.]*(Error|Exception)\b", line)]
    return named[-1] if len(lines) > 1 and named else lines[0]
