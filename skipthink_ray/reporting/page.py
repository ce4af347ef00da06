"""Renders a report dictionary as one HTML page without scripts or external resources. All data is escaped."""

import math
from importlib import resources
from typing import Any

import yaml
from jinja2 import Environment, StrictUndefined

from skipthink_ray.method.markup import THOUGHT
from skipthink_ray.reporting.charts import accuracy_chart, curve_chart

ESTIMATE_DIGITS = 3


def render(report: dict[str, Any]) -> str:
    """The page as HTML. The same report gives the same bytes."""
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(number=number, short=short, span=span, thoughts=thoughts)
    template = environment.from_string(
        resources.files("skipthink_ray.reporting").joinpath("page.html").read_text("utf-8")
    )
    curves = report["curves"]
    return template.render(
        report=report,
        accuracy_chart=accuracy_chart(report["modes"]),
        loss_chart=curve_chart(
            curves, "loss_nats", "Training loss over the updates", "loss (nats per target token)"
        ),
        tokens_chart=curve_chart(
            curves, "target_tokens", "Target tokens per update (N)", "target tokens (N)"
        ),
        config=yaml.safe_dump(report["made"]["config"], sort_keys=False, allow_unicode=True),
    )


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


def thoughts(text: str) -> list[str]:
    """The text pieces before, between and after the skipped chunks."""
    return text.split(THOUGHT)
