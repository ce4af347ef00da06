"""benchmarks/preset_markers.py: all presets and configurations, and its table in docs/results.md."""

from benchmarks.evidence import finished
from benchmarks.preset_markers import CONFIGS, RESULTS, UPDATES, fill
from skipthink_ray.presets import PRESETS
from skipthink_ray.reporting.findings import MARKER_SEPARATION
from tests.conftest import ROOT


def test_every_preset_and_configuration_was_trained_and_no_markers_are_together():
    lines = finished(RESULTS)
    assert {line["configuration"] for line in lines} == {*UPDATES}
    assert {*UPDATES} == {*PRESETS} | {path.name for path in CONFIGS.glob("*.yaml")}
    assert all(line["marker_separation"] > MARKER_SEPARATION for line in lines)
    document = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    assert fill(document, lines) == document
