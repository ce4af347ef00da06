"""The charts of a page of several runs or of a sweep's trials, for one task (see charts.py)."""

from collections.abc import Sequence
from typing import Any

import altair as alt

from skipthink_ray.reporting.charts import (
    ABOVE,
    Spec,
    accuracies,
    ends,
    finished,
    points_with_intervals,
    rows,
)
from skipthink_ray.reporting.entry import Entry

POINTS = 100
"""Points of a curve."""
COLOURS = 8
"""Arms in colours of their own. With more, a legend would say less than the tooltip."""
LONG = 18
"""A legend has three columns if no arm's name is longer, else one. In characters."""
LINE = 16
"""Height of a line of a legend, in pixels."""
DIGITS = 5
UNSET = -0.18
"""Where a line of parallel coordinates passes a key that its trial does not set."""


def charts_of(entries: Sequence[Entry]) -> dict[str, Spec]:
    """All charts of a task, by name. A chart that would show one value only is left out."""
    # The run that a sweep chose answered other questions than its trials.
    entries = [entry for entry in entries if (entry.drawn is None) == (entries[0].drawn is None)]
    charts = {"front": front_chart(entries), "kept": kept_chart(entries)}
    draws = [(entry, entry.drawn) for entry in entries if entry.drawn is not None]
    if len(draws) > 1:
        charts["parallel"] = parallel_chart(draws)
    numbers = [(entry, float(entry.num_chunks)) for entry in entries]
    etas = [(entry, eta) for entry in entries if (eta := _eta(entry)) is not None]
    for name, values, title in (
        ("num_chunks", numbers, "M, chunks per rationale"),
        ("eta", etas, "η (nats)"),
    ):
        if len({value for _, value in values}) > 1:
            charts[name] = setting_chart(values, title)
    for stage in ("base", "cwt", "stt"):
        charts[f"loss-{stage}"] = loss_chart(entries, stage)
    return charts


def _eta(entry: Entry) -> float | None:
    """η, if the run's chunker reads it."""
    search = entry.config["cwt"]["search"]
    return search["eta_nats"] if search["method"] == "greedy" else None


def front_chart(entries: Sequence[Entry]) -> Spec:
    """Accuracy against speed, every mode of every arm, and the front of those that no other beats in both."""
    is_sweep = entries[0].drawn is not None
    name = "token ratio" if is_sweep else "speed-up"
    title = "tokens of full / tokens (x)" if is_sweep else "speed-up over full thinking, batch 1 (x)"
    seen: dict[tuple[Any, ...], dict[str, Any]] = {}
    for entry in entries:
        for mode in entry.report["modes"]:
            accuracy = entry.report["modes"][mode]["accuracy_pct"]
            point = {
                "arm": entry.arm,
                "mode": mode,
                **ends(name, entry.speed(mode)),
                **ends("accuracy", accuracy),
            }
            point["tokens"] = entry.report["modes"][mode]["tokens"]["value"]
            point["chosen"] = "yes" if entry.is_chosen else "no"
            seen.setdefault((mode, point[name], point["accuracy"]), point)  # arms may share a student
    points = [*seen.values()]
    line = alt.Chart(rows(front(points, name))).mark_line(
        interpolate="step-before", color="var(--soft)", strokeDash=[4, 3], strokeWidth=1.2
    )
    line = line.encode(alt.X(name, type="quantitative"), alt.Y("accuracy:Q"))
    chart = alt.layer(line, points_with_intervals(points, name, "accuracy", title))
    best = "; ".join(
        f"{one['mode']} {one['accuracy']:.1f} % at {one[name]:.2f}x" for one in front(points, name)
    )
    return finished(chart, f"Accuracy against {name}. On the front: {best}", height=360)


def front(points: list[dict[str, Any]], speed: str) -> list[dict[str, Any]]:
    """The points that no other point equals or beats in both speed and accuracy, by rising speed."""
    best, found = float("-inf"), []
    for point in sorted(points, key=lambda one: (-one[speed], -one["accuracy"])):
        if point["accuracy"] > best:
            best = point["accuracy"]
            found.insert(0, {"mode": point["mode"], speed: point[speed], "accuracy": best})
    return found


def parallel_chart(trials: Sequence[tuple[Entry, dict[str, Any]]]) -> Spec:
    """A line per trial through the values of its draw, its dev accuracy and its tokens."""
    keys = [*dict.fromkeys(key for _, drawn in trials for key in drawn)]
    columns: dict[str, list[Any]] = {key: [drawn.get(key) for _, drawn in trials] for key in keys}
    skip = [entry.report["modes"]["skip"] for entry, _ in trials]
    columns["accuracy (%)"] = [round(mode["accuracy_pct"]["value"], 1) for mode in skip]
    columns["tokens"] = [round(mode["tokens"]["value"], 1) for mode in skip]
    columns = {name: values for name, values in columns.items() if len({*map(repr, values)}) > 1}
    lines, ticks = [], []
    for name, values in columns.items():
        heights = _heights(values)
        short = name.rpartition(".")[2]
        lines += [
            {
                "arm": entry.arm,
                "axis": short,
                "height": height,
                "accuracy": entry.report["modes"]["skip"]["accuracy_pct"]["value"],
            }
            for (entry, _), height in zip(trials, heights, strict=True)
        ]
        labels = {height: _label(value) for value, height in zip(values, heights, strict=True)}
        if len(labels) > 6:
            labels = {
                height: labels[height] for height in (min(labels), max(labels), UNSET) if height in labels
            }
        ticks += [{"axis": short, "height": height, "label": label} for height, label in labels.items()]
    return finished(_parallel(lines, ticks), f"Parallel coordinates of {len(trials)} trials", height=320)


def _parallel(lines: list[dict[str, Any]], ticks: list[dict[str, Any]]) -> Any:
    across = alt.X("axis:N", sort=None, title=None, axis=alt.Axis(labelAngle=0, grid=True, labelLimit=110))
    up = alt.Y("height:Q", axis=None)
    colour = alt.Color(
        "accuracy:Q",
        scale=alt.Scale(range=["#a8b3c2", "#c2570c"], interpolate="rgb"),
        legend=alt.Legend(title="skip accuracy (%)", orient="top", type="gradient", gradientLength=160),
    )
    hovered = alt.selection_point(name="hovered", fields=["arm"], on="pointerover", empty=True)
    line = (
        alt.Chart(rows(lines))
        .mark_line(strokeWidth=2)
        .encode(
            across,
            up,
            colour,
            alt.Detail("arm:N"),
            opacity=alt.condition(hovered, alt.value(0.9), alt.value(0.12)),
        )
    )
    point = (
        alt.Chart(rows(lines), name="trials")
        .mark_circle(size=45)
        .encode(across, up, colour, tooltip=["arm:N", alt.Tooltip("accuracy:Q", format=".1f")])
        .add_params(hovered)
    )
    label = (
        alt.Chart(rows(ticks))
        .mark_text(align="left", dx=7, fontSize=11, color="var(--ink)")
        .encode(across, up, alt.Text("label:N"))
    )
    return alt.layer(line, point, label)


def _heights(values: list[Any]) -> list[float]:
    """Heights from 0 to 1: by size for numbers, by rank for words; `UNSET` for a key that is not set."""
    known = [value for value in values if value is not None]
    is_number = all(isinstance(value, int | float) and not isinstance(value, bool) for value in known)
    ranked = known if is_number else [*dict.fromkeys(sorted(map(str, known)))]
    place = (lambda value: value) if is_number else (lambda value: ranked.index(str(value)))
    low, high = min(map(place, known)), max(map(place, known))
    return [
        UNSET if value is None else round((place(value) - low) / (high - low), 4) if high > low else 0.5
        for value in values
    ]


def _label(value: Any) -> str:
    return "not set" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def setting_chart(values: list[tuple[Entry, float]], title: str) -> Spec:
    """Accuracy of the skip student against the value of a setting, by chunker."""
    points = [
        {
            "arm": entry.arm,
            "chunker": entry.config["cwt"]["search"]["method"],
            "value": value,
            **ends("accuracy", entry.report["modes"]["skip"]["accuracy_pct"]),
        }
        for entry, value in values
    ]
    whole = all(value == int(value) for _, value in values)
    is_log = not whole and all(value > 0 for _, value in values)
    scale = alt.Scale(type="log", padding=14, nice=False) if is_log else alt.Scale(zero=False, padding=14)
    axis = alt.Axis(tickMinStep=1, format="d") if whole else alt.Axis(format="~g", tickCount=4)
    across = alt.X("value:Q", title=title, scale=scale, axis=axis)
    up = alt.Y("accuracy:Q", title=f"skip accuracy on {values[0][0].split} (%)", scale=accuracies(points))
    colour = alt.Color("chunker:N", scale=_series(len({point["chunker"] for point in points})), legend=ABOVE)
    chart = alt.Chart(rows(points))
    chart = alt.layer(
        chart.mark_rule(strokeWidth=1.2, opacity=0.45).encode(
            across, alt.Y("accuracy low:Q"), alt.Y2("accuracy high"), colour
        ),
        chart.mark_circle(size=75, opacity=1).encode(
            across, up, colour, tooltip=["arm:N", "value:Q", alt.Tooltip("accuracy:Q", format=".1f")]
        ),
    )
    return finished(chart, f"Accuracy against {title}, {len(points)} runs")


def _series(number: int) -> alt.Scale:
    return alt.Scale(range=[f"var(--series-{at % COLOURS + 1})" for at in range(max(number, 1))])


def _legend(arms: list[str]) -> alt.Legend | None:
    long = max(map(len, arms)) > LONG
    return alt.Legend(title=None, orient="top", columns=1 if long else 3) if len(arms) <= COLOURS else None


def loss_chart(entries: Sequence[Entry], stage: str) -> Spec:
    """Training loss of a stage. A student that several arms share has one curve."""
    curves: dict[str, list[Entry]] = {}
    for entry in entries:
        curves.setdefault(entry.report["made"]["digests"][stage], []).append(entry)
    values = [
        {"arm": _names(of, entries), **_thinned(of[0].report["curves"][stage])} for of in curves.values()
    ]
    legend = _legend([value["arm"] for value in values])
    chart = (
        alt.Chart(rows(values))
        .transform_flatten(["update", "loss"])
        .mark_line(strokeWidth=1.6)
        .encode(
            alt.X("update:Q", title="update"),
            alt.Y("loss:Q", title="loss (nats per target token)", scale=alt.Scale(type="log", nice=False)),
            alt.Color("arm:N", sort=None, scale=_series(len(values)), legend=legend),
            tooltip=["arm:N", "update:Q", alt.Tooltip("loss:Q", format=".4g")],
        )
    )
    return finished(
        chart, f"Training loss of {stage}, {len(values)} students", height=230 + LINE * len(values)
    )


def _names(of: list[Entry], entries: Sequence[Entry]) -> str:
    if len(of) == len(entries) > 1:
        return "all arms"
    return of[0].arm if len(of) == 1 else f"{of[0].arm} and {len(of) - 1} more"


def _thinned(curve: dict[str, Any]) -> dict[str, list[float]]:
    every = max(1, -(-len(curve["update"]) // POINTS))
    loss = [float(f"{value:.{DIGITS}g}") for value in curve["loss_nats"][::every]]
    return {"update": curve["update"][::every], "loss": loss}


def kept_chart(entries: Sequence[Entry]) -> Spec:
    """Share of chunks kept per chunk index, a line per arm."""
    values = [
        {"arm": entry.arm, "chunk": one["position"], "kept": one["kept_pct"]}
        for entry in entries
        for one in entry.report["chunks"]["positions"]
    ]
    chart = (
        alt.Chart(rows(values))
        .mark_line(strokeWidth=1.8, point=alt.OverlayMarkDef(size=55, filled=True))
        .encode(
            alt.X("chunk:O", title="chunk index", axis=alt.Axis(labelAngle=0)),
            alt.Y("kept:Q", title="chunks kept (%)", scale=alt.Scale(domain=[0, 100])),
            alt.Color(
                "arm:N",
                sort=None,
                scale=_series(len(entries)),
                legend=_legend([entry.arm for entry in entries]),
            ),
            tooltip=["arm:N", "chunk:O", alt.Tooltip("kept:Q", format=".1f")],
        )
    )
    return finished(
        chart, f"Share of chunks kept per chunk index, {len(entries)} arms", height=250 + LINE * len(entries)
    )
