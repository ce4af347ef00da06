"""Progress in plain lines, with a clock of its own."""

import re
from itertools import pairwise

import pytest

from skipthink_ray.runtime.pace import PLAIN_EVERY_S, Pace, PlainLines


def _lines(finished_s: list[float], until_s: float, total: int) -> list[tuple[float, str]]:
    """(second, line) of a stage whose n-th update ends at the n-th time; the driver polls twice a second."""
    lines = PlainLines("base", "updates", 0.0)
    polled = [(poll / 2, sum(end <= poll / 2 for end in finished_s)) for poll in range(int(2 * until_s) + 1)]
    found = [(now, lines.line(now, done, total, "epoch 1")) for now, done in polled]
    return [(now, line) for now, line in found if line]


def _left_s(line: str) -> int:
    units = {"h": 3600, "min": 60, "s": 1}
    left = line.rsplit(", ", 1)[1]
    return sum(int(number) * units[unit] for number, unit in re.findall(r"(\d+) (h|min|s)\b", left))


def test_fast_updates_give_a_line_every_ten_seconds():
    found = _lines([0.7 * number for number in range(1, 201)], 140, 200)
    assert [now for now, _ in found] == [PLAIN_EVERY_S * number for number in range(1, 15)]
    assert found[0][1] == "base        14/200 updates epoch 1, 1.4/s, 2 min 9 s left"


def test_slow_updates_give_a_line_each_and_none_twice():
    found = _lines([25.0 * number for number in range(1, 9)], 200, 8)
    assert [now for now, _ in found] == [25.0 * number for number in range(1, 9)]
    assert len({line for _, line in found}) == 8
    assert found[0][1] == "base        1/8 updates epoch 1", "one update has no rate yet"
    assert found[1][1] == "base        2/8 updates epoch 1, 0.040/s, 2 min 30 s left"


def test_the_time_left_falls_from_line_to_line():
    finished = [0.5 * number + (2 if number % 7 else 0) for number in range(1, 1001)]  # uneven, but steady
    left = [_left_s(line) for _, line in _lines(finished, 500, 1000) if "left" in line]
    assert len(left) > 40
    assert all(later < earlier for earlier, later in pairwise(left))


def test_pauses_between_epochs_do_not_make_the_time_left_jump():
    finished = [74.5 * epoch + 12 + 0.5 * update for epoch in range(6) for update in range(1, 126)]
    left = [(now, _left_s(line)) for now, line in _lines(finished, 447, 750) if "left" in line]
    assert all(later < earlier + 5 for (_, earlier), (_, later) in pairwise(left))
    assert all(abs(seconds - (finished[-1] - now)) < 30 for now, seconds in left if now > 200)


def test_a_slow_beginning_is_forgotten():
    slow = [10.0 * number for number in range(1, 11)]
    fast = [100 + 0.5 * number for number in range(1, 391)]
    found = _lines([*slow, *fast], 290, 400)
    assert "0.100/s" in dict(found)[100.0]
    assert re.search(r"updates epoch 1, 2\.0/s, \d s left", found[-1][1]), found[-1]


def test_the_time_left_falls_between_two_counts_and_ends_at_zero():
    pace = Pace()
    for now in (0.0, 100.0):
        pace.note(now, int(now) + 1)
    assert [pace.estimate_left_s(now, 151) for now in (100.0, 120.0, 200.0)] == [50.0, 30.0, 0.0]


def test_work_that_resumes_from_a_checkpoint_has_the_rate_of_what_follows():
    pace = Pace()
    for now, done in ((0, 1), (10, 1001), (20, 501)):
        pace.note(float(now), done)
    assert pace.rate == 0.0
    pace.note(30.0, 521)
    assert pace.rate == pytest.approx(2.0)
