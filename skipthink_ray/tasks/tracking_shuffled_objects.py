"""Toy TSO: three people swap three balls; who ends up with which is asked as a choice A-C.

difficulty is the number of swaps. 1: one; 2: two, and in a third of the questions a sentence that does not matter; 3: three,
and such a sentence always.
"""

from random import Random

from skipthink_ray.tasks.stories import DISTRACTED
from skipthink_ray.tasks.task import ToyRow

PEOPLE: tuple[str, ...] = ("Alice", "Bob", "Claire", "Dave", "Eve", "Fred")
COLOURS: tuple[str, ...] = ("red", "blue", "green", "white", "black", "yellow")


def toy_row(random: Random, difficulty: int) -> ToyRow:
    people, colours = random.sample(PEOPLE, 3), random.sample(COLOURS, 3)
    holds: dict[str, str] = dict(zip(people, colours, strict=True))
    start = _state(holds)
    swaps, finding = [], []
    for number in range(difficulty):
        left, right = random.sample(people, 2)
        holds[left], holds[right] = holds[right], holds[left]
        swaps.append(f"{'Then ' if number else 'First '}{left} and {right} swap balls.")
        finding.append(random.choice((
            f"{left} and {right} swap, so {left} has the {holds[left]} ball and {right} has the {holds[right]} ball.",
            f"After {left} and {right} swap, {_state(holds)}.",
        )))
    if difficulty > 1 and random.random() < DISTRACTED[difficulty]:
        swaps.insert(random.randint(0, len(swaps)), _distractor(random, people, colours))
    asked = random.choice(people)
    options = random.sample(colours, 3)
    answer = "ABC"[options.index(holds[asked])]
    choices = " ".join(f"({letter}) {colour}" for letter, colour in zip("ABC", options, strict=True))
    question = f"{start}. {' '.join(swaps)} Which ball does {asked} have at the end? {choices}"
    restate = random.choice(("", f"We follow the ball of {asked}.", f"At the start {start}."))
    summary = random.choice(("", f"So {asked} has the {holds[asked]} ball.", f"At the end {_state(holds)}."))
    closing = random.choice((f"The {holds[asked]} ball is ({answer}).", f"So the answer is ({answer})."))
    steps = (restate, *finding, summary, closing)
    return ToyRow(question, " ".join(step for step in steps if step), answer)


def _distractor(random: Random, people: list[str], colours: list[str]) -> str:
    """Something that moves no ball, about the people and colours of the question."""
    one, other = random.sample(people, 2)
    return random.choice((f"{one} wears a {random.choice(colours)} hat.", f"{one} and {other} shake hands."))


def _state(holds: dict[str, str]) -> str:
    return ", ".join(f"{person} has the {colour} ball" for person, colour in holds.items())
