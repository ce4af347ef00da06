"""The tally of kills: its moments, its checks and its table."""

import pyarrow as pa
import pytest

from benchmarks.bench_reliability import draw
from benchmarks.bench_sweep import KINDS, table
from benchmarks.reliability_check import table_problem
from benchmarks.reliability_run import HIT
from benchmarks.reliability_table import KILLED, fill

LINE = {
    "kind": "worker",
    "stage": "cwt",
    "submissions": 1,
    "fault": "",
    "date": "2026-11-27",
    "machine": "one",
}


def test_moments_are_spread_over_the_time_in_which_a_kill_may_strike():
    seconds = {"base": 10.0, "skips": 0.0, "stt": 30.0}
    kills = [draw("worker", number, seconds) for number in range(400)]
    assert kills[:3] == [draw("worker", number, seconds) for number in range(3)]
    assert all(0 <= kill.after_s <= seconds[kill.stage] for kill in kills)
    assert 60 < sum(kill.stage == "base" for kill in kills) < 140


def test_a_missing_a_double_and_a_changed_row_are_differences_and_float_rounding_is_not():
    table = pa.table({"row": [0, 1], "kept": [[True], [False]], "loss_nats": [1.0, 2.0], "seconds": [1, 2]})
    assert table_problem(table, table.slice(1)) == "2 rows, now 1"
    assert table_problem(table, table.take([0, 0])) == "column row differs"
    other = table.set_column(1, "kept", pa.array([[True], [True]]))
    assert table_problem(table, other) == "column kept differs"
    for loss, found in ((2.0 + 1e-7, ""), (2.1, "column loss_nats differs by more than float rounding")):
        near = table.set_column(2, "loss_nats", pa.array([1.0, loss])).set_column(
            3, "seconds", pa.array([5, 6])
        )
        assert table_problem(table, near) == found


def test_the_table_counts_a_fault_and_names_the_runs_that_needed_a_second_start():
    assert KILLED.keys() == HIT.keys()
    lines = [LINE, {**LINE, "submissions": 2}, {**LINE, "fault": "table skips: 9 rows, now 8"}]
    document = fill("<!-- reliability -->\nold\n<!-- end -->", lines)
    assert "| a training worker | 3 | 1 | 1 | 2 | cwt 3 |" in document
    assert "| the driver | 0 | 0 | 0 | 0 | – |" in document
    assert "3 kills, 2026-11-27, on one." in document
    with pytest.raises(ValueError, match="no line"):
        fill("nothing", lines)


def test_the_table_of_sweeps_names_what_differs_and_what_an_early_stop_costs():
    shared = {"trials": 3, "exit_codes": [1], "date": "2026-11-27", "machine": "one"}
    lines = [
        {**shared, "kind": "killed", "exit_codes": [-9, 1], "faults": []},
        {**shared, "kind": "outage", "faults": ["a is not fully tracked", "b has other parameters"]},
        {**shared, "kind": "early", "faults": [], "next_update_s": [21.6, 19.2]},
    ]
    text = table(lines)
    assert f"| {KINDS['killed']} | 3 | -9, 1 | nothing |" in text
    assert f"| {KINDS['outage']} | 3 | 1 | a is not fully tracked; b has other parameters |" in text
    assert "the next trial: 22 s and 19 s." in text
