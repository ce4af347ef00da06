"""Disturbs sweeps, and checks that they end as an undisturbed one does.

    python -m benchmarks.bench_sweep                      # runs the sweeps that benchmarks/sweeps.jsonl lacks
    python -m benchmarks.bench_sweep --document docs/reliability.md

killed: the driver is killed by SIGKILL while a trial trains, and in the second start a training worker.
outage: the MLflow server is stopped for 60 s while a trial trains. early: two of four trials are hopeless and
stop early, on a cluster that goes on afterwards. All sweeps use an MLflow server of their own.
"""

import argparse
import json
import os
import platform
import shutil
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.document import fill_tables
from benchmarks.evidence import finished
from benchmarks.sweep_check import early_stops, problems
from benchmarks.sweep_run import disturb, prepare, run_quietly

RESULTS = Path(__file__).with_name("sweeps.jsonl")
KINDS = {
    "killed": "the driver, then a training worker",
    "outage": "the MLflow server, for 60 s",
    "early": "nothing; two of four trials stop early",
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kinds", nargs="*", choices=list(KINDS), default=list(KINDS))
    parser.add_argument("--results", type=Path, default=RESULTS, help="JSON Lines file, one line per sweep")
    parser.add_argument("--folder", type=Path, default=Path("runs/sweeps"))
    parser.add_argument("--document", type=Path, help="put the table into this document, run nothing")
    arguments = parser.parse_args()
    try:
        lines = finished(arguments.results)
        if arguments.document:
            text = arguments.document.read_text()
            arguments.document.write_text(fill_tables(text, "sweeps", lambda: table(lines)))
            return
    except ValueError as error:
        parser.error(str(error))
    done = {line["kind"] for line in lines}
    for kind in arguments.kinds:
        if kind not in done:
            line = _attempt(arguments.folder.resolve(), kind)
            print(json.dumps(line), flush=True)
            with arguments.results.open("a") as file:
                file.write(json.dumps(line) + "\n")


def _attempt(folder: Path, kind: str) -> dict[str, Any]:
    """Run a sweep of a kind, and the undisturbed one if it is missing. Returns a line of the results."""
    folder.mkdir(parents=True, exist_ok=True)
    quiet = folder / "quiet"
    if kind != "early" and not (folder / "quiet.ended").exists():
        prepare(quiet)
        run_quietly(quiet)
        (folder / "quiet.ended").touch()
    storage, started = folder / kind, time.monotonic()
    prepare(storage)
    measured = disturb(storage, kind)
    measured |= early_stops(storage) if kind == "early" else {"faults": problems(quiet, storage)}
    if not measured["faults"]:
        shutil.rmtree(storage)
    return {
        "kind": kind,
        **measured,
        "seconds": round(time.monotonic() - started),
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "machine": f"{os.cpu_count()} CPU cores, {platform.machine()}",
    }


def table(lines: list[dict[str, Any]]) -> str:
    """One row per sweep, and what the early stops cost."""
    rows = ["| disturbed | trials | exit codes | what differs or is left |", "| --- | --- | --- | --- |"]
    notes = list[str]()
    for line in lines:
        faults = "; ".join(line["faults"]) or "nothing"
        codes = ", ".join(map(str, line["exit_codes"]))
        rows.append(f"| {KINDS[line['kind']]} | {line['trials']} | {codes} | {faults} |")
        if "next_update_s" in line:
            waits = " and ".join(f"{wait:.0f} s" for wait in line["next_update_s"])
            notes.append(f"From an early stop to the first update of the next trial: {waits}.")
    days = sorted({line["date"] for line in lines})
    machines = ", ".join(sorted({line["machine"] for line in lines}))
    notes.append(f"{' to '.join(dict.fromkeys([*days[:1], *days[-1:]]))}, on {machines}.")
    return "\n".join([*rows, "", "\n".join(notes)])


if __name__ == "__main__":
    main()
