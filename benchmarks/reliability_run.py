"""Starts a run, kills one of its processes with SIGKILL at a random moment, and waits for the run to end.

The stage that the kill hits is made from nothing. The artifacts of all other stages come from an undisturbed
run. The moment is drawn uniformly from the time for which the undisturbed run had such a process in that
stage.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

NAME = "run"
OPTIONS = (
    f"--preset tiny --name {NAME} --task strategy_qa --updates 400 --rationales.train-questions 320 "
    "--cluster.checkpoint-every-s 1 --cluster.wait-s 120 --report.samples 4 --evaluation.latency-questions 2"
).split()
TRAINING = ("base", "cwt", "stt")
STAGES = ("rationales", "samples", *TRAINING, "skips", "evaluation")
TITLES = {"worker": "ray::RayTrainWorker", "actor": "ray::MapWorker", "progress": "ray::_Boards"}
"""How Ray names the processes."""
HIT: dict[str, tuple[str, ...]] = {
    "worker": TRAINING,
    "actor": ("skips",),
    "progress": (*TRAINING, "skips", "evaluation"),
    "node": (*TRAINING, "skips", "evaluation"),
    "driver": STAGES,
}
"""The kinds of kills, and the stages in which they strike."""
TRIES = 4
"""Most submissions of a run, and most attempts to hit it before it ends."""
LIMIT_S, POLL_S = 900.0, 0.05


def command(storage: Path, address: str | None) -> list[str]:
    joined = ["--cluster.address", address] if address else []
    words = [sys.executable, "-m", "skipthink_ray.cli", "run", "--storage-path", str(storage)]
    return [*words, *OPTIONS, *joined]


def submit(storage: Path, address: str | None) -> subprocess.Popen[bytes]:
    """Start a run. Its output is appended to a file beside its storage."""
    with open(storage.with_suffix(".txt"), "ab") as screen:
        return subprocess.Popen(
            command(storage, address),
            stdout=screen,
            stderr=screen,
            env={**os.environ, "RAY_worker_niceness": "0"},
        )


def is_making(storage: Path, stage: str) -> bool:
    """Whether the stage has begun and is not finished."""
    return any((one / "config.json").exists() for one in _made(storage, stage)) and not any(
        (one / "_DONE").exists() for one in _made(storage, stage)
    )


def _made(storage: Path, stage: str) -> list[Path]:
    return [*(storage / "artifacts" / stage).glob("*")]


def victims(kind: str, run: psutil.Process) -> list[psutil.Process]:
    """The processes that a kill of this kind may hit now."""
    if kind == "driver":
        return [run]
    return [one for one in _below(run) if TITLES[kind] in _title(one)]


def _below(run: psutil.Process) -> list[psutil.Process]:
    try:
        return run.children(recursive=True)
    except psutil.Error:
        return []


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def measure(storage: Path) -> dict[str, dict[str, float]]:
    """Make an undisturbed run. Returns the seconds for which each stage has victims of each kind."""
    seconds: dict[str, dict[str, float]] = {kind: dict.fromkeys(stages, 0.0) for kind, stages in HIT.items()}
    run = submit(storage, None)
    tree, before = psutil.Process(run.pid), time.monotonic()
    while run.poll() is None:
        time.sleep(0.1)
        now = time.monotonic()
        titles = [_title(one) for one in _below(tree)]
        for kind, stages in seconds.items():
            if kind in TITLES and not any(TITLES[kind] in title for title in titles):
                continue
            for stage in stages:
                stages[stage] += (now - before) * is_making(storage, stage)
        before = now
    if run.returncode:
        raise RuntimeError(f"the undisturbed run failed; see {storage.with_suffix('.txt')}")
    return seconds


@dataclass(frozen=True)
class Kill:
    """A kill: of what, in which stage, after how many seconds of the stage with such a process."""

    kind: str
    stage: str
    after_s: float


def prepare(calm: Path, storage: Path, stage: str) -> None:
    """Give a new storage path all artifacts of the undisturbed run but those of a stage."""
    shutil.rmtree(storage, ignore_errors=True)
    for made in (calm / "artifacts").iterdir():
        if made.name != stage and not (stage == "evaluation" and made.name.startswith("answers")):
            shutil.copytree(made, storage / "artifacts" / made.name)


def strike(kill: Kill, storage: Path, run: subprocess.Popen[bytes], end_node: Callable[[], None]) -> bool:
    """Kill at the moment. Returns False if the run ended before it."""
    tree, alive, before = psutil.Process(run.pid), 0.0, time.monotonic()
    while run.poll() is None:
        time.sleep(POLL_S)
        now = time.monotonic()
        if is_making(storage, kill.stage):
            found = [tree] if kill.kind == "node" else victims(kill.kind, tree)
            alive += (now - before) * bool(found)
            if found and alive >= kill.after_s:
                if kill.kind == "node":
                    end_node()
                else:
                    end(found[0], with_children=kill.kind == "driver")
                return True
        before = now
    return False


def end(process: psutil.Process, with_children: bool) -> None:
    """SIGKILL, as the kernel's out-of-memory killer would send it.

    with_children: also end what Ray leaves behind, after it had the time to end by itself.
    """
    children = process.children(recursive=True) if with_children else []
    os.kill(process.pid, signal.SIGKILL)
    _, left = psutil.wait_procs(children, timeout=5)
    for one in left:
        one.kill()


def finish(storage: Path, address: str | None, run: subprocess.Popen[bytes]) -> int:
    """Wait for the run, and submit it again until it succeeds. Returns the number of submissions."""
    for submissions in range(1, TRIES + 1):
        code = run.wait(LIMIT_S)
        if code == 0:
            return submissions
        if submissions < TRIES:
            run = submit(storage, address)
    raise RuntimeError(f"the run failed {TRIES} times; see {storage.with_suffix('.txt')}")
