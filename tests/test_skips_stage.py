"""The stage `skips` on a cluster: the judge `writing`, shuffled skips, and the cross-fitted gate."""

import json
from pathlib import Path

import numpy as np
import pyarrow.dataset as dataset
import pytest

from skipthink_ray.method.samples import COLUMNS, training_samples
from skipthink_ray.method.skipping import Fold
from skipthink_ray.runtime.artifacts import Folder
from tests.commands import run_stages
from tests.toys import make_samples, make_student

OPTIONS = (
    "--rationales.train-questions 60 --rationales.test-questions 8 --student.width 48 --student.layers 1 "
    "--cwt.batch-size 16 --cwt.epochs 20 --cwt.optim.lr 4e-3 --cwt.search.method average "
    "--skips.max-chunk-tokens 40 --tracking.backend off --cluster.backend ddp --cluster.num-workers 1"
).split()
SHUFFLED = "--name shuffled --skips.judge writing --skips.shuffled".split()
CROSS_FITTED = "--name cross-fitted --skips.gate cross_fitted --skips.folds 2".split()


def _table(folder: Path):
    return dataset.dataset(folder, format="parquet").to_table().sort_by("row")


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
@pytest.mark.long
@pytest.mark.timeout(900)
def test_writing_shuffled_skips_and_a_cross_fitted_gate_judge_every_sample(tmp_path):
    """Both runs share their rationales, samples and cwt."""
    _assert_shuffled_skips_are_as_many_per_chunk_index_as_writing_found(tmp_path)
    _assert_a_cross_fitted_stage_judges_every_sample_and_leaves_no_fold_behind(tmp_path)


def _assert_shuffled_skips_are_as_many_per_chunk_index_as_writing_found(storage: Path) -> None:
    printed = run_stages(storage, [*OPTIONS, *SHUFFLED], "rationales", "samples", "cwt", "skips")
    assert "by writing" in printed
    assert "skips shuffled over the samples" in printed
    skips = storage / "shuffled" / "skips"
    found, shuffled = _table(skips / "found"), _table(skips / "skips")
    assert found.drop_columns("kept") == shuffled.drop_columns("kept")
    found_RM, shuffled_RM = (np.array(table["kept"].to_pylist()) for table in (found, shuffled))
    assert (found_RM.sum(0) == shuffled_RM.sum(0)).all()
    assert (found_RM != shuffled_RM).any()
    summary = json.loads((skips / "summary.json").read_text())
    assert (summary["judge"], summary["shuffled"], summary["samples"]) == ("writing", True, 60)
    assert summary["seconds"] > 0
    sizes = _table(storage / "shuffled" / "cwt" / "samples")["chunk_steps"].to_pylist()
    asked_RM = (np.array(sizes) > 0) & np.array(found["right"].to_pylist())[:, None]
    assert asked_RM.any()
    assert summary["verified"] + summary["decoded"] == 60 + asked_RM.sum(), (
        "with all chunks, and without each one"
    )
    assert summary["chunks_verified"] + summary["chunks_decoded"] == (asked_RM * [3, 2, 1, 0]).sum(), (
        "those behind it"
    )


def _assert_a_cross_fitted_stage_judges_every_sample_and_leaves_no_fold_behind(storage: Path) -> None:
    printed = run_stages(storage, [*OPTIONS, *CROSS_FITTED], "rationales", "samples", "cwt", "skips")
    assert all(f"fold {number} of 2: student without" in printed for number in (1, 2))
    run = storage / "cross-fitted"
    skips = dataset.dataset(run / "skips" / "skips", format="parquet").to_table()
    samples = _table(run / "cwt" / "samples")
    assert sorted(skips["row"].to_pylist()) == sorted(samples["row"].to_pylist())
    assert json.loads((run / "skips" / "summary.json").read_text())["samples"] == 60
    assert not (run / "skips" / "checkpoints").exists()
