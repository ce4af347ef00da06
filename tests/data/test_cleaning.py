"""Judging rows: refusals, cut-off and wrong rationales get a reason. Test rows stay."""

import json
import time

import pytest

from skipthink_ray.config import FiltersConfig, PipelineConfig, RationalesConfig, TeacherConfig
from skipthink_ray.data.cleaning import judge_row, parse_row
from skipthink_ray.tasks import get_task
from skipthink_ray.tasks.conclusions import conclusion, without_conclusion

TASK = get_task("multiarith")
ASKING = PipelineConfig(rationales=RationalesConfig(teacher=TeacherConfig(kind="endpoint", model="m")))
REFUSALS = [
    "I'm sorry, but I can't help with that.",
    "I’m very sorry. This question is not for me.",
    "I am sorry, but I cannot answer that.",
    "Sorry, I cannot answer this.",
    "As an AI language model, I have no pens.",
    "I am unable to assist with this request.",
    "Unfortunately, I cannot provide an answer.",
]
NO_REFUSALS = [
    "I can see that Tom has 5 pens. 5 + 3 = 8.",
    "I cannot tell apart the pens, but 5 + 3 = 8.",
    "We are sorry for Tom: he lost 2 pens. 5 - 2 = 3.",
    "I am able to add: 5 + 3 = 8.",
]


def row(config: PipelineConfig = ASKING, **written: object) -> dict:
    """A training row with a teacher's text, after judging."""
    raw = {
        "row": 0,
        "raw": json.dumps({"question": "Tom has 5 pens and finds 3.", "answer": "8", "split": "train"}),
        "error": None,
    }
    parsed = parse_row(raw, config, TASK)
    return judge_row(
        {**parsed, "rationale": "5 + 3 = 8.", "concluded": "8", "finish": "stop", **written}, config, TASK
    )


@pytest.mark.parametrize("text", REFUSALS)
def test_a_refusal_is_recognised(text):
    assert row(rationale=text)["reason"] == "refusal"
    kept = ASKING.rationales.model_copy(update={"filters": FiltersConfig(refusals=False)})
    assert row(ASKING.model_copy(update={"rationales": kept}), rationale=text)["reason"] is None


@pytest.mark.parametrize("text", NO_REFUSALS)
def test_an_answer_is_not_taken_for_a_refusal(text):
    assert row(rationale=text)["reason"] is None


def test_real_rationales_count_as_refusals_only_if_they_give_up(real_data):
    files = sorted((real_data / "teacher").glob("*.jsonl"))
    texts = [json.loads(line)["rationale"] for file in files for line in file.read_text().splitlines()]
    assert len(texts) > 6000
    assert sum(row(rationale=text)["reason"] == "refusal" for text in texts if text.strip()) <= 5


def test_a_rationale_that_reached_the_limit_is_cut_off_whatever_it_concludes():
    assert row(finish="length")["reason"] == "cut off"


def test_a_wrong_or_missing_conclusion_is_a_wrong_answer():
    assert row(concluded="9")["reason"] == "wrong answer"
    assert row(concluded=None)["reason"] == "wrong answer"
    assert row(concluded="8.00")["reason"] is None


def test_rows_for_a_teacher_need_no_rationale_and_test_rows_need_no_teacher():
    raw = {"row": 4, "raw": json.dumps({"question": "q", "answer": "8", "split": "test"}), "error": None}
    parsed = parse_row(raw, ASKING, TASK)
    assert (parsed["reason"], parsed["id"]) == (None, "row-5")
    assert judge_row(parsed, ASKING, TASK)["reason"] is None


def test_a_share_of_the_training_questions_is_held_out_as_dev_whatever_the_seed_and_the_spelling():
    def split(question: str, told: str, share: float, seed: int = 0) -> str:
        values = {"question": question, "answer": "8", "split": told}
        raw = {"row": 0, "raw": json.dumps(values), "error": None}
        rationales = ASKING.rationales.model_copy(update={"dev_share": share})
        config = ASKING.model_copy(update={"seed": seed, "rationales": rationales})
        return parse_row(raw, config, TASK)["split"]

    questions = [f"How many are {number} and 4?" for number in range(400)]
    splits = [split(question, "train", 0.25) for question in questions]
    assert splits == [split(question.upper(), "train", 0.25, seed=1) for question in questions]
    assert 70 < splits.count("dev") < 130
    assert set(splits) == {"train", "dev"}
    assert {split(question, "test", 0.25) for question in questions} == {"test"}
    assert {split(question, "train", 0.0) for question in questions} == {"train"}


@pytest.mark.parametrize(
    ("named", "split", "reason"),
    [
        ("Train ", "train", None),
        ("validation", "dev", None),
        ("dev", "dev", None),
        ("VAL", "dev", None),
        ("test", "test", None),
        ("holdout", "holdout", "other split"),
    ],
)
def test_the_names_of_splits_are_known(named, split, reason):
    raw = {"row": 0, "raw": json.dumps({"question": "q", "answer": "8", "split": named}), "error": None}
    parsed = parse_row(raw, ASKING, TASK)
    assert (parsed["split"], parsed["reason"]) == (split, reason)


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("5 + 3 = 8.\nThe answer is 8.", "5 + 3 = 8."),
        ("5 + 3 = 8. Therefore, the answer is 8.", "5 + 3 = 8."),
        ("The answer is 8.", "The answer is 8."),
        ("The answer is found by adding. 5 + 3 = 8", "The answer is found by adding. 5 + 3 = 8"),
        (
            "See if the answer is even. 2 + 3 = 5, which is odd. The answer is 5.",
            "See if the answer is even. 2 + 3 = 5, which is odd.",
        ),
        (
            "First. The answer is found by adding. 5 + 3 = 8",
            "First. The answer is found by adding. 5 + 3 = 8",
        ),
        ("5 + 3 = 8.\n\n**The answer is 8.**", "5 + 3 = 8."),
        ("5 + 3 = 8.\n### The answer is 8", "5 + 3 = 8."),
        ("We say that the answer is 8.", "We say that the answer is 8."),
        ("The answer is near.\nSo 5 + 3 = 8.\nThe answer is 8", "The answer is near.\nSo 5 + 3 = 8."),
    ],
)
def test_the_requested_last_line_is_not_part_of_the_rationale(text, left):
    assert without_conclusion(text) == left


def test_long_and_endless_texts_are_read_fast():
    started = time.process_time()
    for filler in (".", " ", "the answer is ", "*"):
        text = "The answer is " + filler * 20_000 + "x"
        without_conclusion(text)
        conclusion("number", text)
    assert time.process_time() - started < 20  # it took minutes before


def test_a_row_nested_too_deeply_is_malformed():
    raw = {"row": 0, "raw": "[" * 200_000, "error": None}
    assert parse_row(raw, ASKING, TASK)["reason"] == "malformed JSON"


@pytest.mark.parametrize(
    "wrong",
    [{"rationale": float("nan")}, {"rationale": 12}, {"question": float("inf")}, {"answer": float("nan")}],
)
def test_a_number_is_no_text_and_no_number_is_no_answer(wrong):
    values = {"question": "q", "answer": "8", "rationale": "r", "split": "train"} | wrong
    raw = {"row": 0, "raw": json.dumps(values), "error": None}
    parsed = parse_row(raw, PipelineConfig(), TASK)
    assert parsed["reason"] == "missing field"
    assert f"as '{next(iter(wrong))}'" in parsed["detail"]
