"""Stopping the stages that run beside another one, and their progress bars."""

import io
import subprocess
import sys
import threading
import time

import pytest
from rich.console import Console

from skipthink_ray.runtime.artifacts import Folder
from skipthink_ray.runtime.lock import wait_or_lock
from skipthink_ray.runtime.progress import Bars
from skipthink_ray.runtime.stopping import Stopped, Stopper
from skipthink_ray.side_by_side import PATIENCE_S

TRAINING = """
import os, signal, sys, threading, time
from skipthink_ray.config import ClusterConfig
from skipthink_ray.runtime import cluster
from skipthink_ray.runtime.stopping import Stopped, Stopper
from skipthink_ray.side_by_side import Schedule, Work

signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
cluster.connect(ClusterConfig())
stopper, stopped = Stopper(), []

def sleep(seconds):
    time.sleep(seconds)
    return "slept"

assert stopper.call(sleep, 0) == "slept"

def train():
    try:
        stopper.call(sleep, 600)
    except Stopped:
        time.sleep(4)  # a stage may need some time to end
        stopped.append(True)
        raise

work = Work(train, frozenset(), 1, in_thread=True)
kill = os.killpg if sys.argv[1] == "group" else os.kill
threading.Timer(3, kill, (os.getpid(), signal.SIGTERM)).start()
try:
    Schedule({"base": work, "cwt": work}, 2).run(stopper.stop)
finally:
    cluster.disconnect()
    print("stopped", len(stopped))
"""


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.parametrize("killed", ["process", "group"])
def test_sigterm_ends_the_process_with_its_own_exit_code(killed):
    """A signal for the whole process group, as `timeout` sends it, also ends Ray's own processes."""
    command, started = [sys.executable, "-c", TRAINING, killed], time.monotonic()
    run = subprocess.run(command, capture_output=True, text=True, timeout=600, start_new_session=True)
    assert run.returncode == 143, run.stdout + run.stderr
    assert killed == "group" or "stopped 2" in run.stdout
    assert time.monotonic() - started < PATIENCE_S


def test_a_stopped_stage_no_longer_waits_for_another_run(tmp_path):
    folder, stopper, ends = Folder.open(str(tmp_path)), Stopper(), list[str]()

    def wait() -> None:
        try:
            with wait_or_lock(folder, lambda: False, "second", lambda _: told.set(), stopper.pause):
                ends.append("locked")
        except Stopped:
            ends.append("stopped")

    told, thread = threading.Event(), threading.Thread(target=wait)
    with wait_or_lock(folder, lambda: False, "first", print):
        thread.start()
        assert told.wait(30)
        stopper.stop()
        thread.join(30)
    assert ends == ["stopped"]
    with pytest.raises(Stopped):
        stopper.call(time.sleep, 60)  # a stage that was about to train does not begin


def test_the_bars_of_two_stages_share_a_display_and_the_one_that_goes_on_stays_visible():
    screen = io.StringIO()
    console, bars = Console(file=screen, force_terminal=True, width=100), Bars()
    first, base = bars.add(console, "base", "updates", 10)
    second, cwt = bars.add(console, "cwt", "updates", 20)
    assert first is second
    for number, bar in enumerate((base, cwt), start=1):
        first.update(bar, completed=number)
    first.refresh()
    assert all(text in screen.getvalue() for text in ("base ", "cwt ", " 1/10", " 2/20"))
    bars.remove(first, base)
    screen.truncate(0)
    first.refresh()
    assert "cwt " in screen.getvalue()
    assert "base " not in screen.getvalue()
    bars.remove(first, cwt)
    third, skips = bars.add(console, "skips", "samples", 5)
    third.refresh()
    assert "0/5" in screen.getvalue()
    bars.remove(third, skips)
    assert not console._live_stack
