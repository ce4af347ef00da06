"""Toy MultiArith: two-step word problems with small numbers.

The oracle's rationales restate, calculate and summarise.

difficulty 1: factors and changes 2..5; 2: factors 2..9, changes 2..20, a distractor in a third of the
questions; 3: factors 2..12, changes 2..50, a distractor in every question. Train and test share no question.
At difficulty 1 they share their arithmetic, which consists of a few hundred facts. So the toy demonstrates
the method, not generalisation.
"""

from random import Random

from skipthink_ray.tasks.task import ToyRow

NAMES = ("Tom", "Anna", "Luke", "Maya", "Omar", "Ella", "Hugo", "Nina")
THINGS = ("pens", "apples", "books", "cards", "shells", "coins", "stamps", "beads")
BOXES = ("boxes", "bags", "jars", "trays")
FACTORS = {1: (2, 5), 2: (2, 9), 3: (2, 12)}
CHANGES = {1: (2, 5), 2: (2, 20), 3: (2, 50)}
DISTRACTORS = {1: 0.0, 2: 1 / 3, 3: 1.0}


RESTATED = (
    "We want to know how many {things} {name} has now.",
    "Let us count the {things} of {name} step by step.",
    "The question is how many {things} there are now.",
)
GIVEN = (
    "",
    "There are {first} {boxes} and each holds {each} {things}.",
    "All {first} {boxes} hold {each} {things} each.",
)
MULTIPLIED = (
    "At first {name} has {first} * {each} = {product} {things}.",
    "The {boxes} hold {first} * {each} = {product} {things}.",
)
BETWEEN = ("", "So {name} starts with {product} {things}.", "That is {product} {things} before the change.")
CHANGED = ("", "Then {name} {acts}.", "After that {name} {acts}, so we {operation}.")
RESULT = (
    "So there are {product} {sign} {change} = {total} {things}.",
    "That makes {product} {sign} {change} = {total} {things}.",
    "Now {name} has {product} {sign} {change} = {total} {things}.",
)
SUMMARY = ("", "", "In short, {first} * {each} = {product} and {product} {sign} {change} = {total}.")
STEPS = (RESTATED, GIVEN, MULTIPLIED, BETWEEN, CHANGED, RESULT, SUMMARY)
"""The possible wordings of each step of a rationale, in order. The oracle leaves out empty steps."""


def toy_row(random: Random, difficulty: int) -> ToyRow:
    name, things, boxes = random.choice(NAMES), random.choice(THINGS), random.choice(BOXES)
    first, each = (random.randint(*FACTORS[difficulty]) for _ in range(2))
    product = first * each
    change = random.randint(*CHANGES[difficulty])
    loses = random.random() < 0.5 and change < product - 1
    total = product - change if loses else product + change
    acts = f"gives away {change}" if loses else f"finds {change} more"
    extra = ""
    if random.random() < DISTRACTORS[difficulty]:
        extra = f" {name} is {random.randint(*CHANGES[difficulty])} years old."
    question = f"{name} has {first} {boxes} of {each} {things}.{extra} {name} {acts}. How many {things} now?"
    values = {
        "name": name,
        "things": things,
        "boxes": boxes,
        "first": first,
        "each": each,
        "product": product,
        "change": change,
        "total": total,
        "acts": acts,
        "sign": "-" if loses else "+",
        "operation": "subtract" if loses else "add",
    }
    steps = [random.choice(wordings).format(**values) for wordings in STEPS]
    return ToyRow(question, " ".join(step for step in steps if step), str(total))
