"""Bad input through the command line: a clear error, a non-zero exit, nothing lost."""

import gzip
import json
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.dataset as dataset
import pyarrow.parquet
import pytest

from skipthink_ray.cli import main
from skipthink_ray.config import PipelineConfig

ROOT = Path(__file__).parents[1]
GOOD = {
    "question": "Tom has 2 pens and finds 3. How many?",
    "answer": "5",
    "rationale": "He has 2. 2 + 3 = 5.",
}
FAST = ["--student.width", "16", "--student.heads", "2", "--student.layers", "1", "--tracking.backend", "off"]


def skipthink(*arguments: object, timeout: float = 900) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "skipthink_ray.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout)


def refused(tmp_path: Path, *arguments: object) -> str:
    """The one-line error of a run that must be refused with exit code 2 and without a traceback."""
    done = skipthink("run", "--storage-path", tmp_path / "runs", *FAST, *arguments)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    return done.stderr


def write_lines(path: Path, rows: list[object]) -> Path:
    path.write_bytes(
        b"".join((row if isinstance(row, bytes) else json.dumps(row).encode()) + b"\n" for row in rows)
    )
    return path


def from_file(path: Path) -> list[object]:
    return ["--rationales.source", "file", "--rationales.path", path]


def test_a_missing_file_is_named(tmp_path):
    assert "no such file: " + str(tmp_path / "none.jsonl") in refused(
        tmp_path, *from_file(tmp_path / "none.jsonl")
    )


def test_a_file_that_is_not_parquet_is_named(tmp_path):
    path = tmp_path / "fake.parquet"
    path.write_text("not parquet")
    assert f"{path}: not a Parquet file" in refused(tmp_path, *from_file(path))


def test_a_file_that_is_not_json_lines_is_named(tmp_path):
    path = tmp_path / "fake.jsonl"
    path.write_bytes(bytes(range(256)) * 50)
    assert f"{path}: none of the first" in refused(tmp_path, *from_file(path))


def test_a_json_array_without_objects_is_named(tmp_path):
    path = tmp_path / "array.json"
    path.write_text("[1, 2]")
    assert f"{path}: the JSON array holds no objects" in refused(tmp_path, *from_file(path))


def test_an_empty_and_a_compressed_file_are_named(tmp_path):
    (tmp_path / "empty.jsonl").write_text("\n")
    assert "empty.jsonl: the file is empty" in refused(tmp_path, *from_file(tmp_path / "empty.jsonl"))
    (tmp_path / "packed.jsonl").write_bytes(gzip.compress(json.dumps(GOOD).encode()))
    assert "packed.jsonl: compressed with gzip, but not named so" in refused(
        tmp_path, *from_file(tmp_path / "packed.jsonl")
    )


def test_an_unreachable_cluster_address_is_reported_within_seconds(tmp_path):
    started = time.monotonic()
    assert "no Ray cluster answers at '127.0.0.1:9'" in refused(tmp_path, "--cluster.address", "127.0.0.1:9")
    assert time.monotonic() - started < 30


def test_an_unknown_kind_of_file_is_named(tmp_path):
    path = tmp_path / "rows.xlsx"
    path.write_text("")
    assert "unknown file type '.xlsx'" in refused(tmp_path, *from_file(path))


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_a_missing_column_is_named_with_the_existing_columns(tmp_path, kind):
    row = {"question": "q", "anwser": "1", "rationale": "r"}
    path = tmp_path / f"rows.{kind}"
    if kind == "jsonl":
        write_lines(path, [row])
    else:
        pyarrow.parquet.write_table(pyarrow.table({key: [value] for key, value in row.items()}), path)
    error = refused(tmp_path, *from_file(path))
    assert f"{path}: no column 'answer' for the answer" in error
    assert "Did you mean 'anwser'?" in error
    assert "rationales.columns.answer" in error


def test_all_missing_columns_are_named_at_once(tmp_path):
    path = tmp_path / "rows.jsonl"
    write_lines(path, [{"problem": "q", "result": "1", "rationale": "r"}])
    error = refused(tmp_path, *from_file(path))
    assert "Set --rationales.columns.question, and --rationales.columns.answer for the answer." in error


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        (
            "--samples.question-format",
            r"{question} \fbox{}",
            "it contains {}; write {{ and }} for literal braces",
        ),
        ("--samples.question-format", "{question} {options}", "it contains {options}; write {{ and }}"),
        ("--samples.question-format", "{question!r}", "it contains {question!r}; write"),
        ("--samples.question-format", "{question:>9}", "it contains {question:>9}; write"),
        ("--samples.question-format", "{question.id}", "it contains {question.id}; write"),
        ("--samples.question-format", "{answer} {question}", "it contains {answer}; write"),
        ("--samples.question-format", "{question} }", "unmatched brace (Single '}' encountered"),
        ("--samples.question-format", "{{question}}", "it does not contain {question}; write"),
        ("--samples.answer-format", r"\fbox{} --> {answer}", "samples.answer_format: it contains {}; write"),
    ],
)
def test_a_format_with_other_braces_is_refused_before_anything_is_made(capsys, option, value, words):
    assert main(["run", "--dry-run", option, value]) == 2
    said = capsys.readouterr().err
    assert words in said
    assert option.removeprefix("--").replace("-", "_") in said
    assert len(said.strip().splitlines()) == 1


def test_doubled_braces_stay_in_a_format():
    formats = {"question_format": r"{question} \fbox{{}}", "answer_format": "{{}} --> {answer}"}
    samples = PipelineConfig.model_validate({"samples": formats}).samples
    assert samples.question_format.format(question="How many?") == r"How many? \fbox{}"
    assert samples.answer_format.format(answer="5") == "{} --> 5"


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--skips.folds", "1", "skips.folds: input should be greater than or equal to 2 (found 1)"),
        ("--stt.skip-share", "2", "stt.skip_share: input should be less than or equal to 1"),
        ("--cwt.optim.lr", "0", "cwt.optim.lr: input should be greater than 0"),
        (
            "--tracking.uri",
            "http://KEY:SECRET@host",
            "tracking.uri: an address must not contain a user or password",
        ),
    ],
)
def test_a_value_out_of_bounds_is_refused_in_one_line_that_names_its_key(capsys, option, value, words):
    assert main(["run", "--dry-run", option, value]) == 2
    said = capsys.readouterr().err
    assert words in said
    assert len(said.strip().splitlines()) == 1
    assert "SECRET" not in said


def test_two_settings_for_the_number_of_micro_batches_are_refused_in_one_line(capsys):
    options = ["--cluster.accumulation", "2", "--cluster.micro-batch-tokens", "64"]
    assert main(["run", "--dry-run", *options]) == 2
    said = capsys.readouterr().err.strip()
    assert (
        "cluster.accumulation: 2 micro-batches and cluster.micro_batch_tokens: 64 exclude each other" in said
    )
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize("given_as", ["options", "file"])
def test_settings_of_skips_that_exclude_each_other_are_refused_in_one_line(tmp_path, capsys, given_as):
    options = ["--skips.judge", "writing", "--skips.search", "exhaustive"]
    if given_as == "file":
        (tmp_path / "run.yaml").write_text("skips: {judge: writing, search: exhaustive}")
        options = ["--config", str(tmp_path / "run.yaml")]
    assert main(["run", "--dry-run", *options]) == 2
    said = capsys.readouterr().err.strip()
    assert ": skips.judge: writing tries the chunks in order, which skips.search exhaustive does not" in said
    assert said.endswith("set skips.search to sequential, or skips.judge to reading")
    assert len(said.splitlines()) == 1


def _readme_commands() -> list[list[str]]:
    """The README's command lines that configure a run, without the program name."""
    blocks = re.findall(r"```sh\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    lines = [
        shlex.split(line, comments=True)
        for block in blocks
        for line in block.replace("\\\n", " ").splitlines()
    ]
    submitted = [
        ["run", *line[line.index("jobs.pipeline") + 1 :]] for line in lines if "jobs.pipeline" in line
    ]
    return submitted + [
        line[1:] for line in lines if line[:1] == [".venv/bin/skipthink"] and line[1] != "ask"
    ]


@pytest.mark.parametrize("command", _readme_commands(), ids=lambda command: " ".join(command)[:40])
def test_a_command_of_the_readme_is_a_valid_configuration(tmp_path, monkeypatch, capsys, command):
    for name in ("my.jsonl", "questions.jsonl", "multiarith.jsonl"):
        write_lines(tmp_path / name, [GOOD])
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    monkeypatch.chdir(tmp_path)
    arguments = [argument.replace("s3://bucket", ".") for argument in command]
    assert main([*arguments, "--dry-run"]) == 0, capsys.readouterr().err


def test_a_dry_run_of_a_group_shows_every_task_and_names_the_folders_that_are_taken(tmp_path, capsys):
    for task in ("single_eq", "svamp"):
        there = tmp_path / f"run-{task}" / "rationales"
        there.mkdir(parents=True)
        (there / "config.json").write_text('{"config": {}}')
    assert main(["run", "--task", "seven", "--dry-run", "--storage-path", str(tmp_path)]) == 2
    shown = capsys.readouterr()
    assert shown.out.count("evaluation  to do") == 7
    assert "run-single_eq was written by an older skipthink_ray" in shown.err
    assert "run-svamp was written by an older skipthink_ray" in shown.err


def test_fewer_than_one_chunk_is_refused(tmp_path):
    assert "num_chunks" in refused(tmp_path, "--cwt.num-chunks", 0)
    file = tmp_path / "config.yaml"
    file.write_text("cwt: {num_chunks: 0}")
    assert f"{file}: cwt.num_chunks: input should be greater than or equal to 1 (found 0)" in refused(
        tmp_path, "--config", file
    )


def test_an_unknown_key_is_refused_with_a_suggestion(tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text("cwt: {serch: {method: greedy}}")
    assert "cwt.serch: unknown key; did you mean 'cwt.search'?" in refused(tmp_path, "--config", file)
    assert "--cwt.optm.lr: unknown option; did you mean '--cwt.optim.lr'?" in refused(
        tmp_path, "--cwt.optm.lr", 1
    )


def test_an_unknown_task_is_refused_with_a_suggestion(tmp_path):
    assert "unknown task 'multiarit'; did you mean 'multiarith'?" in refused(tmp_path, "--task", "multiarit")


@pytest.mark.parametrize(
    ("content", "place", "words"),
    [
        ("cwt:\n  optim: {lr: 1, lr2\n  epochs: 2", ":3:9", "expected ',' or '}', but got ':'"),
        ("a: [", ":1:5", "but found '<stream end>'"),
        ("cwt:\n\tepochs: 2", ":2:1", "found character '\\t' that cannot start any token"),
        ("name: a: b", ":1:8", "mapping values are not allowed here"),
        ("name: a\ntask: \x07", ":2:7", "special characters are not allowed (#x0007)"),
    ],
)
def test_an_invalid_config_file_is_refused_in_one_line_with_the_place(
    tmp_path, capsys, content, place, words
):
    file = tmp_path / "config.yaml"
    file.write_text(content)
    assert main(["run", "--dry-run", "--config", str(file)]) == 2
    said = capsys.readouterr().err.strip()
    assert said.startswith(f"skipthink: {file}{place}: not valid YAML: ")
    assert words in said
    assert len(said.splitlines()) == 1


def test_a_config_file_that_is_missing_or_not_a_text_is_named(tmp_path, capsys):
    (tmp_path / "binary.yaml").write_bytes(b"name: caf\xe9")
    assert main(["run", "--dry-run", "--config", str(tmp_path / "none.yaml")]) == 2
    assert main(["run", "--dry-run", "--config", str(tmp_path / "binary.yaml")]) == 2
    said = capsys.readouterr().err.splitlines()
    assert "cannot read" in said[0]
    assert f"{tmp_path}/binary.yaml:1: not UTF-8 text (unexpected end of data)" in said[1]
    assert len(said) == 2


def test_a_student_folder_without_tokenizer_is_named(tmp_path):
    folder = tmp_path / "student"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    assert f"'{folder}' has no tokenizer" in refused(tmp_path, "--student.pretrained", folder)


def test_a_storage_path_that_cannot_be_written_is_named(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("a file, not a folder")
    assert f"storage_path: cannot write to {blocked}" in refused(tmp_path, "--storage-path", blocked)
    group = refused(tmp_path, "--storage-path", blocked, "--task", "seven", "--tracking.backend", "mlflow")
    assert f"storage_path: cannot write to {blocked}" in group


def test_a_tracking_server_that_does_not_answer_is_named(tmp_path):
    started = time.monotonic()
    error = refused(tmp_path, "--tracking.backend", "mlflow", "--tracking.uri", "http://127.0.0.1:9")
    assert "tracking.uri: MLflow at 'http://127.0.0.1:9' does not answer" in error
    assert time.monotonic() - started < 60


@pytest.mark.ray
def test_a_request_for_too_many_workers_is_refused_within_seconds(tmp_path):
    started = time.monotonic()
    idle = refused(tmp_path, "--cluster.num-workers", 64)
    assert "base.batch_size: 8 items per update on cluster.num_workers = 64: 56 ranks would" in idle
    enough = [part for stage in ("base", "cwt", "stt") for part in (f"--{stage}.batch-size", 64)]
    error = refused(tmp_path, "--cluster.num-workers", 64, *enough)
    assert "needs 64 processes of 1 CPU each, but this cluster has" in error
    assert time.monotonic() - started < 40


BAD_ROWS: list[tuple[object, str]] = [
    (b'{"question": "broken', "malformed JSON"),
    (b"[1, 2]", "not an object"),
    (b'{"question": "caf\xe9", "answer": "1", "rationale": "r"}', "not UTF-8"),
    ({**GOOD, "question": "  "}, "empty field"),
    ({**GOOD, "answer": ""}, "empty field"),
    ({**GOOD, "rationale": ""}, "empty field"),
    ({"question": "q", "answer": "1"}, "missing field"),
    ({**GOOD, "rationale": "word " * 10_000}, "too long"),
    ({**GOOD, "split": "holdout"}, "other split"),
    ({**GOOD, "teacher_answer": "7"}, "wrong answer"),
    ({**GOOD, "answer": "five"}, "unusable answer"),
    ({**GOOD, "answer": ["5"]}, "missing field"),
    ({**GOOD, "question": {"text": "q"}}, "missing field"),
    (b'{"question": "\\ud800", "answer": "1", "rationale": "r", "split": "train"}', "not UTF-8"),
]


@pytest.mark.ray
def test_every_bad_row_becomes_a_counted_row_with_a_reason(tmp_path):
    splits: list[object] = [
        {**GOOD, "split": "train"},
        {**GOOD, "split": "test", "question": "Ann has 2 pens and buys 3. How many?"},
    ]
    bad = [{"split": "train", **row} if isinstance(row, dict) else row for row, _ in BAD_ROWS]
    path = write_lines(tmp_path / "rows.jsonl", [*splits, b"", *bad, b"  \r", b""])
    arguments = [
        *from_file(path),
        "--storage-path",
        tmp_path / "runs",
        "--rationales.max-bad-share",
        0.9,
        *FAST,
    ]
    done = skipthink("rationales", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = (
        dataset.dataset(tmp_path / "runs/run/rationales/rows", format="parquet")
        .to_table()
        .sort_by("row")
        .to_pylist()
    )
    assert [row["reason"] for row in rows] == [
        None,
        None,
        *(reason for _, reason in BAD_ROWS),
    ], "blank lines are skipped"
    assert [row["row"] for row in rows] == [0, 1, *range(3, 3 + len(BAD_ROWS))], (
        "and counted in the row numbers"
    )
    assert all(row["detail"] for row in rows[2:])
    assert "14 dropped" in done.stdout


@pytest.mark.ray
def test_too_many_bad_rows_fail_the_stage_and_are_kept_with_their_reasons(tmp_path):
    path = write_lines(tmp_path / "rows.jsonl", [GOOD] * 9 + [b"broken"])
    error = refused(tmp_path, *from_file(path))
    assert f"{path}: 1 of 10 rows are unusable, more than rationales.max_bad_share = 0.05" in error
    assert "First: row 10, malformed JSON" in error
    rows = dataset.dataset(tmp_path / "runs/run/rationales/rows", format="parquet")
    assert rows.count_rows() == 10
    assert not (tmp_path / "runs/run/rationales/_DONE").exists()


@pytest.mark.ray
@pytest.mark.slow
def test_a_loss_that_becomes_nan_stops_the_run_and_names_the_update(tmp_path):
    toy = ["--rationales.train-questions", 64, "--rationales.test-questions", 4]
    done = skipthink(
        "run",
        "--storage-path",
        tmp_path / "runs",
        *FAST,
        *toy,
        "--base.optim.lr",
        1e3,
        "--base.optim.weight-decay",
        1e3,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    said = re.search(r"base stopped: the loss or its gradient became (nan|inf) at update \d+", done.stdout)
    assert said, done.stdout
    assert not (tmp_path / "runs/run/base/_DONE").exists()
