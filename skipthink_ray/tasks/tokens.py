"""Splits a plain text into tokens for calculations, and lists the words with a meaning there."""

import re
from fractions import Fraction
from typing import NamedTuple

SCALES = {
    **dict.fromkeys(("hundred", "hundreds"), 2),
    **dict.fromkeys(("thousand", "thousands"), 3),
    **dict.fromkeys(("lakh", "lakhs"), 5),
    **dict.fromkeys(("million", "millions", "mn", "mln", "mio"), 6),
    **dict.fromkeys(("crore", "crores"), 7),
    **dict.fromkeys(("billion", "billions", "bn"), 9),
    **dict.fromkeys(("trillion", "trillions", "tn", "trn"), 12),
    "tenths": -1,
    "hundredths": -2,
    "thousandths": -3,
}
"""Scale words and their powers of ten."""
TIGHT_SCALES = {"k": 3, "K": 3, "M": 6, "B": 9}
"""Scales only without a blank before them: 5k, but not 5 K."""
SCALES_OF_MONEY = {"k": 3, "K": 3, "m": 6, "M": 6, "mn": 6, "B": 9, "b": 9, "bn": 9}
_PARTS = {"half": 2, "third": 3, "quarter": 4, "fourth": 4}
_TOPS = {"two": 2, "three": 3}
_AND_A_HALF = re.compile(
    r"[\s-]+and[\s-]+(?:(an?|one|two|three)[\s-]+)?(half|thirds?|quarters?|fourths?)\b(?!\s+(?:of|as|that)\b)",
    re.IGNORECASE,
)
FUNCTIONS = frozenset(
    "log ln lg sin cos tan cot sinh cosh tanh arcsin arccos arctan exp abs gcd lcm floor ceil".split()
)
"""Names of functions. Their argument is not their value."""
OPERATIONS = {
    **{sign: sign for sign in "+-*/"},
    "–": "-",
    "x": "*",
    "X": "*",
    "times": "*",
    "plus": "+",
    "minus": "-",
    "multiplied by": "*",
    "over": "/",
    "divided by": "/",
}
BEFORE_A_SIGN = set("is are was be to equals equal gives get of by at = : ( [ { $ ≈ < >".split())
"""After these words and signs, `- 5` is a number."""
_TOKEN = re.compile(
    r"""(?P<number>(?:\d{1,3}(?:[ ]\d{3})+(?![\d:])(?:[.,]\d+)?(?![.,]?\d)  # 10 000
        | \d+(?:[.,'_:]\d+)* | (?<![\w.])\.\d+)(?:(?:[eE]|[ ]E)[+-]?\d{1,3}(?!\w))?)
    |(?P<frac>\\frac)|(?P<root>√|\bsqrt(?=\())|(?P<pi>π)|(?P<power>\*\*|\^)|(?P<sign>[-–—])
    |(?P<op>[-+*/]|\b(?:divided|multiplied)[ ]by\b)
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


def and_a_half(text: str, end: int) -> tuple[Fraction, int]:
    """The fraction in words after a number that ends at `end` (2 and a half), and its end; else 0."""
    if not (found := _AND_A_HALF.match(text, end)):
        return Fraction(0), end
    top = _TOPS.get((found[1] or "").lower(), 1)
    return Fraction(top, _PARTS[found[2].lower().rstrip("s")]), found.end()
