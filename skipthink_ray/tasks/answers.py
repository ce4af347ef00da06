"""When two answers are the same, by kind of answer. Numbers within 1e-6 (method §7); other kinds by canonical form."""

import re
from fractions import Fraction
from typing import Literal

AnswerKind = Literal["number", "choice", "string", "yes_no"]

MAX_DIGITS = 1000
"""A longer number is a student's loop; Python refuses to convert some of them."""
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:/\d+)?|-?\.\d+")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_BRACKETED = re.compile(r"\(([A-Za-z])\)")
_ALONE = re.compile(r"(?<![A-Za-z'’])([A-Z])(?![A-Za-z'’])")
_YES_NO = re.compile(r"\b(yes|no|true|false)\b", re.IGNORECASE)


def same_answer(kind: AnswerKind, predicted: str, gold: str) -> bool:
    """Whether two answers agree. An answer without the expected form agrees with nothing."""
    left, right = canonical(kind, predicted), canonical(kind, gold)
    if left is None or right is None:
        return False
    if kind == "number":
        return abs(Fraction(left) - Fraction(right)) <= Fraction(1, 10**6)
    return left == right


def canonical(kind: AnswerKind, text: str) -> str | None:
    """The canonical form of an answer, or None where the text holds none of that kind.

    number: the first number, without thousands separators or units; choice: the last letter in
    brackets, else the last capital that stands alone; yes_no: the
    first yes, no, true or false; string: lower case without surrounding quotes, white space and full stop.
    """
    if kind == "number":
        return _number(text)
    if kind == "choice":
        found = _BRACKETED.findall(text) or _ALONE.findall(text) or _ALONE.findall(text.strip().upper() if len(text.strip()) < 4 else "")
        return found[-1].upper() if found else None
    if kind == "yes_no":
        found = _YES_NO.search(text)
        return {"true": "yes", "false": "no"}.get(found[1].lower(), found[1].lower()) if found else None
    return text.strip().strip("\"'“”‘’").rstrip(".").strip("\"'“”‘’ ").lower() or None


def _number(text: str) -> str | None:
    found = _NUMBER.search(_THOUSANDS.sub("", text.replace("−", "-").replace("$", "")))
    if not found or len(found[0]) > MAX_DIGITS:
        return None
    numerator, _, denominator = found[0].partition("/")
    if denominator and not int(denominator):
        return None
    return str(Fraction(numerator) / Fraction(denominator or 1))
