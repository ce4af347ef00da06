"""Finished runs and sweeps with invented students: real questions and steps, but no training."""

from collections.abc import Sequence
from dataclasses import asdict
from io import StringIO
from itertools import product
from random import Random
from typing import Any

import numpy as np
import pyarrow as pa
from rich.console import Console

from skipthink_ray.config import PipelineConfig
from skipthink_ray.identity import upstream
from skipthink_ray.method.chunking import average_chunks, sizes_of
from skipthink_ray.method.steps import split_steps
from skipthink_ray.pipeline import open_run
from skipthink_ray.rows import (
    ANSWER_SCHEMA,
    CHUNKED_SCHEMA,
    HISTORY_SCHEMA,
    LATENCY_SCHEMA,
    ROW_SCHEMA,
    SAMPLE_SCHEMA,
    SKIP_SCHEMA,
)
from skipthink_ray.runtime.artifacts import Folder, begin, finish
from skipthink_ray.runtime.progress import Bars
from skipthink_ray.runtime.stopping import Stopper
from skipthink_ray.runtime.store import REPORT, Run
from skipthink_ray.runtime.tracker import NullTracker
from skipthink_ray.stages import report as stage
from skipthink_ray.stages.context import Context
from skipthink_ray.tuning.sweep import Record
from tests.toys import toy_rows

Rows = list[dict[str, Any]]
TRAINED = {
    "updates": 200,
    "epochs": 2,
    "target_tokens": 9000,
    "item_tokens": 12345,
    "seconds": 3.0,
    "search_seconds": 0.3,
    "final_loss_nats": 0.25,
    "backend": "ddp",
    "padding_share": 0.02,
    "parameters": 282432,
}
"""Summary of a stage that trains."""


def questions(task: str, number: int, split: str, first: int) -> Rows:
    return [
        {"row": first + at, "id": f"{task}-{split}-{at}", "split": split, **row._asdict()}
        for at, row in enumerate(toy_rows(task, number, seed=first))
    ]


def make_run(config: PipelineConfig, number: int = 12, hostile: str = "", report: bool = True) -> Run:
    """The artifacts of a run, and its report unless it is a trial. `hostile` is put into every text."""
    current, random = open_run(config), Random(config.name)
    train = questions(config.task, number, "train", 1000)
    asked = questions(config.task, number, config.evaluation.split, 0)
    for row in [*train, *asked]:
        row["question"] += hostile
        row["rationale"] += hostile
    dropped = [
        {**row, "row": row["row"] + 5000, "reason": "wrong answer", "detail": f"7{hostile}"}
        for row in train[:4]
    ]
    chunked, skips = _cut(train, config.cwt.num_chunks or 4, random, config.cwt.search.method)
    tables = {
        "rationales": {"rows": (dropped, ROW_SCHEMA)},
        "samples": {"samples": ([*asked, *train], SAMPLE_SCHEMA)},
        "base": {"history": (_history(random), HISTORY_SCHEMA)},
        "cwt": {"history": (_history(random), HISTORY_SCHEMA), "samples": (chunked, CHUNKED_SCHEMA)},
        "skips": {"skips": (skips, SKIP_SCHEMA)},
        "stt": {"history": (_history(random), HISTORY_SCHEMA)},
        "evaluation": _evaluation(asked, random, hostile),
    }
    summaries = _summaries(number, len(dropped), chunked, skips)
    for name in upstream(REPORT, current.identities):
        folder = current.artifact(name)
        begin(folder, current.identities[name])
        for table, (rows, schema) in tables[name].items():
            folder.write_table(table, pa.Table.from_pylist(rows, schema=schema))
        if name == "cwt":
            folder.write_json("epochs.json", [])
        finish(folder, summaries[name])
    current.record("skipthink run", config.model_dump(mode="json"))
    if report:
        _report(current, config)
    return current


def _report(current: Run, config: PipelineConfig) -> None:
    inputs = {name: current.artifact(name) for name in upstream(REPORT, current.identities)}
    out, console = current.artifact(REPORT), Console(file=StringIO(), width=100)
    begin(out, current.identities[REPORT])
    finish(out, stage.make(Context(REPORT, config, console, NullTracker(), out, inputs, Bars(), Stopper())))


def make_sweep(
    storage: str,
    sweep: str,
    draws: list[dict[str, Any]],
    number: int = 12,
    tasks: Sequence[str] = ("multiarith",),
) -> list[Record]:
    """Trials of a sweep, and a last one that failed."""
    folder, records = Folder.open(storage).child(f"sweeps/{sweep}/trials"), []
    for task, (at, drawn) in product(tasks, enumerate(draws)):
        config = config_of(storage, f"{sweep}-{task}-t{at}", drawn, "dev", task)
        make_run(config, number, report=False)
        numbers = {"skip_accuracy_pct": 50.0, "skip_tokens": 20.0, "questions": float(number)}
        records.append(Record(task, f"t{at}", drawn, config.name, numbers))
    records.append(Record("multiarith", "bad", draws[0], f"{sweep}-bad", {}, "the loss became nan"))
    for record in records:
        folder.write_json(f"{record.name}.json", asdict(record))
    return records


def config_of(
    storage: str, name: str, drawn: dict[str, Any], split: str = "test", task: str = "multiarith"
) -> PipelineConfig:
    values: dict[str, Any] = {
        "name": name,
        "task": task,
        "storage_path": storage,
        "updates": 90,
        "rationales": {"dev_share": 0.1},
        "evaluation": {"bootstrap_samples": 100, "split": split},
    }
    values["cwt"] = {"num_chunks": drawn.get("cwt.num_chunks", 4), "search": {}}
    for key in ("method", "eta_nats"):
        if f"cwt.search.{key}" in drawn:
            values["cwt"]["search"][key] = drawn[f"cwt.search.{key}"]
    return PipelineConfig.model_validate(values)


def _cut(train: Rows, num_chunks: int, random: Random, method: str) -> tuple[Rows, Rows]:
    """The samples with chunks, and what an invented gate skipped."""
    chunked, skips = [], []
    for row in train:
        steps = split_steps(row["rationale"])
        sizes = sizes_of(average_chunks(np.array([len(steps)]), num_chunks))[0].tolist()
        movable = [m for m in range(num_chunks - 1) if sizes[m] > 1]
        if method == "greedy" and movable:
            m = random.choice(movable)
            sizes[m], sizes[m + 1] = sizes[m] - 1, sizes[m + 1] + 1
        right = random.random() < 0.9
        kept = [
            bool(size) and (not right or random.random() < (m + 0.6) / num_chunks)
            for m, size in enumerate(sizes)
        ]
        chunked.append({**row, "chunk_steps": sizes})
        counts = {"verified": 2, "decoded": 1, "chunks_verified": 0, "chunks_decoded": 0}
        skips.append({"row": row["row"], "kept": kept, "right": right, **counts})
    return chunked, skips


def _evaluation(asked: Rows, random: Random, hostile: str) -> dict[str, Any]:
    answers, timed = [], []
    good = {"full": 0.94, "staged": 0.9, "skip": random.uniform(0.7, 0.95)}
    for row in asked:
        steps = split_steps(row["rationale"])
        left = {"full": steps, "staged": steps, "skip": steps[-random.choice((1, 1, 2)) :]}
        for mode, kept in left.items():
            right = random.random() < good[mode]
            answer = row["answer"] if right else str(random.randrange(90))
            text = "[thought]" * (len(steps) - len(kept)) + "".join(kept) + f" --> {answer}"
            tokens = sum(len(step.split()) for step in kept) + random.randrange(4) + 5
            answers.append(
                {
                    "row": row["row"],
                    "mode": mode,
                    "text": text + hostile,
                    "answer": answer,
                    "right": right,
                    "tokens": tokens,
                    "stopped": True,
                    "loops": False,
                    "batch_seconds": 0.02,
                }
            )
            seconds = tokens * (0.0035 if mode == "staged" else 0.0026)
            timed.append({"row": row["row"], "mode": mode, "seconds": seconds, "tokens": tokens})
    return {"answers": (answers, ANSWER_SCHEMA), "latencies": (timed, LATENCY_SCHEMA)}


def _history(random: Random) -> Rows:
    floor = random.uniform(0.1, 0.3)
    return [
        {
            "update": n,
            "epoch": 0,
            "loss_nats": floor + 3 / (1 + n / 9),
            "target_tokens": 90 + n % 7,
            "lr": 0.1,
        }
        for n in range(200)
    ]


def _summaries(number: int, dropped: int, chunked: Rows, skips: Rows) -> dict[str, Any]:
    present = [[size > 0 for size in row["chunk_steps"]] for row in chunked]
    columns = list(zip(*(row["kept"] for row in skips), strict=True))
    there = list(zip(*present, strict=True))
    kept = [sum(column) / max(sum(here), 1) for column, here in zip(columns, there, strict=True)]
    counts = dict.fromkeys(("verified", "decoded", "chunks_verified", "chunks_decoded"), 1)
    return {
        "rationales": {"rows": 2 * number + dropped, "reasons": {"wrong answer": dropped}},
        "samples": {"train": number, "dev": 0, "test": number, "reasons": {}},
        **dict.fromkeys(("base", "stt"), TRAINED),
        "cwt": {"num_chunks": len(kept), **TRAINED},
        "skips": {
            "samples": number,
            "right_share": sum(row["right"] for row in skips) / number,
            "kept_share": sum(map(sum, columns)) / sum(map(sum, there)),
            "kept_share_by_chunk": kept,
            "seconds": 4.25,
            **counts,
        },
        "evaluation": {"questions": number, "answered_before": []},
    }
