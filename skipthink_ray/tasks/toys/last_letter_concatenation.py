"""Toy LLC: concatenate the last letters of the words of a name. The given names are the project's own list.

difficulty is the number of words minus one. 1: two words; 2: three words, and a distractor with other names
in a third of the questions; 3: four words, and always a distractor.
"""

from random import Random

from skipthink_ray.tasks.task import ToyRow
from skipthink_ray.tasks.toys.stories import DISTRACTED

NAMES: tuple[str, ...] = tuple(
    "Adam Alma Amir Anouk Aron Bela Boris Britt Carl Cleo Clive Conrad Dana Derek Dora Edith Edwin Elif "
    "Emil Enzo Erik Esther Fatima Felix Flora Frank Gerd Gita Greta Gus Hakim Hana Hedwig Henk Hiro Ilse "
    "Imre Ines Ingrid Isaac Ivo Jacob Jan Jill Joel Jonas Jude Kai Karim Kevin Kirk Lars Lea Leif Leon "
    "Lilith Lou Luca Magda Malik Marc Max Milan Miriam Moritz Nadia Neil Nils Noel Nora Olaf Oleg Otto "
    "Paul Pavel Petra Philip Quentin Rafael Rashid Rex Rita Robert Roy Ruth Sam Sanjay Sarah Sigrid Sven "
    "Tamar Tariq Theo Thomas Toby Udo Uma Ute Vera Victor Vincent Walt Wendy Wolf Xaver Yann Yosef Yusuf "
    "Zack Zoe Agnes Alice Bert Bruno Celia Chen Dirk Diego Eric Eva Faye Fred Gail Grace Heidi Hugh Ida "
    "Igor Jack Jose Kate Kurt Lydia Linus Mona Mark Naomi Nick Olga Oscar Pia Peter Ravi Ruby Sofia Simon "
    "Tina Tim Ursula Yves".split()
)
ORDINALS = ("first", "second", "third", "fourth")


def toy_row(random: Random, difficulty: int) -> ToyRow:
    words = random.sample(NAMES, difficulty + 1)
    letters = [word[-1] for word in words]
    answer = "".join(letters)
    full_name = " ".join(words)
    question = f'Take the last letters of each word in "{full_name}" and concatenate them.'
    if difficulty > 1 and random.random() < DISTRACTED[difficulty]:
        question += f" {_distractor(random, words)}"
    restate = random.choice(
        ("", f"The words are {_listed(words)}.", "We look at each word and keep its last letter.")
    )
    finding = [
        random.choice(
            (
                f'The last letter of "{word}" is "{letter}".',
                f'The {ORDINALS[place]} word is "{word}", which ends in "{letter}".',
            )
        )
        for place, (word, letter) in enumerate(zip(words, letters, strict=True))
    ]
    joining = random.choice((f'Together they make "{answer}".', f'Concatenating them gives "{answer}".'))
    summary = random.choice(("", f'So the answer is "{answer}".'))
    steps = (restate, *finding, joining, summary)
    return ToyRow(question, " ".join(step for step in steps if step), answer)


def _distractor(random: Random, words: list[str]) -> str:
    """An irrelevant sentence about other names."""
    one, other = random.sample([name for name in NAMES if name not in words], 2)
    return random.choice(
        (
            f"{one} wrote these words on a card.",
            f"{one} and {other} have other names.",
            f"The words were found by {one}.",
        )
    )


def _listed(words: list[str]) -> str:
    """The words in quotes. A bare `Jan` before a full stop would look like the abbreviation of January."""
    *others, last = (f'"{word}"' for word in words)
    return f"{', '.join(others)} and {last}"
