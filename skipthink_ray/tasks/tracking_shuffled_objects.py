"""Toy TSO: Alice, Bob and Claire swap three balls; who ends up with which is asked as a choice A-C.

difficulty is the number of swaps. 1: one; 2: two, and in a third of the questions a sentence that does not matter; 3: three,
and such a sentence always. The names are always the same, as in the public data set.

The oracle writes so that a small student can learn it (docs/results.md shows what each of these is worth): who holds what
after every swap, all three in the same order, so that each step follows from the step before; and at the end the letter
of every ball, so that three letters are looked up per rationale instead of one.
"""

from random import Random

from skipthink_ray.tasks.stories import DISTRACTED
from skipthink_ray.tasks.task import ToyRow

PEOPLE: tuple[str, ...] = ("Alice", "Bob", "Claire")
OTHERS: tuple[str, ...] = ("Dave", "Eve", "Fred")
COLOURS: tuple[str, ...] = ("red", "blue", "green", "white", "black", "yellow", "orange", "pink")


def toy_row(random: Random, difficulty: int) -> ToyRow:
    return phrased_row(random, difficulty)


def phrased_row(
    random: Random, difficulty: int, *, same_names: bool = True, all_balls: bool = True, all_letters: bool = True
) -> ToyRow:
    """A row; benchmarks/bench_toys.py switches off one thing that makes it learnable.

    same_names: Alice, Bob and Claire in this order; else three of six names. all_balls: a step about a swap tells what
    all three hold; else only what the two who swapped hold. all_letters: the letters of all balls are told before the answer.
    """
    people = list(PEOPLE) if same_names else random.sample(PEOPLE + OTHERS, 3)
    colours = random.sample(COLOURS, 3)
    holds: dict[str, str] = dict(zip(people, colours, strict=True))
    start = _state(holds)
    swaps, finding = [], []
    for number in range(difficulty):
        left, right = random.sample(people, 2)
        holds[left], holds[right] = holds[right], holds[left]
        swaps.append(f"{'Then ' if number else 'First '}{left} and {right} swap balls.")
        now = _state(holds if all_balls else {left: holds[left], right: holds[right]})
        finding.append(random.choice((f"{left} and {right} swap, so {now}.", f"After {left} and {right} swap, {now}.")))
    if difficulty > 1 and random.random() < DISTRACTED[difficulty]:
        swaps.insert(random.randint(0, len(swaps)), _distractor(random, people, colours))
    asked = random.choice(people)
    letters = dict(zip(random.sample(colours, 3), "ABC", strict=True))
    answer = letters[holds[asked]]
    choices = " ".join(f"({letter}) {colour}" for colour, letter in letters.items())
    question = f"{start}. {' '.join(swaps)} Which ball does {asked} have at the end? {choices}"
    restate = random.choice(("", f"We follow the ball of {asked}.", f"At the start {start}."))
    ending = f"At the end {_state(holds, letters)}." if all_letters else ""
    summary = random.choice(("", f"So {asked} has the {holds[asked]} ball."))
    closing = random.choice((f"The {holds[asked]} ball is ({answer}).", f"The ball of {asked} is ({answer})."))
    steps = (restate, *finding, ending, summary, closing)
    return ToyRow(question, " ".join(step for step in steps if step), answer)


def _distractor(random: Random, people: list[str], colours: list[str]) -> str:
    """Something that moves no ball, about the people and colours of the question."""
    one, other = random.sample(people, 2)
    return random.choice((f"{one} wears a {random.choice(colours)} hat.", f"{one} and {other} shake hands."))


def _state(holds: dict[str, str], letters: dict[str, str] | None = None) -> str:
    letter_of = {colour: f" ({letter})" for colour, letter in (letters or {}).items()}
    return ", ".join(f"{person} has the {colour} ball{letter_of.get(colour, '')}" for person, colour in holds.items())
