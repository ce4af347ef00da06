"""benchmarks/pretrained.py: its arms, its keys, and its tables in docs/results.md."""

from dataclasses import replace

from benchmarks.document import table_names
from benchmarks.pretrained import RESULTS, finished
from benchmarks.pretrained_arms import GREEDY, MARKERS, TABLE, stt_arm
from benchmarks.pretrained_table import UNMEASURED, fill, tables
from tests.conftest import ROOT


def test_every_arm_is_a_configuration_of_its_own():
    arms = (*MARKERS, *TABLE)
    assert len({arm.key for arm in arms}) == len(arms) == len({arm.name for arm in arms})
    for arm in arms:
        assert arm.config().student.pretrained == "smollm2"


def test_a_judge_decides_what_stt_trains_on_and_nothing_of_cwt():
    assert stt_arm("reading", "any").key != stt_arm("writing", "any").key
    assert replace(GREEDY, overrides=GREEDY.overrides | {"skips.judge": "writing"}).key == GREEDY.key


def test_the_document_has_the_tables_of_the_results_file():
    document = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    assert {*table_names(document, "pretrained")} == set(tables([]))
    assert document == fill(document, finished(RESULTS))


def test_missing_measurements_are_shown_as_missing():
    line = {
        "key": GREEDY.key,
        "test_accuracy_pct": 12.345,
        "kept_pct_by_chunk": [6.0, 8.4],
        "target_tokens": 12_300,
    }
    row = next(row for row in tables([line])["table"].splitlines() if GREEDY.name in row)
    assert "| 12.3 |" in row
    assert "| 6 8 |" in row
    assert "| 12 |" in row
    assert UNMEASURED in row
