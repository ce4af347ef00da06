"""Assigns questions to train and test by their words (method §7).

splits.json holds the split of Ho et al. (Fine-tune-CoT) for seven tasks as sorted digests of the questions.
So it fits any copy of the data, whatever its order, row numbers or spacing. `python -m tools.make_splits
FOLDER` wrote it. Six questions are in both train and test of that split. They are listed as test only, so
that they are never trained on.
"""

import hashlib
import json
import re
from functools import cache
from importlib.resources import files
from typing import Literal

Split = Literal["train", "test"]

DIGEST_CHARS = 10
"""40 bits, so that the digests of unlisted questions almost never collide with listed ones."""
TOY_TEST_ONE_IN = 8
_OPTIONS = re.compile(r"\s*(?:which choice is true\s*\?|answer choices\s*:|\(a\)).*", re.DOTALL)
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_POINT_ZERO = re.compile(r"(?<=\d)\.0+(?!\d)")
_WORDS = re.compile(r"\d+(?:\.\d+)?|[^\W\d_]+")


def normalise(question: str) -> str:
    """The words and numbers of a question, without options, case, punctuation and spacing."""
    text = _OPTIONS.sub("", question.lower())
    return " ".join(_WORDS.findall(_POINT_ZERO.sub("", _THOUSANDS.sub("", text))))


def digest(question: str) -> str:
    return hashlib.sha256(normalise(question).encode()).hexdigest()[:DIGEST_CHARS]


def listed_split(task: str, question: str) -> Split | None:
    """The split of a question according to Ho et al. None if they list neither the question nor its task."""
    sides = _listed().get(task, {})
    found = digest(question)
    return "test" if found in sides.get("test", ()) else "train" if found in sides.get("train", ()) else None


def is_listed(task: str) -> bool:
    return task in _listed()


def drawn_split(task: str, question: str, test_share: float) -> Split:
    """A random split, seeded with the task's name and the question's words: the same on every machine."""
    return "test" if _draw(task, question) < test_share else "train"


def in_share(question: str, dev_share: float) -> bool:
    """Whether a training question is held out as dev. Seeded with its words: the same on every machine."""
    return _draw("dev", question) < dev_share


def _draw(name: str, question: str) -> float:
    """A number from 0 to 1 (exclusive), from a hash of the name and the question's words."""
    return int(hashlib.sha256(f"{name} {normalise(question)}".encode()).hexdigest()[:8], 16) / 16**8


def toy_split(question: str) -> Split:
    """The split of a toy question: test if its hash falls into one of eight equal parts.

    So workers draw questions without comparing them.
    """
    first_byte = hashlib.sha256(question.encode()).digest()[0]
    return "test" if first_byte % TOY_TEST_ONE_IN == 0 else "train"


@cache
def _listed() -> dict[str, dict[Split, frozenset[str]]]:
    """The content of splits.json as task -> split -> digests. The file joins the digests in one string."""
    lists: dict[str, dict[Split, str]] = json.loads(
        files("skipthink_ray.tasks").joinpath("splits.json").read_text(encoding="utf-8")
    )
    return {
        task: {side: frozenset(_cut(digests)) for side, digests in sides.items()}
        for task, sides in lists.items()
    }


def _cut(digests: str) -> list[str]:
    return [digests[start : start + DIGEST_CHARS] for start in range(0, len(digests), DIGEST_CHARS)]
