"""`python -m jobs.chunks --student ...`: chunk search on a real cluster finds what a search in one process finds."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.dataset as dataset
import pyarrow.parquet
import pytest
import ray

from jobs.chunks import main
from skipthink_ray.config import SearchConfig
from skipthink_ray.models.student import save_student
from skipthink_ray.rows import Samples
from skipthink_ray.training.rechunk import rechunk
from tests.toys import make_samples, make_student, toy_rows

ROOT = Path(__file__).parents[1]
METHOD = {"method": "annealed", "proposals": 30}


def _job(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "jobs.chunks", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=500, cwd=ROOT)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(student, samples, folder with both): 300 samples in two files, every tenth without use, one too long for the student."""
    folder = tmp_path_factory.mktemp("made")
    rows = toy_rows("multiarith", 300, seed=3)
    student = make_student(rows[:50], num_chunks=3, max_tokens=120)
    for parameter in student.model.parameters():
        parameter.data *= 3.0  # losses that differ, so that boundaries move
    save_student(student, folder / "student")
    table = make_samples(rows, student.tokenizer, 3).table
    reason = pa.array(["leak" if row % 10 == 0 else None for row in range(300)], pa.string())
    table = table.set_column(table.schema.get_field_index("reason"), table.schema.field("reason"), reason)
    long = table.slice(7, 1).to_pylist()[0]
    long |= {"question_tokens": [5] * 500}
    table = pa.concat_tables([table.slice(0, 7), pa.Table.from_pylist([long], schema=table.schema), table.slice(8)])
    (folder / "samples").mkdir()
    for number in range(2):
        pyarrow.parquet.write_table(table.slice(150 * number, 150), folder / "samples" / f"{number}.parquet", row_group_size=40)
    return student, table, folder


@pytest.mark.ray
def test_the_job_finds_on_a_cluster_what_one_process_finds_and_keeps_every_row(made, tmp_path):
    student, table, folder = made
    paths = ["--student", folder / "student", "--samples", folder / "samples", "--out", tmp_path / "out"]
    options = ["--method", METHOD["method"], "--proposals", METHOD["proposals"], "--seed", 4, "--rows-per-batch", 64]
    done = _job(*paths, *options)
    assert done.returncode == 0, done.stdout + done.stderr
    summary = json.loads(done.stdout.strip().splitlines()[-1])
    written = dataset.dataset(tmp_path / "out" / "samples").to_table().sort_by("row")
    assert written["row"].to_pylist() == list(range(300))
    assert summary["rows"] == 300
    assert written["reason"][7].as_py() == "too many tokens"
    assert "positions" in written["detail"][7].as_py()
    others = [name for name in table.schema.names if name not in ("chunk_steps", "reason", "detail")]
    assert written.select(others).equals(table.select(others))

    used = np.array(written["reason"].is_null())
    samples = Samples(table.filter(pa.array(used)))
    alone = rechunk(student.model, student.ids, samples, samples.ends_RM, SearchConfig(**METHOD), (4, 0))
    assert written.filter(pa.array(used))["chunk_steps"].to_pylist() == np.diff(alone.ends_RM, axis=1, prepend=0).tolist()
    assert summary["boundaries_moved"] == alone.moved > 50
    assert summary["unused"] == (~used).sum() == 31
    assert written.filter(pa.array(~used))["chunk_steps"].to_pylist() == table.filter(pa.array(~used))["chunk_steps"].to_pylist()

    again = _job(*paths, *options)
    assert json.loads(again.stdout.strip().splitlines()[-1]) == summary, "a finished search is not made again"
    other = _job(*paths, *options, "--objective", "pair")
    assert other.returncode == 2
    assert "search.objective was" in other.stderr


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"--student": "none"}, "student: no such folder"),
        ({"--samples": "none"}, "samples: no such folder"),
        ({"--student": "samples"}, "holds no model"),
        ({"--samples": "student"}, "no Parquet file"),
        ({"--samples": "narrow"}, "lacks the columns"),
        ({"--samples": "five"}, "M = 5 chunks, the student's markers are for 3"),
    ],
)
def test_a_wrong_input_is_named_before_a_cluster_is_started(made, tmp_path, capsys, change, words):
    student, _, folder = made
    (folder / "narrow").mkdir(exist_ok=True)
    pyarrow.parquet.write_table(pa.table({"row": [1]}), folder / "narrow" / "0.parquet")
    (folder / "five").mkdir(exist_ok=True)
    five = make_samples(toy_rows("multiarith", 3), student.tokenizer, 5).table
    pyarrow.parquet.write_table(five, folder / "five" / "0.parquet")
    paths = {"--student": "student", "--samples": "samples"} | change
    arguments = [part for option, name in paths.items() for part in (option, str(folder / name))]
    assert main([*arguments, "--out", str(tmp_path / "out")]) == 2
    assert words in capsys.readouterr().err
    assert not ray.is_initialized()
