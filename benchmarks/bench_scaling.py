"""Measures how the time of each stage grows, fits a model to it, and predicts runs on large clusters.

    python -m benchmarks.bench_scaling                              # runs what benchmarks/scaling.jsonl lacks
    python -m benchmarks.bench_scaling --document docs/scaling.md   # update the tables, run nothing

Each point is a run of toy MultiArith on a Ray cluster of its own. Points differ in rationales, student,
chunks M, nodes and their CPUs; each CPU has a training worker and an actor. `benchmarks.scaling_model` fits
their times. Each result is appended to benchmarks/scaling.jsonl.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow.compute as pc
import pyarrow.dataset

from benchmarks.bench_training import machine
from benchmarks.document import fill_tables
from benchmarks.evidence import finished
from benchmarks.reliability_nodes import end, head_node, start
from benchmarks.scaling_model import BATCH, TRAINED, table
from skipthink_ray.method.samples import COLUMNS
from skipthink_ray.rows import TRAIN

RESULTS = Path(__file__).with_name("scaling.jsonl")
TEST_QUESTIONS = 16
SKIPS_KEYS = ("seconds", "verified", "decoded", "right_share")
KEYS = ("updates", "epochs", "item_tokens", "seconds", "search_seconds", "parameters")


@dataclass(frozen=True)
class Point:
    """A run. Its stages train for `updates` each, so that their time does not depend on `rationales`."""

    rationales: int = 400
    layers: int = 2
    width: int = 128
    num_chunks: int = 4
    cpus: tuple[int, ...] = (1,)
    """CPUs of every node; the first is the head."""
    updates: int = 100
    trains: bool = True
    """Whether all stages run, or only rationales and samples."""


BASE = Point()
ROWS = replace(BASE, trains=False)
POINTS = [
    *(BASE, replace(BASE, width=256, layers=6), replace(BASE, cpus=(2,))),
    *(replace(ROWS, rationales=rationales, cpus=(2,)) for rationales in (5_000, 20_000)),
    *(replace(ROWS, rationales=20_000), replace(BASE, rationales=800), replace(BASE, cpus=(1, 1))),
    *(replace(BASE, num_chunks=2), replace(BASE, width=256, layers=6, cpus=(2,))),
    *(replace(BASE, rationales=1600), replace(BASE, num_chunks=8), replace(BASE, width=256)),
]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--results", type=Path, default=RESULTS, help="JSON Lines file, one line per run")
    parser.add_argument("--document", type=Path, help="update the tables of this document, run nothing")
    arguments = parser.parse_args()
    try:
        lines = finished(arguments.results)
        if arguments.document:
            text = arguments.document.read_text()
            arguments.document.write_text(fill_tables(text, "scaling", lambda name: table(name, lines)))
            return
    except ValueError as error:
        parser.error(str(error))
    done = [line["point"] for line in lines]
    for point in POINTS:
        settings = asdict(point) | {"cpus": list(point.cpus)}  # as JSON has it
        if settings not in done:
            line = {"point": settings, **_measure(point)}
            print(json.dumps(line), flush=True)
            with arguments.results.open("a") as file:
                file.write(json.dumps(line) + "\n")


def _measure(point: Point) -> dict[str, Any]:
    with TemporaryDirectory() as name:
        folder = Path(name)
        with _cluster(point.cpus, folder / "ray.txt") as address:
            _run(point, folder, address)
        run = folder / "run"
        line: dict[str, Any] = {
            "seconds": {stage.name: _seconds(stage) for stage in run.iterdir() if (stage / "_DONE").exists()},
            **_tokens(run / "samples" / "samples"),
        }
        if point.trains:
            summaries = {
                stage: json.loads((run / stage / "summary.json").read_text()) for stage in (*TRAINED, "skips")
            }
            line["training"] = {stage: {key: summaries[stage][key] for key in KEYS} for stage in TRAINED}
            epochs = json.loads((run / "cwt" / "epochs.json").read_text())
            line["searched_boundaries"] = sum(epoch.get("boundaries_movable", 0) for epoch in epochs)
            line["skips"] = {key: summaries["skips"][key] for key in SKIPS_KEYS}
    return {**line, "machine": machine("cpu"), "date": datetime.now(UTC).date().isoformat()}


@contextmanager
def _cluster(cpus: tuple[int, ...], log: Path) -> Iterator[str]:
    with head_node(cpus[0], log) as (address, environment), ExitStack() as nodes:
        for number in cpus[1:]:
            nodes.callback(end, start(f"--address {address} --num-cpus {number}", environment, log))
        yield address


def _run(point: Point, folder: Path, address: str) -> None:
    options = {
        "preset": "tiny",
        "name": "run",
        "storage-path": folder,
        "tracking.backend": "off",
        "rationales.train-questions": point.rationales,
        "rationales.test-questions": TEST_QUESTIONS,
        "rationales.dev-share": 0,
        "student.layers": point.layers,
        "student.width": point.width,
        "cwt.num-chunks": point.num_chunks,
        "updates": point.updates,
        **{f"{stage}.batch-size": BATCH for stage in TRAINED},
        "cluster.address": address,
        "cluster.num-workers": sum(point.cpus),
        "cluster.num-actors": sum(point.cpus),
    }
    commands = ("run",) if point.trains else ("rationales", "samples")
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    for command in commands:
        done = subprocess.run(
            [sys.executable, "-m", "skipthink_ray.cli", command, *words], capture_output=True, text=True
        )
        if done.returncode:
            raise SystemExit(
                f"{point}: exit code {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
            )


def _seconds(stage: Path) -> float:
    """From the first file of a stage to its last."""
    return (stage / "_DONE").stat().st_mtime - (stage / "config.json").stat().st_mtime


def _tokens(samples: Path) -> dict[str, float]:
    """Per training sample: tokens of question and rationale, and bytes of what every training node holds."""
    table = pyarrow.dataset.dataset(samples).to_table(columns=COLUMNS, filter=TRAIN)
    lengths = (pc.list_value_length(table[f"{part}_tokens"]) for part in ("question", "rationale"))
    tokens = sum(pc.sum(each).as_py() for each in lengths)
    return {"tokens": tokens / len(table), "token_bytes": table.nbytes / len(table)}


if __name__ == "__main__":
    main()
