"""The teacher's prompts: chat messages for one question, in three styles. Pure text, no network.

zero_shot: the instruction and the question. few_shot: three solved questions (exemplars.json, the project's
own) come before the question. few_shot_gold, the paper's way: the same, and every question comes with its
right answer, which the teacher explains. Every prompt asks for a last line `The answer is X.`, so that the
conclusion is easy to find.
"""

import json
from functools import cache
from importlib.resources import files
from typing import Literal, NamedTuple

from skipthink_ray.tasks.answers import AnswerKind
from skipthink_ray.tasks.task import Task

Style = Literal["zero_shot", "few_shot", "few_shot_gold"]

INSTRUCTIONS: dict[AnswerKind, str] = {
    "number": "Solve the word problem step by step, one calculation at a time.",
    "choice": "Reason step by step about which of the options is right.",
    "yes_no": "Reason step by step from facts to whether the answer is yes or no.",
    "string": "Work out the answer step by step.",
    "set": "Consider the candidates one by one and collect all that belong to the answer.",
}
FORMS: dict[AnswerKind, str] = {
    "number": "a number in digits without a unit",
    "choice": "the letter of one option in brackets",
    "yes_no": "yes or no",
    "string": "the answer alone, without quotation marks",
    "set": "all items with commas between them",
}
LIKE: dict[AnswerKind, str] = {
    "number": "gsm8k",
    "choice": "commonsense_qa",
    "yes_no": "strategy_qa",
    "string": "last_letter_concatenation",
    "set": "set",
}
"""The benchmark whose exemplars serve tasks without their own, by kind of answer."""


class Exemplar(NamedTuple):
    question: str
    rationale: str
    answer: str


def messages(task: Task, question: str, style: Style, gold: str | None = None) -> list[dict[str, str]]:
    """`role` and `content` of every message: system, then user and assistant in turn, the question last.

    `gold` is the right answer. few_shot_gold needs it and raises ValueError without it; other styles do not
    show it.
    """
    if style == "few_shot_gold" and not gold:
        raise ValueError("few_shot_gold: the prompt needs the right answer")
    with_gold = style == "few_shot_gold"
    asked = [_message("system", _instruction(task, with_gold))]
    for exemplar in () if style == "zero_shot" else exemplars(task):
        asked.append(_message("user", _question(exemplar.question, exemplar.answer if with_gold else None)))
        asked.append(
            _message("assistant", f"{exemplar.rationale}\n{conclusion_line(task.kind, exemplar.answer)}")
        )
    return [*asked, _message("user", _question(question, gold if with_gold else None))]


def exemplars(task: Task) -> list[Exemplar]:
    """Three solved questions of the task, or else of a benchmark with the same kind of answer."""
    found = _all_exemplars()
    return found[task.name if task.public and task.name in found else LIKE[task.kind]]


def conclusion_line(kind: AnswerKind, answer: str) -> str:
    return f"The answer is ({answer})." if kind == "choice" else f"The answer is {answer}."


def _instruction(task: Task, with_gold: bool) -> str:
    told = task.instruction or INSTRUCTIONS[task.kind]
    way = (
        " The right answer is given: explain how to get there, without mentioning that it was given."
        if with_gold
        else ""
    )
    return f'{told}{way} End with a line "The answer is X.", where X is {FORMS[task.kind]}.'


def _question(question: str, gold: str | None) -> str:
    return f"{question}\n\nThe right answer: {gold}" if gold else question


def _message(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


@cache
def _all_exemplars() -> dict[str, list[Exemplar]]:
    texts = json.loads(files("skipthink_ray.teacher").joinpath("exemplars.json").read_text(encoding="utf-8"))
    return {name: [Exemplar(**one) for one in listed] for name, listed in texts.items()}
