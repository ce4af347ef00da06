"""Toy StrategyQA: yes/no questions that compare two things. The question does not give the facts about them.

The facts come from strategy_qa_facts.py. One value is at least three times the other (years: 20 apart), so
that a slightly wrong value does not change an answer. Half of the answers are yes.

difficulty 1: two facts and a comparison; 2: up to 3 of one thing if its values add up, and in a third of the
questions an irrelevant fact about another thing; 3: up to 10 of one thing, and always an irrelevant fact. The
table is small: most comparisons appear in both train and test, in other words or from another asker.
"""

from random import Random
from typing import NamedTuple

from skipthink_ray.tasks.task import ToyRow
from skipthink_ray.tasks.toys.stories import (
    DISTRACTED,
    NUMBER,
    PEOPLE,
    capitalised,
    concluded,
    joined,
    restated,
)
from skipthink_ray.tasks.toys.strategy_qa_facts import (
    DEATHS,
    HEIGHT,
    INVENTIONS,
    LIFE,
    SPEED,
    WEIGHT,
    Property,
)

COUNTS = {1: 1, 2: 3, 3: 10}
"""Maximum number of one thing in a question, by difficulty."""
MARGIN = 3
"""Smallest ratio of the two values."""
MARGIN_YEARS = 20
"""Smallest distance of two years."""


class Thing(NamedTuple):
    text: str
    facts: list[str]
    """The fact about one thing and, for several things, their total."""
    value: float


class Case(NamedTuple):
    """A yes/no question, and everything that its rationale is made of."""

    question: str
    clause: str
    """The question as a statement, true or false: `a cat could outweigh a horse`."""
    conclusion: str
    """The true statement."""
    plan: str
    facts: list[str]
    comparisons: tuple[str, ...]
    distractor: str
    answer: str


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
    """A question that compares two values. One of them may be the total of several things."""
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
    """`count` of one thing, with its facts and value."""
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
    """A question whether somebody lived to see an invention."""
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
