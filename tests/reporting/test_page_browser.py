"""The pages in a real Chromium: filters, search, keys, permalinks, themes, and hostile text."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from skipthink_ray.commands.compare import students_read
from skipthink_ray.commands.page import page_of
from skipthink_ray.reporting.comparison import Draws, compare
from skipthink_ray.reporting.published import published
from skipthink_ray.runtime.artifacts import Folder
from tests.reporting.made_runs import config_of, make_run, make_sweep

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine")
HOSTILE = "</script><script>alert(1)</script><!-- <img src=x onerror=alert(2)> &amp;"
DRAWS: list[dict[str, Any]] = [
    {"cwt.num_chunks": 2, "cwt.search.method": "average"},
    {"cwt.num_chunks": 4, "cwt.search.method": "greedy", "cwt.search.eta_nats": 0.1},
    {"cwt.num_chunks": 5, "cwt.search.method": "greedy", "cwt.search.eta_nats": 0.3},
]
TASKS = ("multiarith", "svamp", "last_letter_concatenation")
WIDTHS = (1280, 390)
DRAWN = """() => [...document.querySelectorAll(".chart")]
    .filter((chart) => !chart.closest("[hidden]")).every((chart) => chart.querySelector("svg"))"""
"""Whether every chart of the task that is shown is drawn."""
PICTURES = os.environ.get("SKIPTHINK_PICTURES")
"""Folder for the picture of docs/comparing.md; without it, none is made."""


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The page of a run, of a sweep over three tasks, and of a run full of markup."""
    folder = tmp_path_factory.mktemp("pages")
    storage = str(folder / "runs")
    run = make_run(config_of(storage, "example", {}), number=40)
    make_sweep(storage, "example-chunks", DRAWS, number=40, tasks=TASKS)
    chosen = [config_of(storage, f"example-chunks-{task}-chosen", DRAWS[1], task=task) for task in TASKS]
    runs = [published(make_run(config, number=40)) for config in chosen]
    comparison = compare(runs, Draws(resamples=50), students_read())
    (folder / "sweep.html").write_text(
        page_of("example-chunks", Folder.open(storage), ["example-chunks"], runs, comparison)
    )
    hostile = make_run(config_of(storage, "hostile", {}), number=5, hostile=HOSTILE)
    return {
        "run": Path(run.folder.path) / "report/report.html",
        "sweep": folder / "sweep.html",
        "hostile": Path(hostile.folder.path) / "report/report.html",
    }


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def visit(browser: Any, pages: dict[str, Path]) -> Iterator[Any]:
    """Open a page by name. After the test: it wrote nothing to the console, and requested nothing."""
    said, requests, opened = list[str](), list[str](), list[Any]()

    def go(name: str, width: int = 1280, fragment: str = "", **options: Any) -> Any:
        page = browser.new_page(viewport={"width": width, "height": 900}, **options)
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("dialog", lambda dialog: (said.append(f"dialog {dialog.message}"), dialog.dismiss()))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(f"{pages[name].as_uri()}{fragment}")
        page.wait_for_function(DRAWN)
        opened.append(page)
        return page

    yield go
    for page in opened:
        page.close()
    assert said == []
    known = {path.as_uri() for path in pages.values()}
    assert {url.partition("#")[0] for url in requests if not url.startswith("data:")} <= known


def _count(page: Any) -> int:
    return page.locator("#list [role=option]").count()


def _selected(page: Any) -> str:
    return page.locator("#list [aria-selected=true] .where").inner_text()


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", ["run", "sweep"])
def test_every_chart_is_drawn_and_nothing_is_wider_than_the_window(visit, name, width):
    page = visit(name, width)
    tabs = page.locator("button[data-task]")
    assert tabs.count() == {"run": 0, "sweep": len(TASKS)}[name]
    for tab in tabs.all() or [None]:
        if tab:
            tab.click()
            page.wait_for_function(DRAWN)
        charts = page.locator(".chart:visible svg")
        assert charts.count() >= 4
        assert page.evaluate("document.documentElement.scrollWidth") == width
        for chart in charts.all():
            assert chart.bounding_box()["width"] > 200
        assert page.locator(".chart svg [aria-roledescription='point'], .chart svg path").count() > 20


@pytest.mark.parametrize("width", WIDTHS)
def test_filters_keep_the_samples_that_they_name(visit, width):
    page = visit("run", width)
    every = _count(page)
    assert every == 40
    page.select_option("#skip-filter", "wrong")
    wrong = _count(page)
    page.select_option("#skip-filter", "right")
    assert 0 < wrong < every
    assert wrong + _count(page) == every
    assert page.locator("#sample .skip .verdict").inner_text() == "✓ right"
    page.check("#disagree-filter")
    assert page.locator("#sample .badge").inner_text() == "full and skip disagree"
    page.click("#kinds [data-of=training]")
    assert _count(page) == 40
    page.select_option("#gate-filter", "failed")
    failed = _count(page)
    assert 0 < failed < 40
    assert "kept: the answer from all chunks did not pass" in page.inner_text("#sample")
    page.click("#kinds [data-of=dropped]")
    assert _count(page) == 4
    assert "wrong answer (rationales)" in page.inner_text("#sample")
    assert page.inner_text("#shown").startswith("Questions: 40 of 40 shown · Training: 40 of 40 shown")


@pytest.mark.parametrize("width", WIDTHS)
def test_search_and_keys_move_between_samples(visit, width):
    page = visit("run", width)
    first = _selected(page)
    page.keyboard.press("j")
    second = _selected(page)
    assert second != first
    page.keyboard.press("k")
    assert _selected(page) == first
    page.focus("#list")
    page.keyboard.press("ArrowDown")
    assert _selected(page) == second
    page.keyboard.press("/")
    page.keyboard.type("multiarith-test-7")
    assert _count(page) == 1
    assert _selected(page) == "multiarith-test-7"
    page.keyboard.press("Escape")
    assert _count(page) == 40
    assert page.evaluate("document.activeElement.id") == "list"
    assert _selected(page) == "multiarith-test-7"


def test_the_address_names_the_view(visit, pages):
    page = visit("run")
    page.click("#kinds [data-of=training]")
    page.select_option("#skipped-filter", "some")
    page.keyboard.press("j")
    there, seen = page.evaluate("location.hash"), page.inner_text("#sample")
    again = visit("run", fragment=there)
    assert again.inner_text("#sample") == seen
    assert again.input_value("#skipped-filter") == "some"
    assert 0 <= again.locator("#inspector").bounding_box()["y"] < 400  # the inspector is in view
    again.evaluate("location.hash = '#view=samples&kind=dropped'")
    again.wait_for_selector("#kinds [data-of=dropped][aria-pressed=true]")
    visit("run", fragment="#view=samples&kind=nonsense&arm=99&sample=q999")  # shows the first sample


def test_the_theme_follows_the_system_until_it_is_chosen(visit):
    page = visit("run", color_scheme="dark")
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.click("#theme")
    light = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert dark != light
    assert page.inner_text("#theme") == "Dark theme"
    page.reload()
    assert page.evaluate("document.documentElement.dataset.theme") == "light"
    page.emulate_media(media="print")
    assert not page.locator(".filters").is_visible()
    assert page.locator("#sample").is_visible()


def test_chunkers_of_a_sweep_stand_side_by_side(visit):
    page = visit("sweep", fragment="#view=samples&kind=training")
    arms = page.locator("#sample [data-arm]")
    assert arms.count() == len(DRAWS) + 1  # and the chosen run
    assert [arm.locator(".chunks > li").count() for arm in arms.all()] == [2, 4, 5, 4]
    text = "".join(arms.nth(0).locator(".step").all_inner_texts())
    assert text == "".join(arms.nth(2).locator(".step").all_inner_texts())
    page.select_option("#arm-filter", "1")
    assert arms.count() == 1
    assert "num_chunks=4, method=greedy, eta_nats=0.1" in page.inner_text("#sample")
    assert page.locator("[id^=parallel] svg, [id^=num_chunks] svg, [id^=eta] svg").count() == 3
    assert "multiarith-bad: the loss became nan" in page.inner_text("#warnings")


@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_of_three_tasks_shows_one_filters_it_and_moves_by_keyboard(visit, width):
    page = visit("sweep", width)
    page.click("button[data-task=svamp]")
    first, every = _selected(page), _count(page)
    assert first.startswith("svamp-")
    page.keyboard.press("j")
    assert _selected(page) != first
    assert _selected(page).startswith("svamp-")
    page.select_option("#skip-filter", "right")
    assert 0 < _count(page) < every
    assert page.locator("#sample .skip .verdict").first.inner_text() == "✓ right"
    before = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.click("#theme")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != before


def test_text_that_looks_like_markup_is_shown_as_text(visit):
    page = visit("hostile")
    assert page.locator("#sample .question").inner_text().endswith(HOSTILE)
    assert HOSTILE in page.locator("#sample .output").first.inner_text()
    page.click("#kinds [data-of=dropped]")
    assert HOSTILE in page.inner_text("#sample")
    assert page.locator("img").count() == 0


@pytest.mark.skipif(PICTURES is None, reason="SKIPTHINK_PICTURES names no folder")
def test_the_picture_for_the_documents(visit):
    picture = Path(PICTURES or "") / "page_sweep.png"
    top = {"x": 0, "y": 0, "width": 1280, "height": 1000}
    visit("sweep").screenshot(path=picture, clip=top, full_page=True)
    assert picture.stat().st_size < 200_000
