"""Toy SingleEq: word problems with one unknown. The oracle calls it x, writes one equation and solves it.

difficulty 1: x + a = b, x - a = b, a + x = b, a - x = b (2..9) or a * x = b (2..5); 2: larger numbers, a
third of the questions a * x + b = c, a distractor in a third; 3: only a * x + b = c, half of them in dollars
and cents, always with a distractor.
"""

from random import Random
from typing import NamedTuple

from skipthink_ray.tasks.task import ToyRow
from skipthink_ray.tasks.toys.stories import (
    BOXES,
    PEOPLE,
    THINGS,
    Person,
    capitalised,
    concluded,
    joined,
    restated,
    with_distractor,
)

AMOUNTS = {1: (2, 9), 2: (2, 20), 3: (5, 40)}
FACTORS = {1: (2, 5), 2: (2, 9), 3: (3, 12)}
CENTS = range(125, 1000, 25)
TWO_STEPS = {1: 0.0, 2: 1 / 3, 3: 1.0}
"""Share of questions that take two steps to solve."""
GAINS = (("buys", "bought", "buy"), ("finds", "found", "find"), ("gets", "got", "get"))
LOSSES = (("sells", "sold", "sell"), ("loses", "lost", "lose"), ("gives away", "gave away", "give away"))


class Unknown(NamedTuple):
    told: list[str]
    asked: str
    goal: str
    """The question as a clause: `how many pens Tom had at first`."""
    x: str
    """The meaning of x: `the number of pens at first`."""
    because: str
    """The clause that justifies the equation: `Tom bought 3 and now has 8`."""
    equation: str
    """`x + 3 = 8`"""
    solution: list[tuple[str, str]]
    """Pairs of a reason and its equation: (`we subtract 3 from both sides`, `x = 8 - 3 = 5`)."""
    conclusion: str
    answer: str


class Event(NamedTuple):
    """A gain or a loss: before + change = after, or before - change = after."""

    before: int
    change: int
    after: int
    gains: bool
    verb: tuple[str, str, str]
    """Third person, past tense, infinitive."""


def toy_row(random: Random, difficulty: int) -> ToyRow:
    person = random.choice(PEOPLE)
    if random.random() < TWO_STEPS[difficulty]:
        make = _price if difficulty == 3 and random.random() < 0.5 else _loose
    else:
        make = random.choice((_before, _before, _change, _change, _each))
    unknown = make(random, person, difficulty)
    check = unknown.equation.replace("x", unknown.answer)
    used = (unknown.asked, check, *(gives for _, gives in unknown.solution))
    told = with_distractor(random, difficulty, person.name, unknown.told, *used)
    steps = [
        random.choice(("", restated(random, unknown.goal))),
        random.choice((f"Let x be {unknown.x}.", f"We call {unknown.x} x.")),
        random.choice(
            (
                f"{capitalised(unknown.because)}, so {unknown.equation}.",
                f"The story says that {unknown.equation}.",
                f"This means that {unknown.equation}.",
            )
        ),
    ]
    for why, gives in unknown.solution:
        steps += [
            random.choice(("", f"{capitalised(why)}.")),
            random.choice((f"So {gives}.", f"This gives {gives}.")),
        ]
    steps += [
        random.choice(("", "", f"To check, {check}.")),
        concluded(random, unknown.conclusion, unknown.answer),
    ]
    return ToyRow(f"{joined(told)} {unknown.asked}", joined(steps), unknown.answer)


def _event(random: Random, difficulty: int) -> Event:
    change, less = (random.randint(*AMOUNTS[difficulty]) for _ in range(2))
    if random.random() < 0.5:
        return Event(less, change, less + change, True, random.choice(GAINS))
    return Event(less + change, change, less, False, random.choice(LOSSES))


def _before(random: Random, person: Person, difficulty: int) -> Unknown:
    """x + a = b or x - a = b."""
    things, event = random.choice(THINGS), _event(random, difficulty)
    before, change, after, gains, (acts, acted, _) = event
    he, sign, inverse = person.he, "+" if gains else "-", "-" if gains else "+"
    acting = f"{he.capitalize()} {acts} {change} {'more ' if gains else ''}{things}."
    return Unknown(
        told=[f"{person.name} has some {things}.", acting, f"Now {he} has {after} {things}."],
        asked=f"How many {things} did {person.name} have at first?",
        goal=f"how many {things} {person.name} had at first",
        x=f"the number of {things} at first",
        because=f"{person.name} {acted} {change} and now has {after}",
        equation=f"x {sign} {change} = {after}",
        solution=[(_on_both_sides(inverse, str(change)), f"x = {after} {inverse} {change} = {before}")],
        conclusion=f"{person.name} had {before} {things} at first",
        answer=str(before),
    )


def _change(random: Random, person: Person, difficulty: int) -> Unknown:
    """a + x = b or a - x = b."""
    things, event = random.choice(THINGS), _event(random, difficulty)
    before, change, after, gains, (acts, acted, act) = event
    acting = f"{person.he.capitalize()} {acts} some {'more ' if gains else ''}{things}."
    why = _on_both_sides("-", str(before)) if gains else f"the difference is what {person.name} {acted}"
    return Unknown(
        told=[f"{person.name} has {before} {things}.", acting, f"Now {person.he} has {after} {things}."],
        asked=f"How many {things} did {person.name} {act}?",
        goal=f"how many {things} {person.name} {acted}",
        x=f"the number of {things} {person.name} {acted}",
        because=f"{person.name} had {before} and now has {after}",
        equation=f"{before} {'+' if gains else '-'} x = {after}",
        solution=[(why, f"x = {max(before, after)} - {min(before, after)} = {change}")],
        conclusion=f"{person.name} {acted} {change} {things}",
        answer=str(change),
    )


def _each(random: Random, person: Person, difficulty: int) -> Unknown:
    """a * x = b."""
    things, boxes = random.choice(THINGS), random.choice(BOXES)
    number, each = (random.randint(*FACTORS[difficulty]) for _ in range(2))
    whole = number * each
    return Unknown(
        told=[
            f"{person.name} has {number} {boxes} with the same number of {things}.",
            f"In all there are {whole} {things}.",
        ],
        asked=f"How many {things} are in each of the {boxes}?",
        goal=f"how many {things} are in each of the {boxes}",
        x=f"the number of {things} in each",
        because=f"{number} equal {boxes} hold {whole} {things}",
        equation=f"{number} * x = {whole}",
        solution=[(_on_both_sides("/", str(number)), f"x = {whole} / {number} = {each}")],
        conclusion=f"there are {each} {things} in each",
        answer=str(each),
    )


def _loose(random: Random, person: Person, difficulty: int) -> Unknown:
    """a * x + b = c, about numbers of things."""
    things, boxes = random.choice(THINGS), random.choice(BOXES)
    number, each = (random.randint(*FACTORS[difficulty]) for _ in range(2))
    loose = random.randint(*AMOUNTS[difficulty])
    packed = number * each
    told = [
        f"{person.name} has {number} {boxes} with the same number of {things}.",
        f"{person.he.capitalize()} also has {loose} loose {things}.",
        f"In all there are {packed + loose} {things}.",
    ]
    return Unknown(
        told=told,
        asked=f"How many {things} are in each of the {boxes}?",
        goal=f"how many {things} are in each of the {boxes}",
        x=f"the number of {things} in each",
        because=f"the {boxes} and the {loose} loose {things} make {packed + loose}",
        equation=f"{number} * x + {loose} = {packed + loose}",
        solution=_two_steps(str(number), str(loose), str(packed + loose), (str(packed), str(each))),
        conclusion=f"there are {each} {things} in each",
        answer=str(each),
    )


def _price(random: Random, person: Person, difficulty: int) -> Unknown:
    """a * x + b = c, about dollars and cents."""
    things, box = random.choice(THINGS), random.choice(("box", "bag", "jar", "tray"))
    number, each, other = random.randint(*FACTORS[difficulty]), random.choice(CENTS), random.choice(CENTS)
    price, extra, part, total = (
        _dollars(cents) for cents in (each, other, number * each, number * each + other)
    )
    return Unknown(
        told=[
            f"{person.name} buys {number} {things} at the same price and a {box} for {extra} dollars.",
            f"{person.he.capitalize()} pays {total} dollars in all.",
        ],
        asked=f"How many dollars does one of the {things} cost?",
        goal=f"how many dollars one of the {things} costs",
        x=f"the price of one of the {things}",
        because=f"{number} {things} and the {box} cost {total} dollars",
        equation=f"{number} * x + {extra} = {total}",
        solution=_two_steps(str(number), extra, total, (part, price)),
        conclusion=f"one of the {things} costs {price} dollars",
        answer=price,
    )


def _two_steps(factor: str, summand: str, total: str, results: tuple[str, str]) -> list[tuple[str, str]]:
    """The two steps that solve factor * x + summand = total. `results` are the product and x."""
    product, answer = results
    return [
        (_on_both_sides("-", summand), f"{factor} * x = {total} - {summand} = {product}"),
        (_on_both_sides("/", factor), f"x = {product} / {factor} = {answer}"),
    ]


def _on_both_sides(sign: str, number: str) -> str:
    return {
        "+": f"we add {number} to both sides",
        "-": f"we subtract {number} from both sides",
        "/": f"we divide both sides by {number}",
    }[sign]


def _dollars(cents: int) -> str:
    return f"{cents // 100}.{cents % 100:02d}"
