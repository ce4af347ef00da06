"""A model of the time that the stages take, fitted to the points of `benchmarks.bench_scaling`.

A training stage needs a constant per update, a time per FLOP that its workers share, and a time per byte of
gradients if there are several workers. An item costs 6 FLOPs per token and parameter. The chunk search costs
2 FLOPs per parameter and token of question and rationale, for each boundary that can move. The skip ablation
needs a constant, a time per decoded answer, and a time per FLOP of all answers; its actors share them. The
data stages need a constant and a time per rationale that the CPUs share.

The fit minimises the relative errors; no coefficient may be negative.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import nnls

TRAINED = ("base", "cwt", "stt")
Line = dict[str, Any]
GIB = 1 << 30
BATCH = 8
"""Items per update of the points, and per update and GPU of the predictions."""


@dataclass(frozen=True)
class Model:
    """Seconds of one part of a run: coefficients times what `features` returns."""

    name: str
    features: Callable[[Line], list[float]]
    seconds: Callable[[Line], float]
    units: tuple[str, ...]
    """Of the coefficients."""
    trains: bool = True
    """Whether the points are runs with training, or of the data stages only."""

    def lines(self, lines: Sequence[Line]) -> list[Line]:
        """The points that the model is fitted to. Raises ValueError if there are none."""
        fitting = [line for line in lines if line["point"]["trains"] == self.trains and self.seconds(line)]
        if not fitting:
            raise ValueError(f"no result has the part '{self.name}'; run python -m benchmarks.bench_scaling")
        return fitting


def _training(stage: str) -> Model:
    def features(line: Line) -> list[float]:
        made, workers = line["training"][stage], sum(line["point"]["cpus"])
        size, updates = made["parameters"], made["updates"]
        return [updates, 6 * size * made["item_tokens"] / workers, updates * 4 * size * (workers > 1)]

    def seconds(line: Line) -> float:
        return line["training"][stage]["seconds"] - line["training"][stage]["search_seconds"]

    units = ("s per update", "worker-seconds per FLOP", "s per byte of gradients")
    return Model(stage, features, seconds, units)


def _search(line: Line) -> list[float]:
    size, workers = line["training"]["cwt"]["parameters"], sum(line["point"]["cpus"])
    return [2 * size * line["tokens"] * line["searched_boundaries"] / workers]


def _search_seconds(line: Line) -> float:
    return line["training"]["cwt"]["search_seconds"] if line["searched_boundaries"] else 0.0


def _skips(line: Line) -> list[float]:
    size, actors, made = line["training"]["cwt"]["parameters"], sum(line["point"]["cpus"]), line["skips"]
    answers = made["verified"] + made["decoded"]
    return [1.0, made["decoded"] / actors, 2 * size * line["tokens"] * answers / actors]


def _data(line: Line) -> list[float]:
    return [1.0, line["point"]["rationales"] / sum(line["point"]["cpus"])]


DATA = [
    Model(
        stage,
        _data,
        lambda line, stage=stage: line["seconds"][stage],
        ("s to start", "CPU-seconds per rationale"),
        trains=False,
    )
    for stage in ("rationales", "samples")
]
MODELS = [
    *map(_training, TRAINED),
    Model("search in cwt", _search, _search_seconds, ("worker-seconds per FLOP",)),
    Model(
        "skips",
        _skips,
        lambda line: line["skips"]["seconds"],
        ("s to start", "actor-seconds per decoded answer", "actor-seconds per FLOP"),
    ),
    *DATA,
]


def fit(model: Model, lines: Sequence[Line]) -> tuple[list[float], list[float]]:
    """(coefficients, predicted / measured seconds of every line that the model is for)"""
    lines = model.lines(lines)
    measured = np.array([model.seconds(line) for line in lines])
    features = np.array([model.features(line) for line in lines])
    relative = features / measured[:, None]
    scale = relative.max(axis=0)
    scale[scale == 0] = 1.0
    coefficients, _ = nnls(relative / scale, np.ones(len(lines)))
    coefficients = coefficients / scale
    return coefficients.tolist(), (features @ coefficients / measured).tolist()


@dataclass(frozen=True)
class Gpus:
    """Assumptions about GPUs and a student that nobody has measured here."""

    flops: float = 100e12
    """Useful FLOPs per second in training, in bf16: about a tenth of an H100's peak."""
    link: float = 50e9
    """Bytes per second that a GPU sends in a ring all-reduce."""
    update_s: float = 0.03
    """Seconds per update that do not depend on its size."""
    cpus: int = 8
    """CPUs beside each GPU."""
    parameters: int = 135_000_000


def predict(lines: Sequence[Line], rationales: int, gpus: int, of: Gpus) -> dict[str, float]:
    """Hours of the parts of a run with one epoch per training stage.

    Training: the items and tokens of the first point that trains, with the speeds of `of`. Data stages: the
    fitted time per rationale, if all CPUs share it. Raises ValueError if a part has no points.
    """
    base = MODELS[0].lines(lines)[0]
    chunks = base["point"]["num_chunks"]
    hours = {}
    for stage, items in zip(TRAINED, (1, chunks + 1, chunks + 2), strict=True):
        made = base["training"][stage]
        tokens = made["item_tokens"] / made["updates"]  # on one GPU, as in an update of the point
        updates = rationales * items / (BATCH * gpus)
        compute = 6 * of.parameters * tokens / of.flops
        hours[stage] = updates * (of.update_s + compute + 2 * 4 * of.parameters / of.link) / 3600
    searches = base["training"]["cwt"]["epochs"] * base["point"]["rationales"]
    boundaries = rationales * base["searched_boundaries"] / searches
    hours["cwt"] += 2 * of.parameters * base["tokens"] * boundaries / of.flops / gpus / 3600
    each = sum(fit(model, lines)[0][1] for model in DATA)
    hours["data"] = rationales * each / (of.cpus * gpus) / 3600
    return hours


def table(name: str, lines: Sequence[Line]) -> str:
    """The table `points`, `model` or `prediction`. Raises ValueError if results are missing."""
    if not lines:
        raise ValueError("there are no results; run python -m benchmarks.bench_scaling")
    return {"points": _points, "model": _model, "prediction": _prediction}[name](lines)


def _head(*names: str) -> list[str]:
    return ["| " + " | ".join(names) + " |", "|" + " --- |" * len(names)]


def _points(lines: Sequence[Line]) -> str:
    rows = _head(
        *("rationales", "student", "M", "CPUs of the nodes", "rationales + samples, s", "base, s", "cwt, s"),
        *("of it search, s", "skips, s", "answers", "right", "stt, s"),
    )
    for line in lines:
        point, cells = line["point"], ["–"] * 12
        cells[0], cells[2] = f"{point['rationales']:,}", str(point["num_chunks"])
        cells[3] = " + ".join(map(str, point["cpus"]))
        cells[4] = " + ".join(f"{line['seconds'][model.name]:.1f}" for model in DATA)
        if point["trains"]:
            made, skips = line["training"], line["skips"]
            cells[1] = f"{made['cwt']['parameters']:,}"
            seconds = [made[stage]["seconds"] for stage in ("base", "cwt")]
            seconds += [made["cwt"]["search_seconds"], skips["seconds"]]
            cells[5:9] = [f"{value:.1f}" for value in seconds]
            cells[9] = f"{skips['verified'] + skips['decoded']:,}"
            cells[10], cells[11] = f"{100 * skips['right_share']:.0f} %", f"{made['stt']['seconds']:.1f}"
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join([*rows, "", f"{lines[-1]['date']}, {lines[-1]['machine']}."])


def _model(lines: Sequence[Line]) -> str:
    rows = _head("part", "time", "predicted / measured")
    for model in MODELS:
        coefficients, ratios = fit(model, lines)
        terms = [
            f"{value:.2g} {unit}" for value, unit in zip(coefficients, model.units, strict=True) if value
        ]
        rows.append(f"| {model.name} | {', '.join(terms)} | {min(ratios):.2f} – {max(ratios):.2f} |")
    return "\n".join(rows)


def _prediction(lines: Sequence[Line]) -> str:
    of, parts = Gpus(), ("data", *TRAINED)
    rows = _head(
        *("rationales", "GPUs", "items per update", "data stages, if CPUs scaled perfectly, h"),
        *(f"{stage}, h" for stage in TRAINED),
        "tokens on each node, GiB",
    )
    for rationales in (10**6, 10**9):
        tokens = _rounded(rationales * lines[0]["token_bytes"] / GIB)
        for gpus in (8, 64, 1024):
            hours = predict(lines, rationales, gpus, of)
            cells = [
                f"{rationales:,}",
                f"{gpus:,}",
                f"{BATCH * gpus:,}",
                *(_rounded(hours[part]) for part in parts),
            ]
            rows.append("| " + " | ".join([*cells, tokens]) + " |")
    assumed = (
        f"Assumed: a student of {of.parameters / 1e6:.0f} million parameters, `match: epochs` with one "
        "epoch per stage, items as short as in the points, "
        f"{of.flops / 1e12:.0f} TFLOP/s per GPU, {of.update_s * 1000:.0f} ms per update, "
        f"{of.link / 1e9:.0f} GB/s between GPUs, {of.cpus} CPUs per GPU."
    )
    return "\n".join([*rows, "", assumed])


def _rounded(value: float) -> str:
    return "< 0.01" if value < 0.01 else f"{value:.2f}" if value < 10 else f"{value:,.0f}"
