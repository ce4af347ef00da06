"""The rows of a generated data set (`rationales.source: toy`).

Seed, split and draw number alone decide a row, so any worker can generate any part of the data set.
"""

import json
import math
from collections.abc import Iterator
from itertools import chain
from random import Random
from typing import Any

import pyarrow as pa
import ray

from skipthink_ray.config import PipelineConfig
from skipthink_ray.data.sources import RAW_SCHEMA
from skipthink_ray.tasks import task_of
from skipthink_ray.tasks.splits import toy_split

PIECE_ROWS = 5000
"""Toy questions per Ray task and per file. Ray sizes tasks by input bytes, and its input is row numbers
only. Without this limit, a task's memory and the work lost with it would grow with the number of
questions."""


def dataset(config: PipelineConfig) -> "ray.data.Dataset":
    """Test and training questions, RAW_SCHEMA. ValueError if the toy has too few distinct test questions."""
    test = ray.data.from_items(_test_questions(config))
    pieces = math.ceil(config.rationales.train_questions / PIECE_ROWS)
    train = ray.data.range(config.rationales.train_questions, override_num_blocks=pieces).map_batches(
        _train_rows,  # pyright: ignore[reportArgumentType]
        batch_format="pyarrow",
        fn_kwargs={"config": config},
    )
    return test.union(train)


def rows_here(config: PipelineConfig) -> Iterator[dict[str, Any]]:
    """The same rows, generated in this process."""
    test = _test_questions(config)
    draws = range(config.rationales.train_questions)
    return chain(test, (_row(config, len(test) + draw, draw, "train") for draw in draws))


def _row(config: PipelineConfig, row: int, draw: int, split: str) -> dict[str, Any]:
    task, random = task_of(config), Random(f"{config.data_seed} {split} {draw}")
    assert task.toy
    while True:
        toy = task.toy(random, config.rationales.difficulty)
        if toy_split(toy.question) == split:
            values = {"id": f"{task.name}-{split}-{draw}", "split": split, **toy._asdict()}
            return {"row": row, "raw": json.dumps(values, ensure_ascii=False), "error": None}


def _train_rows(batch: pa.Table, config: PipelineConfig) -> pa.Table:
    first = config.rationales.test_questions
    rows = [_row(config, first + draw, draw, "train") for draw in batch["id"].to_pylist()]
    return pa.Table.from_pylist(rows, schema=RAW_SCHEMA)


def _test_questions(config: PipelineConfig) -> list[dict[str, Any]]:
    """Distinct test questions. ValueError if the toy has too few."""
    wanted, rows = config.rationales.test_questions, {}
    for draw in range(20 * wanted + 1000):
        row = _row(config, len(rows), draw, "test")
        rows.setdefault(json.loads(row["raw"])["question"], row)
        if len(rows) == wanted:
            return [{**row, "row": number} for number, row in enumerate(rows.values())]
    raise ValueError(
        f"rationales.test_questions: the toy of '{config.task}' at difficulty {config.rationales.difficulty} "
        f"has only about {len(rows)} distinct test questions, {wanted} were asked for"
    )
