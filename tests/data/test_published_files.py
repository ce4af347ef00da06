"""The benchmarks' own files are recognised by their task, and no whole solution is taken for an answer."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

from skipthink_ray.config import PipelineConfig
from skipthink_ray.data import sources
from skipthink_ray.data.cleaning import judge_row, parse_row
from skipthink_ray.identity import identify
from skipthink_ray.tasks import task_of

GSM8K = {
    "question": "A house costs 80000 and the roof 50000. Both are sold for 200000. How much is won?",
    "answer": "It costs 80,000+50,000=$<<80000+50000=130000>>130,000.\nSo 70,000 is won\n#### 70,000",
}
SVAMP = {
    "ID": "chal-1",
    "Body": "Tom has 5 pens.",
    "Question": "How many pens are left if he loses 2?",
    "Answer": 3.0,
}
WORD_PROBLEM = {"iIndex": 0, "sQuestion": "Tom has 5 pens and finds 2.5. How many?", "lSolutions": [7.5]}
AQUA = {
    "question": "What is 2 + 2?",
    "options": ["A)3", "B)4"],
    "rationale": "2 + 2 = 4. The answer is B.",
    "correct": "B",
}
STRATEGY_QA = {"qid": "x", "question": "Is water wet?", "answer": True, "rationale": "It is. So yes."}


def _configured(path: Path, task: str, **options: Any) -> PipelineConfig:
    return PipelineConfig.model_validate(
        {"task": task, "rationales": {"source": "file", "path": str(path), **options}}
    )


def _parsed(config: PipelineConfig) -> list[dict[str, Any]]:
    task = task_of(config)
    return [judge_row(parse_row(row, config, task), config, task) for row in sources.read_here(config)]


def _lines(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("columns", [{}, {"rationale": "answer"}])
def test_gsm8k_as_published_is_taken_apart_and_said_so(tmp_path, columns):
    config = _configured(_lines(tmp_path / "train.jsonl", GSM8K), "gsm8k", columns=columns)
    identify(config)  # checks the file
    (row,) = _parsed(config)
    assert (row["reason"], row["answer"]) == (None, "70,000")
    assert row["rationale"] == "It costs 80,000+50,000=$130,000.\nSo 70,000 is won"
    assert sources.remarks(config) == [
        "train.jsonl: GSM8K as published; its rows are converted to plain columns"
    ]


def test_gsm8k_as_parquet_is_recognised_by_its_first_row(tmp_path):
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([GSM8K]), tmp_path / "train.parquet")
    config = _configured(tmp_path / "train.parquet", "gsm8k")
    identify(config)
    assert _parsed(config)[0]["answer"] == "70,000"
    assert len(sources.remarks(config)) == 1


def test_plain_rows_of_a_task_with_a_form_of_its_own_stay_as_they_are(tmp_path):
    plain = {"question": "How many?", "answer": "3", "rationale": "1 + 2 = 3."}
    config = _configured(_lines(tmp_path / "train.jsonl", plain), "gsm8k")
    (row,) = _parsed(config)
    assert {name: row[name] for name in plain} == plain
    assert sources.remarks(config) == []


@pytest.mark.parametrize(
    ("task", "row", "question", "answer"),
    [
        ("svamp", SVAMP, "Tom has 5 pens. How many pens are left if he loses 2?", "3"),
        ("multiarith", WORD_PROBLEM, WORD_PROBLEM["sQuestion"], "7.5"),
        ("addsub", WORD_PROBLEM, WORD_PROBLEM["sQuestion"], "7.5"),
        ("single_eq", WORD_PROBLEM, WORD_PROBLEM["sQuestion"], "7.5"),
    ],
)
def test_json_arrays_of_word_problems_are_read_for_a_teacher_and_refused_without_one(
    tmp_path, task, row, question, answer
):
    (tmp_path / "all.json").write_text(json.dumps([row]))
    asks = {"teacher": {"kind": "endpoint", "model": "any"}}
    config = _configured(tmp_path / "all.json", task, **asks)
    identify(config)
    (parsed,) = _parsed(config)
    assert (parsed["question"], parsed["answer"]) == (question, answer)
    with pytest.raises(ValueError, match=r"all\.json: .*: there are no rationales; let a teacher write them"):
        identify(_configured(tmp_path / "all.json", task))


def test_commonsense_qa_as_published_has_its_choices_in_the_question(tmp_path):
    question = {
        "stem": "Where is a pen?",
        "question_concept": "pen",
        "choices": [{"label": "A", "text": "sea"}, {"label": "B", "text": "desk"}],
    }
    row = {"answerKey": "B", "id": "1", "question": question}
    asks = {"teacher": {"kind": "endpoint", "model": "any"}}
    (parsed,) = _parsed(_configured(_lines(tmp_path / "train.jsonl", row), "commonsense_qa", **asks))
    assert parsed["question"] == "Where is a pen? Answer Choices: (A) sea (B) desk"
    assert (parsed["id"], parsed["answer"]) == ("1", "B")


@pytest.mark.parametrize("indent", [None, 1])
def test_a_big_bench_task_has_its_choices_in_the_question(tmp_path, indent):
    example = {
        "input": "Ann has the red ball. At the end, Ann has the",
        "target_scores": {"blue ball.": 0, "red ball.": 1},
    }
    file = tmp_path / "task.json"
    file.write_text(json.dumps({"name": "tracking_shuffled_objects", "examples": [example]}, indent=indent))
    asks = {"teacher": {"kind": "endpoint", "model": "any"}}
    config = _configured(file, "tracking_shuffled_objects", **asks)
    (parsed,) = _parsed(config)
    assert parsed["question"].endswith("Which choice is true ? Answer Choices: (A) blue ball. (B) red ball.")
    assert parsed["answer"] == "B"
    assert sources.remarks(config) == [
        "task.json: a BIG-bench task.json; its rows are converted to plain columns"
    ]


@pytest.mark.parametrize("indent", [None, 2])
def test_last_letters_as_published_is_an_object_of_examples(tmp_path, indent):
    example = {"question": "Take the last letters of the words in 'Ann Lee' and join them.", "answer": "ne"}
    (tmp_path / "last_letters.json").write_text(json.dumps({"examples": [example]}, indent=indent))
    asks = {"teacher": {"kind": "endpoint", "model": "any"}}
    config = _configured(tmp_path / "last_letters.json", "last_letter_concatenation", **asks)
    (parsed,) = _parsed(config)
    assert (parsed["question"], parsed["answer"]) == (example["question"], "ne")


def test_strategy_qa_as_published_is_an_array_with_booleans(tmp_path):
    row = {"qid": "x", "term": "water", "question": "Is water wet?", "answer": True, "facts": ["It is."]}
    (tmp_path / "strategyqa_train.json").write_text(json.dumps([row]))
    asks = {"teacher": {"kind": "endpoint", "model": "any"}}
    config = _configured(tmp_path / "strategyqa_train.json", "strategy_qa", columns={"id": "qid"}, **asks)
    (parsed,) = _parsed(config)
    assert (parsed["id"], parsed["question"], parsed["answer"]) == ("x", "Is water wet?", "yes")


def test_aqua_as_published_has_its_options_in_the_question(tmp_path):
    (row,) = _parsed(_configured(_lines(tmp_path / "train.json", AQUA), "aqua"))
    assert row["question"] == "What is 2 + 2? Answer Choices: (A) 3 (B) 4"
    assert (row["reason"], row["answer"], row["rationale"]) == (None, "B", AQUA["rationale"])


def test_booleans_are_yes_and_no_in_a_task_of_yes_or_no_and_unusable_in_others(tmp_path):
    file = _lines(tmp_path / "strategyqa.jsonl", STRATEGY_QA, {**STRATEGY_QA, "answer": False})
    assert [row["answer"] for row in _parsed(_configured(file, "strategy_qa"))] == ["yes", "no"]
    assert [row["reason"] for row in _parsed(_configured(file, "svamp"))] == ["missing field"] * 2


def test_whole_floats_are_written_as_integers_and_null_is_missing(tmp_path):
    rows = [
        {"question": f"How many {number}?", "answer": number, "rationale": f"It is {number}."}
        for number in (5.0, 1e16, 2.5, None)
    ]
    parsed = _parsed(_configured(_lines(tmp_path / "pandas.jsonl", *rows), "svamp"))
    assert [row["answer"] for row in parsed] == ["5", "10000000000000000", "2.5", None]
    assert parsed[-1]["reason"] == "missing field"


@pytest.mark.parametrize(
    "solution", ["They have 3.\n3 + 4 = 7", "#### 7", "There are 3 pens and 4 more pens. " * 10 + "So 7."]
)
def test_a_whole_solution_in_the_answer_column_is_refused_with_a_hint(tmp_path, solution):
    row = {"question": "How many?", "answer": solution, "rationale": "3 + 4 = 7."}
    (parsed,) = _parsed(_configured(_lines(tmp_path / "train.jsonl", row), "svamp"))
    assert parsed["reason"] == "unusable answer"
    assert "holds a whole solution" in parsed["detail"]
    assert "rationales.columns.answer" in parsed["detail"]


def test_a_pattern_reads_the_answer_out_of_a_solution(tmp_path):
    row = {"question": "How many?", "answer": "3 + 4 = 7\n#### 7", "rationale": "3 + 4 = 7."}
    values = {
        "task": "mine",
        "own_task": {"answer_type": "number", "pattern": r"#### (\d+)"},
        "rationales": {"source": "file", "path": str(_lines(tmp_path / "train.jsonl", row))},
    }
    (parsed,) = _parsed(PipelineConfig.model_validate(values))
    assert parsed["reason"] is None


def test_a_data_set_with_one_split_is_divided_like_a_file(tmp_path):
    import datasets

    rows = [
        {"question": f"How many are {number}?", "answer": str(number), "rationale": f"It is {number}."}
        for number in range(60)
    ]
    datasets.DatasetDict({"train": datasets.Dataset.from_list(rows)}).save_to_disk(str(tmp_path / "hub"))
    values = {"task": "svamp", "rationales": {"source": "dataset", "path": str(tmp_path / "hub")}}
    from_dataset = _parsed(PipelineConfig.model_validate(values))
    from_file = _parsed(_configured(_lines(tmp_path / "rows.jsonl", *rows), "svamp"))
    assert [row["split"] for row in from_dataset] == [row["split"] for row in from_file]
    assert {row["split"] for row in from_file} == {"train", "test"}


def test_the_users_own_columns_replace_those_of_a_published_file(tmp_path):
    beside = {**GSM8K, "rationale": "A TEACHER wrote this: 70,000."}
    (row,) = _parsed(_configured(_lines(tmp_path / "a.jsonl", beside), "gsm8k"))
    assert (row["answer"], row["rationale"]) == ("70,000", "A TEACHER wrote this: 70,000.")
    named = {**GSM8K, "prompt": "How much?", "cot": "It is 6.", "final": "6"}
    columns = {"question": "prompt", "rationale": "cot", "answer": "final"}
    (row,) = _parsed(_configured(_lines(tmp_path / "b.jsonl", named), "gsm8k", columns=columns))
    assert (row["question"], row["answer"], row["rationale"]) == ("How much?", "6", "It is 6.")
    (row,) = _parsed(
        _configured(
            _lines(tmp_path / "c.jsonl", {**AQUA, "cot": "So B."}), "aqua", columns={"rationale": "cot"}
        )
    )
    assert (row["answer"], row["rationale"]) == ("B", "So B.")


def test_a_rationale_column_beside_a_published_file_without_rationales_is_read(tmp_path):
    file = _lines(tmp_path / "svamp.jsonl", {**SVAMP, "rationale": "5 - 2 = 3."})
    config = _configured(file, "svamp")
    identify(config)  # checks the file
    (row,) = _parsed(config)
    assert (row["reason"], row["answer"], row["rationale"]) == (None, "3", "5 - 2 = 3.")


def test_another_benchmarks_file_gets_a_hint(tmp_path):
    config = _configured(_lines(tmp_path / "train.jsonl", GSM8K), "multiarith")
    with pytest.raises(
        ValueError, match=r"no column 'rationale' .*The rows look like those of --task gsm8k\."
    ):
        identify(config)
