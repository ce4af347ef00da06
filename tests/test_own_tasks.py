"""A user's own task through the command line: errors show early, and its class works in Ray workers."""

import subprocess
import sys
import time

import datasets
import pyarrow.dataset as dataset
import pytest

from tests.test_bad_input import FAST, GOOD, from_file, refused, skipthink, write_lines

LOCAL_TASK = '''
from dataclasses import replace

from skipthink_ray.tasks import TASKS, Task

class Local(Task):
    """GSM8K from a folder, where an answer and its negative are the same."""

    def __init__(self):
        gsm8k = TASKS["gsm8k"]
        super().__init__("local", "number", public=replace(gsm8k.public, hub_id={folder!r}, arguments={{}}))

    def check(self, predicted, gold):
        return predicted is not None and super().check(predicted.lstrip("-"), gold.lstrip("-"))
'''


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (["--task", "svmp"], "unknown task 'svmp'; did you mean 'svamp'?"),
        (["--task", "no_such_module:Mine"], "cannot import the module of 'no_such_module:Mine'"),
        (
            ["--task", "coin_flip", "--rationales.source", "dataset"],
            "no public data set is known for the task 'coin_flip'",
        ),
        (["--task", "coin_flip"], "task 'coin_flip' has no toy generator"),
    ],
)
def test_a_bad_task_is_named_within_seconds(tmp_path, arguments, fault):
    started = time.monotonic()
    assert fault in refused(tmp_path, *arguments)
    assert time.monotonic() - started < 10


def test_a_group_where_one_task_is_needed_is_refused_within_seconds(tmp_path):
    started = time.monotonic()
    done = skipthink("samples", "--task", "seven", "--storage-path", tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "'seven' is a group of 7 tasks, which only `skipthink run` accepts" in done.stderr
    assert time.monotonic() - started < 10


def test_a_bad_column_of_an_own_task_is_named(tmp_path):
    file = write_lines(
        tmp_path / "rows.jsonl", [{"frage": GOOD["question"], "answer": "5", "rationale": "r"}]
    )
    own = ["--task", "mine", "--own-task.answer-type", "number"]
    error = refused(tmp_path, *own, *from_file(file), "--rationales.columns.question", "fragen")
    assert (
        "no column 'fragen' for the question; it has frage, answer, rationale. Did you mean 'frage'?" in error
    )


@pytest.mark.ray
@pytest.mark.slow
def test_a_class_in_the_working_directory_reads_and_checks_a_data_set_in_the_workers(tmp_path):
    rows = [
        {
            "question": f"How many are {n} and 2?",
            "answer": f"{n} + 2 = <<{n}+2={n + 2}>>{n + 2}\n#### {n + 2}",
        }
        for n in range(8)
    ]
    for split, part in (
        ("train", rows[:6]),
        ("test", [*rows[6:], {"question": "Why?", "answer": "#### none"}]),
    ):
        datasets.Dataset.from_list(part).to_parquet(
            str(tmp_path / "data" / f"{split}-00000-of-00001.parquet")
        )
    (tmp_path / "local_task.py").write_text(LOCAL_TASK.format(folder=str(tmp_path / "data")))
    command = [
        sys.executable,
        "-c",
        "import sys; sys.path.remove(''); from skipthink_ray.cli import main; sys.exit(main())",
        "rationales",
    ]
    options = [
        "--task",
        "local_task:Local",
        "--rationales.source",
        "dataset",
        "--rationales.max-bad-share",
        0.5,
        "--storage-path",
        "runs",
    ]
    done = subprocess.run(
        [*command, *map(str, options), *FAST], capture_output=True, text=True, timeout=1500, cwd=tmp_path
    )
    assert done.returncode == 0, done.stdout + done.stderr
    kept = dataset.dataset(tmp_path / "runs/run/rationales/rows").to_table().sort_by("row").to_pylist()
    assert [row["split"] for row in kept] == ["train"] * 6 + ["test"] * 3
    assert kept[0]["rationale"] == "0 + 2 = 2"
    assert [row["reason"] for row in kept] == [None] * 8 + ["unusable answer"]


@pytest.mark.ray
@pytest.mark.slow
def test_a_data_set_with_one_split_is_divided(tmp_path):
    folder = tmp_path / "pens"
    folder.mkdir()
    rows = [
        {"question": f"How many are {n} and 2?", "answer": str(n + 2), "rationale": f"{n} + 2 = {n + 2}."}
        for n in range(20)
    ]
    datasets.Dataset.from_list(rows).to_parquet(folder / "train.parquet")
    done = skipthink(
        *("rationales", "--storage-path", tmp_path / "runs", *FAST, "--task", "gsm8k"),
        *("--rationales.source", "dataset", "--rationales.path", folder),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    kept = dataset.dataset(tmp_path / "runs/run/rationales/rows", format="parquet").to_table()
    assert sorted(kept["row"].to_pylist()) == list(range(20))
    assert set(kept["split"].to_pylist()) == {"train", "test"}


@pytest.mark.ray
@pytest.mark.slow
def test_validation_rows_are_the_dev_split_and_no_question_is_in_two_splits(tmp_path):
    folder = tmp_path / "pens"
    folder.mkdir()
    rows = [
        {"question": f"How many are {n} and 2?", "answer": str(n + 2), "rationale": f"{n} + 2 = {n + 2}."}
        for n in range(30)
    ]
    parts = {
        "train": rows[:20] + rows[20:22] + rows[25:26],
        "validation": rows[20:25] + rows[26:27],
        "test": rows[25:],
    }
    for split, part in parts.items():
        datasets.Dataset.from_list(part).to_parquet(folder / f"{split}.parquet")
    source = ["--rationales.source", "dataset", "--rationales.path", folder, "--task", "gsm8k"]
    done = skipthink("rationales", "--storage-path", tmp_path / "runs", *FAST, *source)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (
        "20 to train on, 5 for dev, 5 to test on, 4 dropped (dev question 2, test question 2)" in done.stdout
    )
    found = dataset.dataset(tmp_path / "runs/run/rationales/rows", format="parquet").to_table().to_pylist()
    leaks = {(row["split"], row["reason"]) for row in found if row["reason"]}
    assert leaks == {("train", "dev question"), ("train", "test question"), ("dev", "test question")}
