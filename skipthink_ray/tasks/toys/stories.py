"""Shared parts of the toy word problems: people, things, distractors, and the wording of solutions.

A toy describes a story as facts and operations, and `story_row` chooses the wording. A rationale always
restates the question and calculates. It may also repeat the facts, give a reason for each operation, and sum
up. So rationales for the same question differ in their number of steps, and some steps can be skipped. All
words fit a small vocabulary.
"""

import re
from random import Random
from typing import NamedTuple

from skipthink_ray.tasks.task import ToyRow

THINGS = ("pens", "apples", "books", "cards", "shells", "coins", "stamps", "beads", "cakes", "eggs")
BOXES = ("boxes", "bags", "jars", "trays")
DISTRACTED = {1: 0.0, 2: 1 / 3, 3: 1.0}
"""Share of questions with a distractor, by difficulty. multiarith has the same shares."""
IRRELEVANT_NUMBERS = range(6, 21)
RESTATED = ("We want to know {goal}.", "The question is {goal}.", "Let us find out {goal}.")
NUMBER = re.compile(r"\d+(?:\.\d+)?")


class Person(NamedTuple):
    name: str
    he: str
    his: str


PEOPLE = (
    Person("Tom", "he", "his"),
    Person("Anna", "she", "her"),
    Person("Luke", "he", "his"),
    Person("Maya", "she", "her"),
    Person("Omar", "he", "his"),
    Person("Ella", "she", "her"),
    Person("Hugo", "he", "his"),
    Person("Nina", "she", "her"),
    Person("Paul", "he", "his"),
    Person("Rosa", "she", "her"),
)


class Operation(NamedTuple):
    equation: str
    """`5 + 3 = 8`"""
    says: str
    """A sentence with the equation, without full stop: `Tom has 5 + 3 = 8 pens now`."""
    reasons: tuple[str, ...]
    """Possible sentences that justify the operation. A rationale has at most one of them."""


class Story(NamedTuple):
    told: list[str]
    """The facts of the question, in order."""
    asked: str
    goal: str
    """The question as a clause: `how many pens Tom has now`."""
    operations: list[Operation]
    conclusion: str
    """`Tom has 8 pens now`"""
    answer: str


def story_row(random: Random, difficulty: int, name: str, story: Story) -> ToyRow:
    """A question with an oracle's solution.

    Depending on `difficulty` it has a distractor about the person `name`.
    """
    told = with_distractor(
        random, difficulty, name, story.told, story.asked, *(each.equation for each in story.operations)
    )
    steps = [restated(random, story.goal), *_given(random, story.told)]
    for operation in story.operations:
        steps += [random.choice(("", *operation.reasons)), _calculated(random, operation)]
    steps.append(concluded(random, story.conclusion, story.answer))
    return ToyRow(f"{joined(told)} {story.asked}", joined(steps), story.answer)


def with_distractor(random: Random, difficulty: int, name: str, told: list[str], *used: str) -> list[str]:
    """`told`, perhaps with a distractor after one of the sentences.

    Its number occurs nowhere in `told` and `used`.
    """
    if random.random() >= DISTRACTED[difficulty]:
        return told
    text = joined([*told, *used])
    taken = set(NUMBER.findall(text))
    number = random.choice([number for number in IRRELEVANT_NUMBERS if str(number) not in taken])
    others = random.choice([things for things in THINGS if things not in text])
    sentence = random.choice(
        (
            f"{name} is {number} years old.",
            f"{name} also has {number} {others}.",
            f"{name} has {number} cousins.",
            f"{name} lives in house number {number}.",
        )
    )
    place = random.randint(1, len(told))
    return [*told[:place], sentence, *told[place:]]


def restated(random: Random, goal: str) -> str:
    return random.choice(RESTATED).format(goal=goal)


def concluded(random: Random, conclusion: str, answer: str) -> str:
    """A summary, or nothing."""
    return random.choice(("", f"Therefore {conclusion}.", f"The answer is {answer}."))


def joined(sentences: list[str]) -> str:
    return " ".join(sentence for sentence in sentences if sentence)


def capitalised(text: str) -> str:
    """The text with a capital first letter. All other letters keep their case."""
    return text[0].upper() + text[1:]


def _given(random: Random, told: list[str]) -> list[str]:
    """Repeat the first fact, the first two, or none."""
    first, *others = told[: random.randint(0, 2)] or [""]
    return [f"We know that {first}" if first and random.random() < 0.5 else first, *others]


def _calculated(random: Random, operation: Operation) -> str:
    return random.choice(
        (
            f"{capitalised(operation.says)}.",
            f"So {operation.says}.",
            f"We get {operation.equation}.",
            f"We calculate {operation.equation}.",
        )
    )
