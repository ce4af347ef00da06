"""Evaluates small calculations in a plain text, as sums of products of powers.

Expects the spelling of tasks/plain.py. Supports signs, mixed numbers, `\\frac`, roots, π, brackets, exponents
and scales (2.5 million).
"""

import re
from fractions import Fraction
from math import pi

from skipthink_ray.tasks.decimals import THREES, NoValue, decimal, power, real, small
from skipthink_ray.tasks.tokens import (
    BEFORE_A_SIGN,
    NO_TOKEN,
    OPERATIONS,
    SCALES,
    SCALES_OF_MONEY,
    TIGHT_SCALES,
    Token,
    and_a_half,
    tokenise,
)

MAX_DEPTH = 12
_DATE = re.compile(r"\d+(?:/\d+){2,}|\d{4}(?:[-–]\d\d?){2}|\d\d?[-–]\d\d?[-–]\d{4}")
_POINT = re.compile(r"[(\[]\s*-?(?:[\d.]+|∞)\s*(?:,\s*[-+]?(?:[\d.]+|∞)\s*)+[)\]]")
_VARIABLE = re.compile(r"[a-z]")
_UNKNOWN = re.compile(r"[xyznie]")  # other letters are units: 5m, 60/h
_ORDINAL = re.compile(r"[\s{(]*(?:°|'|th\b|st\b|nd\b|rd\b)[\s)}]*")


class NoExpression(ValueError):
    """No number begins at this token."""


class Reader:
    """Evaluates the expression that begins at a token, by recursive descent."""

    def __init__(self, text: str) -> None:
        self.text, self.furthest = text, 0
        self.tokens = tokenise(text)

    def token(self, at: int) -> Token:
        return self.tokens[at] if 0 <= at < len(self.tokens) else NO_TOKEN

    def kind(self, at: int) -> str:
        return self.token(at).kind

    def after(self, end: int, at: int) -> int:
        while at < len(self.tokens) and self.tokens[at].start < end:
            at += 1
        return at

    def no_number(self, at: int) -> int | None:
        """The index after something that only looks like a number: a date, a point, a unit's exponent."""
        token = self.tokens[at]
        if token.text in ("^", "±"):  # cm^2, e^{-2}
            at += 1 + (self.kind(at + 1) == "sign")
            return self.past(at) if self.kind(at) in ("number", "open") else at
        pattern = {"number": _DATE, "open": _POINT}.get(token.kind)
        found = pattern.match(self.text, token.start) if pattern else None
        if found and (token.kind == "number" or not THREES.fullmatch(found[0].strip("([ ])"))):
            return self.after(found.end(), at)
        return None

    def is_algebra(self, at: int, after: int) -> bool:
        """Whether the tokens from `at` up to `after` are part of a formula: x^2 + 1, 3 - x, 2y."""
        first = at if self.token(at).text in ("+", "-", "–") else at - 1
        before, follows = self.token(first - 1), self.token(after)
        raised = before.kind == "number" and self.token(first - 2).text == "^"
        if self.operation(first) and (raised or _VARIABLE.fullmatch(before.text)):
            return True
        if follows.start == self.token(after - 1).end and _UNKNOWN.fullmatch(follows.text):
            return True
        if follows.text == "/":
            return bool(_UNKNOWN.fullmatch(self.token(after + 1).text))
        return self.operation(after) in ("+", "-", "*") and bool(
            _VARIABLE.fullmatch(self.token(after + 1).text)
        )

    def expression(self, at: int, depth: int = 0) -> tuple[Fraction, int]:
        """The value of the longest sum that begins at a token, and the index of the token after it."""
        if depth > MAX_DEPTH:
            raise NoExpression
        sign, at = self._sign(at)
        value, after = self._product(at, depth)
        value *= sign
        while (operation := self.operation(after)) in ("+", "-"):
            try:
                one, start = self._sign(after + 1)
                right, end = self._product(start, depth)
            except NoExpression:
                break
            self._refuse_range(at, after, end, value, right)
            value, after = small(value + one * right if operation == "+" else value - one * right), end
        return value, after

    def _sign(self, at: int) -> tuple[int, int]:
        """-1 or 1, and the index of the token after the sign."""
        token, follows = self.token(at), self.token(at + 1)
        if token.text.lower() in ("minus", "negative") and follows.kind in ("number", "frac", "money"):
            return -1, at + 1
        if token.text == "+" and follows.kind == "number":
            return 1, at + 1
        if token.kind != "sign" or not follows.kind:
            return 1, at
        if follows.kind == "sign" and self.kind(at + 2) in ("number", "open"):  # --5
            return -self._sign(at + 1)[0], at + 2
        before, apart = self.text[max(0, token.start - 1) : token.start], follows.start > token.end
        if re.match(r"[\w)\]}%]", before) or (apart and not self._may_stand_apart(at)):
            raise NoExpression
        return -1, at + 1

    def _may_stand_apart(self, at: int) -> bool:
        """Whether `- 5` is a number here: not a list item, and not after a number or most words."""
        if at == 0:
            return "\n" not in self.text.strip()
        return self.token(at - 1).text.lower() in BEFORE_A_SIGN

    def operation(self, at: int) -> str:
        return OPERATIONS.get(self.token(at).text, "")

    def _refuse_range(self, first: int, operation: int, end: int, low: Fraction, high: Fraction) -> None:
        """Raises NoValue for a range. 10-15 and 10 – 15 are ranges; 15-10 and 10 - 15 are differences."""
        one, sign, other = self.token(operation - 1), self.token(operation), self.token(operation + 1)
        tight = one.end == sign.start and sign.end == other.start
        if sign.kind == "sign" and (tight or sign.text == "–") and low < high and operation == first + 1:
            self.furthest = end
            raise NoValue

    def _product(self, at: int, depth: int) -> tuple[Fraction, int]:
        value, after = self._factor(at, depth)
        while (operation := self._times(after)) in ("*", "/"):
            try:
                sign, start = self._sign(after + bool(self.operation(after)))
                right, end = self._factor(start, depth)
            except NoExpression:
                break
            self.furthest = max(self.furthest, end)
            if operation == "/" and not right:
                raise NoValue
            value, after = small(value * right * sign if operation == "*" else value / right * sign), end
        return value, after

    def _times(self, at: int) -> str:
        """The operation at a token. A bracket right after a number or a bracket multiplies: 3(4)."""
        before, token = self.token(at - 1), self.token(at)
        beside = token.text == "(" and before.end == token.start and before.kind in ("number", "close")
        return "*" if beside else self.operation(at)

    def _factor(self, at: int, depth: int) -> tuple[Fraction, int]:
        """A number with its scale (2.5 million), or a power, and the index of the token after it."""
        if depth > MAX_DEPTH:
            raise NoExpression
        value, after = self._base(at, depth)
        self.furthest = max(self.furthest, after)
        money = self.kind(at) == "money"
        while scale := self._scale(after, money):
            value, after = value * Fraction(10) ** scale[0], scale[1]
        if exponent := {"squared": 2, "cubed": 3}.get(self.token(after).text.lower()):
            return power(value, Fraction(exponent)), after + 1
        if not self._raises(at, after):
            return value, after
        if suffix := _ORDINAL.match(self.text, self.tokens[after].end):
            return value, self.after(suffix.end(), after)
        try:
            sign, start = self._sign(after + 1)
            exponent, end = self._factor(start, depth + 1)
        except NoExpression as error:
            raise NoValue from error
        self.furthest = max(self.furthest, end)
        return power(value, sign * exponent), end

    def _scale(self, at: int, money: bool) -> tuple[int, int] | None:
        """The power of ten of a scale word (million: 6), and the index of the token after it.

        None without one.
        """
        hyphen = self.kind(at) == "sign" and self.tokens[at].text == "-" and self.kind(at + 1) == "word"
        if (at := at + hyphen) >= len(self.tokens):
            return None
        token = self.tokens[at]
        zeros = SCALES.get(token.text.lower())
        tight = token.start == self.tokens[at - 1].end
        if not zeros and money and (tight or token.text.isupper()):
            zeros = SCALES_OF_MONEY.get(token.text)
        elif not zeros and (tight or token.text == "k"):
            zeros = TIGHT_SCALES.get(token.text)
        return (zeros, at + 1) if zeros else None

    def _raises(self, first: int, at: int) -> bool:
        """Whether the token is a power sign. The `**` of **bold** text is not."""
        before, token, follows = self.token(at - 1), self.token(at), self.token(at + 1)
        if token.kind != "power" or token.text == "^":
            return token.kind == "power"
        bold = self.token(first - 1).text == "**"
        even = (before.end == token.start) == (token.end == follows.start)
        return follows.kind in ("number", "open", "sign") and even and not bold

    def _base(self, at: int, depth: int) -> tuple[Fraction, int]:
        match self.kind(at) if depth <= MAX_DEPTH else "":
            case "money" if self.kind(at + 1) == "number":
                return self._number(at + 1)
            case "number":
                return self._number(at)
            case "frac":
                return self._fraction(at, depth)
            case "root":
                return self._root(at, depth)
            case "pi":
                return real(pi), at + 1
            case "open":
                value, after = self.expression(at + 1, depth + 1)
                if self.kind(after) == "close":
                    return value, after + 1
            case "other" if self.tokens[at].text == "|" and self.token(at + 1).start == self.tokens[at].end:
                value, after = self.expression(at + 1, depth + 1)
                if self.token(after).text == "|" and self.tokens[after - 1].end == self.tokens[after].start:
                    return abs(value), after + 1
        raise NoExpression

    def _number(self, at: int) -> tuple[Fraction, int]:
        """A number, a mixed number (2 1/2, 2 and 1/2), or a number times a root or π."""
        self.furthest = max(self.furthest, at + 1)
        value = decimal(self.tokens[at].text)
        if self.kind(at + 1) in ("root", "pi"):
            factor, after = self._base(at + 1, MAX_DEPTH - 2)
            return value * factor, after
        half, end = and_a_half(self.text, self.tokens[at].end)
        if half and value.denominator == 1:
            return value + half, self.after(end, at)
        start = at + 2 if self.kind(at + 1) == "word" and self.tokens[at + 1].text == "and" else at + 1
        if value.denominator != 1 or self.kind(start) not in ("frac", "number"):
            return value, at + 1
        if self.kind(start) == "frac":
            part, after = self._fraction(start, MAX_DEPTH - 2)
        elif not (part := self._part(start)):
            return value, at + 1
        else:
            after = start + 3
        if not 0 <= part < 1:
            self.furthest = after
            raise NoValue
        return value + part, after

    def _part(self, at: int) -> Fraction | None:
        """The 1/2 of 2 1/2. None if no proper fraction begins here."""
        date = _DATE.match(self.text, self.token(at).start)
        if self.token(at + 1).text != "/" or self.kind(at + 2) != "number" or date:
            return None
        top, bottom = (decimal(self.token(one).text) for one in (at, at + 2))
        return top / bottom if 0 < top < bottom and top.denominator * bottom.denominator == 1 else None

    def _fraction(self, at: int, depth: int) -> tuple[Fraction, int]:
        r"""\frac{3}{4}, \frac34, \frac3{4}, \frac{3}4."""
        try:
            digits = self.tokens[at + 1].text if self.kind(at + 1) == "number" else ""
            if re.fullmatch(r"\d\d", digits):
                top, bottom, after = Fraction(digits[0]), Fraction(digits[1]), at + 2
            else:
                top, middle = self._argument(at + 1, depth + 1)
                bottom, after = self._argument(middle, depth + 1)
        except NoExpression as error:
            self.furthest = max(self.furthest, self.past(self.past(at + 1)))
            raise NoValue from error
        self.furthest = max(self.furthest, after)
        if not bottom:
            raise NoValue
        return top / bottom, after

    def _argument(self, at: int, depth: int) -> tuple[Fraction, int]:
        """The argument of a LaTeX command: a group or a number."""
        if self.kind(at) == "number":
            return decimal(self.tokens[at].text), at + 1
        return self._base(at, depth)

    def past(self, at: int) -> int:
        """The index of the token after a group in brackets."""
        depth = 0
        for end in range(at, len(self.tokens)):
            depth += {"open": 1, "close": -1}.get(self.tokens[end].kind, 0)
            if depth <= 0:
                return end + 1
        return len(self.tokens)

    def _root(self, at: int, depth: int) -> tuple[Fraction, int]:
        degree, start = Fraction(2), at + 1
        try:
            if self.kind(start) == "open" and self.tokens[start].text == "[":
                degree, start = self._base(start, depth + 1)
            value, after = self._argument(start, depth + 1)
        except NoExpression as error:
            self.furthest = max(self.furthest, self.past(at + 1))
            raise NoValue from error
        self.furthest = max(self.furthest, after)
        if value < 0 or degree.denominator != 1 or not 1 <= degree <= 99:
            raise NoValue
        return power(value, 1 / degree), after
