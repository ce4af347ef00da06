"""When two answers are the same, by kind of answer; and what a text in free form concludes.

Numbers agree within 1e-6 (method §7), other kinds where their canonical forms are equal. A text that holds no answer of
its kind has no canonical form: that is a format error, and it is told apart from a wrong answer.

The rules are those of Fine-tune-CoT (Ho et al.) where those hold. Ours differ where they read a letter inside a word as
a choice, `1/2` as 1, `70-27` as -27, `-$5` as 5, `no one` as no; or tell `12` from `12.00`, or `NK` from `nk`.
"""

import re
import unicodedata
from fractions import Fraction
from typing import Literal

AnswerKind = Literal["number", "choice", "string", "yes_no", "set"]

MAX_DIGITS = 1000
"""A longer number is a student's loop; Python refuses to convert some of them."""
_THOUSANDS = re.compile(r"(?<=\d),(?=(?:\d\d,){0,9}\d{3}(?!\d))")  # 1,234,567 and 12,34,567, but not 1,23
_LATEX_FRACTION = re.compile(r"\\[dt]?frac\{(\d+)\}\{(\d+)\}")
_LATEX_TEXT = re.compile(r"\\(?:text|mathrm|mathbf)\{([^{}]*)\}")
_CURRENCY = re.compile(r"\\?[$€£¥]\s*")
_NUMBER = re.compile(
    r"""(?<!\d)(?<!\d\.)
    (?P<sign>(?:(?<![\w)\]%])-)?)            # 70-27 holds no -27
    (?:(?P<whole>\d+)[ ](?=\d+/\d))?         # 2 1/2
    (?P<top>\d+(?:\.\d+)?(?:[eE][+-]?\d{1,2}(?!\d))?|(?<!\w)\.\d+)
    (?:\s?/\s?(?P<bottom>\d+(?:\.\d+)?)(?![\d/]))?  # 3/4, but no 3/4/2020""",
    re.VERBOSE,
)
_EQUALS = re.compile(r"=|\bequals?\b|\d\s*[-+*/×]\s*[$\d.,]*\d,? which is\b")
_SPELLED = re.compile(r"[^\W\d_](?:[\s,+-]+[^\W\d_])+")
_ONE_LETTER = re.compile(r"\W*([A-Za-z])\W*")
_BRACKETED = re.compile(r"(?<!\w)[(\[]([A-Za-z])[)\]]")
# A capital that stands alone, and is neither the pronoun I nor the article A; but `A is right` names a choice.
_ALONE = re.compile(r"(?<![\w'’])(?<!\w[-.])(?:[B-HJ-Z]|A(?! (?!is|was|as|and|or|because|since|for|but)[a-z]))(?![\w'’]|[-.]\w)")
_BOTH = re.compile(r"\b(?:yes|true)\s*(?:or|and|/)\s*(?:no|false)\b", re.IGNORECASE)
_YES_NO = re.compile(
    r"(?<![\w-])(yes|true|false|no(?!\s+(?:one|matter|doubt|idea|longer|more)\b|\.\s?\d))(?![\w-])",
    re.IGNORECASE,
)
_AROUND = " \t\r\n\"'“”‘’*`"
_PHRASE = re.compile(  # what announces an answer; a box holds it
    r"""\\boxed\{(?P<box>(?:[^{}]|\{[^{}]*\})*)\}
    |(?:\banswer(?:\ to\ [^.\n]{1,80}?)?(?:\**\s*[:=]|\s+(?:is|are|was|would\ be|will\ be|should\ be|must\ be)\b\s*:?)|-->|\#{4})\**\s*""",
    re.IGNORECASE | re.VERBOSE,
)
_REST_OF_SENTENCE = re.compile(r"[^\n]*?(?=(?<![.!?])[.!?]+[\"'”’)*]*(?:\s|\Z)|\n|\Z)")  # a run of marks is looked at once
_QUOTED = re.compile(r"[\"“]([^\"“”\n]+)[\"”]|(?<!\w)['‘]([^'‘’\n]+)['’](?!\w)")
_AFTER_IS = re.compile(r"\b(?:is|are)\b:?\s+")
_YES_OR_NO_ALONE = re.compile(r"(?<![\w-])(yes|no)(?=\s*(?:[,.;:!?\"'”’)*\n]|because\b|since\b|\Z))", re.IGNORECASE)
_SEPARATOR = re.compile(r"[,;\n]|\s(?:and|&)\s")


def same_answer(kind: AnswerKind, predicted: str, gold: str) -> bool:
    """Whether two answers agree. An answer without the expected form agrees with nothing."""
    left, right = canonical(kind, predicted), canonical(kind, gold)
    if left is None or right is None:
        return False
    if kind == "number":
        return abs(Fraction(left) - Fraction(right)) <= Fraction(1, 10**6)
    return left == right


def canonical(kind: AnswerKind, text: str) -> str | None:
    """The canonical form of an answer; None is a format error: the text holds no answer of that kind.

    number: the first number after the last `=` or `equals`, as a reduced fraction, without thousands separators,
    currency, units and percent sign (12% is 12, not 0.12). choice: the first letter in brackets, else the first capital
    that stands alone. yes_no: the first yes, no, true or false. string: without case, surrounding quotes and full stop,
    white space as one blank, and `n k` as nk. set: the different strings between commas, semicolons, lines and `and`.
    """
    if kind == "number":
        found = _number_in(text)
        return _value(found) if found else None
    if kind == "choice":
        letters = _choices_in(text)
        return letters[0] if letters else None
    if kind == "yes_no":
        found = _YES_NO.search(_BOTH.sub(" ", text))
        return {"true": "yes", "false": "no"}.get(found[1].lower(), found[1].lower()) if found else None
    if kind == "set":
        parts = {_string(part) for part in _SEPARATOR.split(text.strip(_AROUND + "{}[]()."))}
        return ", ".join(sorted(parts - {""})) or None
    return _string(text) or None


def conclusion(kind: AnswerKind, text: str, pattern: str | None = None) -> str | None:
    """What a teacher's text in free form concludes, as the text writes it, without what stands around it; None if nothing.

    pattern, a regular expression with one group, goes before: its last match. Then what follows the last `the answer
    is`, `answer:`, `-->`, `####` or stands in the last box of LaTeX, where that holds an answer of this kind. Then, by
    kind: the last number; the last choice; the last yes or no that stands alone (`there is no cure` is no answer); the
    last string in quotes, else the last word of the last sentence with `is`; of a set, what follows `is` or `are` there.
    """
    matched = [found for found in re.findall(pattern, text) if found] if pattern else []
    if matched:
        return matched[-1].strip() or None
    end = len(text)
    for phrase in reversed(list(_PHRASE.finditer(text))):
        said = _LATEX_TEXT.sub(r"\1", phrase["box"]) if phrase["box"] else _rest_of_sentence(text[phrase.end() : end])
        if canonical(kind, said) is not None:
            return _stated(kind, said)
        end = phrase.start()  # not into the next phrase, or a text that loops takes quadratic time
    said = _last(kind, text) or ""
    return said if canonical(kind, said) is not None else None


def _stated(kind: AnswerKind, said: str) -> str:
    """The answer itself in a short text that holds one."""
    if kind == "number" and (number := _number_in(said)):
        return number[0]
    if kind == "string":
        return _joined(_last_quoted(said) or said.strip())
    return (canonical(kind, said) if kind in ("choice", "yes_no") else None) or said.strip()


def _last(kind: AnswerKind, text: str) -> str | None:
    if kind == "number":
        return numbers[-1][0] if (numbers := _numbers_in(text)) else None
    if kind == "choice":
        return letters[-1] if (letters := _choices_in(text)) else None
    if kind == "yes_no":
        return words[-1].lower() if (words := _YES_OR_NO_ALONE.findall(text)) else None
    if kind == "string" and (quoted := _last_quoted(text)):
        return _joined(quoted)
    ends = [found.end() for found in _AFTER_IS.finditer(text)]
    said = _rest_of_sentence(text[ends[-1] :]).strip(_AROUND) if ends else ""
    return (said.split()[-1] if kind == "string" and said else said) or None


def _last_quoted(text: str) -> str:
    return "".join(quoted[-1]) if (quoted := _QUOTED.findall(text)) else ""


def _joined(text: str) -> str:
    """`n-k`, `n, k` and `n + k` spell nk."""
    return re.sub(r"[\s,+-]+", "", text) if _SPELLED.fullmatch(text) else text


def _rest_of_sentence(text: str) -> str:
    rest = _REST_OF_SENTENCE.match(text)
    return rest[0] if rest else ""


def _number_in(text: str) -> re.Match[str] | None:
    """The number that a short answer states: the first after the last `=` or `equals`, else the first."""
    numbers = _numbers_in(_EQUALS.split(text)[-1]) or _numbers_in(text)
    return numbers[0] if numbers else None


def _numbers_in(text: str) -> list[re.Match[str]]:
    """All numbers of a text; those that end a word (CO2) only where there is no other."""
    plain = _LATEX_FRACTION.sub(r" \1/\2", text.replace("−", "-").replace("{,}", ","))
    matches = list(_NUMBER.finditer(_THOUSANDS.sub("", _CURRENCY.sub("", plain))))
    return [found for found in matches if not found.string[found.start() - 1 : found.start()].isalpha()] or matches


def _choices_in(text: str) -> list[str]:
    """The choices that a text names, as capitals: those in brackets, else the capitals that stand alone."""
    only = _ONE_LETTER.fullmatch(text)
    return [letter.upper() for letter in ([only[1]] if only else _BRACKETED.findall(text) or _ALONE.findall(text))]


def _string(text: str) -> str:
    bare = text.strip(_AROUND).rstrip(".").strip(_AROUND)
    words = unicodedata.normalize("NFC", bare).casefold().split()
    return ("" if len(words) > 1 and all(len(word) == 1 and word.isalpha() for word in words) else " ").join(words)


def _value(number: re.Match[str]) -> str | None:
    if len(number[0]) > MAX_DIGITS or (number["bottom"] and not Fraction(number["bottom"])):
        return None
    value = Fraction(number["whole"] or 0) + Fraction(number["top"]) / Fraction(number["bottom"] or 1)
    return str(-value if number["sign"] else value)
