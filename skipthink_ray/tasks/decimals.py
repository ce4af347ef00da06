"""Digits with separators, powers and roots as exact values; what cannot be evaluated raises NoValue.

A point separates decimals. A comma separates thousands, in threes or as in India (12,34,567), and decimals where no
thousands can be meant: 1,000 is 1000, while 1,5 and 0,500 and 1.000,5 have a decimal comma. Spaces, apostrophes and low
lines between threes separate thousands too.
"""

import re
from fractions import Fraction
from math import isfinite

MAX_DIGITS = 1000
"""A longer number is a student's loop; Python refuses to convert some of them."""
THREES = re.compile(r"[1-9]\d{0,2}(?:,\d{3})+(?:\.\d+)?|[1-9]\d?(?:,\d\d)+,\d{3}(?:\.\d+)?")
_SPACED = re.compile(r"[1-9]\d{0,2}(?:([ '_])\d{3})(?:\1\d{3})*(?:[.,]\d+)?")
_DECIMAL_COMMA = re.compile(r"\d{1,3}(?:\.\d{3})+,\d+|\d+,\d+")
_POINTS = re.compile(r"[1-9]\d{0,2}(?:\.\d{3}){2,}")
_PLAIN = re.compile(r"\d*\.?\d+")


class NoValue(ValueError):
    """A number that cannot be evaluated: malformed digits, a division by zero, an exponent without end."""


def decimal(run: str) -> Fraction:
    """The value of digits with separators."""
    digits, _, exponent = run.lower().partition("e")
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
    """Exact where the result is a fraction, else to twelve decimals."""
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
    """An irrational number to twelve decimals."""
    if not isfinite(value):
        raise NoValue
    return Fraction(round(value * 10**12), 10**12)


def small(value: Fraction) -> Fraction:
    """The value itself, if it can be written in some `MAX_DIGITS` digits."""
    if max(value.numerator.bit_length(), value.denominator.bit_length()) > 4 * MAX_DIGITS:
        raise NoValue
    return value
