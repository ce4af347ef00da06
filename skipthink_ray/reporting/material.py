"""Reads what a report is computed from: the artifacts of a run, or of a sweep's trial."""

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from skipthink_ray.config import PipelineConfig
from skipthink_ray.method.modes import modes_of
from skipthink_ray.reporting.numbers import Material, count_sizes
from skipthink_ray.rows import HELD_OUT
from skipthink_ray.runtime.artifacts import Folder

QUESTION = ["row", "id", "question", "answer", "rationale"]
DROPPED = [*QUESTION, "split", "detail"]
"""Columns of the questions and dropped rows to show."""


def read_material(config: PipelineConfig, inputs: dict[str, Folder], made: dict[str, Any]) -> Material:
    """inputs: the artifacts of all stages before the report. made: as in `Material`."""
    shown = config.report.samples
    numeric = ["row", "mode", "answer", "right", "tokens", "stopped", "loops", "batch_seconds"]
    num_chunks = inputs["cwt"].read_json("summary.json")["num_chunks"]
    evaluated = HELD_OUT[config.evaluation.split]
    return Material(
        config=config,
        summaries={name: folder.read_json("summary.json") for name, folder in inputs.items()},
        epochs=inputs["cwt"].read_json("epochs.json"),
        histories={stage: inputs[stage].table("history").to_table() for stage in modes_of(inputs).values()},
        answers=inputs["evaluation"].table("answers").to_table(columns=numeric),
        latencies=inputs["evaluation"].table("latencies").to_table(),
        sizes_MS=count_sizes(inputs["cwt"].table("samples").to_batches(columns=["chunk_steps"]), num_chunks),
        samples=_samples(inputs["cwt"], inputs["skips"], shown),
        questions=_questions(inputs, shown, evaluated),
        drops=[
            *_drops(inputs["rationales"], "rationales", "rows", shown),
            *_drops(inputs["samples"], "samples", "samples", shown),
        ],
        made=made,
    )


def _first(
    folder: Folder, name: str, columns: list[str], number: int, rows: pc.Expression | None = None
) -> pa.Table:
    """The first rows of a table by `row`. Only row numbers are sorted, so the table may exceed memory."""
    table = folder.table(name)
    numbers = table.to_table(columns=["row"], filter=rows).sort_by("row")["row"].slice(0, number)
    return table.to_table(columns=columns, filter=pc.field("row").isin(numbers.to_pylist())).sort_by("row")


def _samples(cwt: Folder, skips: Folder, number: int) -> list[dict[str, Any]]:
    columns = ["row", "id", "question", "answer", "rationale", "chunk_steps"]
    samples = _first(cwt, "samples", columns, number).to_pylist()
    kept = _first(skips, "skips", ["row", "kept", "right"], number).to_pylist()
    if [row["row"] for row in samples] != [row["row"] for row in kept]:
        raise RuntimeError(f"report: the rows of {skips.uri} differ from those of {cwt.uri}")
    return [{**sample, **row} for sample, row in zip(samples, kept, strict=True)]


def _questions(inputs: dict[str, Folder], number: int, those: pc.Expression) -> list[dict[str, Any]]:
    questions = _first(inputs["samples"], "samples", QUESTION, number, those).to_pylist()
    rows = pc.field("row").isin([question["row"] for question in questions])
    columns, modes = ["text", "answer", "right", "tokens", "stopped"], modes_of(inputs)
    table = inputs["evaluation"].table("answers").to_table(columns=["row", "mode", *columns], filter=rows)
    found = {
        (answer["row"], answer["mode"]): {name: answer[name] for name in columns}
        for answer in table.to_pylist()
    }
    return [
        {**question, "modes": {mode: found[question["row"], mode] for mode in modes}}
        for question in questions
    ]


def _drops(folder: Folder, stage: str, table: str, number: int) -> list[dict[str, Any]]:
    reasons: dict[str, int] = folder.read_json("summary.json")["reasons"]
    return [
        {
            "stage": stage,
            "reason": reason,
            "count": count,
            "examples": _first(folder, table, DROPPED, number, pc.field("reason") == reason).to_pylist(),
        }
        for reason, count in sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
    ]
