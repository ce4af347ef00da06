"""Writes the picture of a run's report that the README shows: a training sample in the inspector.

    python -m tools.picture runs/demo/report/report.html docs/report.png

Needs Chromium.
"""

import argparse
import shutil
from pathlib import Path

from playwright.sync_api import sync_playwright

VIEW = "#view=samples&kind=training&skipped=some"
WIDTH, HEIGHT = 1280, 720
"""Of the picture, in pixels."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("report", type=Path)
    parser.add_argument("picture", type=Path)
    arguments = parser.parse_args()
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        parser.error("there is no Chromium on this machine; install Debian's package chromium")
    if not arguments.report.is_file():
        parser.error(f"{arguments.report} does not exist; `make demo` writes runs/demo/report/report.html")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        page.goto(arguments.report.absolute().as_uri() + VIEW)
        page.wait_for_selector(".chart svg")
        page.locator("#inspector").evaluate("node => node.scrollIntoView()")
        page.screenshot(path=arguments.picture)
        browser.close()


if __name__ == "__main__":
    main()
