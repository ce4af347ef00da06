"""`skipthink rechunk`: chunk search on a cluster equals a search in one process."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as dataset
import pyarrow.parquet
import pytest
import ray
from pyarrow import fs

from skipthink_ray.cli import main
from skipthink_ray.config import SearchConfig
from skipthink_ray.config.rechunk import RechunkConfig
from skipthink_ray.method.samples import Samples
from skipthink_ray.models.student import save_student
from skipthink_ray.rechunk.inputs import (
    check_rows,
    check_student_folder,
    check_tokenizer,
    fingerprints,
    open_samples,
)
from skipthink_ray.rechunk.search import SearchChunks
from skipthink_ray.runtime.artifacts import Folder
from skipthink_ray.runtime.lock import only_writer
from skipthink_ray.training.rechunk import rechunk
from tests.toys import make_samples, make_student, toy_rows

ROOT = Path(__file__).parents[1]
METHOD = {"method": "annealed", "proposals": 30}


def _job(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "jobs.rechunk", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=1500, cwd=ROOT)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(student, samples, folder with both): 300 samples in two files, every tenth unused, one too long."""
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
    table = pa.concat_tables(
        [table.slice(0, 7), pa.Table.from_pylist([long], schema=table.schema), table.slice(8)]
    )
    (folder / "samples").mkdir()
    for number in range(2):
        pyarrow.parquet.write_table(
            table.slice(150 * number, 150), folder / "samples" / f"{number}.parquet", row_group_size=40
        )
    return student, table, folder


@pytest.mark.ray
@pytest.mark.slow
def test_the_job_finds_on_a_cluster_what_one_process_finds_and_keeps_every_row(made, tmp_path):
    student, table, folder = made
    paths = ["--student", folder / "student", "--samples", folder / "samples", "--out", tmp_path / "out"]
    options = [
        "--method",
        METHOD["method"],
        "--proposals",
        METHOD["proposals"],
        "--seed",
        4,
        "--rows-per-batch",
        64,
    ]
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
    alone = rechunk(student.model, student.ids, samples, SearchConfig(**METHOD), (4, 0))
    assert written.filter(pa.array(used))["chunk_steps"].to_pylist() == alone.samples.sizes_RM.tolist()
    assert summary["boundaries_moved"] == alone.moved > 50
    assert summary["unused"] == (~used).sum() == 31
    assert (
        written.filter(pa.array(~used))["chunk_steps"].to_pylist()
        == table.filter(pa.array(~used))["chunk_steps"].to_pylist()
    )

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
        ({"--student": "samples"}, "has no model"),
        ({"--samples": "student"}, "no Parquet file"),
        ({"--samples": "narrow"}, "lacks the columns"),
        ({"--samples": "typed"}, "typed/0.parquet the column row is string, not int64"),
        ({"--samples": "narrow/0.parquet"}, "is not a folder of Parquet files"),
        ({"--student": "unweighted"}, "contains no weights"),
        ({"--out": "precious"}, "is not an artifact, but holds thesis.txt. Nothing was touched"),
        ({"--out": "samples"}, "samples is not an artifact, but holds 0.parquet"),
        ({"--method": "average"}, "'average' does not search"),
        ({"--precision": "bf16"}, "bf16 needs GPUs; set --gpus-per-actor"),
        ({"--samples": "foreign"}, "was made with another tokenizer"),
        ({"--samples": "foreign/samples"}, "was made with another tokenizer"),
    ],
)
def test_a_wrong_input_is_named_before_a_cluster_is_started(made, tmp_path, capsys, change, words):
    _, table, folder = made
    for name, rows in {
        "narrow": pa.table({"row": [1]}),
        "typed": table.set_column(0, "row", table["row"].cast(pa.string())),
    }.items():
        (folder / name).mkdir(exist_ok=True)
        pyarrow.parquet.write_table(rows, folder / name / "0.parquet")
    (folder / "precious").mkdir(exist_ok=True)
    (folder / "precious" / "thesis.txt").write_text("years of work")
    shutil.copytree(folder / "samples", folder / "foreign" / "samples", dirs_exist_ok=True)
    shutil.copytree(folder / "student", folder / "foreign" / "student", dirs_exist_ok=True)
    tokenizer = json.loads((folder / "student" / "tokenizer.json").read_text())
    tokenizer["model"]["merges"].pop()
    (folder / "foreign" / "student" / "tokenizer.json").write_text(json.dumps(tokenizer))
    (folder / "foreign" / "config.json").write_text("{}")
    ignored = shutil.ignore_patterns("*.safetensors")
    shutil.copytree(folder / "student", folder / "unweighted", ignore=ignored, dirs_exist_ok=True)
    before = sorted(folder.rglob("*"))
    named = {"--student": "student", "--samples": "samples", "--out": str(tmp_path / "out")} | change
    arguments = []
    for option, value in named.items():
        arguments += [option, value if option in ("--method", "--precision") else str(folder / value)]
    assert main(["rechunk", *arguments]) == 2
    said = capsys.readouterr().err
    assert words in said
    assert len(said.strip().splitlines()) == 1
    assert not ray.is_initialized()
    assert sorted(folder.rglob("*")) == before, "nothing was written or deleted"


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--out", "", "out: name a folder"),
        ("--samples", "s3://KEY:SECRET@bucket/x", "samples: an address must not contain a user or password"),
        ("--num-actors", "0", "num_actors: input should be greater than or equal to 1 (found 0)"),
        ("--eta-nats", "-1", "search.eta_nats: input should be greater than or equal to 0"),
    ],
)
def test_an_invalid_option_is_refused_and_no_secret_is_repeated(capsys, option, value, words):
    assert main(["rechunk", "--student", "a", "--samples", "b", "--out", "c", option, value]) == 2
    said = capsys.readouterr().err
    assert words in said
    assert len(said.strip().splitlines()) == 1
    assert "SECRET" not in said


def _changed(table: pa.Table, row: int, /, **values: object) -> pa.Table:
    rows = table.to_pylist()
    rows[row] |= values
    return pa.Table.from_pylist(rows, schema=table.schema)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"row": None}, "1 rows have no row"),
        ({"chunk_steps": None}, "1 rows have no chunk_steps"),
        ({"chunk_steps": [1, 1]}, "row 3 has 2 chunks, the student markers for 3"),
        ({"chunk_steps": [-1, 3, 2]}, r"row 3 has \d steps, and chunks of \[-1, 3, 2\]"),
        ({"chunk_steps": [9, 9, 9]}, r"row 3 has \d steps, and chunks of \[9, 9, 9\]"),
        ({"rationale_tokens": [5]}, "row 3 has 1 rationale tokens, and steps of"),
        (
            {"question_tokens": [5, 99_999]},
            "question_tokens 5 to 99999, the student knows 0 to .* another tokenizer",
        ),
        ({"question_tokens": [-1]}, "question_tokens -1 to -1"),
    ],
)
def test_an_inconsistent_row_is_named(made, values, words):
    student, table, _ = made
    check_rows(table.slice(0, 6), student)
    with pytest.raises(ValueError, match=words):
        check_rows(_changed(table.slice(0, 6), 3, **values), student)


def test_samples_of_the_stage_samples_start_from_average_chunks(made, tmp_path):
    """The stage samples writes neither chunks nor stage markers."""
    _, table, folder = made
    config = RechunkConfig(
        student=str(folder / "student"), samples="unused", out="unused", search=SearchConfig(**METHOD)
    )
    actor = SearchChunks(config, Folder.open(config.student), fs.LocalFileSystem())
    found = actor.search(table.drop_columns("chunk_steps"))
    columns = ["row", "chunk_steps", "boundaries_moved"]
    assert found.select(columns).equals(actor.search(table).select(columns))
    assert pc.sum(found["boundaries_moved"]).as_py() > 50

    bare = make_student(toy_rows("multiarith", 300, seed=3)[:50], num_chunks=None, max_tokens=120)
    save_student(bare, tmp_path / "student")
    shutil.copytree(folder / "samples", tmp_path / "samples")
    (tmp_path / "config.json").write_text("{}")
    check_tokenizer(str(folder / "student"), str(tmp_path))
    with pytest.raises(ValueError, match="has no stage markers, so it cannot judge chunks"):
        check_student_folder(str(tmp_path / "student"))


def test_another_student_or_other_samples_need_another_search(made, tmp_path):
    _, table, folder = made
    shutil.copytree(folder / "student", tmp_path / "student")
    shutil.copytree(folder / "samples", tmp_path / "samples")
    same = fingerprints(str(folder / "student"), open_samples(str(folder / "samples")))
    assert (
        fingerprints(str(tmp_path / "x" / ".." / "student"), open_samples(str(tmp_path / "samples"))) == same
    )
    pyarrow.parquet.write_table(table.slice(150, 149), tmp_path / "samples" / "1.parquet")
    fewer = fingerprints(str(tmp_path / "student"), open_samples(str(tmp_path / "samples")))
    assert fewer["student"] == same["student"]
    assert (same["samples"]["rows"], fewer["samples"]["rows"]) == (300, 299)
    (tmp_path / "student" / "config.json").write_text((folder / "student" / "config.json").read_text() + " ")
    assert (
        fingerprints(str(tmp_path / "student"), open_samples(str(folder / "samples")))["student"]
        != same["student"]
    )


@pytest.mark.ray
@pytest.mark.slow
def test_a_bad_row_and_a_second_writer_end_in_one_line(made, tmp_path):
    _, table, folder = made
    (tmp_path / "bad").mkdir()
    pyarrow.parquet.write_table(_changed(table, 8, chunk_steps=[9, 9, 9]), tmp_path / "bad" / "0.parquet")
    paths = ("--student", folder / "student", "--out", tmp_path / "out")
    found = _job(*paths, "--samples", tmp_path / "bad", "--num-actors", "1")
    assert found.returncode == 2, found.stderr
    assert "samples: row 8 has" in found.stderr.strip().splitlines()[-1]
    assert not (tmp_path / "out" / "_DONE").exists()
    with only_writer(Folder.open(str(tmp_path / "other"))):
        found = _job(
            "--student",
            folder / "student",
            "--out",
            tmp_path / "other",
            "--samples",
            folder / "samples",
            "--num-actors",
            "1",
        )
    assert found.returncode == 2, found.stderr
    assert "is being written by process" in found.stderr.strip().splitlines()[-1]
    assert "choose another --out" in found.stderr
