"""Decides whether two answers are equal, by kind of answer.

Numbers are equal within 1e-6 (method §7). Other answers are equal if their canonical forms are equal. A text
without an answer of its kind has no canonical form. This is a format error, which is counted apart from wrong
answers. A text that names two answers and does not decide (`(A) or (B)`, `5 or 6`, `yes and no`) is also a
format error. An answer that the text denies (`not A`) does not count.

The rules follow Fine-tune-CoT (Ho et al.), except for its mistakes: it reads a letter inside a word as a
choice, `1/2` as 1, `70-27` as -27, `-$5` as 5 and `no one` as no, and it distinguishes `12` from `12.00` and
`NK` from `nk`.
"""

import re
import unicodedata
from fractions import Fraction
from typing import Literal

from skipthink_ray.tasks.numbers import Quantity, quantities
from skipthink_ray.tasks.plain import plain

AnswerKind = Literal["number", "choice", "string", "yes_no", "set"]

_EQUALS = re.compile(r"=|\bequals?(?:\s+to)?\b")
_RESTATED = re.compile(r",?\s*\(?(?:(?:which|that|this) (?:is|are)|is|or|i\.e\.,?)\s*|\s*→\s*")
_ONE_OR_OTHER = re.compile(
    r"(?:\s|[$*_)}\]]){0,8}[({\[]?\s{0,8}"
    r"(?:,|;|&|±|~|\.{2,3}|%\s*[-–]|\bx?or\b|\band\b|\bto\b|\bvs\b\.?|\bversus\b|,\s*(?:or|and))"
    r"(?:\s+(?:maybe|perhaps|possibly|even))?(?:\s|[$*_({\[]){0,8}(?:[A-Za-z](?:_?\{?\d\}?)?\s*=\s*)?"
)
_CALCULATED = re.compile(r"(?:[-+*/]|\b(?:by|plus|minus|times|over))\s*\Z")
_ONE_LETTER = re.compile(r"\W*([A-Za-z])\W*")
_APART = re.compile(r"\W*([A-Za-z])(?:[^\w\n]*\n|,?\s+(?:because|since|as|for)\b)")
_HALF_BRACKET = re.compile(r"(?<![\w(\[])([A-Za-z])\)")
_BRACKETED = re.compile(r"(?<!\w)[(\[]([A-Za-z])[)\]]|\b(?:option|choice)\s+([A-Za-z])\b(?!['’])")
# A capital letter as a word of its own, except the pronoun I and the article A. `A is right` names a choice.
_ALONE = re.compile(
    r"""(?<![\w'’])(?<!\w[-.])(?:[B-HJ-Z]|A(?!\ (?!(?:is|was|as|and|or|nor|because|since|for|but|not|than
    |vs|versus|over|plus|through|with|would|could|should|seems|rather|instead|can|must|cannot))[a-z]))(?![\w'’]|[-.]\w)""",
    re.VERBOSE,
)
_NOT_BEFORE = re.compile(
    r"""(?:\b(?:not|cannot\ be|neither|nor|than|instead\ of|except(?:\ for)?|unlike|without|eliminat\w+
        |rul\w+\ out|exclud\w+|reject\w*)|n['’]t(?:\ be)?|≠)[\s(\[{"'“‘*$]*
    (?:(?:be|the|an?|is|choose|pick|select|option|choice|answer|letter|number|either|both|even|equal|to)\b
        [\s(\[{"'“‘*:$]*)*\Z""",
    re.IGNORECASE | re.VERBOSE,
)
_NOT_AFTER = re.compile(
    r"""[)\].:]?\s*(?:(?!(?:and|but|or|so|because|as)\b)[a-z]+\s+){0,3}?
    (?:(?:is|are|was)(?:\ not|n['’]t
        |\ (?:clearly\ |also\ )?(?:wrong|incorrect|false|out|ruled|excluded|eliminated|impossible))
    |(?:can|could|does|do)(?:\ ?not|n['’]t)|(?:can|could|must|may)\ be\ (?:ruled|excluded|eliminated))\b""",
    re.VERBOSE,
)
_LISTED_WITH = re.compile(
    r"[)\]\s.:]*(?:,|/|&|\b(?:and|or|nor|vs|versus)\b\.?|,\s*(?:and|or|nor)\b)[(\[\s]*(?:(?:option|choice)\s+)?[(\[]*"
)
_REASON = re.compile(r"\b(?:because|since|as|so|for|while|whereas|if|unless)\b|(?<!\bvs)\.\s|;|\n")
_BOTH = re.compile(
    r"\b(?:yes|true)\W*\s*(?:or|and|n?or|/)\s*\W*(?:no|false)\b|\b(?:no|false)\s*(?:or|n?or|and|/)\s*(?:yes|true)\b",
    re.IGNORECASE,
)
_YES_NO = re.compile(
    r"(?<![\w-])(yes|true|untrue|false|no(?!\s+(?:one|matter|doubt|idea|longer|more)\b|\.\s?\d))(?![\w-])",
    re.IGNORECASE,
)
_NOT_TRUE = re.compile(
    r"""(?:\bnot|n['’]t|\bcannot\ be|\bnever|\bno\ longer|\b(?:very\ )?far\ from|\b(?:hard|scarce|bare)ly
        |\banything\ but|\bby\ no\ means|\bin\ no\ way|\bnowhere\ near)\s+(?:be(?:ing)?\s+)?
    (?:(?:really|entirely|quite|actually|at\ all|necessarily|strictly)\s+)?["'“‘*]*\Z""",
    re.IGNORECASE | re.VERBOSE,
)
_IN_PART = re.compile(r"\b(?:half|part(?:ly|ially)|somewhat|sometimes)[\s\"'“‘*]+\Z", re.IGNORECASE)
_DETERMINED = re.compile(r"\b(?:there(?:['’]s| is| are| was| were)|has|have|had|with)\s+\Z", re.IGNORECASE)
_OPPOSITE = {"yes": "no", "no": "yes"}
_AROUND = " \t\r\n\"'“”‘’*`"
_LATEX_TEXT = re.compile(r"\\(?:text|mathrm|mathbf|textbf|mbox)\s*\{([^{}]*)\}|\$|\\[()\[\]]")
_STRING_CHARACTERS = str.maketrans(
    {**dict.fromkeys("‐‑‒–−", "-"), **dict.fromkeys("’‘", "'"), "\u00ad": None}
)
_SEPARATOR = re.compile(r"[,;\n]|\s(?:and|&)\s")
_NEAR_CHARS = 80


def same_answer(kind: AnswerKind, predicted: str, gold: str) -> bool:
    """Whether two answers are equal. An answer without the expected form equals nothing."""
    left, right = canonical(kind, predicted), canonical(kind, gold)
    if left is None or right is None:
        return False
    if kind != "number":
        return left == right
    if ":" in left or ":" in right:
        (one, *half), (other, *other_half) = left.split(" "), right.split(" ")
        return one == other and (half == other_half or not half or not other_half)
    return abs(Fraction(left) - Fraction(right)) <= Fraction(1, 10**6)


def canonical(kind: AnswerKind, text: str) -> str | None:
    """The canonical form of an answer. None is a format error: the text has no answer of that kind.

    number: the first number after the last `=` or `equals`, as a reduced fraction (tasks/numbers.py) or a
    time (3:30).
    choice: the first letter in brackets, else the first capital letter that is a word of its own.
    yes_no: the first yes, no, true or false, inverted by `not`.
    string: without case, surrounding quotes and final full stop, white space as one blank, and `n k` as nk.
    set: the distinct strings between commas, semicolons, line breaks and `and`.
    """
    if kind == "number":
        return found.form if (found := number_in(text)) else None
    if kind == "choice":
        return _choice(text)
    if kind == "yes_no":
        return said[0] if (said := yes_or_no(_YES_NO, text)) else None
    if kind == "set":
        parts = {_string(part) for part in _SEPARATOR.split(text.strip(_AROUND + "{}[]()."))}
        return ", ".join(sorted(parts - {""})) or None
    return _string(text) or None


def number_in(text: str) -> Quantity | None:
    """The number that a short answer states; None if there is none or the text does not decide between two.

    This is the first number after the last `=` or `equals`, else the first number of the text.
    """
    text = plain(text)
    found = numbers_in(text)
    starts = [sign.end() for sign in _EQUALS.finditer(text)]
    at = next((at for at, one in enumerate(found) if starts and one.start >= starts[-1]), 0)
    if at and _is_either(text, found[at - 1], found[at]):  # x = 3 or x = -3
        return None
    numbers = found[at:]
    if len(numbers) < 2:
        return numbers[0] if numbers else None
    first, second = numbers[0], numbers[1]
    if _RESTATED.fullmatch(text[first.end : second.start]) and (
        first.value is None or re.search(r"[-+*]", text[first.start + 1 : first.end])
    ):
        return second
    return None if _is_either(text, first, second) else first


def last_number(text: str) -> Quantity | None:
    """The last number of a text. None if there is none, or if the text ends undecided (`5 or 6`)."""
    text = plain(text)
    found = numbers_in(text)
    if len(found) > 1 and _is_either(text, found[-2], found[-1]):
        calculated = _CALCULATED.search(text[max(0, found[-2].start - _NEAR_CHARS) : found[-2].start])
        return found[-1] if calculated else None  # "9 multiplied by 12, or 108"
    return found[-1] if found else None


def is_undecided(kind: AnswerKind, said: str) -> bool:
    """Whether a text without a canonical form names answers and does not decide, or one that cannot be read.

    A text that only denies an answer (`not 5`) is not undecided.
    """
    if kind == "number":
        said = plain(said)
        return bool(numbers_in(said) or (re.search(r"\d", said) and not quantities(said)))
    if kind == "choice":
        return bool(choices_in(said))
    return kind == "yes_no" and bool(_BOTH.search(said))


def _is_either(text: str, one: Quantity, other: Quantity) -> bool:
    """Whether a text names two different numbers as a list, an alternative or a range: `5 or 6`."""
    between = text[one.end : other.start]
    unit = re.fullmatch(r"(\s[A-Za-z]+) or ", between)  # 5 apples or 6; not: 5 dollars or 500 cents
    units = unit and re.match(rf"{unit[1]}|\W*\Z", text[other.end :])
    if not (units or _ONE_OR_OTHER.fullmatch(between)) or _close(one, other):
        return False
    percent = text[other.end : other.end + 2].lstrip().startswith("%")
    return not (percent and one.value and one.value * 100 == other.value)  # 0.60 or 60%


def _close(one: Quantity, other: Quantity) -> bool:
    """Whether two numbers are equal. One of them may be a rounded decimal: 1/3 and 0.33."""
    if one.value is None or other.value is None or one.value == other.value:
        return one.form == other.form
    exact, decimal = (one, other) if "/" in one.text else (other, one)
    places = len(decimal.text.partition(".")[2])
    return "/" in exact.text and places > 0 and round(exact.value or Fraction(0), places) == decimal.value


def numbers_in(text: str) -> list[Quantity]:
    """The numbers of a plain text, except those that it denies (`not 5`)."""
    return [
        one
        for one in quantities(text)
        if not _NOT_BEFORE.search(text[max(0, one.start - _NEAR_CHARS) : one.start])
    ]


def choices_in(text: str) -> list[tuple[str, int, int]]:
    """The choices that a text names and does not deny: (capital letter, start, end)."""
    if only := _ONE_LETTER.fullmatch(text):
        return [(only[1].upper(), *only.span(1))]
    return _affirmed(text, _BRACKETED) or _affirmed(text, _ALONE)


def last_choice(text: str) -> str | None:
    """The last choice that a text names. None if there is none, or if it ends undecided (`A or B`)."""
    found = choices_in(text)
    end = found[-1][2] if found else 0
    found += [(letter, start + end, stop + end) for letter, start, stop in _affirmed(text[end:], _ALONE)]
    if (
        len(found) > 1
        and found[-1][0] != found[-2][0]
        and _LISTED_WITH.fullmatch(text[found[-2][2] : found[-1][1]])
    ):
        return None
    return found[-1][0] if found else None


def _affirmed(text: str, pattern: re.Pattern[str]) -> list[tuple[str, int, int]]:
    kept: list[tuple[str, int, int]] = []
    beside: set[str] = set()  # letters of the same list: `A and B are wrong`
    denied, end = False, 0
    for found in pattern.finditer(text):
        letter = next((group for group in found.groups() if group), found[0]).upper()
        listed = end and _LISTED_WITH.fullmatch(text[end : found.start()])
        before = _NOT_BEFORE.search(text[max(0, found.start() - _NEAR_CHARS) : found.start()])
        after = _NOT_AFTER.match(text[found.end() : found.end() + _NEAR_CHARS])
        beside, denied = {letter, *(beside if listed else ())}, bool(before or after or (denied and listed))
        gone = beside if after else {letter} if denied else set[str]()
        kept, end = [one for one in kept if one[0] not in gone], found.end()
        if not denied:
            kept.append((letter, *found.span()))
    return kept


def _choice(text: str) -> str | None:
    text = unicodedata.normalize("NFKC", text)
    if (alone := _APART.match(text)) and choices_in(alone[0]):
        return alone[1].upper()
    if text.count(")") > text.count("("):
        text = _HALF_BRACKET.sub(r"(\1)", text)  # b) blue
    found = choices_in(text)
    if not found:
        return None
    reason = _REASON.search(text, found[0][2])
    head = {one[0] for one in found if not reason or one[1] < reason.start()}
    return None if len(head) > 1 or _are_options(text, found) else found[0][0]


def _are_options(text: str, found: list[tuple[str, int, int]]) -> bool:
    """Whether a text only lists the options: `(A) red. (B) blue.`"""
    from_a = [one[0] for one in found] == [chr(ord("A") + at) for at in range(len(found))]
    return (
        len(found) > 1
        and from_a
        and all(text[one[2] - 1] in ")]" or text[one[2] : one[2] + 1] in (".", ":") for one in found)
    )


def yes_or_no(pattern: re.Pattern[str], text: str) -> list[str]:
    """Every yes or no that a pattern finds in a text. A negation inverts it: `not true` is no."""
    said: list[str] = []
    determined: list[str] = []
    text = _BOTH.sub(" ", text)
    for found in pattern.finditer(text):
        before = text[max(0, found.start() - _NEAR_CHARS) : found.start()]
        if _IN_PART.search(before):
            continue
        word = {"true": "yes", "false": "no", "untrue": "no"}.get(found[1].lower(), found[1].lower())
        if word == "no" and _DETERMINED.search(before) and re.match(r"\s+[a-z]", text[found.end() :]):
            determined.append("no")  # "there is no cure" counts only if the text has no other yes or no
            continue
        said.append(_OPPOSITE[word] if _NOT_TRUE.search(before) else word)
    return said or determined


def _string(text: str) -> str:
    bare = without_latex(text).strip(_AROUND).rstrip(".").strip(_AROUND)
    words = unicodedata.normalize("NFC", bare).translate(_STRING_CHARACTERS).casefold().split()
    return ("" if len(words) > 1 and all(len(word) == 1 and word.isalpha() for word in words) else " ").join(
        words
    )


def without_latex(text: str) -> str:
    """A text without LaTeX commands that only change its appearance."""
    return _LATEX_TEXT.sub(r"\1", text) if "\\" in text else text
