"""The stage `skips` on a cluster: the judge `writing`, and the control with shuffled skips."""

import json

import numpy as np
import pyarrow.dataset as dataset
import pytest

from tests.commands import run_stages

OPTIONS = (
    "--rationales.train-questions 60 --rationales.test-questions 8 --student.width 48 --student.layers 1 "
    "--cwt.batch-size 16 --cwt.epochs 20 --cwt.optim.lr 4e-3 --cwt.search.method average "
    "--skips.judge writing --skips.shuffled --skips.max-chunk-tokens 40 "
    "--tracking.backend off --cluster.backend ddp --name run"
).split()


def _table(folder):
    return dataset.dataset(folder, format="parquet").to_table().sort_by("row")


@pytest.mark.ray
@pytest.mark.slow
def test_shuffled_skips_are_as_many_per_chunk_index_as_writing_found(tmp_path):
    printed = run_stages(tmp_path, OPTIONS, "rationales", "samples", "cwt", "skips")
    assert "by writing" in printed
    assert "skips shuffled over the samples" in printed
    skips = tmp_path / "run" / "skips"
    found, shuffled = _table(skips / "found"), _table(skips / "skips")
    assert found.drop_columns("kept") == shuffled.drop_columns("kept")
    found_RM, shuffled_RM = (np.array(table["kept"].to_pylist()) for table in (found, shuffled))
    assert (found_RM.sum(0) == shuffled_RM.sum(0)).all()
    assert (found_RM != shuffled_RM).any()
    summary = json.loads((skips / "summary.json").read_text())
    assert (summary["judge"], summary["shuffled"], summary["samples"]) == ("writing", True, 60)
    assert summary["seconds"] > 0
    sizes = _table(tmp_path / "run" / "cwt" / "samples")["chunk_steps"].to_pylist()
    asked_RM = (np.array(sizes) > 0) & np.array(found["right"].to_pylist())[:, None]
    assert asked_RM.any()
    assert summary["verified"] + summary["decoded"] == 60 + asked_RM.sum(), (
        "with all chunks, and without each one"
    )
    assert summary["chunks_verified"] + summary["chunks_decoded"] == (asked_RM * [3, 2, 1, 0]).sum(), (
        "those behind it"
    )
