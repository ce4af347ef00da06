"""Splits a plain text into tokens for calculations, and lists the words with a meaning there."""

import re
from typing import NamedTuple

SCALES = {
    "hundred": 2,
    "thousand": 3,
    "lakh": 5,
    "million": 6,
    "millions": 6,
    "crore": 7,
    "billion": 9,
    "billions": 9,
    "trillion": 12,
}
"""Scale words and their powers of ten."""
SCALES_OF_MONEY = {"k": 3, "K": 3, "m": 6, "M": 6, "mn": 6, "B": 9, "b": 9, "bn": 9}
OPERATIONS = {
    **{sign: sign for sign in "+-*/"},
    "–": "-",
    "x": "*",
    "X": "*",
    "times": "*",
    "plus": "+",
    "minus": "-",
    "over": "/",
}
BEFORE_A_SIGN = set("is are was be to equals equal gives get of by at = : ( [ { $ ≈ < >".split())
"""After these words and signs, `- 5` is a number."""
_TOKEN = re.compile(
    r"""(?P<number>(?:\d{1,3}(?:[ ]\d{3})+(?![\d:])(?:[.,]\d+)?(?![.,]?\d)  # 10 000
        | \d+(?:[.,'_:]\d+)* | (?<![\w.])\.\d+)(?:[eE][+-]?\d{1,3}(?!\w))?)
    |(?P<frac>\\frac)|(?P<root>√)|(?P<pi>π)|(?P<power>\*\*|\^)|(?P<sign>[-–—])|(?P<op>[-+*/])
    |(?P<open>[({\[])|(?P<close>[)}\]])|(?P<money>[$€£¥₹₽₩])|(?P<word>[^\W\d_]+)|(?P<line>\n)|(?P<other>\S)""",
    re.VERBOSE,
)


class Token(NamedTuple):
    kind: str
    text: str
    start: int
    end: int


NO_TOKEN = Token("", "", -1, -1)


def tokenise(text: str) -> list[Token]:
    """The tokens of a plain text (tasks/plain.py), without white space."""
    return [Token(found.lastgroup or "", found[0], *found.span()) for found in _TOKEN.finditer(text)]
