"""benchmarks/evidence.py: its arms, the identity of runs, and its tables in docs/results.md."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.document import table_names
from benchmarks.evidence import RESULTS, finished
from benchmarks.evidence_arms import (
    CHUNKERS,
    GATES,
    GATES_AFTER_DROPOUT,
    NUM_CHUNKS,
    UPDATE_ARMS,
    UPDATES,
    Arm,
    Run,
    runs,
)
from benchmarks.evidence_run import pack, skip_numbers, toy_rows
from benchmarks.evidence_table import fill, unpack

DOCUMENT = Path(__file__).parents[1] / "docs" / "results.md"


def test_every_arm_is_a_configuration_and_every_run_is_listed_once():
    listed = runs()
    assert len({run.key() for run in listed}) == len(listed)
    for run in listed:
        assert run.config().task == run.task


def _arm(arms: tuple[Arm, ...], name: str) -> Arm:
    return next(arm for arm in arms if arm.name == name)


@pytest.mark.parametrize(
    ("gates", "start"),
    [
        (GATES, _arm(CHUNKERS, "greedy, chunk")),
        (GATES_AFTER_DROPOUT, _arm(UPDATE_ARMS, "mixed, dropout 0.2")),
    ],
)
def test_gates_share_one_cwt_student(gates, start):
    assert {Run("gates", arm, "stt", "multiarith", 0).cwt_key() for arm in gates} == {
        Run("x", start, "cwt", "multiarith", 0).cwt_key()
    }


def test_chunkers_and_seeds_share_no_cwt_student():
    others = [Run("chunkers", arm, "cwt", "multiarith", seed) for arm in CHUNKERS for seed in (0, 1)]
    assert len({run.cwt_key() for run in others}) == len(others)


def test_questions_are_distinct_and_none_of_training_is_asked_in_the_test():
    config = Run("num_chunks", NUM_CHUNKS[0], "cwt", "multiarith", 0).config()
    train, test = ({row.question for row in toy_rows(config, split)} for split in ("train", "test"))
    assert (len(train), len(test)) == (config.rationales.train_questions, config.rationales.test_questions)
    assert not train & test


def test_questions_do_not_depend_on_the_seed():
    one, other = (
        toy_rows(Run("chunkers", CHUNKERS[0], "cwt", "multiarith", seed).config(), "train") for seed in (0, 1)
    )
    assert one == other


@pytest.mark.parametrize("flags", ["", "0", "1-1", "0000-", "10-01-111000"])
def test_flags_survive_being_packed(flags):
    assert "".join("01-"[flag] for flag in unpack(pack(flags))) == flags


def test_skipped_share_counts_no_empty_chunk():
    present_RM = np.array([[True, True, False], [True, True, True]])
    kept_RM = np.array([[False, True, False], [True, True, True]])
    numbers = skip_numbers(kept_RM, np.array([True, False]), present_RM)
    assert numbers["skipped_share"] == pytest.approx(1 / 5)
    assert numbers["right_share"] == 0.5
    assert unpack(numbers["flags"]).tolist() == [0, 1, 2, 1, 1, 1]


def test_every_table_in_the_document_matches_the_results():
    document, lines = DOCUMENT.read_text(), finished(RESULTS)
    assert {line["key"] for line in lines} <= {run.key() for run in runs()}, (
        "a line that no arm asks for any more"
    )
    assert fill(document, lines) == document, "python -m benchmarks.evidence --document docs/results.md"
    assert len(table_names(document, "evidence")) == document.count("<!-- evidence ") > 0
    assert fill(document, []).count("Not measured yet.") == document.count("<!-- evidence ")


def test_base_with_equal_epochs_makes_the_fewer_updates():
    lines = [
        line
        for line in finished(RESULTS)
        if (line["stage"], line["task"], line["seed"]) == ("base", "multiarith", 0)
    ]
    numbers = {line["arm"]: line["numbers"]["base"] for line in lines}
    assert (
        numbers["Base, equal updates"]["updates"]
        == UPDATES["multiarith"]
        > numbers["Base, equal epochs"]["updates"]
    )
