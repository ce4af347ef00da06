"""What the toy word problems share: people, things, how an oracle tells its solution, and sentences that do not matter.

A story is written once as facts and operations; `story_row` draws the phrasing: it always restates and calculates, and
may repeat what is given, give a reason for each operation and sum up. So two rationales for the same question differ in
their number of steps, and some of their steps can be skipped. The words are few, so that a small vocabulary holds them.
"""

import re
from random import Random
from typing import NamedTuple

from skipthink_ray.tasks.task import ToyRow

THINGS = ("pens", "apples", "books", "cards", "shells", "coins", "stamps", "beads", "cakes", "eggs")
BOXES = ("boxes", "bags", "jars", "trays")
DISTRACTED = {1: 0.0, 2: 1 / 3, 3: 1.0}
"""Share of questions with a sentence that does not matter, by difficulty; multiarith has the same."""
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
    """A sentence around the equation, without its full stop: `Tom has 5 + 3 = 8 pens now`."""
    reasons: tuple[str, ...]
    """Sentences that say why to calculate so, of which one may be told."""


class Story(NamedTuple):
    told: list[str]
    """The sentences of the question that are needed, in order."""
    asked: str
    goal: str
    """What is asked, as an indirect question: `how many pens Tom has now`."""
    operations: list[Operation]
    conclusion: str
    """`Tom has 8 pens now`"""
    answer: str


def story_row(random: Random, difficulty: int, name: str, story: Story) -> ToyRow:
    """The story with, by difficulty, a sentence that does not matter about the person of that name, and an oracle's solution."""
    told = with_distractor(
        random, difficulty, name, story.told, story.asked, *(each.equation for each in story.operations)
    )
    steps = [restated(random, story.goal), *_given(random, story.told)]
    for operation in story.operations:
        steps += [random.choice(("", *operation.reasons)), _calculated(random, operation)]
    steps.append(concluded(random, story.conclusion, story.answer))
    return ToyRow(f"{joined(told)} {story.asked}", joined(steps), story.answer)


def with_distractor(random: Random, difficulty: int, name: str, told: list[str], *used: str) -> list[str]:
    """`told`, with a further sentence after the first or a later one; its number stands nowhere else in `told` and `used`."""
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
    """With a capital first letter, the others as they are."""
    return text[0].upper() + text[1:]


def _given(random: Random, told: list[str]) -> list[str]:
    """Nothing, the first fact or the first two once more."""
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
