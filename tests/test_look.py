"""`skipthink look` through the command line, on a small generated file with known numbers."""

import io
import json
import re
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from rich.console import Console
from transformers import AutoTokenizer

from skipthink_ray.commands.look import look
from skipthink_ray.pipeline import open_run
from skipthink_ray.reporting.look_rows import chunk_sizes, quantile
from skipthink_ray.rows import ROW_SCHEMA
from skipthink_ray.settings import load_config
from tests.test_bad_input import FAST, from_file, skipthink, write_lines

STEPS = [1] * 2 + [3] * 4 + [4] * 5 + [5] * 6 + [9]
"""Number of sentences in the rationale of each kept training row."""
WORDS = 4
"""Words per sentence."""
WRONG, DUPLICATES, CUT = 6, 3, 2


def _row(number: int, steps: int, **more: str) -> dict[str, str]:
    rationale = " ".join(f"Here Tom counts {number + at}." for at in range(steps))
    return {
        "question": f"What is {number} and 1?",
        "rationale": rationale,
        "answer": str(number + 1),
        "split": "train",
        **more,
    }


def _write(path):
    kept = [{**_row(20 * at, steps), "teacher_answer": str(20 * at + 1)} for at, steps in enumerate(STEPS)]
    wrong = [_row(1000 + at, 2, teacher_answer="7") for at in range(WRONG)]
    cut = [_row(2000 + at, 2, rationale="x" * 3000, teacher_answer="7") for at in range(CUT)]
    test = [_row(3000 + at, 2, split="test") for at in range(5)]
    return write_lines(path, [*kept, *wrong, *kept[:DUPLICATES], *cut, *test])


def _line(shown: str, start: str) -> list[str]:
    """The cells of the only line that starts with `start`."""
    found = [line.removeprefix(start).split() for line in shown.splitlines() if line.startswith(start)]
    assert len(found) == 1, shown
    return found[0]


def _look(*options: object, as_json: bool = False) -> str:
    """The output of the command if it need not run the stage rationales."""
    screen = io.StringIO()
    config = load_config("default", None, [str(option) for option in options])
    look(config, Console(file=screen, width=120), "", as_json)
    return screen.getvalue()


def test_a_teacher_is_not_asked(tmp_path):
    questions = [{"question": "What is 1 and 1?", "answer": "2", "split": "train"}] * 3
    options = [*from_file(write_lines(tmp_path / "rows.jsonl", questions)), "--task", "gsm8k"]
    options += ["--rationales.teacher.kind", "endpoint", "--rationales.teacher.model", "oracle"]
    options += ["--endpoint.url", "http://127.0.0.1:9/v1", "--storage-path", tmp_path / "runs"]
    shown = _look(*options)
    assert "gold answers  as stored  as read  compared as" in shown
    assert "teacher     1 rationales to ask of endpoint 'oracle', 0 answered before" in shown
    assert "The teacher was not asked." in shown
    assert not (tmp_path / "runs").exists()
    described = json.loads(_look(*options, as_json=True))
    assert described["input"]["rows_read"] == 3
    assert described["estimate"].startswith("teacher     1 rationales to ask")


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.long
def test_look_describes_the_rows_and_a_later_stage_reuses_its_artifact(tmp_path, checkpoints):
    options = [
        *from_file(_write(tmp_path / "rows.jsonl")),
        "--rationales.max-chars",
        2000,
        "--storage-path",
        tmp_path / "runs",
        *FAST,
        "--task",
        "last_letter_concatenation",
    ]
    shown = skipthink("look", *options).stdout
    mean = np.mean(STEPS)
    assert _line(shown, "kept") == [str(len(STEPS)), "5", str(len(STEPS) + 5)]
    assert _line(shown, "dropped: wrong answer") == [str(WRONG), "0", str(WRONG)]
    assert _line(shown, "dropped: duplicate") == [str(DUPLICATES), "0", str(DUPLICATES)]
    assert _line(shown, "dropped: too long") == [str(CUT), "0", str(CUT)]
    right = len(STEPS) + DUPLICATES
    assert f"Teacher accuracy: {right / (right + WRONG):.1%} of {right + WRONG} training rows" in shown
    assert _line(shown, "steps per rationale")[:1] == [f"{mean:.2f}"]
    assert _line(shown, "steps per rationale")[3] == str(sorted(STEPS)[len(STEPS) // 2 - 1])
    assert _line(shown, "words per rationale")[:1] == [f"{WORDS * mean:.2f}"]
    assert _line(shown, "steps per chunk, M = 4") == [f"{mean / 4:.2f}", "0", "1", "1", "1", "2", "3"]
    empty = sum(max(0, 4 - n) for n in STEPS)
    assert f"M = 4: {empty / (4 * len(STEPS)):.1%} of {4 * len(STEPS)} average chunks are empty" in shown
    assert f"{np.mean(np.array(STEPS) > 2):.1%} of the rationales have more steps than chunks" in shown
    assert "auto takes M = 2" in shown
    assert f"A run takes M = 4: the mean number of steps is {mean:.2f}." in shown
    chunk_of_step = [line.split()[0] for line in shown.splitlines() if re.match(r" +\d+  Here Tom", line)]
    assert chunk_of_step == [*"1", *"1234", *"11234", *"111223344"]
    assert re.search(r"5 █{40} 6", shown)

    again = _look(*options, "--cwt.num-chunks", 9, "--student.pretrained", checkpoints["llama"])
    tokenizer = AutoTokenizer.from_pretrained(checkpoints["llama"])
    rationales = [
        json.loads(line)["rationale"]
        for line in (tmp_path / "rows.jsonl").read_text().splitlines()[: len(STEPS)]
    ]
    sentences = [re.split(r"(?= Here)", rationale) for rationale in rationales]
    tokens = sum(
        len(tokenizer(sentence, add_special_tokens=False)["input_ids"])
        for one in sentences
        for sentence in one
    )
    assert "starting Ray" not in again
    described = json.loads(_look(*options, as_json=True))
    assert described["rows"]["train"] == {
        "kept": len(STEPS),
        "wrong answer": WRONG,
        "duplicate": DUPLICATES,
        "too long": CUT,
    }
    assert described["input"]["rows_read"] == len(STEPS) + WRONG + DUPLICATES + CUT + 5
    assert _line(again, "tokens per rationale")[0] == f"{tokens / len(STEPS):.2f}"
    assert "A run takes M = 9: as configured." in again

    samples = skipthink("samples", *options)
    assert samples.returncode == 0, samples.stdout + samples.stderr
    summary = json.loads((tmp_path / "runs/run/samples/summary.json").read_text())
    assert _line(_look(*options), "tokens per rationale")[0] == f"{summary['rationale_tokens_mean']:.2f}"


def test_chunk_sizes_and_quantiles_are_those_of_the_listed_rationales():
    steps = Counter(STEPS)
    assert chunk_sizes(steps, 3).total() == 3 * len(STEPS)
    assert chunk_sizes(Counter({5: 2, 1: 1}), 3) == {2: 4, 1: 3, 0: 2}
    assert [quantile(steps, share) for share in (0.01, 0.5, 1)] == [1, 4, 9]


def test_a_refused_file_is_described_too(tmp_path, monkeypatch):
    """A stage that was refused leaves its rows."""
    rows = [_row(20 * at, 2) for at in range(4)]
    options = [*from_file(write_lines(tmp_path / "rows.jsonl", rows)), "--storage-path", tmp_path / "runs"]
    bad = {"row": 1, "id": "row-2", "split": "train", "question": "q", "answer": None, "rationale": None}
    table = pa.Table.from_pylist([bad | {"reason": "empty field", "detail": "it is empty"}], ROW_SCHEMA)

    def refuse(config, *_, **__):
        open_run(config).artifact("rationales").write_table("rows", table)
        raise ValueError("refused")

    monkeypatch.setattr("skipthink_ray.commands.look.run", refuse)
    screen = io.StringIO()
    config = load_config("default", None, list(map(str, options)))
    with pytest.raises(ValueError, match="refused"):
        look(config, Console(file=screen, width=120), "")
    assert "Dropped: empty field, for example:\n  row 2 (train, row-2): it is empty" in screen.getvalue()
