"""Reading input in pieces without a cluster: every row once, on any file system."""

import gzip
import json
from decimal import Decimal
from pathlib import Path

import datasets
import pyarrow.parquet
import pytest
from pyarrow import fs

from skipthink_ray.config import PipelineConfig
from skipthink_ray.data import input_files, sources
from skipthink_ray.data.cleaning import parse_row
from skipthink_ray.runtime.artifacts import Folder
from skipthink_ray.tasks import task_of

ROWS = [
    {"question": f"q{number} é", "answer": str(number), "rationale": "r" * (number % 50)}
    for number in range(300)
]


def _remote(folder: Path, name: str) -> Folder:
    """A file on a file system whose paths are not local paths, as on S3."""
    return Folder(fs.SubTreeFileSystem(str(folder), fs.LocalFileSystem()), name, f"s3://bucket/{name}")


def _read(folder: Path, name: str) -> list[dict]:
    """Check and read a file, piece by piece."""
    file = _remote(folder, name)
    input_files.fingerprint([file], PipelineConfig())
    first_row, rows = 0, []
    for piece in input_files.pieces_of(file):
        piece |= {"path": file.path, "first_row": first_row}
        rows.extend(input_files.read_piece(piece, file.filesystem))
        first_row += piece["rows"]
    return rows


@pytest.mark.parametrize("last_newline", [True, False])
def test_lines_are_read_once_and_in_order_however_the_file_is_cut(tmp_path, monkeypatch, last_newline):
    monkeypatch.setattr(input_files, "PIECE_BYTES", 4096)
    text = "\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS) + "\n" * last_newline
    (tmp_path / "rows.jsonl").write_text(text, encoding="utf-8")
    rows = _read(tmp_path, "rows.jsonl")
    assert [row["row"] for row in rows] == list(range(len(ROWS)))
    assert [json.loads(row["raw"]) for row in rows] == ROWS


def test_row_groups_are_read_once_and_in_order(tmp_path):
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), tmp_path / "rows.parquet", row_group_size=70)
    rows = _read(tmp_path, "rows.parquet")
    assert [row["row"] for row in rows] == list(range(len(ROWS)))
    assert [json.loads(row["raw"]) for row in rows] == ROWS


@pytest.mark.parametrize(("suffix", "codec"), [("gz", "gzip"), ("zst", "zstd")])
def test_compressed_lines_are_read_once_and_in_order(tmp_path, monkeypatch, suffix, codec):
    monkeypatch.setattr(input_files, "PIECE_BYTES", 4096)
    with pyarrow.CompressedOutputStream(str(tmp_path / f"rows.jsonl.{suffix}"), codec) as stream:
        stream.write("\n".join(json.dumps(row) for row in ROWS).encode())
    rows = _read(tmp_path, f"rows.jsonl.{suffix}")
    assert [row["row"] for row in rows] == list(range(len(ROWS)))
    assert [json.loads(row["raw"]) for row in rows] == ROWS


def test_a_json_array_is_read_row_by_row(tmp_path):
    (tmp_path / "rows.json").write_text(json.dumps(ROWS, indent=1))
    rows = _read(tmp_path, "rows.json")
    assert [row["row"] for row in rows] == list(range(len(ROWS)))
    assert [json.loads(row["raw"]) for row in rows] == ROWS


def test_an_array_or_a_compressed_file_that_is_damaged_is_named(tmp_path):
    (tmp_path / "rows.json").write_text('[{"question": "q"')
    with pytest.raises(
        ValueError, match=r"s3://bucket/rows\.json: neither JSON Lines nor one valid JSON value"
    ):
        _read(tmp_path, "rows.json")
    whole = gzip.compress("".join(json.dumps(row) + "\n" for row in ROWS).encode())
    for damaged in (b"no gzip", whole[:-20]):
        (tmp_path / "rows.jsonl.gz").write_bytes(damaged)
        with pytest.raises(ValueError, match=r"rows\.jsonl\.gz: cannot be decompressed"):
            _read(tmp_path, "rows.jsonl.gz")


def test_lines_with_a_list_of_examples_stay_lines(tmp_path):
    rows = [{**row, "examples": ["one", "two"]} for row in ROWS]
    (tmp_path / "rows.json").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert [json.loads(row["raw"]) for row in _read(tmp_path, "rows.json")] == rows


def test_columns_of_bytes_are_text_and_bytes_that_are_not_utf8_are_the_row_s_error(tmp_path):
    columns = {
        "question": [b"How many pens?", "Wie viele Stühle?".encode("latin-1")],
        "answer": [b"5", b"6"],
        "rationale": [b"Five.", b"Six."],
        "when": pyarrow.array([0, 0], pyarrow.timestamp("s")),
    }
    pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / "rows.parquet")
    first, second = _read(tmp_path, "rows.parquet")
    assert json.loads(first["raw"]) == {
        "question": "How many pens?",
        "answer": "5",
        "rationale": "Five.",
        "when": {"a value of the type datetime": "1970-01-01 00:00:00"},
    }
    task = task_of(PipelineConfig())
    parsed = parse_row(second, PipelineConfig(), task)
    assert parsed["reason"] == "not UTF-8"
    assert "the bytes of the column 'question': invalid start byte at byte 12" in parsed["detail"]


def test_a_column_that_is_not_used_may_hold_anything(tmp_path):
    row = {"question": "q", "answer": "5", "rationale": "r", "image": b"\x89PNG\xff"}
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([row]), tmp_path / "rows.parquet")
    (raw,) = _read(tmp_path, "rows.parquet")
    assert parse_row(raw, PipelineConfig(), task_of(PipelineConfig()))["reason"] is None


def test_narrow_floats_and_decimals_keep_their_digits(tmp_path):
    table = pyarrow.table(
        {
            "question": ["q", "q"],
            "answer": pyarrow.array([0.1, None], pyarrow.float32()),
            "rationale": pyarrow.array([Decimal("12345678901234567890.12"), Decimal("5.00")]),
        }
    )
    pyarrow.parquet.write_table(table, tmp_path / "rows.parquet")
    rows = [json.loads(row["raw"]) for row in _read(tmp_path, "rows.parquet")]
    assert [row["answer"] for row in rows] == [0.1, None]
    assert [row["rationale"] for row in rows] == ["12345678901234567890.12", 5]


@pytest.mark.parametrize(
    ("names", "splits"),
    [
        (["test.jsonl", "train.jsonl"], ["test", "train"]),
        (["gsm8k-train-00000-of-00001.parquet", "gsm8k-validation.parquet"], ["train", "dev"]),
        (["train.jsonl"], [None]),
        (["train-1.jsonl", "train-2.jsonl"], [None, None]),
        (["train.jsonl", "more.jsonl"], [None, None]),
        (["train_test.jsonl", "test.jsonl"], [None, None]),
    ],
)
def test_the_names_of_files_tell_their_splits(tmp_path, names, splits):
    assert input_files.splits_of([_remote(tmp_path, name) for name in names]) == splits


def test_the_split_of_a_file_is_that_of_its_rows_unless_they_have_their_own(tmp_path):
    row = {"question": "q", "answer": "5", "rationale": "r"}
    (tmp_path / "train.jsonl").write_text(json.dumps(row))
    (tmp_path / "test.jsonl").write_text(json.dumps(row) + "\n" + json.dumps(row | {"split": "dev"}))
    config = PipelineConfig.model_validate({"rationales": {"source": "file", "path": str(tmp_path)}})
    parsed = [parse_row(raw, config, task_of(config)) for raw in sources.read_here(config)]
    assert [row["split"] for row in parsed] == ["test", "dev", "train"]


def test_a_class_label_is_read_by_its_name(tmp_path):
    features = datasets.Features(
        {name: datasets.Value("string") for name in ("question", "rationale")}
        | {"answer": datasets.ClassLabel(names=["12", "7"])}
    )
    rows = [{"question": f"q{label}", "rationale": "r", "answer": label} for label in (0, 1)]
    datasets.DatasetDict({"train": datasets.Dataset.from_list(rows, features)}).save_to_disk(tmp_path)
    config = PipelineConfig.model_validate({"rationales": {"source": "dataset", "path": str(tmp_path)}})
    assert [json.loads(row["raw"])["answer"] for row in sources.read_here(config)] == ["12", "7"]
