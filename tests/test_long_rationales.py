"""Every stage handles a rationale as long as a reasoning teacher's: 300 steps, over 8,000 tokens."""

import io

import pyarrow.dataset as dataset
import pytest
from rich.console import Console

from benchmarks.bench_long import STEPS, TOKENS, long_config, write_rows
from skipthink_ray.pipeline import run
from skipthink_ray.runtime.cluster import disconnect


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.long
def test_a_rationale_of_8000_tokens_and_300_steps_is_chunked_searched_trained_on_ablated_and_reported(
    tmp_path,
):
    config = long_config(tmp_path, write_rows(tmp_path / "long.jsonl", rationales=1), width=16)
    try:
        folder = tmp_path / run(config, Console(file=io.StringIO(), width=120), "a test").name
    finally:
        disconnect()
    sample = dataset.dataset(folder / "samples/samples", format="parquet").to_table().to_pylist()[0]
    assert len(sample["step_tokens"]) == STEPS
    assert len(sample["rationale_tokens"]) >= TOKENS
    searched = dataset.dataset(folder / "cwt/samples", format="parquet").to_table().to_pylist()[0]
    assert sum(searched["chunk_steps"]) == STEPS
    history = dataset.dataset(folder / "cwt/history", format="parquet").to_table().to_pylist()
    assert [update["target_tokens"] > TOKENS for update in history] == [True]  # one update over all chunks
    assert dataset.dataset(folder / "skips/skips", format="parquet").count_rows() == 1
    assert (folder / "report/report.html").exists()
