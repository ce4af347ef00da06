"""Toy AddSub: additions and subtractions of one person's things, perhaps compared with a second person's.

difficulty is the number of operations. 1: amounts 2..9; 2: 2..20, a distractor in a third of the questions;
3: 5..60, a distractor in every question. As in multiarith, train and test share no question, but at
difficulty 1 they share their arithmetic.
"""

from random import Random

from skipthink_ray.tasks.task import ToyRow
from skipthink_ray.tasks.toys.stories import PEOPLE, THINGS, Operation, Person, Story, story_row

AMOUNTS = {1: (2, 9), 2: (2, 20), 3: (5, 60)}
GAINS = ("buys", "finds", "gets")
LOSSES = ("gives away", "sells", "loses")


def toy_row(random: Random, difficulty: int) -> ToyRow:
    person, other = random.sample(PEOPLE, 2)
    things = random.choice(THINGS)
    asked = random.choice(("now", "together", "more"))
    have = random.randint(*AMOUNTS[difficulty])
    told, operations = [f"{person.name} has {have} {things}."], list[Operation]()
    for _ in range(difficulty if asked == "now" else difficulty - 1):
        sentence, operation, have = _change(random, person, have, things, difficulty)
        told.append(sentence)
        operations.append(operation)
    if asked == "now":
        asked, goal = (
            f"How many {things} does {person.name} have now?",
            f"how many {things} {person.name} has now",
        )
        story = Story(told, asked, goal, operations, f"{person.name} has {have} {things}", str(have))
        return story_row(random, difficulty, person.name, story)
    low, high = AMOUNTS[difficulty]
    amount = random.choice(
        [amount for amount in range(low, high + 1) if asked == "together" or abs(have - amount) >= 2]
    )
    end = _together if asked == "together" else _difference
    story = end({person.name: have, other.name: amount}, things)
    told.append(f"{other.name} has {amount} {things}.")
    return story_row(
        random, difficulty, person.name, story._replace(told=told, operations=operations + story.operations)
    )


def _change(
    random: Random, person: Person, have: int, things: str, difficulty: int
) -> tuple[str, Operation, int]:
    """One event: its sentence, its operation, and the new amount, which is at least 2."""
    change = random.randint(*AMOUNTS[difficulty])
    loses = random.random() < 0.5 and change <= have - 2
    act = random.choice(LOSSES if loses else GAINS)
    then = have - change if loses else have + change
    equation = f"{have} {'-' if loses else '+'} {change} = {then}"
    he = person.he.capitalize()
    reasons = (
        f"{he} {act} {change}, so we {'subtract' if loses else 'add'}.",
        f"After that {person.he} has {'fewer' if loses else 'more'} {things} than before.",
    )
    return (
        f"{he} {act} {change} {'' if loses else 'more '}{things}.",
        Operation(equation, f"there are {equation} {things}", reasons),
        then,
    )


def _together(amounts: dict[str, int], things: str) -> Story:
    """How many things two people have in all. The caller adds the facts (`told`)."""
    (one, first), (other, second) = amounts.items()
    equation = f"{first} + {second} = {first + second}"
    reasons = ("Together means that we add.", f"{one} has {first} {things} and {other} has {second}.")
    operation = Operation(equation, f"together they have {equation} {things}", reasons)
    goal = f"how many {things} {one} and {other} have together"
    asked = f"How many {things} do {one} and {other} have together?"
    return Story([], asked, goal, [operation], f"they have {first + second} {things}", str(first + second))


def _difference(amounts: dict[str, int], things: str) -> Story:
    """How many more things the richer person has. The caller adds the facts (`told`)."""
    (fewer, less), (more, most) = sorted(amounts.items(), key=lambda amount: amount[1])
    equation = f"{most} - {less} = {most - less}"
    reasons = ("To compare them, we subtract.", f"{more} has more {things} than {fewer}.")
    operation = Operation(equation, f"{more} has {equation} more {things}", reasons)
    goal = f"how many more {things} {more} has than {fewer}"
    asked = f"How many more {things} does {more} have than {fewer}?"
    return Story([], asked, goal, [operation], f"{more} has {most - less} more {things}", str(most - less))
