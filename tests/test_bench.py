"""`skipthink bench` measures the answers that a student really gives, in every mode and batch size."""

import json
from pathlib import Path

import pyarrow as pa
import pytest

from skipthink_ray.cli import main
from skipthink_ray.config import PipelineConfig
from skipthink_ray.data.questions import of_file
from skipthink_ray.models.decoding import answer_questions
from skipthink_ray.models.serving import prepare_for_serving
from skipthink_ray.models.student import load_student, save_student
from skipthink_ray.runtime.artifacts import Folder
from skipthink_ray.tasks import TASKS

COUNT, LIMIT = 40, 80


@pytest.fixture(scope="module")
def run(trained, tmp_path_factory) -> Path:
    """The folder of a run with an stt student, which also answers in staged mode, and 48 test questions."""
    folder = tmp_path_factory.mktemp("runs") / "toy"
    skip, samples = trained
    made = folder / "stt" / "student"
    made.mkdir(parents=True)
    save_student(skip, made)
    own = load_student(made)
    prepare_for_serving(own, "stt", PipelineConfig(task="multiarith"))
    save_student(own, made)
    (folder / "stt" / "_DONE").touch()
    table = samples.table
    split = pa.array(["test"] * table.num_rows)
    Folder.open(str(folder / "samples")).write_table(
        "samples", table.set_column(table.schema.get_field_index("split"), "split", split)
    )
    return folder


def _bench(run: Path, *words: str) -> int:
    return main(["bench", "--student", str(run), "--max-new-tokens", str(LIMIT), *words])


def test_a_row_per_mode_and_batch_size_with_the_accuracy_and_tokens_of_the_answers(run, trained, capsys):
    assert _bench(run, "--batch-sizes", "1", "32", "--count", str(COUNT), "--json") == 0
    shown, _, last = capsys.readouterr().out.rstrip().rpartition("\n")
    assert f"{COUNT} questions, greedy, eager, fp32, CPU, 1 thread" in shown
    speeds = {(one["mode"], one["batch_size"]): one for one in json.loads(last)["speeds"]}
    assert list(speeds) == [("staged", 1), ("staged", 32), ("skip", 1), ("skip", 32)]
    student, samples = trained
    for mode in ("staged", "skip"):
        table = samples.table.slice(0, COUNT)
        answers = answer_questions(student, mode, table["question_tokens"].to_pylist(), LIMIT)
        right = [
            TASKS["multiarith"].check(answer.answer, gold)
            for answer, gold in zip(answers, table["answer"].to_pylist(), strict=True)
        ]
        assert 0 < sum(right) < COUNT, "the accuracy can be wrong"
        for size in (1, 32):
            one = speeds[mode, size]
            assert one["accuracy_pct"] == pytest.approx(100 * sum(right) / COUNT)
            assert one["tokens"] == pytest.approx(sum(answer.tokens for answer in answers) / COUNT)
            assert one["tokens_per_s"] == pytest.approx(one["tokens"] * one["answers_per_s"])
            assert 0 < one["first_token_ms"] < one["answer_ms"]
            assert one["peak_mib"] > 50


def test_questions_of_a_file_without_answers_have_no_accuracy(run, tmp_path, capsys):
    file = tmp_path / "questions.jsonl"
    file.write_text('{"question": "How many apples?"}\n\n{"question": "How many pens?", "id": 3}\n')
    options = ("--questions", str(file), "--batch-sizes", "2", "64", "--json", "--precision", "bf16")
    assert _bench(run / "stt", *options, "--static-cache") == 0
    shown, _, last = capsys.readouterr().out.rstrip().rpartition("\n")
    assert "2 questions, greedy, static cache, bf16" in shown
    assert [one["accuracy_pct"] for one in json.loads(last)["speeds"]] == [None, None]
    assert [one["batch_size"] for one in json.loads(last)["speeds"]] == [2, 2], "there are no more questions"


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ('{"question": "a"}\n{"answer": "3"}\n', "line 2 has no text under the key 'question'"),
        ('{"question": " "}\n', "line 1 has no text under the key 'question'"),
        ("[1]\n", "line 1 is not a JSON object"),
        ('{"question": \n', "line 1 is not JSON: "),
        ("\n", "contains no questions"),
    ],
)
def test_bad_questions_are_named(run, tmp_path, capsys, text, error):
    file = tmp_path / "questions.jsonl"
    file.write_text(text)
    assert _bench(run, "--questions", str(file)) == 2
    assert error in capsys.readouterr().err


def test_a_file_that_is_not_utf_8_is_named_and_a_line_separator_within_a_text_ends_no_row(
    run, tmp_path, capsys
):
    file = tmp_path / "questions.jsonl"
    file.write_bytes(b'{"question": "caf\xe9"}')
    assert _bench(run, "--questions", str(file)) == 2
    assert f"{file} is not UTF-8" in capsys.readouterr().err
    file.write_text('{"question": "a\u2028b"}\n', encoding="utf-8")
    assert of_file(file, "--questions") == [{"row": 0, "question": "a\u2028b"}]


def test_a_student_outside_a_run_needs_questions(run, capsys):
    assert _bench(run / "stt") == 2
    assert "is not the folder of a run" in capsys.readouterr().err
    assert _bench(run, "--batch-sizes", "0") == 2
    assert "'0' is not a whole number of at least 1" in capsys.readouterr().err
