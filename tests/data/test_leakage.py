"""Near questions. The join must find every pair that is near enough."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skipthink_ray.data.leakage import HeldOutQuestions, same_key
from skipthink_ray.tasks.words import words_of
from tests.toys import read_rows, toy_rows

WORDS = st.lists(
    st.sampled_from("tom has boxes pens and finds more each of the".split()), min_size=1, max_size=14
)
ASKED = "Tom has 3 boxes of 4 pens each. He gives away 5. How many pens are left now, after all that giving?"


def test_case_punctuation_and_unicode_variants_do_not_matter():
    assert same_key("Tom  has 3 pens!", "r") == same_key("tom has ３ pens.", "r")
    assert same_key("Tom has 3 pens", "r") != same_key("Tom has 3 pens", "s")
    assert same_key("ab", "c") != same_key("a", "bc")


def test_another_number_makes_another_question():
    test = HeldOutQuestions([ASKED], 0.5)
    assert test.near(ASKED.upper()) == (0, 1.0)
    assert test.near(ASKED.replace("5", "6")) is None


def test_another_sign_makes_another_question():
    test = HeldOutQuestions(["What is 5 × 3?", "Is 3 < 5?", "Complete: ( ( )"], 0.9)
    for other in ("What is 5 ÷ 3?", "What is 5 − 3?", "Is 3 > 5?", "Complete: ( ) )"):
        assert test.near(other) is None


def test_another_person_makes_another_question():
    story = (
        "Alice, Bob and Claire hold balls. At the start, Alice has the red ball. "
        "Alice and Bob swap balls. At the end, {} has the"
    )
    test = HeldOutQuestions([story.format("Bob")], 0.5)
    assert test.near(story.format("Claire")) is None
    assert test.near("Well: " + story.format("Bob"))


def test_other_wording_with_the_same_numbers_is_near():
    reworded = ASKED.replace("giving", "sharing")
    at, similarity = HeldOutQuestions(["Something else with 3, 4 and 5.", ASKED], 0.8).near(reworded) or (
        None,
        0,
    )
    assert at == 1
    assert 0.8 <= similarity < 1
    assert HeldOutQuestions([ASKED], 1.0).near(reworded) is None


@given(st.lists(WORDS, min_size=1, max_size=8), WORDS, st.sampled_from([0.3, 0.5, 0.7, 0.9]))
def test_the_join_equals_a_comparison_of_all_pairs(tests, asked, similarity):
    texts, text = [" ".join(words) for words in tests], " ".join(asked)
    compared = [_similarity(text, other) for other in texts]
    found = HeldOutQuestions(texts, similarity).near(text)
    if max(compared) >= similarity:
        assert found
        assert found[1] == max(compared)
    else:
        assert found is None


def _similarity(left: str, right: str) -> float:
    triples = []
    for text in (left, right):
        words = words_of(text)
        triples.append({tuple(words[at : at + 3]) for at in range(max(1, len(words) - 2))})
    return len(triples[0] & triples[1]) / len(triples[0] | triples[1])


@pytest.mark.parametrize(
    "task", ["multiarith", "last_letter_concatenation", "tracking_shuffled_objects", "strategy_qa"]
)
def test_questions_from_one_template_are_not_near(task):
    questions = sorted({row.question for row in toy_rows(task, 400, difficulty=2)})
    test = HeldOutQuestions(questions[::2], 0.9)
    assert sum(test.near(question) is not None for question in questions[1::2]) <= len(questions) // 100


@pytest.mark.parametrize(
    ("name", "most"), [("tracking_shuffled_objects", 5), ("last_letter_concatenation", 5), ("strategy_qa", 8)]
)
def test_few_real_training_questions_are_near_test_questions(real_data, name, most):
    rows = [json.loads(line) for line in (real_data / f"teacher/{name}.jsonl").read_text().splitlines()]
    test = HeldOutQuestions([row["question"] for row in rows if row["split"] == "test"], 0.9)
    near = [row["id"] for row in rows if row["split"] == "train" and test.near(row["question"])]
    assert len(near) <= most, near


def test_real_multiarith_holds_test_questions_in_train(real_data):
    rows = [json.loads(line) for line in (real_data / "teacher/multiarith.jsonl").read_text().splitlines()]
    test = HeldOutQuestions([row["question"] for row in rows if row["split"] == "test"], 0.9)
    leaked = [row["id"] for row in rows if row["split"] == "train" and test.near(row["question"])]
    assert {"multiarith-50", "multiarith-52", "multiarith-342"} <= set(leaked)
    assert len(leaked) < 20
    assert read_rows(real_data / "teacher/multiarith.jsonl")
