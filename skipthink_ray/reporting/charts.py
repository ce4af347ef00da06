"""The charts of the page: inline SVG, with the same bytes for the same numbers.

Text stays text, in the reader's fonts. Every colour is a CSS variable, so one chart works in light, dark
and print.
"""

import re
from io import StringIO
from typing import Any

import matplotlib.style
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

# Matplotlib draws with placeholder colours; _VARIABLES maps them to variables of the page's style sheet.
_INK, _GRID = "#010101", "#020202"
_COLOURS = {
    "full": "#030303",
    "staged": "#040404",
    "skip": "#050505",
    "direct": "#060606",
    "base": "#030303",
    "cwt": "#040404",
    "stt": "#050505",
    "icot": "#060606",
}
_VARIABLES = {
    _INK: "var(--ink)",
    _GRID: "var(--line)",
    "#030303": "var(--full)",
    "#040404": "var(--staged)",
    "#050505": "var(--skip)",
    "#060606": "var(--direct)",
}
_MARKERS = {"full": "o", "staged": "s", "skip": "D", "direct": "^"}
_DASHES = {"base": "-", "cwt": (0, (5, 2)), "stt": (0, (1.5, 1.5)), "icot": (0, (5, 2, 1.5, 2))}
_STYLE: dict[str, Any] = {
    "svg.hashsalt": "skipthink",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": _GRID,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
}


def accuracy_chart(modes: dict[str, Any]) -> Markup:
    """Accuracy over speed-up: one point per mode, with both intervals."""
    points = [
        f"{mode} {here['accuracy_pct']['value']:.1f} % at {_speedup(here)['value']:.2f}x"
        for mode, here in modes.items()
    ]
    with matplotlib.style.context(["default", _STYLE]):
        figure, axes = _figure()
        for mode, here in modes.items():
            x, y = _speedup(here), here["accuracy_pct"]
            look: dict[str, Any] = {"color": _COLOURS[mode], "linestyle": "none"}
            axes.errorbar(
                x["value"], y["value"], xerr=_error(x), yerr=_error(y), capsize=3, elinewidth=1.2, **look
            )
            axes.plot(x["value"], y["value"], marker=_MARKERS[mode], markersize=7, label=mode, **look)
        axes.margins(0.12)
        bottom, top = axes.get_ylim()
        axes.set_ylim(max(bottom, -2.0), min(top, 102.0))
        axes.set_xlabel("speed-up over full thinking, batch 1 (x)")
        axes.set_ylabel("accuracy (%)")
        return _svg(figure, axes, "accuracy", "Accuracy against speed-up", "; ".join(points))


def curve_chart(curves: dict[str, Any], name: str, title: str, label: str) -> Markup:
    """One curve per training run over its updates, on a logarithmic scale."""
    ranges = [
        f"{stage} from {curve[name][0]:.3g} to {curve[name][-1]:.3g}" for stage, curve in curves.items()
    ]
    with matplotlib.style.context(["default", _STYLE]):
        figure, axes = _figure()
        for stage, curve in curves.items():
            axes.plot(
                curve["update"], curve[name], label=stage, color=_COLOURS[stage], linestyle=_DASHES[stage]
            )
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel("update")
        axes.set_ylabel(label)
        return _svg(figure, axes, name, title, "; ".join(ranges))


def _speedup(mode: dict[str, Any]) -> dict[str, float]:
    """The speed-up of a mode. Full thinking is the reference: exactly 1."""
    return mode.get("speedup") or {"value": 1.0, "low": 1.0, "high": 1.0}


def _error(estimate: dict[str, float]) -> list[list[float]]:
    """Distances to both ends, at least 0: resampling can leave the value just outside its interval."""
    return [[max(estimate["value"] - estimate["low"], 0.0)], [max(estimate["high"] - estimate["value"], 0.0)]]


def _figure() -> tuple[Figure, Axes]:
    figure = Figure(figsize=(4.8, 3.4), layout="constrained")
    FigureCanvasSVG(figure)
    return figure, figure.add_subplot()


def _svg(figure: Figure, axes: Axes, name: str, title: str, description: str) -> Markup:
    """The figure as an SVG element with unique ids, and a title and description for screen readers."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels))
    text = StringIO()
    figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    svg = text.getvalue()
    view_box, body = re.findall(r'viewBox="([^"]*)"', svg)[0], svg[svg.index(">", svg.index("<svg")) + 1 :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r'(id="|href="#|url\(#)', rf"\g<1>{name}-", body)
    body = re.sub(r"font: (\d+)px [^;\"]*", r"font-size: \1px", body)
    for colour, variable in _VARIABLES.items():
        body = body.replace(colour, variable)
    head = (
        f'<svg viewBox="{view_box}" role="img" aria-labelledby="{name}-title {name}-text" '
        'xmlns:xlink="http://www.w3.org/1999/xlink">'
    )
    words = (
        f'<title id="{name}-title">{escape(title)}</title><desc id="{name}-text">{escape(description)}</desc>'
    )
    return Markup(head + words + body)  # safe: drawn from numbers, and the words are escaped
