"""Solvers that work out the answers of toy questions from their text alone. They check the generators."""

import re
from collections.abc import Callable
from fractions import Fraction

from skipthink_ray.tasks.toys import strategy_qa

MORE = re.compile(r"outweigh|heavier|weigh more|taller|higher|tower over|overtake|faster|win|outlive|longer")
SEVERAL = re.compile(r"(\d+) (.+?) (?:together|on top of each other)$")
ASKED_OF = (
    (strategy_qa.WEIGHT, r"outweigh|heavier|weigh|lighter"),
    (strategy_qa.HEIGHT, r"taller|higher|tower over|\blower|smaller"),
    (strategy_qa.SPEED, r"overtake|faster|race|slower"),
    (strategy_qa.LIFE, r"usually"),
)


def addsub(question: str) -> int:
    things = _groups(r"How many (?:more )?(\w+) d", question)[0]
    have, *others = _numbers(rf"[A-Z]\w+ has (\d+) {things}\.", question)
    have += sum(_numbers(rf"(?:buys|finds|gets) (\d+) more {things}\.", question))
    have -= sum(_numbers(rf"(?:gives away|sells|loses) (\d+) {things}\.", question))
    if "together" in question:
        return have + others[0]
    return abs(have - others[0]) if "How many more" in question else have


def multiarith(question: str) -> int:
    first, each = _groups(r"has (\d+) \w+ of (\d+) ", question)
    return (
        int(first) * int(each)
        + sum(_numbers(r"finds (\d+) more", question))
        - sum(_numbers(r"gives away (\d+)", question))
    )


def svamp(question: str) -> int:
    asked = question[question.index("How many") :]
    if kinds := re.search(r"How many (?:more )?(\w+) (?:and|than) (\w+) ", asked):
        first, second = (_count(things, question) for things in kinds.groups())
        return abs(first - second) if "more" in asked else first + second
    if "before?" in asked:
        return sum(_numbers(r"has (\d+) \w+ left", question)) + _numbers(r"gives (\d+) ", question)[0]
    if "left?" in asked:
        return _numbers(r"has (\d+) ", question)[0] - _numbers(r"gives (\d+) ", question)[0]
    if "There are" in question:
        return (
            _numbers(r"has (\d+) (?:boxes|bags|jars|trays)\.", question)[0]
            * _numbers(r"There are (\d+) ", question)[0]
        )
    whole = _numbers(r"has (\d+) ", question)[0]
    whole += sum(_numbers(r"buys (\d+) more", question)) - sum(_numbers(r"gives away (\d+) ", question))
    return whole // _numbers(r"puts (\d+) " if "fill?" in asked else r"into each of (\d+) ", question)[0]


def single_eq(question: str) -> Fraction:
    if "same price" in question:
        number, other, total = map(
            Fraction, _groups(r"buys (\d+) .* for ([\d.]+) .* pays ([\d.]+) ", question)
        )
        return (total - other) / number
    if "with the same number" in question:
        packed = _numbers(r"In all there are (\d+)", question)[0] - sum(_numbers(r"(\d+) loose", question))
        return Fraction(packed, _numbers(r"has (\d+) \w+ with", question)[0])
    now = _numbers(r"Now s?he has (\d+)", question)[0]
    if "at first" not in question:
        return Fraction(abs(now - _numbers(r"^\w+ has (\d+)", question)[0]))
    gained, lost = (
        _numbers(r"(?:buys|finds|gets) (\d+) more", question),
        _numbers(r"(?:sells|loses|gives away) (\d+)", question),
    )
    return Fraction(now - sum(gained) + sum(lost))


def yes_or_no(question: str) -> str:
    """The answer of a toy StrategyQA question, from the generator's facts."""
    asked = _groups(r"((?:Could|Would|Did) [^.:]*)\?$", question)[0]
    if dies := re.fullmatch(r"Did (.+) die before (.+) existed", asked):
        return "yes" if strategy_qa.DEATHS[dies[1]] < strategy_qa.INVENTIONS[dies[2]][0] else "no"
    if used := [(year, use) for year, use in strategy_qa.INVENTIONS.values() if asked.endswith(f" {use}")]:
        year, use = used[0]
        return (
            "yes" if strategy_qa.DEATHS[asked.removeprefix("Could ").removesuffix(f" {use}")] > year else "no"
        )
    kind = next(kind for kind, words in ASKED_OF if re.search(words, asked))
    rests = "|".join(re.escape(rest.replace("{right}", "")) for _, rest in (*kind.more, *kind.less))
    left, right = (_measure(kind, thing) for thing in _groups(rf"\w+ (.+) (?:{rests})(.+)", asked))
    return "yes" if (left > right) == bool(MORE.search(asked)) else "no"


NUMBERS: dict[str, Callable[[str], int | Fraction]] = {
    "single_eq": single_eq,
    "addsub": addsub,
    "multiarith": multiarith,
    "svamp": svamp,
}


def _groups(pattern: str, text: str) -> tuple[str, ...]:
    found = re.search(pattern, text)
    assert found, (pattern, text)
    return found.groups()


def _numbers(pattern: str, text: str) -> list[int]:
    return [int(number) for number in re.findall(pattern, text)]


def _count(things: str, question: str) -> int:
    """The number of some things, perhaps packed in boxes."""
    packed = re.search(rf"(\d+) (?:boxes|bags|jars|trays) of (\d+) {things}\b", question)
    return int(packed[1]) * int(packed[2]) if packed else _numbers(rf"(\d+) {things}\b", question)[0]


def _measure(kind: strategy_qa.Property, thing: str) -> float:
    """The value of `a cat` or `3 cats together`."""
    several = SEVERAL.match(thing)
    for name, value in kind.values.items():
        one, _, many = name.partition("/")
        if several and several[2] == many:
            return int(several[1]) * value
        if thing == one:
            return value
    raise AssertionError(f"no fact about '{thing}'")
