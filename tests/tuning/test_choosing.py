"""The chosen trial: few tokens among those whose dev accuracy is not distinguishable from the best."""

import math

from skipthink_ray.tuning.choosing import choose
from skipthink_ray.tuning.space import Choose
from skipthink_ray.tuning.sweep import Record

QUESTIONS = 100


def _record(key: str, accuracy: float, tokens: float, reason: str = "") -> Record:
    numbers = {"skip_accuracy_pct": accuracy, "skip_tokens": tokens, "questions": QUESTIONS}
    return Record("multiarith", key, {}, key, numbers, reason)


def test_the_fewest_tokens_within_one_standard_error_of_the_best():
    error = 100 * math.sqrt(0.8 * 0.2 / QUESTIONS)  # 4 points
    records = [
        _record("best", 80.0, 40.0),
        _record("near", 80.0 - error + 0.1, 20.0),
        _record("far", 80.0 - error - 0.1, 10.0),
    ]
    chosen = choose(records, Choose())
    assert chosen
    assert chosen.key == "near"
    strict = choose(records, Choose(within_standard_errors=0.0))
    assert strict
    assert strict.key == "best"


def test_equal_tokens_go_to_the_higher_accuracy_and_then_to_the_first_key():
    records = [_record("b", 80.0, 20.0), _record("a", 80.0, 20.0), _record("c", 79.0, 20.0)]
    chosen = choose(records, Choose())
    assert chosen
    assert chosen.key == "a"


def test_failed_trials_are_never_chosen():
    assert choose([_record("x", 99.0, 1.0, reason="loss became nan")], Choose()) is None
    assert choose([], Choose()) is None
