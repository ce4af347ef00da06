"""MLflow's own pages in a real Chromium: the link that a sweep prints, and a scatter plot of its runs."""

import shutil
from pathlib import Path

import pytest

from benchmarks.servers import free_ports, mlflow_server
from skipthink_ray.config import TrackingConfig
from skipthink_ray.runtime.artifacts import Folder
from skipthink_ray.runtime.experiment import how_to_compare
from skipthink_ray.runtime.tracking import start_tracker

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
X, Y = "test/skip_speedup", "test/skip_accuracy_pct"


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine")
def test_the_printed_link_opens_the_sweeps_runs_and_a_scatter_plot_draws_them(tmp_path: Path):
    storage = Folder.open(str(tmp_path / "runs"))
    with mlflow_server(tmp_path, free_ports(1)[0]) as uri, sync_api.sync_playwright() as playwright:
        config = TrackingConfig(uri=uri)
        for number, sweep in enumerate(("mine", "mine", "mine", "another")):
            name = f"{sweep}-{number}"
            tracker = start_tracker(config, storage, name, f"key {number}", tags={"sweep": sweep})
            tracker.params({"cwt.num_chunks": str(2 + number)})
            tracker.metrics([(0, {X: 1.0 + number / 4, Y: 90.0 - number})])
            tracker.end("FINISHED")
        link = how_to_compare(config, storage, "sweep", "mine")
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        page.goto(link)
        page.get_by_text("3 matching runs").wait_for(timeout=60_000)
        page.get_by_text("mine-2", exact=True).wait_for()
        assert page.get_by_text("another-3", exact=True).count() == 0
        page.locator("[role=columnheader] input[type=checkbox]").first.click()
        page.get_by_role("button", name="Compare").click()
        page.get_by_role("tab", name="Scatter Plot").click()
        page.get_by_role("combobox").first.click()
        page.get_by_role("option", name=X).click()
        page.locator(".xtitle", has_text=X).wait_for()
        assert page.locator(".ytitle").text_content() == Y
        drawn = page.evaluate("document.querySelector('.js-plotly-plot').data.flatMap(one => one.x)")
        assert sorted(map(float, drawn)) == [1.0, 1.25, 1.5]
        browser.close()
