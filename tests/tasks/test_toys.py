"""The oracle teachers tell the truth: their rationales are recomputed from the question's text."""

import re
from operator import add, mul, sub

import pytest

from skipthink_ray.method.steps import split_steps
from skipthink_ray.tasks import TASKS
from tests.toys import toy_rows

TOYS = ("multiarith", "last_letter_concatenation", "tracking_shuffled_objects")
EQUATION = re.compile(r"(\d+) ([-+*]) (\d+) = (\d+)")
OPERATIONS = {"+": add, "-": sub, "*": mul}
each_toy = pytest.mark.parametrize("task", TOYS)
each_difficulty = pytest.mark.parametrize("difficulty", [1, 2, 3])


@each_difficulty
def test_every_equation_of_multiarith_holds_and_the_last_gives_the_answer(difficulty):
    for question, rationale, answer in toy_rows("multiarith", 300, difficulty):
        known = set(map(int, re.findall(r"\d+", question)))
        equations = EQUATION.findall(rationale)
        assert len(equations) >= 2
        for left, sign, right, result in equations:
            assert OPERATIONS[sign](int(left), int(right)) == int(result)
            assert {int(left), int(right)} <= known, "an operand that is neither given nor computed"
            known.add(int(result))
        assert equations[-1][-1] == answer
        assert int(answer) > 0


@each_difficulty
def test_the_letters_of_last_letter_concatenation_are_the_last_of_its_words(difficulty):
    for question, rationale, answer in toy_rows("last_letter_concatenation", 300, difficulty):
        words = re.search(r'"([^"]+)"', question)[1].split()  # type: ignore[index]
        assert len(words) == difficulty + 1
        assert answer == "".join(word[-1] for word in words)
        assert f'"{answer}"' in split_steps(rationale)[-1]
        assert all(f'"{word}"' in rationale for word in words)


@each_difficulty
def test_the_swaps_of_tracking_shuffled_objects_end_at_the_answer(difficulty):
    for question, rationale, answer in toy_rows("tracking_shuffled_objects", 300, difficulty):
        start, *_ = question.split(".")
        holds = dict(re.findall(r"(\w+) has the (\w+) ball", start))
        swaps = re.findall(r"(\w+) and (\w+) swap balls", question)
        assert (len(holds), len(swaps)) == (3, difficulty)
        for left, right in swaps:
            holds[left], holds[right] = holds[right], holds[left]
        asked = re.search(r"Which ball does (\w+) have", question)[1]  # type: ignore[index]
        choices = {colour: letter for letter, colour in re.findall(r"\((\w)\) (\w+)", question)}
        assert choices[holds[asked]] == answer
        assert f"({answer})" in split_steps(rationale)[-1]


@each_difficulty
def test_a_rationale_of_tracking_shuffled_objects_says_only_what_is_true_at_that_point(difficulty):
    for question, rationale, _ in toy_rows("tracking_shuffled_objects", 300, difficulty):
        holds = dict(re.findall(r"(\w+) has the (\w+) ball", question.split(".")[0]))
        for step in split_steps(rationale):
            for left, right in re.findall(r"(\w+) and (\w+) swap", step):
                holds[left], holds[right] = holds[right], holds[left]
            for person, colour in re.findall(r"(\w+) has the (\w+) ball", step):
                assert holds[person] == colour


@each_toy
@each_difficulty
def test_a_toy_passes_its_own_check(task, difficulty):
    assert all(TASKS[task].check(row.answer, row.answer) for row in toy_rows(task, 50, difficulty))


@each_toy
def test_toys_are_the_same_for_the_same_seed_only(task):
    assert toy_rows(task, 20, seed=3) == toy_rows(task, 20, seed=3)
    assert toy_rows(task, 20, seed=3) != toy_rows(task, 20, seed=4)


@each_toy
@each_difficulty
def test_the_number_of_steps_varies(task, difficulty):
    lengths = {len(split_steps(row.rationale)) for row in toy_rows(task, 100, difficulty)}
    assert len(lengths) >= 2
    assert min(lengths) >= 2


@each_toy
def test_a_toy_has_enough_different_questions(task):
    assert len({row.question for row in toy_rows(task, 500, difficulty=2)}) > 400
