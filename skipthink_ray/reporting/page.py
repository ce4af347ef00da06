"""Renders a page as one HTML file that loads nothing: a run's report, or several runs or trials compared.

Data is escaped, or a text node of the inspector. The templates, styles and scripts are in `web/`; Vega draws
the charts.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from importlib.metadata import version
from typing import Any

import vl_convert
import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from skipthink_ray.reporting.charts import accuracy_chart, curve_chart, kept_chart
from skipthink_ray.reporting.charts_compared import charts_of
from skipthink_ray.reporting.comparison import Comparison
from skipthink_ray.reporting.entry import Entry, by_task
from skipthink_ray.reporting.inspector import inspect
from skipthink_ray.runtime.artifacts import digest
from skipthink_ray.runtime.cache import cached_text

ESTIMATE_DIGITS = 3
VEGA = "window.vegaEmbed = vegaEmbed;"
"""What the bundled script does besides loading."""
FILES = {
    "page_css": "page.css",
    "inspector_css": "inspector.css",
    "theme_js": "theme.js",
    "page_js": "page.js",
    "inspector_js": "inspector.js",
}


@dataclass(frozen=True)
class Compared:
    """What a page of several runs shows."""

    title: str
    entries: Sequence[Entry]
    comparison: Comparison
    """The tables of the runs that answered test questions."""
    failures: Sequence[str] = ()
    """Trials without a result, with the reason."""


def render(report: dict[str, Any]) -> str:
    """A run's page as HTML. The same report gives the same bytes."""
    curves = report["curves"]
    charts = {
        "accuracy": accuracy_chart(report["modes"]),
        "loss": curve_chart(curves, "loss_nats", "Training loss", "loss (nats per target token)"),
        "tokens": curve_chart(curves, "target_tokens", "Target tokens per update", "target tokens (N)"),
        "kept": kept_chart(report["chunks"]["positions"]),
    }
    return _page(
        "run.html",
        charts=charts,
        inspector=inspect([Entry(report, report["name"])]),
        report=report,
        config=yaml.safe_dump(report["made"]["config"], sort_keys=False, allow_unicode=True),
    )


def render_compared(compared: Compared) -> str:
    """The page of several runs or of a sweep."""
    tasks = by_task([*compared.entries])
    named = {
        f"{name}-{number}": spec
        for number, entries in enumerate(tasks.values())
        for name, spec in charts_of(entries).items()
    }
    return _page(
        "compared.html", charts=named, inspector=inspect(compared.entries), compared=compared, tasks=tasks
    )


def _page(template: str, charts: dict[str, Any], inspector: dict[str, Any], **values: Any) -> str:
    environment = Environment(
        loader=PackageLoader("skipthink_ray.reporting", "web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"ensure_ascii": False, "separators": (",", ":")}
    environment.filters.update(number=number, short=short, span=span)
    return environment.get_template(template).render(
        charts=charts, inspector=inspector, vega_js=_vega(), **_files(), **values
    )


@cache
def _vega() -> Markup:
    """Vega, Vega-Lite and Vega-Embed as one script. Bundling them takes seconds, so it is cached."""
    name = f"vega-{version('vl-convert-python')}-{digest({'script': VEGA})}.js"
    return _script(cached_text(name, lambda: vl_convert.javascript_bundle(VEGA)))


def _files() -> dict[str, Markup]:
    folder = resources.files("skipthink_ray.reporting").joinpath("web")
    return {name: _script(folder.joinpath(file).read_text("utf-8")) for name, file in FILES.items()}


def _script(text: str) -> Markup:
    """A script or style of this project, to be put into the page unescaped."""
    if "</script" in text or "<!--" in text:
        raise RuntimeError("a script of the page would end its element")
    return Markup(text)  # contains no user data


def number(value: float, digits: int = 0) -> str:
    """A number with thousands separators and a true minus sign; never minus zero."""
    return f"{round(value, digits) + 0.0:,.{digits}f}".replace("-", "−")


def short(value: float, digits: int = ESTIMATE_DIGITS) -> str:
    """A number with this many significant digits; the integer part is never rounded."""
    magnitude = math.floor(math.log10(abs(value))) if value else 0
    return number(value, max(0, digits - 1 - magnitude))


def span(estimate: dict[str, float], digits: int | None = None) -> str:
    """An interval in words; without `digits`, both ends as `short` writes them."""
    if digits is None:
        return f"{short(estimate['low'])} to {short(estimate['high'])}"
    return f"{number(estimate['low'], digits)} to {number(estimate['high'], digits)}"
