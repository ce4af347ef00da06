"""What a run costs apart from its work: the CPU time of its processes, and the time of each stage.

    python -m benchmarks.bench_startup                     # preset tiny, with 20 updates a stage
    python -m benchmarks.bench_startup --document docs/speed.md

A tiny run has almost no work, so its CPU time is what its processes need to start: mostly imports of torch,
transformers and Ray. Each result is appended to benchmarks/startup.jsonl.
"""

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import psutil

from benchmarks.arguments import at_least
from benchmarks.document import fill_tables
from benchmarks.evidence import finished
from skipthink_ray.config import PipelineConfig
from skipthink_ray.identity import stages_of

RESULTS = Path(__file__).with_name("startup.jsonl")
STAGES = stages_of(PipelineConfig())
SAMPLE_S = 0.1
DRIVER, SERVICES, OTHERS = "the command itself", "Ray's services", "other actors and tasks"
TASKS = "tasks that start Ray Train, make the student or time answers"
TRAIN_ACTORS = "Ray Train's other actors"
KINDS = {
    "RayTrainWorker": "training workers",
    "TrainController": "Ray Train's controllers",
    "_fit": TASKS,
    "_write_or_refuse": TASKS,
    "_time_modes": TASKS,
    "SynchronizationActor": TRAIN_ACTORS,
    "DatasetManager": TRAIN_ACTORS,
    "PlacementGroupCleaner": TRAIN_ACTORS,
    "MapWorker": "actors for skips and answers",
    "DashboardAgent": SERVICES,
    "RuntimeEnvAgent": SERVICES,
}
"""What a process is, by the name in the title that Ray gives it."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=at_least(1), default=3)
    parser.add_argument("--label", default="", help="what is measured, for the table; such as a commit")
    parser.add_argument("--results", type=Path, default=RESULTS, help="JSON Lines file, one line per run")
    parser.add_argument("--document", type=Path, help="put the tables into this document, run nothing")
    arguments = parser.parse_args()
    if arguments.document:
        try:
            lines = finished(arguments.results)
            text = arguments.document.read_text()
            arguments.document.write_text(fill_tables(text, "startup", lambda: table(lines)))
        except IndexError:
            parser.error(f"{arguments.results} has no results; run this without --document first")
        except ValueError as error:
            parser.error(str(error))
        return
    for _ in range(arguments.repeats):
        line = {"label": arguments.label, **measure()}
        print(json.dumps(line), flush=True)
        with arguments.results.open("a") as file:
            file.write(json.dumps(line) + "\n")


def measure() -> dict[str, Any]:
    """One run of the preset tiny: seconds of wall time, and CPU seconds by kind of process."""
    with TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "skipthink_ray.cli", "run", "--preset", "tiny", "--name", "tiny"]
        started = time.time()
        run = subprocess.Popen([*command, "--storage-path", folder], stdout=subprocess.DEVNULL)
        cpu_s = _watch(run)
        seconds = time.time() - started
        if run.returncode:
            raise SystemExit(f"the run ended with exit code {run.returncode}")
        stages = {stage: _seconds(Path(folder, "tiny", stage)) for stage in STAGES}
        first = os.path.getmtime(Path(folder, "tiny/rationales/config.json"))
    return {
        "seconds": seconds,
        "seconds_to_first_stage": first - started,
        "stage_seconds": stages,
        "cpu_s": cpu_s,
        "cpus": os.cpu_count(),
        "machine": platform.machine(),
        "date": datetime.now(UTC).date().isoformat(),
    }


def _watch(run: subprocess.Popen[bytes]) -> dict[str, float]:
    """CPU seconds of the run and all its descendants, by kind.

    They are read every SAMPLE_S seconds, so the last moments of each process are not counted.
    """
    used: dict[psutil.Process, float] = {}
    titles: dict[psutil.Process, list[str]] = {}
    parent = psutil.Process(run.pid)
    while run.poll() is None:
        for process in _family(parent):
            with suppress(psutil.NoSuchProcess), process.oneshot():  # it may have just ended
                times = process.cpu_times()
                used[process] = times.user + times.system
                titles.setdefault(process, []).append(" ".join(process.cmdline()))
        time.sleep(SAMPLE_S)
    totals: dict[str, float] = {}
    for process, seconds in used.items():
        kind = DRIVER if process == parent else _kind(titles.get(process, []))
        totals[kind] = totals.get(kind, 0.0) + seconds
    return dict(sorted(totals.items(), key=lambda item: -item[1]))


def _family(parent: psutil.Process) -> list[psutil.Process]:
    """A process and all its descendants; empty if it has ended."""
    with suppress(psutil.NoSuchProcess):
        return [parent, *parent.children(recursive=True)]
    return []


def _kind(titles: Sequence[str]) -> str:
    """What a process is. Ray changes its title with its work; the last known one counts."""
    names = [match[1] for title in titles if (match := re.match(r"ray::(\w+)", title))]
    known = [KINDS[name] for name in names if name in KINDS]
    if known:
        return known[-1]
    return OTHERS if names else SERVICES


def _seconds(stage: Path) -> float:
    return os.path.getmtime(stage / "_DONE") - os.path.getmtime(stage / "config.json")


def table(lines: Sequence[dict[str, Any]]) -> str:
    """Medians over the runs of each label."""
    labels = list(dict.fromkeys(line["label"] for line in lines))
    runs = {label: [line for line in lines if line["label"] == label] for label in labels}
    kinds = dict.fromkeys(kind for line in lines for kind in line["cpu_s"])

    def row(name: str, value: Any) -> str:
        cells = (f"{median(map(value, runs[label])):.1f}" for label in labels)
        return f"| {name} | " + " | ".join(cells) + " |"

    last = lines[-1]
    return "\n".join(
        [
            "| seconds | " + " | ".join(f"{label}, runs: {len(runs[label])}" for label in labels) + " |",
            "| --- |" + " --- |" * len(labels),
            row("wall time", lambda line: line["seconds"]),
            row("until the first stage", lambda line: line["seconds_to_first_stage"]),
            *(row(f"stage `{stage}`", lambda line, s=stage: line["stage_seconds"][s]) for stage in STAGES),
            row("CPU time", lambda line: sum(line["cpu_s"].values())),
            *(row(f"CPU: {kind}", lambda line, k=kind: line["cpu_s"].get(k, 0.0)) for kind in kinds),
            "",
            f"{last['date']}, {last['cpus']} CPU cores, {last['machine']}.",
        ]
    )


if __name__ == "__main__":
    main()
