"""Thousands of answer pairs with a known verdict, written by code that shares nothing with the judge."""

from collections import Counter
from fractions import Fraction

from benchmarks.answer_forms import others, parts_of, writings
from benchmarks.answer_pairs import Pair, built_in, from_data
from skipthink_ray.tasks.answers import same_answer

MOST_FALSE_UNEQUAL = 0.01


def _judge(pairs: list[Pair]) -> None:
    wrong = [pair for pair in pairs if same_answer(pair.kind, pair.predicted, pair.gold) != pair.equal]
    counts, mistaken = Counter(pair.equal for pair in pairs), Counter(pair.equal for pair in wrong)
    print(
        f"{counts[True]} equal, {mistaken[True]} of them missed; {counts[False]} unequal, {mistaken[False]} taken for equal"
    )
    assert min(counts.values()) >= 1000
    assert not [pair for pair in wrong if not pair.equal]
    assert mistaken[True] <= MOST_FALSE_UNEQUAL * counts[True], [pair for pair in wrong if pair.equal]


def test_two_thousand_pairs_are_judged_without_a_false_equal():
    _judge(built_in())


def test_pairs_from_the_golds_of_real_benchmarks_are_judged_without_a_false_equal(real_data):
    _judge(from_data(real_data))


def test_the_writers_write_what_they_say():
    assert writings(Fraction(-5, 2))["mixed"] == "-2 1/2"
    assert writings(Fraction(1234567))["indian"] == "12,34,567"
    assert writings(Fraction(27))["power"] == "3^3"
    assert writings(Fraction(12000))["superscript"] == "12·10³"
    assert Fraction(-5) in others(Fraction(5))
    assert parts_of("5")["en dash range"] == "5–10"
