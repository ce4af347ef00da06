"""Toy SVAMP: each story allows several questions, and only the question tells which operation is right.

difficulty 1: one of + - * /, amounts 2..9 and factors 2..5; 2: one or two operations, amounts 2..30 and
factors 2..9, a distractor in a third of the questions; 3: two operations, amounts 5..90 and factors 3..12, a
distractor in every question. Stories of two amounts ask for their sum or difference. Stories of equal shares
ask for the whole, one share or the number of shares. Stories of a gift ask for the amount left or the amount
before.
"""

from random import Random

from skipthink_ray.tasks.task import ToyRow
from skipthink_ray.tasks.toys.stories import BOXES, PEOPLE, THINGS, Operation, Person, Story, story_row

FACTORS = {1: (2, 5), 2: (2, 9), 3: (3, 12)}
AMOUNTS = {1: (2, 9), 2: (2, 30), 3: (5, 90)}
ONE_OPERATION = {1: 1.0, 2: 0.5, 3: 0.0}
"""Share of questions with one operation."""


def toy_row(random: Random, difficulty: int) -> ToyRow:
    person = random.choice(PEOPLE)
    stories = (
        (_two_kinds, _shares, _gift)
        if random.random() < ONE_OPERATION[difficulty]
        else (_boxes_and_others, _shares_of_the_rest)
    )
    return story_row(random, difficulty, person.name, random.choice(stories)(random, person, difficulty))


def _two_kinds(random: Random, person: Person, difficulty: int) -> Story:
    kinds = random.sample(THINGS, 2)
    first, second = _apart(random, difficulty)
    story = _compared(random, person, {kinds[0]: first, kinds[1]: second})
    return story._replace(told=[f"{person.name} has {first} {kinds[0]} and {second} {kinds[1]}."])


def _shares(random: Random, person: Person, difficulty: int) -> Story:
    things, boxes = random.choice(THINGS), random.choice(BOXES)
    number, share = (random.randint(*FACTORS[difficulty]) for _ in range(2))
    whole, name = number * share, person.name
    asked = random.choice(("whole", "share", "number"))
    if asked == "whole":
        told = [f"{name} has {number} {boxes}.", f"There are {share} {things} in each of the {boxes}."]
        reasons = (f"All {boxes} hold the same number of {things}.", "Equal groups mean that we multiply.")
        operation = Operation(
            f"{number} * {share} = {whole}", f"there are {number} * {share} = {whole} {things}", reasons
        )
        question, goal = f"How many {things} does {name} have?", f"how many {things} {name} has"
        return Story(told, question, goal, [operation], f"{name} has {whole} {things}", str(whole))
    told = [f"{name} has {whole} {things}."]
    if asked == "share":
        told.append(
            f"{person.he.capitalize()} puts the same number of {things} into each of {number} {boxes}."
        )
        return _divided(person, things, boxes, (whole, number))._replace(told=told)
    told.append(f"{person.he.capitalize()} puts {share} {things} into each of {person.his} {boxes}.")
    reasons = (f"We ask how often {share} goes into {whole}.", "To find the number of groups, we divide.")
    operation = Operation(
        f"{whole} / {share} = {number}", f"there are {whole} / {share} = {number} {boxes}", reasons
    )
    question, goal = f"How many {boxes} does {person.he} fill?", f"how many {boxes} {name} fills"
    return Story(told, question, goal, [operation], f"{name} fills {number} {boxes}", str(number))


def _gift(random: Random, person: Person, difficulty: int) -> Story:
    things, friend = (
        random.choice(THINGS),
        random.choice([each.name for each in PEOPLE if each is not person]),
    )
    given, left = (random.randint(*AMOUNTS[difficulty]) for _ in range(2))
    before, name, he = given + left, person.name, person.he
    gives = f"{he.capitalize()} gives {given} {things} to {friend}."
    if random.random() < 0.5:
        told = [f"{name} has {before} {things}.", gives]
        reasons = (f"Giving away means fewer {things}, so we subtract.", f"{friend} gets {given} of them.")
        operation = Operation(
            f"{before} - {given} = {left}", f"there are {before} - {given} = {left} {things} left", reasons
        )
        question, goal = f"How many {things} does {name} have left?", f"how many {things} {name} has left"
        return Story(told, question, goal, [operation], f"{name} has {left} {things} left", str(left))
    told = [f"{name} has some {things}.", gives, f"Then {he} has {left} {things} left."]
    reasons = (f"Before, {he} also had the {given} that {friend} got.", "We go back in time, so we add.")
    operation = Operation(
        f"{left} + {given} = {before}", f"there were {left} + {given} = {before} {things}", reasons
    )
    question, goal = f"How many {things} did {name} have before?", f"how many {things} {name} had before"
    return Story(told, question, goal, [operation], f"{name} had {before} {things} before", str(before))


def _boxes_and_others(random: Random, person: Person, difficulty: int) -> Story:
    (things, others), boxes = random.sample(THINGS, 2), random.choice(BOXES)
    number, each = (random.randint(*FACTORS[difficulty]) for _ in range(2))
    whole = number * each
    amount = random.choice([amount for amount in _amounts(difficulty) if abs(amount - whole) >= 2])
    reasons = (f"All {boxes} hold the same number of {things}.", f"First we count the {things}.")
    operation = Operation(
        f"{number} * {each} = {whole}", f"there are {number} * {each} = {whole} {things}", reasons
    )
    story = _compared(random, person, {things: whole, others: amount})
    told = [
        f"{person.name} has {number} {boxes} of {each} {things}.",
        f"{person.he.capitalize()} has {amount} {others}.",
    ]
    return story._replace(told=told, operations=[operation, *story.operations])


def _shares_of_the_rest(random: Random, person: Person, difficulty: int) -> Story:
    things, boxes = random.choice(THINGS), random.choice(BOXES)
    number, share = (random.randint(*FACTORS[difficulty]) for _ in range(2))
    rest, change, gains = number * share, random.choice(_amounts(difficulty)), random.random() < 0.5
    gains = gains and change <= rest - 2
    before, he = rest - change if gains else rest + change, person.he.capitalize()
    does = f"buys {change} more" if gains else f"gives away {change}"
    equation = f"{before} {'+' if gains else '-'} {change} = {rest}"
    reasons = (
        f"{he} {does}, so we {'add' if gains else 'subtract'}.",
        f"First we count the {things} for the {boxes}.",
    )
    told = [f"{person.name} has {before} {things}.", f"{he} {does} {things}."]
    told.append(f"Then {person.he} puts the same number of {things} into each of {number} {boxes}.")
    story = _divided(person, things, boxes, (rest, number))
    return story._replace(
        told=told,
        operations=[Operation(equation, f"there are {equation} {things}", reasons), *story.operations],
    )


def _divided(person: Person, things: str, boxes: str, numbers: tuple[int, int]) -> Story:
    """How many things are in each box.

    `numbers`: the whole and the number of boxes. The caller adds `told`.
    """
    whole, number = numbers
    equation = f"{whole} / {number} = {whole // number}"
    reasons = (f"The {things} are shared equally.", "Equal shares mean that we divide.")
    operation = Operation(equation, f"each holds {equation} {things}", reasons)
    question, goal = (
        f"How many {things} are in each of the {boxes}?",
        f"how many {things} are in each of the {boxes}",
    )
    conclusion = f"{person.name} puts {whole // number} {things} into each"
    return Story([], question, goal, [operation], conclusion, str(whole // number))


def _compared(random: Random, person: Person, amounts: dict[str, int]) -> Story:
    """The sum or the difference of two amounts. The caller adds the facts (`told`)."""
    (fewer, less), (more, most) = sorted(amounts.items(), key=lambda amount: amount[1])
    one, other = amounts
    if random.random() < 0.5:
        equation = " + ".join(map(str, amounts.values())) + f" = {less + most}"
        reasons = (f"We count both the {one} and the {other}.", "In all means that we add.")
        operation = Operation(equation, f"in all there are {equation}", reasons)
        goal = f"how many {one} and {other} {person.name} has in all"
        question = f"How many {one} and {other} does {person.name} have in all?"
        return Story(
            [],
            question,
            goal,
            [operation],
            f"{person.name} has {less + most} {one} and {other}",
            str(less + most),
        )
    equation = f"{most} - {less} = {most - less}"
    reasons = ("To compare them, we subtract.", f"There are more {more} than {fewer}.")
    operation = Operation(equation, f"there are {equation} more {more}", reasons)
    goal = f"how many more {more} than {fewer} {person.name} has"
    question = f"How many more {more} than {fewer} does {person.name} have?"
    return Story(
        [], question, goal, [operation], f"{person.name} has {most - less} more {more}", str(most - less)
    )


def _amounts(difficulty: int) -> range:
    low, high = AMOUNTS[difficulty]
    return range(low, high + 1)


def _apart(random: Random, difficulty: int) -> tuple[int, int]:
    """Two amounts that differ by at least 2. A difference of 1 would need singular forms."""
    first = random.choice(_amounts(difficulty))
    return first, random.choice([second for second in _amounts(difficulty) if abs(first - second) >= 2])
