"""Pairs of answers with known verdicts. Both answers are generated here, from equal or different values.

A writer writes a value as people and models do. It shares no code with the judge (skipthink_ray/tasks). There
are three sorts of pairs: `same` (the gold value in another form), `other` (another value in any form) and
`part` (an answer that contains the gold but means something else: `-5`, `5^3`, `5/7`, `5 or 6` for 5). The
same golds and seed give the same pairs.
"""

import json
from collections.abc import Callable, Iterable
from fractions import Fraction
from pathlib import Path
from random import Random
from typing import NamedTuple

from benchmarks.answer_forms import others, parts_of, writings

NUMBERS = """
0 1 2 3 5 7 8 9 10 12 15 16 18 24 25 27 32 36 43 50 64 72 81 96 100 105 120 125 144 150 230 256 300
345 500 750 999 1000 1001 1024 1250 1500 2000 2025 3600 4096 5040 7250 9999 10000 12000 12345 18000
65536 100000 104730 250000 360000 1000000 1234567 2500000 7300000 12000000 -1 -2 -5 -8 -12 -40 -273
-1000 -2500 -15000 0.5 0.25 0.75 1.5 2.5 3.25 0.1 0.05 0.125 2.75 12.5 99.99 3.14 -0.5 -2.5 1234.5
20000.25 1/3 2/3 3/4 5/8 7/3 22/7 -3/4 -1/3 -7/4 0.001 6.02
""".split()
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
    """The writer that wrote it."""


def built_in(seed: int = 0) -> list[Pair]:
    """About 2,500 pairs from the golds above."""
    numbers = [pair for gold in NUMBERS for pair in number_pairs(gold, Random(f"{seed} {gold}"), 9)]
    return numbers + [
        pair
        for kind, golds in _other_golds()
        for gold in golds
        for pair in word_pairs(kind, gold, Random(f"{seed} {gold}"))
    ]


def from_data(folder: Path, seed: int = 0, most: int = 700) -> list[Pair]:
    """Pairs from the golds of real benchmarks, at most `most` golds per file.

    Reads teacher/*.jsonl and gsm8k/test.jsonl.
    """
    pairs: list[Pair] = []
    for path in [
        *(folder / "teacher" / f"{name}.jsonl" for name in TEACHER_NUMBERS),
        folder / "gsm8k" / "test.jsonl",
    ]:
        pairs += [
            pair
            for gold in _golds(path, most)
            for pair in number_pairs(gold, Random(f"{seed} {path.stem} {gold}"), 3)
        ]
    for gold in _golds(folder / "teacher" / "last_letter_concatenation.jsonl", most):
        pairs += word_pairs("string", gold, Random(f"{seed} {gold}"))[:4]
    return pairs


def _golds(path: Path, most: int) -> list[str]:
    rows = (json.loads(line) for line in path.read_text(encoding="utf-8").strip().split("\n"))
    return list(dict.fromkeys(row["answer"] for row in rows))[:most]


def _other_golds() -> Iterable[tuple[str, Iterable[str]]]:
    return (("choice", LETTERS), ("yes_no", ("yes", "no")), ("string", SPELLED))


def number_pairs(gold: str, random: Random, each: int) -> list[Pair]:
    """Up to `each` pairs of the sort same, and up to `each` of the sorts other and part together."""
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


def word_pairs(kind: str, gold: str, random: Random) -> list[Pair]:
    """Pairs for a gold choice, a gold yes or no, or a gold string."""
    same, other = {"choice": _choices, "yes_no": _yes_no, "string": _strings}[kind](gold, random)
    pairs = [Pair(kind, text, gold, True, "same", "") for text in same] + [
        Pair(kind, text, gold, False, "other", "") for text in other
    ]
    random.shuffle(pairs)
    return pairs


def _choices(gold: str, random: Random) -> tuple[list[str], list[str]]:
    wrong, third = random.sample([one for one in LETTERS if one != gold], 2)
    frames: list[Callable[[str], str]] = [
        str,
        str.lower,
        "({})".format,
        "{}.".format,
        "**{}**".format,
        "[{}]".format,
        "{}) red".format,
        "({}) red ball".format,
        r"\boxed{{{}}}".format,
        r"\text{{({})}}".format,
        "${}$".format,
        "Option {}".format,
        "The answer is ({}).".format,
        "（{}）".format,
    ]
    same = [frame(gold) for frame in frames] + [
        f"{gold}, not {wrong}",
        f"not ({wrong}) but ({gold})",
        f"neither {wrong} nor {third}, so {gold}",
    ]
    same += [
        f"({wrong}) is wrong, so ({gold})",
        f"{gold}, because ({wrong}) is too small",
        f"rather {gold} than {wrong}",
    ]
    other = [frame(wrong) for frame in frames] + [
        f"not {gold}",
        f"{gold} or {wrong}",
        f"({gold}) and ({wrong})",
        f"neither {gold} nor {wrong}",
    ]
    other += [
        f"({gold}) is wrong, ({wrong}) is right",
        f"It isn't {gold}",
        "none of the above",
        "(A) red. (B) blue. (C) green.",
        f"either {gold} or {wrong}",
    ]
    return same, other


def _yes_no(gold: str, random: Random) -> tuple[list[str], list[str]]:
    words = {"yes": ("true", "not false", "it isn't false"), "no": ("false", "not true", "it isn't true")}
    against = "no" if gold == "yes" else "yes"
    frames: list[Callable[[str], str]] = [
        str,
        str.upper,
        "{}.".format,
        "**{}**".format,
        "{}, it is so".format,
        "The answer is {}.".format,
        r"\boxed{{{}}}".format,
    ]
    same = [frame(gold) for frame in frames] + [*words[gold]]
    return same, [frame(against) for frame in frames] + [
        *words[against],
        "yes and no",
        "yes or no",
        "neither yes nor no",
        "perhaps",
    ]


def _strings(gold: str, random: Random) -> tuple[list[str], list[str]]:
    same = [
        gold.upper(),
        f'"{gold}"',
        f"“{gold}”.",
        f" {gold}. ",
        f"**{gold}**",
        " ".join(gold),
        rf"\text{{{gold}}}",
        f"'{gold}'",
    ]
    other = [gold[:-1], gold + "e", gold[0] + gold, gold[::-1] + "x", f"not {gold}", gold[1:]]
    return same, [one for one in other if one.lower() != gold]
