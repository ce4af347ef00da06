"""Steps, compared with cuts set by hand: 200 rationales drawn evenly from nine files, and 50 hard ones.

hand_checked_steps.json has the file and id of each rationale and the offsets at which its steps start, after
the first step, but no text. The rule applied by hand: cut at line breaks, then at ends of sentences; do not
cut after a decimal, an initial, an abbreviation, a list number or an operator. "hard" rationales have one of
these, or a small letter after a full stop. They were read while the splitter was improved, so they only guard
against regressions and do not estimate its accuracy.
"""

import json
import re
from itertools import accumulate
from pathlib import Path

import pytest

from skipthink_ray.method.steps import split_steps
from tests.toys import toy_rows

CHECKED: dict[str, dict[str, dict[str, list[int]]]] = json.loads(
    (Path(__file__).parent / "hand_checked_steps.json").read_text()
)
PLAIN_END = re.compile(r"(?<=[.!?])(?=\s)")


@pytest.fixture(scope="module")
def differences(real_data) -> dict[str, dict[str, tuple[set[int], set[int]]]]:
    """kind -> id -> (wrong cuts, missing cuts)."""
    return {
        kind: dict(pair for file in files for pair in _compare(real_data / f"{file}.jsonl", files[file]))
        for kind, files in CHECKED.items()
    }


def _compare(path: Path, checked: dict[str, list[int]]) -> list[tuple[str, tuple[set[int], set[int]]]]:
    rationales = {
        row["id"]: row["rationale"]
        for row in map(json.loads, path.read_text(encoding="utf-8").strip().split("\n"))
    }
    return [
        (id_, (_cuts(rationales[id_]) - set(right), set(right) - _cuts(rationales[id_])))
        for id_, right in checked.items()
    ]


def _cuts(text: str) -> set[int]:
    return set(accumulate(len(step) for step in split_steps(text)[:-1]))


@pytest.mark.parametrize(("kind", "rationales", "files"), [("any", 200, 9), ("hard", 50, 6)])
def test_the_number_of_hand_checked_rationales(kind, rationales, files):
    counts = [len(checked) for checked in CHECKED[kind].values()]
    assert (sum(counts), len(counts)) == (rationales, files)
    assert kind != "any" or max(counts) - min(counts) <= 1


@pytest.mark.parametrize(("kind", "most"), [("any", 0), ("hard", 0)])
def test_no_rationale_is_cut_inside_a_number_date_initial_or_abbreviation(differences, kind, most):
    wrong = {id_: sorted(cuts) for id_, (cuts, _) in differences[kind].items() if cuts}
    assert len(wrong) <= most, wrong


@pytest.mark.parametrize(("kind", "exact"), [("any", 200), ("hard", 50)])
def test_the_cuts_equal_those_set_by_hand(differences, kind, exact):
    differing = {id_: pair for id_, pair in differences[kind].items() if any(pair)}
    assert len(differences[kind]) - len(differing) >= exact, differing


@pytest.mark.parametrize("task", ["multiarith", "last_letter_concatenation", "tracking_shuffled_objects"])
def test_the_steps_of_a_toy_are_its_sentences(task):
    # Toy results are compared over time, so the steps of the toys must not change. `Jan.` may be a date.
    for row in toy_rows(task, 5000):
        assert "Jan." in row.rationale or split_steps(row.rationale) == PLAIN_END.split(row.rationale)
