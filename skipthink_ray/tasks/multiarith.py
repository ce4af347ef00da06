"""Toy MultiArith: two-step word problems over small numbers, with an oracle whose rationales restate and summarise.

difficulty 1: factors and changes 2..5; 2: factors 2..9, changes 2..20, a distractor in a third of the questions;
3: factors 2..12, changes 2..50, a distractor in every question. Questions never repeat between train and test, but at
difficulty 1 their arithmetic does: there are some hundred facts to know, so the toy shows the method, not generalisation.
"""

from random import Random

from skipthink_ray.tasks.task import ToyRow

NAMES = ("Tom", "Anna", "Luke", "Maya", "Omar", "Ella", "Hugo", "Nina")
THINGS = ("pens", "apples", "books", "cards", "shells", "coins", "stamps", "beads")
BOXES = ("boxes", "bags", "jars", "trays")
FACTORS = {1: (2, 5), 2: (2, 9), 3: (2, 12)}
CHANGES = {1: (2, 5), 2: (2, 20), 3: (2, 50)}
DISTRACTORS = {1: 0.0, 2: 1 / 3, 3: 1.0}


def toy_row(random: Random, difficulty: int) -> ToyRow:
    name, things, boxes = random.choice(NAMES), random.choice(THINGS), random.choice(BOXES)
    first, each = (random.randint(*FACTORS[difficulty]) for _ in range(2))
    product = first * each
    change = random.randint(*CHANGES[difficulty])
    loses = random.random() < 0.5 and change < product - 1
    total = product - change if loses else product + change
    sign = "-" if loses else "+"
    acts = f"gives away {change}" if loses else f"finds {change} more"
    extra = (
        f" {name} is {random.randint(*CHANGES[difficulty])} years old."
        if random.random() < DISTRACTORS[difficulty]
        else ""
    )
    question = f"{name} has {first} {boxes} of {each} {things}.{extra} {name} {acts}. How many {things} now?"
    restate = random.choice(
        (
            f"We want to know how many {things} {name} has now.",
            f"Let us count the {things} of {name} step by step.",
            f"The question is how many {things} there are now.",
        )
    )
    given = random.choice(
        (
            "",
            f"There are {first} {boxes} and each holds {each} {things}.",
            f"All {first} {boxes} hold {each} {things} each.",
        )
    )
    multiply = random.choice(
        (
            f"At first {name} has {first} * {each} = {product} {things}.",
            f"The {boxes} hold {first} * {each} = {product} {things}.",
        )
    )
    between = random.choice(
        ("", f"So {name} starts with {product} {things}.", f"That is {product} {things} before the change.")
    )
    middle = random.choice(
        ("", f"Then {name} {acts}.", f"After that {name} {acts}, so we {'subtract' if loses else 'add'}.")
    )
    result = random.choice(
        (
            f"So there are {product} {sign} {change} = {total} {things}.",
            f"That makes {product} {sign} {change} = {total} {things}.",
            f"Now {name} has {product} {sign} {change} = {total} {things}.",
        )
    )
    summary = random.choice(
        ("", "", f"In short, {first} * {each} = {product} and {product} {sign} {change} = {total}.")
    )
    steps = (restate, given, multiply, between, middle, result, summary)
    return ToyRow(question, " ".join(step for step in steps if step), str(total))
