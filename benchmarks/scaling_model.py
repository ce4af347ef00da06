"""A model of the time that the stages take, fitted to the points of `benchmarks.bench_scaling`.

A training stage needs seconds = a * updates + b * FLOPs / workers + c * bytes of gradients, where an item
costs 6 FLOPs per token and parameter, and an update sends 4 bytes per parameter if there are several workers.
The search of chunks needs a + b * FLOPs / workers, with 2 FLOPs per token, parameter and searched rationale.
The skip ablation needs a + b * chunks / actors + c * FLOPs / actors, with 2 FLOPs per token of the rationale,
parameter and chunk. The data stages need a constant and a time per rationale and CPU.

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
    """Seconds of one part of a run: `coefficients` times what `features` returns."""

    name: str
    features: Callable[[Line], list[float]]
    seconds: Callable[[Line], float]
    names: tuple[str, ...]


def _training(stage: str) -> Model:
    def features(line: Line) -> list[float]:
        made, workers = line["training"][stage], sum(line["point"]["cpus"])
        size, updates = made["parameters"], made["updates"]
        return [updates, 6 * size * made["item_tokens"] / workers, updates * 4 * size * (workers > 1)]

    def seconds(line: Line) -> float:
        return line["training"][stage]["seconds"] - line["training"][stage]["search_seconds"]

    return Model(stage, features, seconds, ("update", "FLOP and worker", "byte of gradients"))


def _search(line: Line) -> list[float]:
    made, point = line["training"]["cwt"], line["point"]
    searched = made["epochs"] * point["rationales"] * line["rationale_tokens"]
    return [1.0, 2 * made["parameters"] * searched / sum(point["cpus"])]


def _skips(line: Line) -> list[float]:
    point = line["point"]
    chunks = point["rationales"] * point["num_chunks"] / sum(point["cpus"])
    return [1.0, chunks, 2 * line["training"]["cwt"]["parameters"] * line["rationale_tokens"] * chunks]


def _data(line: Line) -> list[float]:
    return [1.0, line["point"]["rationales"] / sum(line["point"]["cpus"])]


MODELS = [
    *map(_training, TRAINED),
    Model(
        "search in cwt", _search, lambda line: line["training"]["cwt"]["search_seconds"], ("start", "FLOP")
    ),
    Model(
        "skips", _skips, lambda line: line["skips_seconds"], ("start", "chunk and actor", "FLOP and actor")
    ),
    *(
        Model(stage, _data, lambda line, stage=stage: line["seconds"][stage], ("start", "rationale and CPU"))
        for stage in ("rationales", "samples")
    ),
]


def _lines_of(model: Model, lines: Sequence[Line]) -> list[Line]:
    if model.features is _data:
        return [line for line in lines if "training" not in line]
    return [line for line in lines if "training" in line]


def fit(model: Model, lines: Sequence[Line]) -> tuple[list[float], list[float]]:
    """(coefficients, predicted / measured seconds of every line that the model is for)"""
    lines = _lines_of(model, lines)
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
    """Assumptions about a GPU and a student that nobody has measured here."""

    flops: float = 100e12
    """Useful FLOPs per second in training, in bf16: about a tenth of an H100's peak."""
    link: float = 50e9
    """Bytes per second of an all-reduce."""
    update_s: float = 0.03
    """Seconds per update that do not depend on its size."""
    decoded: float = 20_000
    """Tokens per second in the skip ablation."""
    cpus: int = 8
    """CPUs beside each GPU."""
    parameters: int = 135_000_000


def predict(lines: Sequence[Line], rationales: int, gpus: int, of: Gpus) -> dict[str, float]:
    """Hours of each part for one epoch of every training stage, and GiB of tokens on every node."""
    base = next(line for line in lines if "training" in line)
    chunks = base["point"]["num_chunks"]
    hours = {}
    for stage, items in zip(TRAINED, (1, chunks + 1, chunks + 2), strict=True):
        made = base["training"][stage]
        tokens = made["item_tokens"] / made["updates"]  # per update of the point
        updates = rationales * items / (BATCH * gpus)
        compute = 6 * of.parameters * tokens / of.flops
        hours[stage] = updates * (of.update_s + compute + 2 * 4 * of.parameters / of.link) / 3600
    searched = 2 * of.parameters * base["rationale_tokens"] * rationales
    hours["cwt"] += searched / of.flops / gpus / 3600
    hours["skips"] = rationales * chunks * base["rationale_tokens"] / of.decoded / gpus / 3600
    data = [model for model in MODELS if model.features is _data]
    each = sum(fit(model, lines)[0][1] for model in data)
    hours["data"] = rationales * each / (of.cpus * gpus) / 3600
    hours["GiB"] = rationales * base["token_bytes"] / GIB
    return hours


def table(name: str, lines: Sequence[Line]) -> str:
    """The table `points`, `model` or `prediction`."""
    return {"points": _points, "model": _model, "prediction": _prediction}[name](lines)


COLUMNS = ("data stages, s", "base, s", "cwt, s", "skips, s", "stt, s")


def _head(*names: str) -> list[str]:
    return ["| " + " | ".join(names) + " |", "|" + " --- |" * len(names)]


def _points(lines: Sequence[Line]) -> str:
    rows = _head(
        "rationales", "student", "M", "CPUs of the nodes", *COLUMNS[:3], "of it search, s", *COLUMNS[3:]
    )
    for line in lines:
        point, made = line["point"], line.get("training")
        data = f"{line['seconds']['rationales']:.1f} + {line['seconds']['samples']:.1f}"
        cells = [
            f"{point['rationales']:,}",
            "–",
            str(point["num_chunks"]),
            " + ".join(map(str, point["cpus"])),
            data,
        ]
        if made:
            cells[1] = f"{made['cwt']['parameters']:,}"
            cells += [f"{made[stage]['seconds']:.1f}" for stage in ("base", "cwt")]
            cells += [f"{made['cwt']['search_seconds']:.1f}", f"{line['skips_seconds']:.1f}"]
            cells.append(f"{made['stt']['seconds']:.1f}")
        rows.append("| " + " | ".join([*cells, *["–"] * (10 - len(cells))]) + " |")
    return "\n".join([*rows, "", f"{lines[-1]['date']}, {lines[-1]['machine']}."])


def _model(lines: Sequence[Line]) -> str:
    rows = _head("part", "seconds", "predicted / measured")
    for model in MODELS:
        coefficients, ratios = fit(model, lines)
        terms = [
            f"{value:.2g} per {what}" for value, what in zip(coefficients, model.names, strict=True) if value
        ]
        terms = [term.replace(" per start", " to start") for term in terms]
        rows.append(f"| {model.name} | {' + '.join(terms)} | {min(ratios):.2f} – {max(ratios):.2f} |")
    return "\n".join(rows)


def _rounded(value: float) -> str:
    return "< 0.01" if value < 0.01 else f"{value:.2f}" if value < 10 else f"{value:,.0f}"


def _prediction(lines: Sequence[Line]) -> str:
    of = Gpus()
    hours_of = (column.replace(", s", ", h") for column in COLUMNS)
    rows = _head("rationales", "GPUs", "items per update", *hours_of, "tokens on each node, GiB")
    for rationales in (10**6, 10**9):
        for gpus in (8, 64, 1024):
            hours = predict(lines, rationales, gpus, of)
            cells = [_rounded(hours[part]) for part in ("data", "base", "cwt", "skips", "stt", "GiB")]
            rows.append(f"| {rationales:,} | {gpus:,} | {BATCH * gpus:,} | " + " | ".join(cells) + " |")
    assumed = (
        f"Assumed: a student of {of.parameters / 1e6:.0f} million parameters, one epoch per stage, "
        f"{of.flops / 1e12:.0f} TFLOP/s and {of.decoded:,.0f} decoded tokens/s per GPU, "
        f"{of.update_s * 1000:.0f} ms per update, {of.link / 1e9:.0f} GB/s, {of.cpus} CPUs per GPU."
    )
    return "\n".join([*rows, "", assumed])
