"""Toy StrategyQA: yes/no questions about two things whose facts the question does not give, from a table of the project's own.

Facts are rounded and well known, and one value is at least three times the other (years: 20 apart), so that no doubt about
a value turns an answer. Half of the answers are yes. difficulty 1: two facts and a comparison; 2: up to 3 of one thing where
they add up, and in a third of the questions the fact of another thing, which does not matter; 3: up to 10, and such a fact
always. The table is small: most comparisons stand on both sides of train and test, in other words or from another asker.
"""

from random import Random
from typing import NamedTuple

from skipthink_ray.tasks.stories import DISTRACTED, NUMBER, PEOPLE, capitalised, concluded, joined, restated
from skipthink_ray.tasks.task import ToyRow

COUNTS = {1: 1, 2: 3, 3: 10}
"""How many of a thing there may be at most."""
MARGIN = 3
MARGIN_YEARS = 20


class Property(NamedTuple):
    plan: str
    """What one needs to know first."""
    fact: str
    total: str
    """Says the value of several; "" where values do not add up."""
    several: str
    more: tuple[tuple[str, str], ...]
    """(auxiliary, rest) of questions whether the left has more."""
    less: tuple[tuple[str, str], ...]
    """(auxiliary, rest) of questions whether the left has less."""
    values: dict[str, float]
    """By name with article; the plural follows after a slash, where several make sense."""


class Thing(NamedTuple):
    text: str
    facts: list[str]
    """One, and the total of several."""
    value: float


class Case(NamedTuple):
    """A yes/no question, and what its answer follows from."""

    question: str
    clause: str
    """The question as a statement, right or wrong: `a cat could outweigh a horse`."""
    conclusion: str
    """The statement that is right."""
    plan: str
    facts: list[str]
    comparisons: tuple[str, ...]
    distractor: str
    answer: str


WEIGHT = Property(
    plan="We compare their weights.",
    fact="{thing} weighs about {value} kg.",
    total="So {count} {things} weigh {count} * {value} = {total} kg.",
    several="{count} {things} together",
    more=(
        ("could", "outweigh {right}"),
        ("would", "be heavier than {right}"),
        ("would", "weigh more than {right}"),
    ),
    less=(("would", "be lighter than {right}"), ("would", "weigh less than {right}")),
    values={
        "a hen/hens": 2,
        "a brick/bricks": 3,
        "a cat/cats": 4,
        "a fox/foxes": 6,
        "a bicycle/bicycles": 12,
        "a wolf/wolves": 40,
        "a sheep/sheep": 70,
        "a pig/pigs": 150,
        "a lion/lions": 190,
        "a grand piano/grand pianos": 450,
        "a horse/horses": 500,
        "a cow/cows": 600,
        "a car/cars": 1400,
        "a rhino/rhinos": 2000,
        "an elephant/elephants": 5000,
        "a bus/buses": 12000,
        "a blue whale/blue whales": 150000,
    },
)
HEIGHT = Property(
    plan="We compare their heights.",
    fact="{thing} is about {value} metres tall.",
    total="So {count} {things} make {count} * {value} = {total} metres.",
    several="{count} {things} on top of each other",
    more=(
        ("would", "be taller than {right}"),
        ("would", "be higher than {right}"),
        ("could", "tower over {right}"),
    ),
    less=(("would", "be lower than {right}"), ("would", "be smaller than {right}")),
    values={
        "a table/tables": 0.7,
        "a horse/horses": 1.6,
        "a door/doors": 2,
        "an elephant/elephants": 3,
        "a bus/buses": 3,
        "a giraffe/giraffes": 5,
        "an oak tree/oak trees": 25,
        "the Leaning Tower of Pisa": 56,
        "the Statue of Liberty": 93,
        "Big Ben": 96,
        "the Eiffel Tower": 330,
        "the Burj Khalifa": 828,
        "Mount Fuji": 3776,
        "Mont Blanc": 4800,
        "Mount Everest": 8849,
    },
)
SPEED = Property(
    plan="We compare their speeds.",
    fact="{thing} moves at about {value} km/h.",
    total="",
    several="",
    more=(
        ("could", "overtake {right}"),
        ("would", "be faster than {right}"),
        ("would", "win a race against {right}"),
    ),
    less=(("would", "be slower than {right}"), ("would", "lose a race against {right}")),
    values={
        "a snail": 0.05,
        "a walker": 5,
        "a jogger": 10,
        "a cyclist": 20,
        "a container ship": 40,
        "a running horse": 60,
        "a running ostrich": 70,
        "a running cheetah": 110,
        "a high-speed train": 300,
        "a racing car": 320,
        "an airliner": 900,
        "a space rocket": 28000,
    },
)
LIFE = Property(
    plan="We compare their life spans.",
    fact="{thing} lives for about {value} years.",
    total="",
    several="",
    more=(("would", "usually outlive {right}"), ("would", "usually live longer than {right}")),
    less=(
        ("would", "usually die younger than {right}"),
        ("would", "usually have a shorter life than {right}"),
    ),
    values={
        "a mouse": 2,
        "a hamster": 3,
        "a hen": 8,
        "a rabbit": 9,
        "a dog": 12,
        "a cat": 15,
        "a cow": 20,
        "a horse": 25,
        "an elephant": 60,
        "a giant tortoise": 120,
        "a bowhead whale": 200,
        "an oak tree": 500,
        "a giant sequoia": 3000,
    },
)
DEATHS = {
    "Joan of Arc": 1431,
    "Columbus": 1506,
    "Luther": 1546,
    "Shakespeare": 1616,
    "Galileo": 1642,
    "Newton": 1727,
    "Bach": 1750,
    "Mozart": 1791,
    "Napoleon": 1821,
    "Beethoven": 1827,
    "Goethe": 1832,
    "Lincoln": 1865,
    "Darwin": 1882,
    "Queen Victoria": 1901,
    "Tolstoy": 1910,
    "Edison": 1931,
    "Marie Curie": 1934,
    "Gandhi": 1948,
    "Einstein": 1955,
    "Picasso": 1973,
    "Elvis Presley": 1977,
    "Nelson Mandela": 2013,
}
INVENTIONS = {
    "the telescope": (1608, "have used a telescope"),
    "the public railway": (1825, "have travelled by train"),
    "the camera": (1839, "have posed for a camera"),
    "the telephone": (1876, "have made a phone call"),
    "the light bulb": (1879, "have read by the light of a bulb"),
    "the car": (1886, "have driven a car"),
    "the radio": (1895, "have listened to the radio"),
    "the aeroplane": (1903, "have flown in an aeroplane"),
    "television": (1926, "have watched television"),
    "the World Wide Web": (1991, "have read a web page"),
}


def toy_row(random: Random, difficulty: int) -> ToyRow:
    wanted = random.choice(("yes", "no"))
    kind = random.choice((WEIGHT, HEIGHT, SPEED, LIFE, None))
    case = _years(random, wanted) if kind is None else _measured(random, kind, wanted, COUNTS[difficulty])
    asker = random.choice(("", *(f"{person.name} asks: " for person in PEOPLE)))
    distractor = f"{case.distractor} " if random.random() < DISTRACTED[difficulty] else ""
    steps = [
        random.choice(("", restated(random, f"whether {case.clause}"))),
        random.choice(("", case.plan)),
        *case.facts,
        random.choice(case.comparisons),
        random.choice((f"So {case.conclusion}.", concluded(random, case.conclusion, case.answer))),
    ]
    return ToyRow(f"{distractor}{asker}{case.question}", joined(steps), case.answer)


def _measured(random: Random, kind: Property, wanted: str, most: int) -> Case:
    """A comparison of two values, one of them perhaps of several things."""
    count = random.randint(1, most) if kind.total else 1
    while True:
        first, second, third = random.sample(list(kind.values), 3)
        if count > 1 and "/" not in first:
            continue
        small, large = sorted(
            (_thing(kind, first, count), _thing(kind, second, 1)), key=lambda thing: thing.value
        )
        distractor = _thing(kind, third, 1).facts[0]
        if large.value >= MARGIN * small.value and not _share_a_number(distractor, small, large):
            break
    asks_more = random.random() < 0.5
    left, right = (large, small) if asks_more == (wanted == "yes") else (small, large)
    auxiliary, rest = random.choice(kind.more if asks_more else kind.less)
    rest = rest.format(right=right.text)
    low, high = _shown(small.value), _shown(large.value)
    return Case(
        question=f"{auxiliary.capitalize()} {left.text} {rest}?",
        clause=f"{left.text} {auxiliary} {rest}",
        conclusion=f"{left.text} {auxiliary} {'' if wanted == 'yes' else 'not '}{rest}",
        plan=kind.plan,
        facts=left.facts + right.facts,
        comparisons=(
            f"We see that {low} is less than {high}.",
            f"We see that {high} is more than {low}.",
            f"Clearly, {high} is much more than {low}.",
        ),
        distractor=distractor,
        answer=wanted,
    )


def _thing(kind: Property, name: str, count: int) -> Thing:
    """One thing, or several."""
    one, _, many = name.partition("/")
    value = kind.values[name]
    fact = kind.fact.format(thing=capitalised(one), value=_shown(value))
    if count == 1:
        return Thing(one, [fact], value)
    total = kind.total.format(count=count, things=many, value=_shown(value), total=_shown(count * value))
    return Thing(kind.several.format(count=count, things=many), [fact, total], count * value)


def _share_a_number(fact: str, *things: Thing) -> bool:
    told = " ".join(text for thing in things for text in (thing.text, *thing.facts))
    return not set(NUMBER.findall(fact)).isdisjoint(NUMBER.findall(told))


def _shown(value: float) -> str:
    return f"{value:.10g}"


def _years(random: Random, wanted: str) -> Case:
    """Whether somebody lived to see an invention."""
    asks_before = random.random() < 0.5
    lived = asks_before != (wanted == "yes")
    while True:
        (person, another), invention = random.sample(list(DEATHS), 2), random.choice(list(INVENTIONS))
        death, (year, use) = DEATHS[person], INVENTIONS[invention]
        if (death - year if lived else year - death) >= MARGIN_YEARS:
            break
    before = f"before {invention} existed"
    if asks_before:
        question, clause, denial = (
            f"Did {person} die {before}?",
            f"{person} died {before}",
            f"{person} did not die {before}",
        )
    else:
        question, clause, denial = (
            f"Could {person} {use}?",
            f"{person} could {use}",
            f"{person} could not {use}",
        )
    early, late = sorted((death, year))
    return Case(
        question=question,
        clause=clause,
        conclusion=clause if wanted == "yes" else denial,
        plan="We compare the years.",
        facts=[f"{person} died in {death}.", f"{capitalised(invention)} has existed since {year}."],
        comparisons=(f"We see that {early} is before {late}.", f"We see that {late} is after {early}."),
        distractor=f"{another} died in {DEATHS[another]}.",
        answer=wanted,
    )
