"""Toy LLC: the last letters of the words of a name, over a list of given names of the project's own.

difficulty is the number of words less one: 2, 3 or 4 words.
"""

from random import Random

from skipthink_ray.tasks.task import ToyRow

NAMES = tuple(
    "Adam Alma Amir Anouk Aron Bela Boris Britt Carl Cleo Clive Conrad Dana Derek Dora Edith Edwin Elif Emil Enzo Erik "
    "Esther Fatima Felix Flora Frank Gerd Gita Greta Gus Hakim Hana Hedwig Henk Hiro Ilse Imre Ines Ingrid Isaac Ivo "
    "Jacob Jan Jill Joel Jonas Jude Kai Karim Kevin Kirk Lars Lea Leif Leon Lilith Lou Luca Magda Malik Marc Max Milan "
    "Miriam Moritz Nadia Neil Nils Noel Nora Olaf Oleg Otto Paul Pavel Petra Philip Quentin Rafael Rashid Rex Rita "
    "Robert Roy Ruth Sam Sanjay Sarah Sigrid Sven Tamar Tariq Theo Thomas Toby Udo Uma Ute Vera Victor Vincent Walt "
    "Wendy Wolf Xaver Yann Yosef Yusuf Zack Zoe".split()
)
ORDINALS = ("first", "second", "third", "fourth")


def toy_row(random: Random, difficulty: int) -> ToyRow:
    words = random.sample(NAMES, difficulty + 1)
    letters = [word[-1] for word in words]
    answer = "".join(letters)
    full_name = " ".join(words)
    question = f'Take the last letters of each word in "{full_name}" and concatenate them.'
    restate = random.choice(("", f"The words are {' and '.join(words)}.", "We look at each word and keep its last letter."))
    finding = [
        random.choice((
            f'The last letter of "{word}" is "{letter}".',
            f'The {ORDINALS[place]} word is "{word}", which ends in "{letter}".',
        ))
        for place, (word, letter) in enumerate(zip(words, letters, strict=True))
    ]
    joining = random.choice((f'Together they make "{answer}".', f'Concatenating them gives "{answer}".'))
    summary = random.choice(("", f'So the answer is "{answer}".'))
    steps = (restate, *finding, joining, summary)
    return ToyRow(question, " ".join(step for step in steps if step), answer)
