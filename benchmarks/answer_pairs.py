"""Pairs of answers whose verdict is known, because both are written here from the same or from another value.

A writer takes a value and writes it as people and models do; it shares no code with the judge (skipthink_ray/tasks).
Three sorts of pairs: `same` (the gold value in other clothes), `other` (another value, in any clothes) and `part` (an
answer that has the gold in it and means something else: `-5`, `5^3`, `5/7`, `5 or 6` for 5). Seeded: the same golds give
the same pairs.
"""

import json
from collections.abc import Callable, Iterable
from fractions import Fraction
from pathlib import Path
from random import Random
from typing import NamedTuple

DASHES = "-‐‑‒–—−－﹣"
SUPERSCRIPT = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")
FULL_WIDTH = str.maketrans("0123456789.,", "０１２３４５６７８９．，")
VULGAR = {Fraction(1, 2): "½", Fraction(1, 4): "¼", Fraction(3, 4): "¾", Fraction(1, 3): "⅓", Fraction(2, 3): "⅔", Fraction(1, 8): "⅛"}
NUMBERS = (
    *("0", "1", "2", "3", "5", "7", "8", "9", "10", "12", "15", "16", "18", "24", "25", "27", "32", "36", "43", "50", "64", "72", "81"),
    *("96", "100", "105", "120", "125", "144", "150", "230", "256", "300", "345", "500", "750", "999", "1000", "1001", "1024", "1250"),
    *("1500", "2000", "2025", "3600", "4096", "5040", "7250", "9999", "10000", "12000", "12345", "18000", "65536", "100000", "104730"),
    *("250000", "360000", "1000000", "1234567", "2500000", "7300000", "12000000", "-1", "-2", "-5", "-8", "-12", "-40", "-273", "-1000"),
    *("-2500", "-15000", "0.5", "0.25", "0.75", "1.5", "2.5", "3.25", "0.1", "0.05", "0.125", "2.75", "12.5", "99.99", "3.14", "-0.5"),
    *("-2.5", "1234.5", "20000.25", "1/3", "2/3", "3/4", "5/8", "7/3", "22/7", "-3/4", "-1/3", "-7/4", "0.001", "6.02"),
)
WORDS = ("apples", "pens", "dollars", "km", "people", "cm", "miles per hour", "kg", "cookies", "students")
LETTERS = "ABCDE"
SPELLED = ("nk", "yajo", "yajc", "oten", "srin", "eeda", "lnyo", "aats", "ekti", "rsmo")
TEACHER_NUMBERS = ("addsub", "multiarith", "single_eq", "svamp")


class Pair(NamedTuple):
    kind: str
    predicted: str
    gold: str
    equal: bool
    sort: str
    """same, other or part."""
    form: str
    """Which writer wrote it."""


def built_in(seed: int = 0) -> list[Pair]:
    """2,500 pairs or so from the golds above."""
    numbers = [pair for gold in NUMBERS for pair in number_pairs(gold, Random(f"{seed} {gold}"), 9)]
    return numbers + [pair for kind, golds in _other_golds() for gold in golds for pair in word_pairs(kind, gold, Random(f"{seed} {gold}"))]


def from_data(folder: Path, seed: int = 0, most: int = 700) -> list[Pair]:
    """Pairs from the golds of real benchmarks: teacher/*.jsonl and gsm8k/test.jsonl; `most` different golds of each file."""
    pairs: list[Pair] = []
    for path in [*(folder / "teacher" / f"{name}.jsonl" for name in TEACHER_NUMBERS), folder / "gsm8k" / "test.jsonl"]:
        pairs += [pair for gold in _golds(path, most) for pair in number_pairs(gold, Random(f"{seed} {path.stem} {gold}"), 3)]
    for gold in _golds(folder / "teacher" / "last_letter_concatenation.jsonl", most):
        pairs += word_pairs("string", gold, Random(f"{seed} {gold}"))[:4]
    return pairs


def _golds(path: Path, most: int) -> list[str]:
    rows = (json.loads(line) for line in path.read_text(encoding="utf-8").strip().split("\n"))
    return list(dict.fromkeys(row["answer"] for row in rows))[:most]


def _other_golds() -> Iterable[tuple[str, Iterable[str]]]:
    return (("choice", LETTERS), ("yes_no", ("yes", "no")), ("string", SPELLED))


def number_pairs(gold: str, random: Random, each: int) -> list[Pair]:
    """`each` pairs of the sort same, and as many of other and part together."""
    value = Fraction(gold)
    same = _drawn(writings(value), random, each)
    pairs = [Pair("number", text, gold, True, "same", form) for form, text in same]
    for number in random.sample(others(value), min(each - each // 2, len(others(value)))):
        form, text = _drawn(writings(number), random, 1)[0]
        pairs.append(Pair("number", text, gold, False, "other", form))
    parts = _drawn(parts_of(gold), random, each // 2)
    return pairs + [Pair("number", text, gold, False, "part", form) for form, text in parts]


def _drawn(written: dict[str, str], random: Random, count: int) -> list[tuple[str, str]]:
    return random.sample(list(written.items()), min(count, len(written)))


def others(value: Fraction) -> list[Fraction]:
    """Values that are mistaken for a value: another sign, another place of the point, a digit too few or too many."""
    digits = str(abs(value.numerator))
    near = [-value, value * 10, value / 10, value * 100, value / 100, value * 1000, value + 1, value - 1, value + 10, value / 2]
    if value.denominator == 1:
        near += [Fraction(digits + "5"), Fraction(digits[:-1] or 0), Fraction(digits[1:] or 0), Fraction(digits[::-1])]
    if value:
        near.append(1 / value)
    return [one for one in dict.fromkeys(near) if abs(one - value) > Fraction(1, 1000) and _short(one)]


def _short(value: Fraction) -> bool:
    return len(str(value.denominator)) < 6


def _decimal(value: Fraction) -> str | None:
    """A finite decimal of at most six places, by long division; None if there is none."""
    scaled = abs(value) * 10**6
    if scaled.denominator != 1:
        return None
    whole, rest = divmod(scaled.numerator, 10**6)
    return f"{whole}.{rest:06d}".rstrip("0").rstrip(".")


def writings(value: Fraction) -> dict[str, str]:
    """Form -> the value written in it. Every text stands for exactly this value."""
    written = _whole(abs(value.numerator)) if value.denominator == 1 else _broken(abs(value))
    if value < 0:
        unsigned = _decimal(value) or f"{abs(value.numerator)}/{value.denominator}"
        signs = {f"dash {ord(dash):x}": dash + unsigned for dash in DASHES}
        signs |= {"dash apart": f"- {unsigned}", "dash nbsp": f"−\u00a0{unsigned}", "minus": f"minus {unsigned}", "negative": f"negative {unsigned}"}
        signs |= {"brackets": f"(-{unsigned})", "after is": f"x = -{unsigned}", "dollar after": f"-${unsigned}", "dollar before": f"$-{unsigned}"}
        written = signs | {form: "-" + text for form, text in written.items() if form not in ("plus", "sum", "bracketed sum")}
    bare = _decimal(value) or f"{abs(value.numerator)}/{value.denominator}"
    return written | _framed("-" + bare if value < 0 else bare)


def _whole(number: int) -> dict[str, str]:
    text, threes = str(number), _groups(str(number), 3)
    forms = {"plain": text, "point zero": f"{text}.0", "two decimals": f"{text}.00", "full width": text.translate(FULL_WIDTH), "plus": f"+{text}"}
    forms |= {"fraction": f"{number * 3}/3", "latex fraction": rf"\frac{{{number * 2}}}{{2}}", "power one": f"{text}^1", "product": f"2 × {text} / 2"}
    forms |= {"leading zeros": f"00{text}", "decimal comma": f"{text},0", "sum": f"{number - 1} + 1 = {text}", "bracketed sum": rf"\left({text}\right)"}
    if number >= 1000:
        marks = {"comma": ",", "space": " ", "nbsp": "\u00a0", "narrow": "\u202f", "thin": "\u2009", "latex comma": "{,}", "latex space": r"\,"}
        marks |= {"latex tight comma": r",\!", "apostrophe": "'", "typeset apostrophe": "’", "low line": "_", "full width comma": "，"}
        forms |= {f"thousands {form}": mark.join(threes) for form, mark in marks.items()}
        forms |= {"indian": ",".join([*_groups(text[:-3], 2), text[-3:]]), "european": ".".join(threes) + ",0", "comma and point": ",".join(threes) + ".00"}
    if number >= 1_000_000:
        forms["points"] = ".".join(threes)
    zeros = len(text) - len(text.rstrip("0")) if number else 0
    if zeros >= 2:
        front = text[:-zeros]
        forms |= {"e": f"{front}e{zeros}", "E plus": f"{front}E+{zeros}", "times power": f"{front} × 10^{zeros}", "cdot": rf"{front} \cdot 10^{{{zeros}}}"}
        forms |= {"superscript": f"{front}·10{str(zeros).translate(SUPERSCRIPT)}", "stars": f"{front} * 10**{zeros}", "letter x": f"{front} x 10^{zeros}"}
    for word, size in (("thousand", 10**3), ("million", 10**6)):
        if number >= size and number % (size // 100) == 0:
            forms[word] = f"{_decimal(Fraction(number, size))} {word}"
    for base, exponent in ((base, exponent) for base in range(2, 101) for exponent in (2, 3, 4, 5, 10) if base**exponent == number):
        forms |= {"power": f"{base}^{exponent}", "power braces": rf"${base}^{{{exponent}}}$", "power stars": f"{base}**{exponent}"}
        forms["power superscript"] = f"{base}{str(exponent).translate(SUPERSCRIPT)}"
        if exponent == 2:
            forms |= {"root": rf"\sqrt{{{number**2}}}", "root sign": f"√{number**2}"}
    return forms


def _groups(text: str, size: int) -> list[str]:
    first = len(text) % size
    return [part for part in (text[:first], *(text[at : at + size] for at in range(first, len(text), size))) if part]


def _broken(value: Fraction) -> dict[str, str]:
    top, bottom = value.numerator, value.denominator
    forms = {"fraction": f"{top}/{bottom}", "spaced fraction": f"{top} / {bottom}", "unreduced": f"{top * 2}/{bottom * 2}", "slash": f"{top}⁄{bottom}"}
    forms |= {name: rf"\{name}{{{top}}}{{{bottom}}}" for name in ("frac", "dfrac", "tfrac")}
    forms["division"] = f"{top} ÷ {bottom}"
    if top < 10 and bottom < 10:
        forms |= {"tight frac": rf"\frac{top}{bottom}", "half tight frac": rf"\frac{top}{{{bottom}}}"}
    whole, rest = divmod(value, 1)
    if whole and rest.denominator < 1000:
        forms |= {"mixed": f"{whole} {rest.numerator}/{rest.denominator}", "mixed and": f"{whole} and {rest.numerator}/{rest.denominator}"}
        forms["mixed latex"] = rf"{whole}\frac{{{rest.numerator}}}{{{rest.denominator}}}"
    if rest in VULGAR:
        forms["vulgar"] = f"{whole or ''}{VULGAR[rest]}"
    if decimal := _decimal(value):
        forms |= {"plain": decimal, "zeros": decimal + "00", "decimal comma": decimal.replace(".", ",") + "0" * (3 if _like_thousands(decimal) else 0)}
        forms["full width"] = decimal.translate(FULL_WIDTH)
        forms["e"] = f"{int(Fraction(decimal) * 10**6)}e-6"
        forms["power"] = rf"{_decimal(value * 100)} \times 10^{{-2}}"
        if decimal.startswith("0."):
            forms["no zero"] = decimal[1:]
        if value >= 1000:
            forms["comma and point"] = ",".join(_groups(str(whole), 3)) + "." + decimal.split(".")[1]
    return forms


def _like_thousands(decimal: str) -> bool:
    return len(decimal.split(".")[1]) == 3


def _framed(text: str) -> dict[str, str]:
    """What stands around an answer."""
    word = WORDS[len(text) % len(WORDS)]
    forms = {"sentence": f"The answer is {text}.", "box": rf"\boxed{{{text}}}", "math": f"${text}$", "display": rf"\[{text}\]", "bold": f"**{text}**"}
    forms |= {"unit": f"{text} {word}", "latex unit": rf"{text}\text{{ {word}}}", "equation": f"x = {text}", "stop": f"{text}.", "lines": f"\n {text} \n"}
    forms |= {"percent": f"{text}%", "latex percent": rf"{text}\%", "euro": f"{text} €", "square metres": f"{text} m²", "latex square": rf"{text}\text{{ cm}}^2"}
    if text[0] != "-":
        forms |= {"dollar": f"${text}", "latex dollar": rf"\${text}", "code": f"US${text}", "about": f"about {text}", "not other": f"not {text}7, but {text}"}
    return forms


def parts_of(gold: str) -> dict[str, str]:
    """Answers that have a gold in them and mean something else."""
    value = Fraction(gold)
    number = gold.lstrip("-")
    forms = {f"opposite {ord(dash):x}": dash + number for dash in DASHES} if value > 0 else {"without sign": number} if value else {}
    forms |= {"not": f"not {gold}", "or": f"{gold} or {value + 1}", "and": f"{gold} and {value + 2}", "divided": f"{gold}/7" if value else "7/3"}
    forms |= {"times": f"{gold} × 3" if value else "0 + 3", "plus": f"{gold} + 4", "of two": f"({gold}, 8)", "list": f"{gold}, {value + 3}", "pm": f"±{number}"}
    if value.denominator == 1 and value > 1:
        forms |= {"time": f"{gold}:30", "ratio": f"{gold}:1", "range": f"{gold}-{value + 5}", "en dash range": f"{gold}–{value + 5}", "decimal": f"{gold}.5"}
        forms |= {"cube": f"{gold}^3", "cube superscript": f"{gold}³", "cube stars": f"{gold}**3", "exponent": f"10^{{{gold}}}", "root": rf"\sqrt{{{gold}}}"}
        forms |= {"top": rf"\frac{{{gold}}}{{7}}", "bottom": rf"\frac{{1}}{{{gold}}}", "mixed": f"{gold} 1/2", "mixed latex": rf"{gold}\frac12"}
        forms |= {"million": f"{gold} million", "power of ten": f"{gold} × 10^4", "e": f"{gold}e3", "decimal comma": f"{gold},5", "version": f"{gold}.2.3"}
        forms |= {"vulgar": f"{gold}½", "minus": f"{gold} - 1", "over nothing": f"{gold}/0", "symbol": rf"{gold}^x", "date": f"{gold}/11/2024"}
        if value < 1000:
            forms |= {"thousands": f"{gold},000", "thousands space": f"{gold} 000", "thousands narrow": f"{gold}\u202f500", "thousands latex": rf"{gold},\!000"}
            forms["hours"] = f"{gold} hours and 30 minutes"
    return forms


def word_pairs(kind: str, gold: str, random: Random) -> list[Pair]:
    """Pairs of choices, yes and no, and strings."""
    same, other = {"choice": _choices, "yes_no": _yes_no, "string": _strings}[kind](gold, random)
    pairs = [Pair(kind, text, gold, True, "same", "") for text in same] + [Pair(kind, text, gold, False, "other", "") for text in other]
    random.shuffle(pairs)
    return pairs


def _choices(gold: str, random: Random) -> tuple[list[str], list[str]]:
    wrong, third = random.sample([one for one in LETTERS if one != gold], 2)
    frames: list[Callable[[str], str]] = [
        str, str.lower, "({})".format, "{}.".format, "**{}**".format, "[{}]".format, "{}) red".format, "({}) red ball".format,
        r"\boxed{{{}}}".format, r"\text{{({})}}".format, "${}$".format, "Option {}".format, "The answer is ({}).".format, "（{}）".format,
    ]  # fmt: skip
    same = [frame(gold) for frame in frames] + [f"{gold}, not {wrong}", f"not ({wrong}) but ({gold})", f"neither {wrong} nor {third}, so {gold}"]
    same += [f"({wrong}) is wrong, so ({gold})", f"{gold}, because ({wrong}) is too small", f"rather {gold} than {wrong}"]
    other = [frame(wrong) for frame in frames] + [f"not {gold}", f"{gold} or {wrong}", f"({gold}) and ({wrong})", f"neither {gold} nor {wrong}"]
    other += [f"({gold}) is wrong, ({wrong}) is right", f"It isn't {gold}", "none of the above", "(A) red. (B) blue. (C) green.", f"either {gold} or {wrong}"]
    return same, other


def _yes_no(gold: str, random: Random) -> tuple[list[str], list[str]]:
    words = {"yes": ("true", "not false", "it isn't false"), "no": ("false", "not true", "it isn't true")}
    against = "no" if gold == "yes" else "yes"
    frames: list[Callable[[str], str]] = [str, str.upper, "{}.".format, "**{}**".format, "{}, it is so".format, "The answer is {}.".format, r"\boxed{{{}}}".format]
    same = [frame(gold) for frame in frames] + [*words[gold]]
    return same, [frame(against) for frame in frames] + [*words[against], "yes and no", "yes or no", "neither yes nor no", "perhaps"]


def _strings(gold: str, random: Random) -> tuple[list[str], list[str]]:
    same = [gold.upper(), f'"{gold}"', f"“{gold}”.", f" {gold}. ", f"**{gold}**", " ".join(gold), rf"\text{{{gold}}}", f"'{gold}'"]
    other = [gold[:-1], gold + "e", gold[0] + gold, gold[::-1] + "x", f"not {gold}", gold[1:]]
    return same, [one for one in other if one.lower() != gold]
