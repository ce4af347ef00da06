"""The charts of a run's page, as Vega-Lite specifications made with Altair.

Every colour is a variable of the page's style sheet, so a chart follows the theme. The same numbers give the
same bytes.
"""

from collections.abc import Sequence
from typing import Any

import altair as alt

from skipthink_ray.method.modes import STUDENT_OF

MODES: list[str] = [*STUDENT_OF]
STUDENTS = [*STUDENT_OF.values()]
COLOURS = [f"var(--{mode})" for mode in MODES]
SHAPES = ["circle", "square", "diamond", "triangle-up"]
DASHES = [[1, 0], [6, 3], [2, 2], [8, 3, 2, 3]]
HEIGHT = 280
"""Height of a chart in pixels."""
ABOVE = alt.Legend(title=None, orient="top")
NUMBER: dict[str, Any] = {"type": "quantitative", "scale": alt.Scale(zero=False, padding=12)}
MARGIN_PCT = 3
Spec = dict[str, Any]


def finished(chart: Any, description: str, height: int = HEIGHT) -> Spec:
    """The chart as JSON values, in the look of the page, with a description for screen readers."""
    axis = {
        "grid": True,
        "gridColor": "var(--line)",
        "domainColor": "var(--line)",
        "tickColor": "var(--line)",
    }
    text = {
        "labelColor": "var(--soft)",
        "titleColor": "var(--soft)",
        "labelFontSize": 12,
        "titleFontSize": 12,
    }
    chart = chart.properties(
        width="container", height=height, description=description, background="transparent"
    )
    chart = chart.configure(
        font="system-ui, sans-serif", autosize=alt.AutoSizeParams(type="fit", contains="padding")
    )
    chart = chart.configure_axis(**axis, **text, titleFontWeight="normal", titlePadding=8)
    chart = chart.configure_legend(**text, labelLimit=320, columns=3, columnPadding=16, symbolStrokeWidth=2)
    return chart.configure_view(stroke=None).to_dict()


def rows(values: list[dict[str, Any]]) -> alt.InlineData:
    return alt.InlineData(values=values)


def accuracy_chart(modes: dict[str, Any]) -> Spec:
    """Accuracy over speed-up: one point per mode, with both intervals."""
    points = []
    for mode, here in modes.items():
        speed = here.get("speedup") or {"value": 1.0, "low": 1.0, "high": 1.0}
        points.append({"mode": mode, **ends("speed-up", speed), **ends("accuracy", here["accuracy_pct"])})
    told = "; ".join(
        f"{point['mode']} {point['accuracy']:.1f} % at {point['speed-up']:.2f}x" for point in points
    )
    chart = points_with_intervals(points, "speed-up", "accuracy", "speed-up over full thinking, batch 1 (x)")
    return finished(chart, f"Accuracy against speed-up: {told}")


def ends(name: str, estimate: dict[str, float]) -> dict[str, float]:
    """A value with the ends of its interval, as columns. Resampling can leave the value just outside it."""
    low, high = min(estimate["low"], estimate["value"]), max(estimate["high"], estimate["value"])
    return {name: estimate["value"], f"{name} low": low, f"{name} high": high}


def accuracies(points: list[dict[str, Any]]) -> alt.Scale:
    """The scale of an axis of accuracies: all intervals of the points, and no impossible value."""
    low = max(min(point["accuracy low"] for point in points) - MARGIN_PCT, 0.0)
    high = min(max(point["accuracy high"] for point in points) + MARGIN_PCT, 100.0)
    return alt.Scale(domain=[low, high], nice=False, zero=False)


def _scale(shown: list[str], names: list[str], looks: Sequence[Any]) -> alt.Scale:
    """A scale of the names that are shown. The legend lists every name of a scale."""
    return alt.Scale(domain=shown, range=[looks[names.index(name)] for name in shown])


def points_with_intervals(points: list[dict[str, Any]], x: str, y: str, title: str) -> Any:
    """Points by mode, with both intervals. The axes do not start at zero."""
    across = alt.X(x, title=title, **NUMBER, axis=alt.Axis(tickCount=8))
    up = alt.Y(y, title="accuracy (%)", type="quantitative", scale=accuracies(points))
    modes = [mode for mode in MODES if any(point["mode"] == mode for point in points)]
    colour = alt.Color("mode:N", scale=_scale(modes, MODES, COLOURS), legend=ABOVE)
    shape = alt.Shape("mode:N", scale=_scale(modes, MODES, SHAPES), legend=ABOVE)
    told = [name for name in points[0] if not name.endswith((" low", " high"))]
    chart = alt.Chart(rows(points))
    bars: dict[str, Any] = {"strokeWidth": 1.2, "opacity": 0.55}
    return alt.layer(
        chart.mark_rule(**bars).encode(across, alt.Y(f"{y} low:Q"), alt.Y2(f"{y} high"), colour),
        chart.mark_rule(**bars).encode(alt.X(f"{x} low:Q"), up, alt.X2(f"{x} high"), colour),
        chart.mark_point(size=80, filled=True, opacity=1).encode(
            across, up, colour, shape, tooltip=[_tooltip(name, points[0][name]) for name in told]
        ),
    )


def _tooltip(name: str, value: str | float) -> alt.Tooltip:
    """The line of a tooltip for a column with such values. Numbers have up to three decimals."""
    if isinstance(value, str):
        return alt.Tooltip(name, type="nominal")
    return alt.Tooltip(name, type="quantitative", format=",.3~f")


def curve_chart(curves: dict[str, Any], name: str, title: str, label: str) -> Spec:
    """One curve per training run over its updates, on a logarithmic scale."""
    ranges = [
        f"{stage} from {curve[name][0]:.3g} to {curve[name][-1]:.3g}" for stage, curve in curves.items()
    ]
    values = [
        {"student": stage, "update": curve["update"], name: curve[name]} for stage, curve in curves.items()
    ]
    chart = (
        alt.Chart(rows(values))
        .transform_flatten(["update", name])
        .mark_line(strokeWidth=1.8)
        .encode(
            alt.X("update:Q", title="update"),
            alt.Y(name, type="quantitative", title=label, scale=alt.Scale(type="log", nice=False)),
            alt.Color("student:N", scale=_scale([*curves], STUDENTS, COLOURS), legend=ABOVE),
            alt.StrokeDash("student:N", scale=_scale([*curves], STUDENTS, DASHES), legend=ABOVE),
        )
    )
    return finished(chart, f"{title}: {'; '.join(ranges)}")


def kept_chart(positions: list[dict[str, Any]]) -> Spec:
    """Share of chunks kept at each position."""
    values = [{"chunk": f"c{one['position']}", "kept": one["kept_pct"]} for one in positions]
    chart = (
        alt.Chart(rows(values))
        .mark_bar(color="var(--skip)", opacity=0.85, cornerRadiusEnd=2)
        .encode(
            alt.X("chunk:N", title="chunk", sort=None, axis=alt.Axis(labelAngle=0)),
            alt.Y("kept:Q", title="chunks kept (%)", scale=alt.Scale(domain=[0, 100])),
            tooltip=[_tooltip("chunk", "c1"), _tooltip("kept", 100.0)],
        )
    )
    told = ", ".join(f"{value['chunk']} {value['kept']:.0f} %" for value in values)
    return finished(chart, f"Share of chunks kept: {told}", height=200)
