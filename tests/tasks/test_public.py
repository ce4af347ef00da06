"""Public data sets: rows become questions and answers. Tests use small data sets of the documented shape."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import pytest

from skipthink_ray.config import OwnTaskConfig, PipelineConfig, RationalesConfig, TeacherConfig
from skipthink_ray.data.sources import open_dataset
from skipthink_ray.tasks import TASKS, check_source

FLAT = {"question": "How many?", "answer": "4"}
SHAPES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "single_eq": (
        {"input": "How many?", "output_program": "print(4)", "output_answer": "4", "dataset": "singleq.json"},
        FLAT,
    ),
    "addsub": (
        {"input": "How many?", "output_program": "print(4)", "output_answer": "4", "dataset": "addsub.json"},
        FLAT,
    ),
    "multiarith": ({"question": "How many?", "final_ans": "4"}, FLAT),
    "svamp": (
        {
            "ID": "chal-1",
            "Body": "Tom has 6 pens. He loses 2 ",
            "Question": "How many?",
            "Equation": "( 6.0 - 2.0 )",
            "Answer": "4.0",
        },
        {"question": "Tom has 6 pens. He loses 2 How many?", "answer": "4.0"},
    ),
    "gsm8k": (
        {
            "question": "How many?",
            "answer": "Half of 1,008 is <<1008/2=504>>504.\nAll are <<504*4=2016>>2,016.\n#### 2,016",
        },
        {"question": "How many?", "answer": "2,016", "rationale": "Half of 1,008 is 504.\nAll are 2,016."},
    ),
    "tracking_shuffled_objects": (
        {
            "inputs": "Ann has a red ball, Ben a blue one. They swap. Now Ann has the\n"
            "  choice: red ball.\n  choice: blue ball.\nA:",
            "targets": ["blue ball."],
            "multiple_choice_targets": ["red ball.", "blue ball."],
            "multiple_choice_scores": [0, 1],
            "idx": 7,
        },
        {
            "question": "Ann has a red ball, Ben a blue one. They swap. Now Ann has the\n"
            "Which choice is true ? Answer Choices: (A) red ball. (B) blue ball.",
            "answer": "B",
        },
    ),
    "last_letter_concatenation": (
        {"question": "Last letters?", "answer": "ax"},
        {"question": "Last letters?", "answer": "ax"},
    ),
    "strategy_qa": (
        {
            "qid": "1",
            "term": "Fish",
            "description": "animal",
            "question": "Can fish swim?",
            "answer": True,
            "facts": "Fish swim.",
        },
        {"question": "Can fish swim?", "answer": "yes"},
    ),
    "aqua": (
        {
            "question": "How many?",
            "options": ["A)3", "B)4", "C)(5)", "D)6", "E)7"],
            "rationale": "2 + 2 = 4\nAnswer B",
            "correct": "B",
        },
        {
            "question": "How many? Answer Choices: (A) 3 (B) 4 (C) (5) (D) 6 (E) 7",
            "answer": "B",
            "rationale": "2 + 2 = 4\nAnswer B",
        },
    ),
    "date_understanding": (
        {
            "inputs": "Q: Today is 1 May 2001. What is the date tomorrow in MM/DD/YYYY?\n"
            "  choice: 05/02/2001\n  choice: 04/30/2001\nA:",
            "targets": ["05/02/2001"],
            "multiple_choice_targets": ["05/02/2001", "04/30/2001"],
            "multiple_choice_scores": [1, 0],
            "idx": 0,
        },
        {
            "question": "Today is 1 May 2001. What is the date tomorrow in MM/DD/YYYY?\n"
            "Which choice is true ? Answer Choices: (A) 05/02/2001 (B) 04/30/2001",
            "answer": "A",
        },
    ),
    "commonsense_qa": (
        {
            "id": "1",
            "question": "Where do fish live?",
            "question_concept": "fish",
            "choices": {"label": ["A", "B", "C", "D", "E"], "text": ["tree", "sea", "sky", "oven", "box"]},
            "answerKey": "B",
        },
        {
            "question": "Where do fish live? Answer Choices: (A) tree (B) sea (C) sky (D) oven (E) box",
            "answer": "B",
        },
    ),
}


def as_folder(folder: Path, rows: list[dict[str, Any]], splits: list[str]) -> Path:
    """A data set of Parquet files, laid out as on the Hub."""
    for split in splits:
        datasets.Dataset.from_list(rows).to_parquet(str(folder / "data" / f"{split}-00000-of-00001.parquet"))
    return folder


def point_to(monkeypatch: pytest.MonkeyPatch, name: str, folder: Path) -> PipelineConfig:
    """A configuration that reads a task's public data set from a folder."""
    public = TASKS[name].public
    assert public
    monkeypatch.setitem(
        TASKS, name, replace(TASKS[name], public=replace(public, hub_id=str(folder), arguments={}))
    )
    return PipelineConfig(task=name, rationales=RationalesConfig(source="dataset"))


def test_every_task_has_a_public_data_set_or_advice_instead():
    assert set(SHAPES) == {name for name, task in TASKS.items() if task.public and task.public.hub_id}
    assert all(task.public and (task.public.hub_id or task.public.instead) for task in TASKS.values())


@pytest.mark.parametrize("name", SHAPES)
def test_rows_of_the_documented_shape_become_question_and_answer(tmp_path, monkeypatch, name):
    row, expected = SHAPES[name]
    task = TASKS[name]
    assert task.public
    parts = open_dataset(point_to(monkeypatch, name, as_folder(tmp_path, [row], list(task.public.splits))))
    assert set(parts) == set(task.public.splits)
    for split, part in parts.items():
        read = task.read_public(part[0], split)
        assert {key: value for key, value in read.items() if key != "split"} == expected
        assert task.check(read["answer"], expected["answer"])
        assert ("rationale" in read) == task.public.has_rationale
        if name in ("gsm8k", "aqua", "commonsense_qa"):
            assert read["split"] == task.public.splits[split]
        elif name == "date_understanding":
            assert read["split"] == task.split(expected["question"])
        else:
            assert read["split"] == "unlisted"


def test_the_listed_split_overrides_the_split_of_the_public_data_set(real_data):
    for line in (real_data / "teacher" / "svamp.jsonl").read_text(encoding="utf-8").splitlines()[:200]:
        row = json.loads(line)
        public = {"Body": f" {row['question']}", "Question": "", "Answer": row["answer"]}
        assert {TASKS["svamp"].read_public(public, side)["split"] for side in ("train", "test")} == {
            row["split"]
        }


def test_gsm8k_solutions_equal_the_real_file_without_calculator_annotations(real_data):
    for line in (real_data / "gsm8k" / "test.jsonl").read_text(encoding="utf-8").splitlines()[:200]:
        row = json.loads(line)
        public = {
            "question": row["question"],
            "answer": f"{row['rationale']} <<1+1=2>>\n#### {row['answer']}",
        }
        assert TASKS["gsm8k"].read_public(public, "test") == {
            name: row[name] for name in ("question", "answer", "rationale", "split")
        }


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("gsm8k", {"question": "q", "answer": None}),
        ("svamp", {"Body": None, "Question": "q", "Answer": "1"}),
        ("strategy_qa", {"question": "q", "answer": None}),
        ("commonsense_qa", {"question": "q", "choices": None, "answerKey": ""}),
    ],
)
def test_a_row_without_the_expected_form_gets_no_question_and_is_counted(name, row):
    assert TASKS[name].read_public(row, "train") == {"question": None, "answer": None, "split": "train"}


def test_a_public_data_set_without_a_column_or_a_split_is_refused_by_name(tmp_path, monkeypatch):
    folder = as_folder(tmp_path / "columns", [{"question": "q", "Answer": "1"}], ["train", "test"])
    with pytest.raises(
        ValueError,
        match=r"the data set of the task 'svamp', has no column Body, Question; it has question, Answer",
    ):
        open_dataset(point_to(monkeypatch, "svamp", folder))
    folder = as_folder(tmp_path / "splits", [SHAPES["gsm8k"][0]], ["train"])
    with pytest.raises(
        ValueError, match=r"the data set of the task 'gsm8k', has no split test; it has train"
    ):
        open_dataset(point_to(monkeypatch, "gsm8k", folder))


def test_a_task_without_a_public_data_set_gives_advice():
    with pytest.raises(ValueError, match=r"no public data set is known for the task 'coin_flip'.*Kojima"):
        check_source(PipelineConfig(task="coin_flip", rationales=RationalesConfig(source="dataset")))
    with pytest.raises(
        ValueError, match=r"no public data set is known for the task 'mine': name one with rationales\.path"
    ):
        check_source(
            PipelineConfig(
                task="mine", own_task=OwnTaskConfig(), rationales=RationalesConfig(source="dataset")
            )
        )


def test_a_public_data_set_without_rationales_is_refused_before_it_is_loaded():
    with pytest.raises(
        ValueError, match=r"'ChilleD/SVAMP', the data set of the task 'svamp', has no rationales"
    ):
        check_source(PipelineConfig(task="svamp", rationales=RationalesConfig(source="dataset")))
    check_source(PipelineConfig(task="gsm8k", rationales=RationalesConfig(source="dataset")))
    teacher = TeacherConfig(kind="endpoint", model="any")
    check_source(PipelineConfig(task="svamp", rationales=RationalesConfig(source="dataset", teacher=teacher)))


def test_a_large_training_set_is_sampled_by_seed(tmp_path, monkeypatch):
    rows = [{**SHAPES["aqua"][0], "question": f"q{number}"} for number in range(40)]
    config = point_to(monkeypatch, "aqua", as_folder(tmp_path, rows, ["train", "test"]))
    aqua = TASKS["aqua"]
    assert aqua.public
    monkeypatch.setitem(TASKS, "aqua", replace(aqua, public=replace(aqua.public, train_rows=10)))
    parts, again = open_dataset(config), open_dataset(config)
    assert parts["train"]["question"][:] == again["train"]["question"][:]
    assert (len(set(parts["train"]["question"])), len(parts["test"])) == (10, 40)


def test_a_folder_of_save_to_disk_is_read_by_its_columns(tmp_path):
    row = {"frage": "q", "answer": "1", "rationale": "r"}
    datasets.DatasetDict({"train": datasets.Dataset.from_list([row])}).save_to_disk(str(tmp_path))
    source = {"source": "dataset", "path": str(tmp_path)}
    with pytest.raises(
        ValueError, match=r"no column 'question' for the question; it has frage, answer, rationale"
    ):
        open_dataset(PipelineConfig.model_validate({"rationales": source}))
    parts = open_dataset(
        PipelineConfig.model_validate({"rationales": {**source, "columns": {"question": "frage"}}})
    )
    (part,) = parts.values()
    assert part.to_list() == [row]
