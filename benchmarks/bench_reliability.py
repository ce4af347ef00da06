"""Kills processes of runs at random moments, and checks that the runs end as an undisturbed one does.

    python -m benchmarks.bench_reliability --each 10      # runs what benchmarks/reliability.jsonl lacks
    python -m benchmarks.bench_reliability --table        # prints the tally
    python -m benchmarks.bench_reliability --document docs/reliability.md

The kinds: worker is a training worker, actor an ablation actor, progress the progress actor, and driver the
process that the user started. node means all processes of the only node with CPUs; a new node starts at once.
"""

import argparse
import json
import os
import platform
import random
import shutil
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.arguments import at_least
from benchmarks.evidence import finished
from benchmarks.reliability_check import problem
from benchmarks.reliability_nodes import Nodes, two_nodes
from benchmarks.reliability_run import HIT, TRIES, Kill, finish, measure, prepare, strike, submit
from benchmarks.reliability_table import fill, table

RESULTS = Path(__file__).with_name("reliability.jsonl")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kinds", nargs="*", choices=list(HIT), default=list(HIT))
    parser.add_argument("--each", type=at_least(1), default=10, help="kills of each kind")
    parser.add_argument("--results", type=Path, default=RESULTS, help="JSON Lines file, one line per kill")
    parser.add_argument("--folder", type=Path, default=Path("runs/reliability"))
    parser.add_argument("--table", action="store_true", help="print the tally, run nothing")
    parser.add_argument("--document", type=Path, help="put the tally into this document, run nothing")
    arguments = parser.parse_args()
    try:
        lines = finished(arguments.results)
    except ValueError as error:
        parser.error(str(error))
    if arguments.document:
        try:
            arguments.document.write_text(fill(arguments.document.read_text(), lines))
        except ValueError as error:
            parser.error(f"{arguments.document}: {error}")
    elif arguments.table:
        print(table(lines))
    else:
        _run_missing(arguments, {(line["kind"], line["number"]) for line in lines})


def _run_missing(arguments: argparse.Namespace, done: set[tuple[str, int]]) -> None:
    folder = arguments.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    seconds = _calm(folder)
    missing = [
        (kind, number)
        for number in range(arguments.each)
        for kind in arguments.kinds
        if (kind, number) not in done
    ]
    for kind, number in missing:
        line = _attempt(folder, kind, number, seconds[kind])
        print(json.dumps(line), flush=True)
        with arguments.results.open("a") as file:
            file.write(json.dumps(line) + "\n")


def _calm(folder: Path) -> dict[str, dict[str, float]]:
    """Make the undisturbed run once. Returns what `measure` does."""
    times = folder / "calm.json"
    if not times.exists():
        shutil.rmtree(folder / "calm", ignore_errors=True)
        (folder / "calm").mkdir()
        times.write_text(json.dumps(measure(folder / "calm")))
    return json.loads(times.read_text())


def draw(kind: str, number: int, seconds: dict[str, float]) -> Kill:
    """A moment, uniform over the time in which such a kill may strike."""
    at = random.Random(f"{kind}-{number}").uniform(0, sum(seconds.values()))
    for stage, length in seconds.items():
        if at <= length:
            return Kill(kind, stage, at)
        at -= length
    raise AssertionError("the moment lies after all stages")


def _attempt(folder: Path, kind: str, number: int, seconds: dict[str, float]) -> dict[str, Any]:
    """Kill once. Returns a line of the results."""
    kill, storage = draw(kind, number, seconds), folder / f"{kind}-{number}"
    with two_nodes(storage, is_needed=kind == "node") as nodes:
        started, kill, submissions, fault = _killed(folder / "calm", storage, kill, nodes)
    fault = fault or problem(folder / "calm", storage, kill.stage)
    if not fault:
        shutil.rmtree(storage)
        storage.with_suffix(".txt").unlink()
    return {
        "kind": kind,
        "number": number,
        "stage": kill.stage,
        "after_s": round(kill.after_s, 2),
        "submissions": submissions,
        "fault": fault,
        "seconds": round(time.monotonic() - started, 1),
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "machine": f"{os.cpu_count()} CPU cores, {platform.machine()}",
    }


def _killed(calm: Path, storage: Path, kill: Kill, nodes: Nodes) -> tuple[float, Kill, int, str]:
    """Run, kill and wait. Returns when the run started, the kill, the submissions, and what went wrong.

    If the run ends before the kill, the stage is made again, and the kill comes earlier. If the run fails
    before the kill, it is started again. Ray causes that if it cannot start within 30 s.
    """
    for _ in range(TRIES):
        prepare(calm, storage, kill.stage)
        started, run = time.monotonic(), submit(storage, nodes.address)
        if strike(kill, storage, run, nodes.replace):
            try:
                return started, kill, finish(storage, nodes.address, run), ""
            except RuntimeError as error:
                return started, kill, TRIES, str(error)
        if run.returncode:
            print(f"{kill}: exit code {run.returncode} before the kill; again", flush=True)
        else:
            kill = Kill(kill.kind, kill.stage, kill.after_s * 0.6)
    raise RuntimeError(f"{kill}: all runs ended before it; see {storage.with_suffix('.txt')}")


if __name__ == "__main__":
    main()
