"""The split of Ho et al., recovered from the question alone."""

import json
from collections import Counter

import pytest

from skipthink_ray.tasks import GROUPS, TASKS
from skipthink_ray.tasks.splits import drawn_split, is_listed, normalise

SIZES = {
    "single_eq": (356, 152),
    "addsub": (276, 119),
    "multiarith": (420, 180),
    "svamp": (700, 300),
    "tracking_shuffled_objects": (525, 225),
    "last_letter_concatenation": (350, 150),
    "strategy_qa": (1603, 687),
}
ON_BOTH_SIDES = {
    "multiarith": {"multiarith-48", "multiarith-50", "multiarith-51", "multiarith-52", "multiarith-342"},
    "strategy_qa": {"strategy_qa-42"},
}
"""Training rows whose question is also in test. The listed split counts them as test."""


@pytest.mark.parametrize("task", GROUPS["seven"])
def test_every_real_row_gets_its_split_back_except_six_training_questions_that_are_also_in_test(
    real_data, task
):
    rows = [
        json.loads(line)
        for line in (real_data / "teacher" / f"{task}.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    assert Counter(row["split"] for row in rows) == dict(zip(("train", "test"), SIZES[task], strict=True))
    test_questions = {normalise(row["question"]) for row in rows if row["split"] == "test"}
    both = {
        row["id"] for row in rows if row["split"] == "train" and normalise(row["question"]) in test_questions
    }
    assert both == ON_BOTH_SIDES.get(task, set())
    for row in rows:
        assert TASKS[task].split(row["question"]) == ("test" if row["id"] in both else row["split"]), row[
            "id"
        ]


def test_the_split_ignores_spacing_case_punctuation_options_and_number_formats():
    written = (
        "Joan found 1,070.0 sea-shells on the beach . Which choice is true ? Answer Choices: (A) 1 (B) 2"
    )
    assert (
        normalise(written)
        == normalise("joan FOUND 1070 sea shells\non the beach.")
        == "joan found 1070 sea shells on the beach"
    )
    assert normalise("He has 1.5 litres") != normalise("He has 15 litres")


def test_unlisted_questions_and_tasks_have_no_split():
    assert TASKS["svamp"].split("How many moons has the planet Qo?") is None
    assert TASKS["gsm8k"].split("How many moons has the planet Qo?") is None
    assert {name for name in TASKS if is_listed(name)} == set(GROUPS["seven"])


@pytest.mark.parametrize(("task", "share"), [("coin_flip", 150 / 500), ("date_understanding", 111 / 369)])
def test_a_drawn_split_has_the_published_share_and_is_always_the_same(task, share):
    questions = [f"Question number {number}" for number in range(5000)]
    sides = [TASKS[task].split(question) for question in questions]
    assert sides == [drawn_split(task, f" {question} ?", share) for question in questions]
    assert sides.count("test") / len(sides) == pytest.approx(share, abs=0.03)
