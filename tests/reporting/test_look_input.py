"""The description of how an input is read, on small files of each kind."""

import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
from rich.console import Console

from skipthink_ray.config import PipelineConfig
from skipthink_ray.reporting.look_input import PARTS, ROWS, describe_input
from skipthink_ray.reporting.look_tables import print_input

PEN = {"question": "Tom has 2 pens and finds 3. How many?", "rationale": "2 + 3 = 5."}


def _configured(path: Path, task: str = "gsm8k", source: str = "file", **more: Any) -> PipelineConfig:
    rationales = {"source": source, "path": str(path), **more}
    return PipelineConfig.model_validate({"task": task, "rationales": rationales})


def _lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def _column(described: dict[str, Any], field: str) -> dict[str, Any]:
    (column,) = [one for one in described["columns"] if one["field"] == field]
    return column


def test_a_conversion_is_shown_rather_than_a_value_that_stays(tmp_path):
    rows = [{**PEN, "answer": answer, "split": "train"} for answer in ("5", 5.0, None)]
    described = describe_input(_configured(_lines(tmp_path / "rows.jsonl", rows)))
    answer = _column(described, "answer")
    assert answer["types"] == {"text": 1, "whole number with a point": 1, "null": 1}
    assert answer["example"] == {"stored": "5.0", "read": "5"}
    assert [gold["stored"] for gold in described["golds"]] == ["5.0", "5"]
    assert [(row["row"], row["reason"]) for row in described["unusable"]["first"]] == [(3, "missing field")]
    assert described["splits"] == {"train: from the column 'split'": 3}


def test_the_columns_of_a_published_file_and_unused_ones_are_named(tmp_path):
    row = {"question": PEN["question"], "answer": "2 + 3 = <<2+3=5>>5 pens.\n#### 5", "source": "web"}
    described = describe_input(_configured(_lines(tmp_path / "rows.jsonl", [row])))
    assert described["forms"] == {"GSM8K as published": 1}
    assert _column(described, "rationale")["column"] == "answer"
    assert described["golds"] == [{"id": "row-1", "stored": row["answer"], "read": "5", "compared_as": "5"}]
    assert described["unused_columns"] == ["source"]
    (split,) = described["splits"]
    assert "drawn at random; 30% of the questions are for test (rationales.test_share)" in split


def test_arrows_types_are_named_and_booleans_are_read_as_words(tmp_path):
    rows = [{"question": b"Is water wet?", "rationale": b"It is. So yes.", "answer": True}]
    pa.parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "rows.parquet")
    described = describe_input(_configured(tmp_path / "rows.parquet", "strategy_qa"))
    assert _column(described, "question")["types"] == "binary"
    assert _column(described, "answer")["types"] == "bool"
    assert _column(described, "answer")["example"] == {"stored": "true", "read": "yes"}
    assert described["golds"][0]["compared_as"] == "yes"


def test_only_the_start_of_every_file_is_read(tmp_path):
    for number in range(PARTS + 2):
        rows = [{**PEN, "answer": "5", "id": f"{number}-{at}"} for at in range(ROWS + 50)]
        _lines(tmp_path / f"{number:02}.jsonl", rows)
    described = describe_input(_configured(tmp_path))
    assert described["rows_read"] == PARTS * ROWS
    assert described["source"] == "file: 00.jsonl, 01.jsonl, 02.jsonl, 03.jsonl, 04.jsonl ..."


def test_the_splits_of_a_data_set_are_named(tmp_path):
    for split in ("train", "test"):
        _lines(tmp_path / f"{split}.jsonl", [{**PEN, "answer": "5"}] * 3)
    described = describe_input(_configured(tmp_path, source="dataset"))
    assert described["source"] == "dataset: split train, split test"
    from_split = "from the data set's splits"
    assert described["splits"] == {f"train: {from_split}": 3, f"test: {from_split}": 3}
    assert _column(described, "answer")["types"] == "string"


def test_the_answer_of_the_teacher_stands_beside_the_gold_one(tmp_path):
    rows = [{**PEN, "answer": "5", "teacher_answer": "7"}]
    described = describe_input(_configured(_lines(tmp_path / "rows.jsonl", rows)))
    assert _column(described, "teacher_answer")["example"] == {"stored": "7", "read": "7"}


def test_a_missing_gold_of_a_published_file_is_unusable(tmp_path):
    row = {"Body": "Tom has 5 pens.", "Question": "How many?", "Answer": None, "rationale": "5."}
    described = describe_input(_configured(_lines(tmp_path / "rows.jsonl", [row]), "svamp"))
    (told,) = described["unusable"]["first"]
    assert (told["where"], told["row"], told["reason"]) == ("rows.jsonl", 1, "missing field")


def test_a_file_of_two_forms_names_both_columns(tmp_path):
    rows = [{**PEN, "answer": "5"}] * 2 + [{"question": "q", "answer": "2 + 3\n#### 5"}]
    described = describe_input(_configured(_lines(tmp_path / "rows.jsonl", rows)))
    assert _column(described, "rationale")["column"] == "rationale or answer"
    assert described["unused_columns"] == []


def test_text_that_looks_like_markup_is_printed_as_it_is(tmp_path):
    row = {"question": "[/INST] :apple: [bold]x[/bold]?", "answer": "5", "rationale": "2 + 3 = 5."}
    screen = io.StringIO()
    console = Console(file=screen, width=200)
    print_input(describe_input(_configured(_lines(tmp_path / "rows.jsonl", [row]))), console)
    assert screen.getvalue().count(row["question"]) == 2  # as stored, as read
