"""Exact values of digits with separators, of powers and of roots. Raises NoValue if there is no value.

A point separates decimals. A comma separates thousands, in groups of three or as in India (12,34,567). It
separates decimals if it cannot separate thousands: 1,000 is 1000, but 1,5 and 0,500 and 1.000,5 have a
decimal comma. Spaces, apostrophes and underscores between groups of three also separate thousands.
"""

import re
from fractions import Fraction
from math import isfinite

MAX_DIGITS = 1000
"""A longer number comes from a student that loops, and Python refuses to convert very long ones."""
THREES = re.compile(r"[1-9]\d{0,2}(?:,\d{3})+(?:\.\d+)?|[1-9]\d?(?:,\d\d)+,\d{3}(?:\.\d+)?")
_SPACED = re.compile(r"[1-9]\d{0,2}(?:([ '_])\d{3})(?:\1\d{3})*(?:[.,]\d+)?")
_DECIMAL_COMMA = re.compile(r"\d{1,3}(?:\.\d{3})+,\d+|\d+,\d+")
_POINTS = re.compile(r"[1-9]\d{0,2}(?:\.\d{3}){2,}")
_PLAIN = re.compile(r"\d*\.?\d+")


class NoValue(ValueError):
    """The number cannot be evaluated: malformed digits, division by zero, or a huge exponent."""


def decimal(run: str) -> Fraction:
    """The value of digits with separators."""
    digits, _, exponent = run.lower().replace(" e", "e").partition("e")
    if THREES.fullmatch(digits):
        digits = digits.replace(",", "")
    elif _SPACED.fullmatch(digits):
        digits = re.sub("[ '_]", "", digits).replace(",", ".")
    elif _POINTS.fullmatch(digits):
        digits = digits.replace(".", "")
    elif _DECIMAL_COMMA.fullmatch(digits):
        digits = digits.replace(".", "").replace(",", ".")
    if not _PLAIN.fullmatch(digits) or len(digits) > MAX_DIGITS:
        raise NoValue
    return Fraction(digits) * Fraction(10) ** int(exponent or 0)


def power(base: Fraction, exponent: Fraction) -> Fraction:
    """The power as an exact value if it is a fraction, else rounded to twelve decimals."""
    if exponent.denominator == 1:
        bits = max(base.numerator.bit_length(), base.denominator.bit_length())
        if (not base and exponent < 0) or abs(exponent) * bits > 4 * MAX_DIGITS:
            raise NoValue
        return base ** int(exponent)
    try:
        value = float(base) ** float(exponent)
    except ArithmeticError as error:
        raise NoValue from error
    if isinstance(value, complex):
        raise NoValue
    nearest = (
        Fraction(value).limit_denominator(MAX_DIGITS)
        if isfinite(value) and abs(exponent) < 100
        else Fraction(0)
    )
    exact = (
        nearest and exponent.denominator < 100 and nearest**exponent.denominator == base**exponent.numerator
    )
    return nearest if exact else real(value)


def real(value: float) -> Fraction:
    """A float rounded to twelve decimals."""
    if not isfinite(value):
        raise NoValue
    return Fraction(round(value * 10**12), 10**12)


def small(value: Fraction) -> Fraction:
    """The value itself. Raises NoValue if it has many more than `MAX_DIGITS` digits."""
    if max(value.numerator.bit_length(), value.denominator.bit_length()) > 4 * MAX_DIGITS:
        raise NoValue
    return value
