r"""Finds the numbers of a text as exact values, including fractions, powers, LaTeX and small calculations.

decimals.py has the rules for points and commas. A calculation counts as its result (`3 * 4` is 12). Percent
signs, currencies and units are ignored: 12% is 12. Ranges, dates, versions and points on a plane are not
numbers. Times of day and durations in two units are compared as written. An expression without a value (3/0,
10^x) is not a number, and neither are its parts.
"""

import re
from collections.abc import Iterator
from fractions import Fraction
from typing import NamedTuple

from skipthink_ray.tasks.calculations import NoExpression, Reader
from skipthink_ray.tasks.decimals import MAX_DIGITS, NoValue
from skipthink_ray.tasks.plain import UNREADABLE
from skipthink_ray.tasks.tokens import FUNCTIONS, Token

_UNITS = {
    "hour": "h",
    "hours": "h",
    "hr": "h",
    "hrs": "h",
    "h": "h",
    "minute": "min",
    "minutes": "min",
    "min": "min",
    "mins": "min",
    "m": "min",
    "second": "s",
    "seconds": "s",
    "sec": "s",
    "secs": "s",
    "s": "s",
    "foot": "ft",
    "feet": "ft",
    "ft": "ft",
    "inch": "in",
    "inches": "in",
    "in": "in",
    "pound": "lb",
    "pounds": "lb",
    "lb": "lb",
    "lbs": "lb",
    "ounce": "oz",
    "ounces": "oz",
    "oz": "oz",
    "year": "y",
    "years": "y",
    "month": "mo",
    "months": "mo",
    "week": "w",
    "weeks": "w",
    "day": "d",
    "days": "d",
    "dollar": "$",
    "dollars": "$",
    "cent": "c",
    "cents": "c",
    "euro": "€",
    "euros": "€",
}
_TWO_UNITS = re.compile(r"(\d+)\s?([a-z]+)(?:,? and|,)?\s?(\d+)\s?([a-z]+)\b", re.IGNORECASE)
_PAIRS = {
    tuple(pair.split()) for pair in ("h min", "min s", "ft in", "lb oz", "y mo", "w d", "d h", "$ c", "€ c")
}
_ONE_UNIT = re.compile(
    r"(\d+)\s?(hours?|hrs?|h|minutes?|mins?|feet|foot|ft|pounds?|lbs?)\s?(\d{1,2})(?!\d|[.,:/]\d|\s?[\w%°$])",
    re.IGNORECASE,
)
"""The second unit is left out: 2h30, 5 feet 6."""
_CHANGED = re.compile(
    rf"""[\s)}}$]*(?:{UNREADABLE}|±|!!|!\s*[-+*/^]\s*\d|\b(?:mod|modulo|choose|factorial)\b
    |(?:raised\ )?to\ the\ (?:power|\w+\ power)\b)""",
    re.VERBOSE,
)
"""After a number: it is a part of something else (5 mod 3, 5 ± 1)."""
_HALF_OF_DAY = re.compile(r"\s?([ap])\.?m\b", re.IGNORECASE)


class Quantity(NamedTuple):
    """A number in a plain text (tasks/plain.py), from `start` to `end`."""

    value: Fraction | None
    """None for a time or a duration in two units."""
    form: str
    """The form to compare: the reduced fraction, or hours and minutes."""
    text: str
    """The form to show. It reads as the same number again."""
    start: int
    end: int


def quantities(text: str) -> list[Quantity]:
    """All numbers of a plain text, from left to right.

    Numbers that end a word (CO2) count only if there are no others.
    """
    found = list(_scan(text))
    return [one for one in found if not _glued(text, one.start)] or found


def _glued(text: str, start: int) -> bool:
    before = text[start - 1 : start]
    return before == "_" or (before.isalpha() and before < "\u2e80")  # in 有5个 the 5 is a separate number


def _scan(text: str) -> Iterator[Quantity]:
    reader, at = Reader(text), 0
    while at < len(reader.tokens):
        token = reader.tokens[at]
        if passed := reader.no_number(at) or _past_function(reader, at):
            at = passed
            continue
        if token.kind == "number" and (two := _two_units(text, token)):
            yield two
            at = reader.after(two.end, at)
            continue
        try:
            value, after = reader.expression(at)
        except NoExpression:
            at += 1
        except NoValue:
            at = _past_rest(reader, max(at + 1, reader.furthest))
        else:
            if reader.is_algebra(at, after):
                at = after
                continue
            if changed := _CHANGED.match(text, reader.tokens[after - 1].end):
                at = _past_rest(reader, reader.after(changed.end(), after) - 1, is_open=True)
                continue
            if reader.operation(after) and (passed := _past_function(reader, after + 1)):
                at = passed
                continue
            end = reader.tokens[after - 1].end
            yield Quantity(value, str(value), _shown(value, text[token.start : end]), token.start, end)
            at = after


def _past_function(reader: Reader, at: int) -> int | None:
    """The index after a function or an unreadable command, its argument and what is added to it.

    None if there is none at this token.
    """
    name, follows = reader.token(at), reader.token(at + 1)
    named = name.text.lower() in FUNCTIONS and (
        follows.kind in ("number", "root") or follows.text in ("(", "_", "^")
    )
    called = name.text.lower() in ("min", "max", "sec", "csc") and follows.text == "("
    if not (name.text == UNREADABLE or named or (called and name.end == follows.start)):
        return None
    at += 1
    while reader.token(at).text in ("_", "^"):
        at = reader.past(at + 1 + (reader.kind(at + 1) == "sign"))
    symbol = reader.kind(at) in ("pi", "word") and len(reader.token(at).text) == 1
    if symbol or reader.kind(at) == "number":
        at += 1
    while reader.token(at).text == "," and reader.kind(at + 1) == "number":
        at += 2
    while reader.kind(at) == "open":
        at = reader.past(at)
    return _past_rest(reader, at)


def _past_rest(reader: Reader, at: int, is_open: bool = False) -> int:
    """The index after the operations that go on from an unreadable value: the + 5 of 3/0 + 5.

    is_open: the token at `at` is an operation of another kind (mod, ±).
    """
    while is_open or reader.operation(at) or reader.token(at).text in ("^", "!", "±"):
        is_open = False
        try:
            at = reader.expression(at + 1)[1]
        except (NoExpression, NoValue):
            at += 1
    return at


def _shown(value: Fraction, written: str) -> str:
    digits = re.fullmatch(r"(-?)\s*\$?\s*(\d+(?:\.\d+)?|\d{1,3}(?:,\d{3})+(?:\.\d+)?)", written)
    if digits and not written.lstrip("- $").startswith("0,"):
        return digits[1] + digits[2].replace(",", "")
    if value.denominator <= 10**6:
        return str(value)
    whole, rest = divmod(round(abs(value) * 10**12), 10**12)
    return f"{'-' if value < 0 else ''}{whole}.{rest:012d}"


def _two_units(text: str, token: Token) -> Quantity | None:
    """A time or an amount in two units: 3:30 (pm), 2 hours and 30 minutes, 5 dollars and 50 cents."""
    if re.fullmatch(r"\d+(?::\d+)+", token.text):
        half = _HALF_OF_DAY.match(text, token.end)
        form = (token.text.lstrip("0") or "0") + (f" {half[1].lower()}m" if half else "")
        end = half.end() if half else token.end
        return Quantity(
            None, "0" + form if form[0] == ":" else form, text[token.start : end], token.start, end
        )
    found = _TWO_UNITS.match(text, token.start)
    if not found:
        if alone := _ONE_UNIT.match(text, token.start):
            form = f"{alone[1].lstrip('0') or '0'}:{alone[3]:0>2} {_UNITS[alone[2].lower()]}"
            return Quantity(None, form, alone[0], *alone.span())
        return None
    large, small = (_UNITS.get(found[group].lower(), "") for group in (2, 4))
    if (large, small) not in _PAIRS:
        return None
    if small == "c":
        value = int(found[1][:MAX_DIGITS]) + Fraction(int(found[3][:MAX_DIGITS]), 100)
        return Quantity(value, str(value), str(value), *found.span())
    return Quantity(None, f"{found[1].lstrip('0') or '0'}:{found[3]:0>2} {large}", found[0], *found.span())
