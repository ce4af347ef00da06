"""benchmarks/bench_toys.py: its arms, and its tables in docs/results.md."""

from pathlib import Path
from random import Random

import pytest

from benchmarks.bench_toys import BLOCK, RESULTS, fill
from benchmarks.evidence import finished
from benchmarks.toy_arms import CONFIGS, ORACLES, arms
from skipthink_ray.method.steps import split_steps
from skipthink_ray.tasks import task_of

DOCUMENT = Path(__file__).parents[1] / "docs" / "results.md"


def test_every_configuration_of_a_toy_is_measured():
    shipped = {path.name for path in CONFIGS.glob("toy_*.yaml")} | {"toy"}
    assert shipped == {arm.config for arm in arms() if arm.whole}


def test_arms_differ_but_for_the_shipped_one():
    keys = [arm.key() for arm in arms() if arm.name != "as it is"]
    assert len(set(keys)) == len(keys)


def _rows(arm):
    toy = task_of(arm.settings()).toy
    assert toy
    return [toy(Random(seed), 2) for seed in range(50)]


@pytest.mark.parametrize("arm", ORACLES[1:], ids=lambda arm: arm.name)
def test_an_oracle_differs_from_the_shipped_one_in_what_it_says(arm):
    shipped, other = _rows(ORACLES[0]), _rows(arm)
    assert {row.question for row in shipped} != {row.question for row in other} or [
        split_steps(row.rationale) for row in shipped
    ] != [split_steps(row.rationale) for row in other]
    assert all(row.rationale.endswith(f"({row.answer}).") for row in other)


def test_every_table_in_the_document_matches_the_results():
    document, lines = DOCUMENT.read_text(), finished(RESULTS)
    assert {line["key"] for line in lines} <= {arm.key() for arm in arms()}, (
        "a line that no arm asks for any more"
    )
    assert fill(document, lines) == document, "python -m benchmarks.bench_toys --document docs/results.md"
    assert len(BLOCK.findall(document)) == document.count("<!-- toys ") > 0
