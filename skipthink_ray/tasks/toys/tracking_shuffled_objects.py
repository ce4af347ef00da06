"""Toy TSO: Alice, Bob and Claire swap three balls.

The question asks which ball one of them ends up with, as a choice A-C.

difficulty is the number of swaps. 1: one; 2: two, and a distractor in a third of the questions; 3: three, and
always a distractor. The names are always the same, as in the public data set. Unlike there, the letter of a
choice follows the ball at its first mention.

The oracle's rationales suit a small student. They say who has which ball at the start and after every swap,
for all three people in the same order, and each ball with its letter. So every step copies the step before
with two balls exchanged, and the student need not look up the letter.
"""

from random import Random

from skipthink_ray.tasks.task import ToyRow
from skipthink_ray.tasks.toys.stories import DISTRACTED

PEOPLE: tuple[str, ...] = ("Alice", "Bob", "Claire")
COLOURS: tuple[str, ...] = ("red", "blue", "green", "white", "black", "yellow", "orange", "pink")


def toy_row(random: Random, difficulty: int) -> ToyRow:
    colours = random.sample(COLOURS, 3)
    letters = dict(zip(random.sample(colours, 3), "ABC", strict=True))
    holds: dict[str, str] = dict(zip(PEOPLE, colours, strict=True))
    start = _state(holds, letters)
    swaps, finding = [], []
    for number in range(difficulty):
        left, right = random.sample(PEOPLE, 2)
        holds[left], holds[right] = holds[right], holds[left]
        swaps.append(f"{'Then' if number else 'First'} {left} and {right} swap balls.")
        now = _state(holds, letters)
        finding.append(
            random.choice((f"{left} and {right} swap, so {now}.", f"After {left} and {right} swap, {now}."))
        )
    if difficulty > 1 and random.random() < DISTRACTED[difficulty]:
        swaps.insert(random.randint(0, len(swaps)), _distractor(random, colours))
    asked = random.choice(PEOPLE)
    question = f"{start}. {' '.join(swaps)} Which ball does {asked} have at the end?"
    plan = random.choice(("", f"We follow the ball of {asked}.", "We follow all three balls."))
    restate = f"{random.choice(('At the start', 'Before any swap'))} {start}."
    final, answer = _state({asked: holds[asked]}, letters), letters[holds[asked]]
    summary = random.choice(("", f"So {final}.", f"At the end {final}."))
    closing = random.choice((f"The {holds[asked]} ball is ({answer}).", f"The answer is ({answer})."))
    steps = (plan, restate, *finding, summary, closing)
    return ToyRow(question, " ".join(step for step in steps if step), answer)


def _distractor(random: Random, colours: list[str]) -> str:
    """An irrelevant sentence about the people and the colours of the question."""
    one, other = random.sample(PEOPLE, 2)
    return random.choice((f"{one} wears a {random.choice(colours)} hat.", f"{one} and {other} shake hands."))


def _state(holds: dict[str, str], letters: dict[str, str]) -> str:
    """Who has which ball, with its letter."""
    return ", ".join(
        f"{person} has the {colour} ball ({letters[colour]})" for person, colour in holds.items()
    )
