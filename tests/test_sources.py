"""Reading input in pieces without a cluster: every row once, on any file system."""

import json
from pathlib import Path

import pyarrow.parquet
import pytest
from pyarrow import fs

from skipthink_ray.config import RationalesConfig
from skipthink_ray.runtime import sources
from skipthink_ray.runtime.artifacts import Folder

ROWS = [
    {"question": f"q{number} é", "answer": str(number), "rationale": "r" * (number % 50)}
    for number in range(300)
]


def _read(folder: Path, name: str) -> list[dict]:
    """Read through a file system whose paths are not local paths, as on S3."""
    file = Folder(fs.SubTreeFileSystem(str(folder), fs.LocalFileSystem()), name, f"s3://bucket/{name}")
    first_row, rows = 0, []
    for piece in sources._pieces(file, RationalesConfig()):
        rows.extend(
            sources._read_piece({"path": file.path, "first_row": first_row, **piece}, file.filesystem)
        )
        first_row += piece["rows"]
    return rows


@pytest.mark.parametrize("last_newline", [True, False])
def test_lines_are_read_once_and_in_order_however_the_file_is_cut(tmp_path, monkeypatch, last_newline):
    monkeypatch.setattr(sources, "PIECE_BYTES", 4096)
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
