"""benchmarks/bench_toys.py: its toys, and its tables in docs/results.md."""

from pathlib import Path

from benchmarks.bench_toys import CONFIGS, RESULTS, TOYS, fill, key_of
from benchmarks.document import table_names
from benchmarks.evidence import finished

DOCUMENT = Path(__file__).parents[1] / "docs" / "results.md"


def test_every_configuration_of_a_toy_is_measured():
    shipped = {path.name for path in CONFIGS.glob("toy_*.yaml")} | {"toy"}
    assert shipped == {*TOYS.values()}


def test_every_table_in_the_document_matches_the_results():
    document, lines = DOCUMENT.read_text(), finished(RESULTS)
    assert {line["key"] for line in lines} == {key_of(toy) for toy in TOYS}
    assert fill(document, lines) == document, "python -m benchmarks.bench_toys --document docs/results.md"
    assert sorted(table_names(document, "toys")) == sorted(TOYS)
