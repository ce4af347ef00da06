"""The folds of the cross-fitted gate are disjoint, cover all samples, and are unseen by their students."""

import json

import pyarrow.dataset as dataset
import pytest

from skipthink_ray.method.samples import COLUMNS, training_samples
from skipthink_ray.method.skipping import Fold
from skipthink_ray.runtime.artifacts import Folder
from tests.commands import run_stages
from tests.toys import make_samples, make_student

OPTIONS = (
    "--rationales.train-questions 100 --rationales.test-questions 8 --student.width 32 --student.layers 1 "
    "--cwt.batch-size 16 --cwt.epochs 1 --skips.gate cross_fitted --skips.folds 2 "
    "--tracking.backend off --cluster.backend ddp --name run"
).split()


def test_every_fold_is_held_out_of_its_own_student_and_of_no_other(tmp_path, rows):
    # twenty questions appear twice
    samples = make_samples([*rows[:60], *rows[:20]], make_student(rows[:60]).tokenizer)
    folder = Folder.open(str(tmp_path))
    folder.write_table("samples", samples.table)
    folds = [Fold(number, 3, seed=0) for number in range(3)]
    source = folder.table("samples")
    trained_on = [set(training_samples(source, COLUMNS, fold).table["row"].to_pylist()) for fold in folds]
    held_out = [set(range(80)) - rows for rows in trained_on]
    assert sorted(row for rows in held_out for row in rows) == list(range(80)), "each sample is held out once"
    assert all(held_out)
    assert all((row in rows) == (row + 60 in rows) for rows in held_out for row in range(20)), (
        "a question lies in one fold"
    )


@pytest.mark.ray
@pytest.mark.slow
def test_a_cross_fitted_stage_judges_every_sample_and_leaves_no_fold_behind(tmp_path):
    printed = run_stages(tmp_path, OPTIONS, "rationales", "samples", "cwt", "skips")
    assert all(f"fold {number} of 2: student without" in printed for number in (1, 2))
    run = tmp_path / "run"
    skips = dataset.dataset(run / "skips" / "skips", format="parquet").to_table()
    samples = dataset.dataset(run / "cwt" / "samples", format="parquet").to_table(columns=["row"])
    assert sorted(skips["row"].to_pylist()) == sorted(samples["row"].to_pylist())
    assert json.loads((run / "skips" / "summary.json").read_text())["samples"] == 100
    assert not (run / "skips" / "checkpoints").exists()
