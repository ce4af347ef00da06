"""The tables of the comparison on a pretrained student, from benchmarks/pretrained.jsonl."""

from typing import Any

import numpy as np

from benchmarks.document import fill_tables
from benchmarks.pretrained_arms import AVERAGE, BASE, FP32, GREEDY, MARKERS, TABLE, Arm, stt_arm
from skipthink_ray.method.intervals import bootstrap
from skipthink_ray.method.metrics import ratio_of_sums

UNMEASURED = "–"
COLUMNS: dict[str, tuple[tuple[str, str, str], ...]] = {
    "markers": (
        ("right from gold chunks %", "dev_gold_right_pct", ".1f"),
        ("empty %", "dev_gold_empty_pct", ".1f"),
        ("markers apart", "marker_separation", ".2f"),
        ("loss, nats", "final_loss_nats", ".3f"),
        ("training, s", "train_s", ".0f"),
    ),
    "table": (
        ("dev accuracy %", "dev_accuracy_pct", ".1f"),
        ("test accuracy %", "test_accuracy_pct", ".1f"),
        ("no answer %", "test_format_errors_pct", ".1f"),
        ("tokens", "test_tokens", ".1f"),
        ("minus Base, points", "minus_base", ""),
        ("AES", "aes", ".2f"),
        ("s at batch 1", "seconds", ".2f"),
        ("kept of c_1..c_M %", "kept_pct_by_chunk", ""),
        ("right from gold chunks %", "dev_gold_right_pct", ".1f"),
        ("target tokens, k", "target_tokens", "k"),
        ("training, s", "train_s", ".0f"),
    ),
}
PARTS = {"markers": MARKERS, "table": TABLE + FP32}
ALPHA, BETA, GAMMA = 1.0, 3.0, 5.0
"""AES weighs shorter answers, gains and losses of accuracy with these (Luo et al. 2025, O1-Pruner)."""
PAIRS: tuple[tuple[str, Arm, Arm], ...] = (
    ("CWT against Base", GREEDY, BASE),
    ("greedy against average chunks", GREEDY, AVERAGE),
    ("STT (reading) against Base", stt_arm("reading", "any"), BASE),
    ("STT (writing) against Base", stt_arm("writing", "any"), BASE),
    (
        "gate by reading against random skips",
        stt_arm("reading", "any"),
        stt_arm("reading", "any", shuffled=True),
    ),
    (
        "gate by writing against random skips",
        stt_arm("writing", "any"),
        stt_arm("writing", "any", shuffled=True),
    ),
    ("gate by writing against gate by reading", stt_arm("writing", "any"), stt_arm("reading", "any")),
)
SAMPLES, CONFIDENCE, SEED = 10_000, 0.95, 0


def tables(lines: list[dict[str, Any]]) -> dict[str, str]:
    """The tables as Markdown; `–` marks what is not measured."""
    by_key = {line["key"]: line for line in lines}
    seconds = {key: values for line in lines for key, values in line.get("seconds_by_arm", {}).items()}
    base = by_key.get(BASE.key)
    for key, line in by_key.items():
        if key in seconds:
            line["seconds"] = seconds[key]
        if base and line["part"] == "table" and line is not base:
            line["minus_base"], line["aes"] = _points(line, base), _aes(line, base)
    made = {part: _table(COLUMNS[part], arms, by_key) for part, arms in PARTS.items()}
    return made | {"pairs": _pairs(by_key)}


def _points(here: dict[str, Any], there: dict[str, Any]) -> str:
    """Difference of test accuracy in points, with its paired bootstrap interval over the questions."""
    flags = [np.array([int(flag) for flag in line["test_right"]]) for line in (here, there)]
    found = bootstrap(lambda one, two: 100 * float((one - two).mean()), flags, SAMPLES, CONFIDENCE, SEED)
    return f"{found.value:+.1f} ({found.low:+.1f} to {found.high:+.1f})"


def _ratio(numerator: list[float], denominator: list[float]) -> str:
    columns = [np.array(numerator, dtype=float), np.array(denominator, dtype=float)]
    found = bootstrap(ratio_of_sums, columns, SAMPLES, CONFIDENCE, SEED)
    return f"{found.value:.2f} ({found.low:.2f} to {found.high:.2f})"


def _aes(here: dict[str, Any], base: dict[str, Any]) -> float:
    """ALPHA * share of tokens saved + BETA * relative gain of accuracy, or - GAMMA * relative loss."""
    saved = 1 - here["test_tokens"] / base["test_tokens"]
    gain = here["test_accuracy_pct"] / base["test_accuracy_pct"] - 1
    return ALPHA * saved + (BETA if gain >= 0 else GAMMA) * gain


def _pairs(by_key: dict[str, dict[str, Any]]) -> str:
    rows = [["pair", "accuracy, points", "tokens, ratio", "seconds at batch 1, ratio"], ["---"] * 4]
    for name, one, two in PAIRS:
        here, there = by_key.get(one.key), by_key.get(two.key)
        if here and there:
            timed = "seconds" in here and "seconds" in there
            tokens = _ratio(here["test_token_counts"], there["test_token_counts"])
            seconds = _ratio(here["seconds"], there["seconds"]) if timed else UNMEASURED
            rows.append([name, _points(here, there), tokens, seconds])
    return _markdown(rows)


def fill(document: str, lines: list[dict[str, Any]]) -> str:
    """The document with every table as the lines have it now."""
    made = tables(lines)
    return fill_tables(document, "pretrained", made.__getitem__)


def _table(
    columns: tuple[tuple[str, str, str], ...], arms: tuple[Arm, ...], by_key: dict[str, dict[str, Any]]
) -> str:
    heads = ["arm", *(head for head, *_ in columns)]
    rows = [heads, ["---"] * len(heads)]
    measured = [arm for arm in arms if arm.key in by_key]
    for arm in measured:
        line = by_key[arm.key]
        cells = [_cell(line[name], form) if name in line else UNMEASURED for _, name, form in columns]
        rows.append([arm.name, *cells])
    others = [arm.name for arm in arms if arm not in measured]
    return _markdown(rows) + (f"\n\nNot measured: {'; '.join(others)}." if others else "")


def _markdown(rows: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _cell(value: Any, form: str) -> str:
    if isinstance(value, str):
        return value
    if form == "k":
        return f"{value / 1000:.0f}"
    if isinstance(value, list) and not form:
        return " ".join(f"{one:.0f}" for one in value)
    return f"{np.mean(value):{form}}"
