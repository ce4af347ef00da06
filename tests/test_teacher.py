"""The stage rationales with a teacher over HTTP, through the command line."""

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.dataset as dataset
import pytest

from skipthink_ray.runtime.artifacts import Folder
from skipthink_ray.teacher.ledger import Ledger
from tests.teachers import MODEL, Teacher, serve


def questions(path: Path, count: int, kinds: tuple[str, ...] = ("",)) -> Path:
    """Questions without rationales. Every fifth is a test question and is never sent to the teacher."""
    rows = [
        {
            "id": f"q{at}",
            "split": "test" if at % 5 == 0 else "train",
            "answer": str(at + 3),
            "question": f"Tom has {at} pens and finds 3. How many? [{kinds[at % len(kinds)]}]",
        }
        for at in range(count)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def command(tmp_path: Path, file: Path, teacher: Teacher, *more: object) -> list[str]:
    words: list[object] = [
        sys.executable,
        "-m",
        "skipthink_ray.cli",
        "rationales",
        "--storage-path",
        tmp_path / "runs",
        "--tracking.backend",
        "off",
        "--rationales.source",
        "file",
        "--rationales.path",
        file,
        "--rationales.teacher.kind",
        "endpoint",
        "--rationales.teacher.model",
        MODEL,
        "--rationales.teacher.prompt",
        "zero_shot",
        "--endpoint.url",
        teacher.url,
        *more,
    ]
    return list(map(str, words))


def ask(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(arguments, capture_output=True, text=True, timeout=1500)


def rows_of(tmp_path: Path, name: str = "run") -> list[dict]:
    return (
        dataset.dataset(tmp_path / "runs" / name / "rationales" / "rows", format="parquet")
        .to_table()
        .sort_by("row")
        .to_pylist()
    )


@pytest.mark.ray
@pytest.mark.slow
def test_every_question_becomes_a_row_and_another_filter_asks_none_again(tmp_path):
    file = questions(tmp_path / "questions.jsonl", 20, ("", "wrong", "refuse", "long", "bad-request", "500"))
    loose = [
        "--rationales.max-bad-share",
        "0.5",
        "--endpoint.price-input",
        "2",
        "--endpoint.price-output",
        "10",
    ]
    with serve() as teacher:
        done = ask(*command(tmp_path, file, teacher, *loose))
        assert done.returncode == 0, done.stdout + done.stderr
        first = dict(teacher.asked)
        again = ask(
            *command(
                tmp_path, file, teacher, *loose, "--name", "unfiltered", "--rationales.filters.no-refusals"
            )
        )
        assert again.returncode == 0, again.stdout + again.stderr
        assert teacher.asked == {
            question: times + times * ("[bad-request]" in question) for question, times in first.items()
        }
    rows = rows_of(tmp_path)
    assert len(rows) == 20
    asked = [row for row in rows if row["split"] == "train"]
    assert set(first) == {row["question"] for row in asked}
    fates = {
        kind: {row["reason"] for row in asked if f"[{kind}]" in row["question"]}
        for kind in ("", "wrong", "refuse", "long", "500")
    }
    assert fates == {
        "": {None},
        "wrong": {"wrong answer"},
        "refuse": {"refusal"},
        "long": {"cut off"},
        "500": {None},
    }
    failed = next(row for row in asked if "[bad-request]" in row["question"])
    assert failed["reason"] == "teacher failed"
    assert "too long a prompt" in failed["detail"]
    assert all("The answer is" not in row["rationale"] for row in asked if row["reason"] is None)
    summary = json.loads((tmp_path / "runs/run/rationales/summary.json").read_text())
    answered = sum(row["reason"] != "teacher failed" for row in asked)
    assert summary["teacher_prompt_tokens"] == 50 * answered
    assert summary["teacher_cost"] == pytest.approx((50 * 2 + 20 * 10) * answered / 1e6)


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(800)
def test_a_run_killed_twice_asks_no_finished_question_again(tmp_path):
    file, draw = questions(tmp_path / "questions.jsonl", 400), random.Random(0)
    with serve(delay_s=0.5) as teacher:
        words = command(tmp_path, file, teacher, "--endpoint.concurrency", "8")
        for _ in range(2):
            driver = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            before = sum(teacher.asked.values())
            wanted = before + draw.randint(20, 60)
            while sum(teacher.asked.values()) < wanted:
                assert driver.poll() is None, "it ended before it was killed"
                time.sleep(0.02)
            driver.send_signal(signal.SIGKILL)
            driver.wait()
            _wait_until_silent(teacher)
            finished = {entry["key"]: entry for entry in _entries(tmp_path)}
            times = dict(teacher.asked)
            settled = {
                question
                for question in times
                if any(_number(question) in entry["text"] for entry in finished.values())
            }
            assert len(settled) == len(finished) >= 10
        done = ask(*words)
        assert done.returncode == 0, done.stdout + done.stderr
        assert all(teacher.asked[question] == times[question] for question in settled)
    rows = rows_of(tmp_path)
    assert [row["reason"] for row in rows] == [None] * 400
    assert len(Ledger(Folder.open(str(tmp_path / "runs/.teacher")))) == len(_entries(tmp_path)) == 320


def _number(question: str) -> str:
    return f"There are {question.split()[2]} and "


def _entries(tmp_path: Path) -> list[dict]:
    lines = [
        line
        for file in (tmp_path / "runs/.teacher").glob("*.jsonl")
        for line in file.read_bytes().split(b"\n")
        if line
    ]
    return [json.loads(line) for line in lines if line.endswith(b"}")]


def _wait_until_silent(teacher: Teacher) -> None:
    """Wait until requests stop: the actors of a killed driver die shortly after it."""
    seen, since = sum(teacher.asked.values()), time.monotonic()
    while time.monotonic() - since < 3:
        time.sleep(0.1)
        if sum(teacher.asked.values()) != seen:
            seen, since = sum(teacher.asked.values()), time.monotonic()


def test_a_dry_run_estimates_the_cost_and_sends_no_request(tmp_path):
    file = questions(tmp_path / "questions.jsonl", 1000)
    prices = [
        "--endpoint.price-input",
        "2",
        "--endpoint.price-output",
        "10",
        "--rationales.teacher.max-tokens",
        "100",
        "--dry-run",
    ]
    with serve() as teacher:
        done = ask(*command(tmp_path, file, teacher, *prices))
        assert not teacher.asked
    assert done.returncode == 0, done.stderr
    assert "800 rationales to ask of endpoint 'oracle', 0 answered before" in done.stdout
    assert "at most 80,000 generated; about 0." in done.stdout
    assert not (tmp_path / "runs").exists()


def test_a_dry_run_estimates_the_cost_even_if_another_run_has_the_name(tmp_path):
    file = questions(tmp_path / "questions.jsonl", 1000)
    there = tmp_path / "runs" / "run" / "rationales"
    there.mkdir(parents=True)
    (there / "config.json").write_text('{"config": {"source": "toy"}}')
    with serve() as teacher:
        done = ask(*command(tmp_path, file, teacher, "--dry-run"))
    assert "800 rationales to ask of endpoint 'oracle'" in done.stdout
    assert done.returncode == 2
    assert "Choose another --name" in done.stderr


@pytest.mark.ray
def test_an_endpoint_that_does_not_answer_is_named_before_any_question(tmp_path):
    file = questions(tmp_path / "questions.jsonl", 10)
    with serve() as teacher:
        words = command(tmp_path, file, teacher)
    started = time.monotonic()
    done = ask(*words)
    assert done.returncode == 2
    assert f"endpoint.url: {teacher.url} does not answer" in done.stderr
    assert time.monotonic() - started < 60
    assert not teacher.asked


def test_a_teacher_without_a_model_or_with_equal_samples_is_refused(tmp_path):
    file = questions(tmp_path / "questions.jsonl", 10)
    words = [
        sys.executable,
        "-m",
        "skipthink_ray.cli",
        "rationales",
        "--rationales.source",
        "file",
        "--rationales.path",
        str(file),
    ]
    done = ask(*words, "--rationales.teacher.kind", "endpoint")
    assert done.returncode == 2
    assert "rationales.teacher.model: a teacher of kind endpoint needs a model; set its name" in done.stderr
    done = ask(*words, "--rationales.teacher.samples", "3")
    assert done.returncode == 2
    assert "rationales.teacher.temperature: 3 greedy samples would be the same" in done.stderr
