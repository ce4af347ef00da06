"""The teacher's prompts: gold answers only in few_shot_gold, alternating roles, and right exemplars."""

import itertools
from typing import get_args

import pytest

from skipthink_ray.tasks import TASKS, Task
from skipthink_ray.tasks.answers import AnswerKind
from skipthink_ray.tasks.conclusions import conclusion
from skipthink_ray.teacher.prompts import Style, conclusion_line, exemplars, messages

STYLES = get_args(Style)
QUESTION, GOLD = "How many moons has the planet Qo?", "918273"
EVERY_TASK = [*TASKS.values(), *(Task("own", kind) for kind in get_args(AnswerKind))]


@pytest.mark.parametrize("task", EVERY_TASK, ids=lambda task: f"{task.name}-{task.kind}")
def test_every_exemplar_is_right_and_the_assistant_concludes_its_answer(task):
    assert len(exemplars(task)) == 3
    for exemplar in exemplars(task):
        assert task.check(exemplar.answer, exemplar.answer)
        said = f"{exemplar.rationale}\n{conclusion_line(task.kind, exemplar.answer)}"
        assert task.check(conclusion(task.kind, said), exemplar.answer)


def test_the_check_of_the_exemplars_can_fail():
    for task in TASKS.values():
        wrong = {"number": "-1", "choice": "J", "yes_no": "maybe", "string": "zz", "set": "zz"}[task.kind]
        assert not any(task.check(wrong, exemplar.answer) for exemplar in exemplars(task))


def test_no_two_exemplars_share_a_question_or_a_rationale():
    listed = list(
        itertools.chain.from_iterable(exemplars(task) for task in [*TASKS.values(), Task("own", "set")])
    )
    assert len(listed) == 3 * (len(TASKS) + 1)
    assert (
        len({exemplar.question for exemplar in listed})
        == len({exemplar.rationale for exemplar in listed})
        == len(listed)
    )


def test_every_kind_of_choice_and_yes_no_exemplar_shows_more_than_one_answer():
    for task in TASKS.values():
        assert len({exemplar.answer for exemplar in exemplars(task)}) > 1, task.name


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("task", EVERY_TASK, ids=lambda task: f"{task.name}-{task.kind}")
def test_messages_alternate_end_with_the_question_and_ask_for_a_closing_line(task, style):
    asked = messages(task, QUESTION, style, GOLD)
    roles = [message["role"] for message in asked]
    turns = 0 if style == "zero_shot" else 3
    assert roles == ["system", *["user", "assistant"] * turns, "user"]
    assert QUESTION in asked[-1]["content"]
    assert "The answer is X." in asked[0]["content"]
    assert all(
        message["content"].splitlines()[-1].startswith("The answer is ")
        for message in asked
        if message["role"] == "assistant"
    )


def test_only_few_shot_gold_shows_the_right_answer_and_with_every_question():
    for task, style in itertools.product(EVERY_TASK, STYLES):
        asked = messages(task, QUESTION, style, GOLD)
        assert any(GOLD in message["content"] for message in asked) == (style == "few_shot_gold")
        given = [message["content"] for message in asked if message["role"] == "user"]
        assert all(("The right answer:" in content) == (style == "few_shot_gold") for content in given)


def test_few_shot_gold_without_the_right_answer_is_refused():
    with pytest.raises(ValueError, match="the prompt needs the right answer"):
        messages(TASKS["svamp"], QUESTION, "few_shot_gold")


def test_an_own_instruction_replaces_the_default():
    told = messages(Task("own", "number", instruction="Count like a sailor."), QUESTION, "zero_shot")[0][
        "content"
    ]
    assert told.startswith("Count like a sailor. ")
    assert "word problem" not in told
