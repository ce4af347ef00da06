"""Every stage handles a rationale as long as a reasoning teacher's: 300 steps, over 8,000 tokens."""

import json
import subprocess
import sys
from pathlib import Path

import pyarrow.dataset as dataset
import pytest

STEPS, TOKENS = 300, 8000


def thinking(boxes: int) -> str:
    """A running sum in 300 steps, with the lines, doubts, lists and displays of reasoning models."""
    lines, total = [], 0
    for step in range(1, STEPS + 1):
        more = step % boxes + 1
        opener, end = (
            ("Wait, let me check that:", "."),
            (f"{step}. Now", "."),
            ("So", "."),
            ("\\[", " \\]"),
            ("- Next,", "."),
        )[step % 5]
        sums = (
            f"the sum of all {boxes} boxes up to number {step} is {total} + {more} = {total + more} pens, "
            "and none of them is lost"
        )
        lines.append(f"{opener} {sums}{end}")
        total += more
    return "\n".join(lines)


def rows(file: Path) -> Path:
    told = {
        "question": "Tom fills 7 boxes with pens. How many pens are there?",
        "answer": "7",
        "rationale": thinking(7),
        "split": "train",
    }
    test = {
        "question": "Eva fills 2 bags with cups. How many cups are there?",
        "answer": "2",
        "split": "test",
    }
    file.write_text("".join(json.dumps(row) + "\n" for row in (told, test)))
    return file


@pytest.mark.ray
@pytest.mark.slow
def test_a_rationale_of_8000_tokens_and_300_steps_is_chunked_searched_trained_on_ablated_and_reported(
    tmp_path,
):
    options = {
        "storage-path": tmp_path,
        "tracking.backend": "off",
        "rationales.source": "file",
        "rationales.path": rows(tmp_path / "long.jsonl"),
        "rationales.max-chars": 60_000,
        "student.max-tokens": 12_000,
        "student.layers": 1,
        "student.width": 16,
        "student.heads": 2,
        "cwt.epochs": 1,
        "cluster.backend": "ddp",
        "cluster.num-workers": 1,
        "cluster.num-actors": 1,
        "evaluation.max-new-tokens": 8,
        "evaluation.latency-questions": 2,
    }
    words = [sys.executable, "-m", "skipthink_ray.cli", "run"]
    for name, value in options.items():
        words += [f"--{name}", str(value)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=1500)
    assert done.returncode == 0, done.stdout + done.stderr
    sample = dataset.dataset(tmp_path / "run/chunks/samples", format="parquet").to_table().to_pylist()[0]
    assert len(sample["step_tokens"]) == STEPS
    assert len(sample["rationale_tokens"]) >= TOKENS
    searched = dataset.dataset(tmp_path / "run/cwt/samples", format="parquet").to_table().to_pylist()[0]
    assert sum(searched["chunk_steps"]) == STEPS
    history = dataset.dataset(tmp_path / "run/cwt/history", format="parquet").to_table().to_pylist()
    assert [update["target_tokens"] > TOKENS for update in history] == [True]  # one update over all chunks
    assert dataset.dataset(tmp_path / "run/skips/skips", format="parquet").count_rows() == 1
    assert (tmp_path / "run/report/report.html").exists()
