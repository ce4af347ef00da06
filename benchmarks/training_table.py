"""The numbers and tables of bench_training.py."""

from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.document import fill_tables
from benchmarks.training_arms import ARMS, LITERAL
from benchmarks.training_clock import PHASES
from benchmarks.training_plan import Plan

RATES = ("target_tokens_per_s", "item_tokens_per_s", "positions_per_s", "updates_per_s")
GIB = 1 << 30
HEADS = {
    "target tokens/s": "target_tokens_per_s",
    "range": "range",
    "ratio": "ratio_to_literal",
    "ms per update": "ms",
    "CPU ms": "cpu_ms",
    "CPU ratio": "cpu_ratio_to_literal",
    "forward": "forward",
    "backward": "backward",
    "optimizer": "optimizer",
    "rest": "rest",
    "item tokens/s": "item_tokens_per_s",
    "positions/s": "positions_per_s",
    "GiB": "peak_gib",
    "start, s": "start_s",
    "checkpoint, s": "checkpoint_s",
}
UNMEASURED = "–"


def numbers(
    plan: Plan, model: Any, records: dict[str, list[dict[str, Any]]], peak_tflops: float | None
) -> dict[str, dict[str, Any]]:
    """{arm: its numbers}: medians over the repeats, the range of target tokens/s, and ratios of medians."""
    first = plan.setting.warmup * plan.setting.batch_size
    window = plan.items[first : first + plan.setting.updates * plan.setting.batch_size]
    counts = {
        "target_tokens_per_s": sum(len(item.target) for item in window),
        "item_tokens_per_s": sum(len(item.prompt) + len(item.target) for item in window),
        "updates_per_s": plan.setting.updates,
    }
    flops = useful_flops(model, [(len(item.prompt), len(item.target)) for item in window])
    found = {}
    for arm, repeats in records.items():
        rates = {name: [count / one["seconds"] for one in repeats] for name, count in counts.items()}
        rates["positions_per_s"] = [one["positions"] / one["seconds"] for one in repeats]
        seconds, targets = median(one["seconds"] for one in repeats), rates["target_tokens_per_s"]
        found[arm] = {
            **{name: _short(median(values)) for name, values in rates.items()},
            "range": [_short(min(targets)), _short(max(targets))],
            "ms": _short(1000 * seconds / plan.setting.updates),
            "cpu_ms": _short(1000 * median(one["cpu_s"] for one in repeats) / plan.setting.updates),
            **{
                name: _short(median(one["phases_ms"][name] for one in repeats))
                for name in PHASES
                if repeats[0]["phases_ms"]
            },
            "peak_gib": _short(max(one["peak_bytes"] for one in repeats) / GIB),
            "start_s": _short(median(one["start_s"] for one in repeats)),
            "checkpoint_s": _short(median(one["checkpoint_s"] for one in repeats)),
            "load": [round(one["load"], 1) for one in repeats],
        }
        if ARMS[arm].kind == "ray":
            found[arm]["ray_others_pct"] = round(100 * median(one["others_share"] for one in repeats), 1)
        if peak_tflops:
            found[arm]["mfu_pct"] = _short(100 * flops / seconds / (peak_tflops * 1e12))
    return _with_ratios(found)


def _with_ratios(found: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Adds ratios to the literal arm, and to an arm in Ray what Ray costs it beside the same arm without."""
    for name, here in found.items():
        here["ratio_to_literal"] = round(
            here["target_tokens_per_s"] / found[LITERAL]["target_tokens_per_s"], 2
        )
        here["cpu_ratio_to_literal"] = round(found[LITERAL]["cpu_ms"] / here["cpu_ms"], 2)
        bare = found.get(name.replace("Ray", "ours"))
        if bare and ARMS[name].kind == "ray":
            here["ray_ms_per_update"] = round(here["ms"] - bare["ms"], 2)
            here["ray_pct_per_update"] = round(100 * (here["ms"] / bare["ms"] - 1), 1)
            here["ray_pct_cpu"] = round(100 * (here["cpu_ms"] / bare["cpu_ms"] - 1), 1)
            here["ray_start_s"] = round(here["start_s"] - bare["start_s"], 1)
    return found


def useful_flops(model: Any, lengths: list[tuple[int, int]]) -> float:
    """Floating-point operations that training on items needs. Nobody needs logits of prompts.

    6 per token and weight of the trunk, 6 per *target* token and weight of the head, and for attention 6 per
    layer, width and pair of a token with itself or an earlier one (twice: scores and values).
    lengths: (prompt tokens, target tokens) of each item.
    """
    head = model.get_output_embeddings().weight.numel()
    tied = model.get_input_embeddings().weight is model.get_output_embeddings().weight
    trunk = model.num_parameters() - head * (1 if tied else 2)
    width, layers = model.config.hidden_size, model.config.num_hidden_layers
    tokens, targets = sum(map(sum, lengths)), sum(target for _, target in lengths)
    pairs = sum(length * (length + 1) / 2 for length in map(sum, lengths))
    return 6.0 * (trunk * tokens + head * targets + 2 * layers * width * pairs)


def show(name: str, found: dict[str, dict[str, Any]]) -> None:
    table = Table("arm", *HEADS, title=name)
    for arm, here in found.items():
        table.add_row(arm, *(_cell(here.get(key)) for key in HEADS.values()))
    Console(width=190).print(table)
    for arm, here in found.items():
        if "ray_ms_per_update" in here:
            print(f"{arm}: {_ray(here)}")


def fill(document: str, lines: list[dict[str, Any]]) -> str:
    """The document with every table from the last line of its setting."""
    by_name = {line["name"]: line for line in lines}
    return fill_tables(document, "training", lambda name: _markdown(by_name.get(name)))


def _markdown(line: dict[str, Any] | None) -> str:
    if line is None:
        return "Not run yet."
    rows = [["arm", *HEADS], ["---"] * (len(HEADS) + 1)]
    rows += [[arm, *(_cell(here.get(key)) for key in HEADS.values())] for arm, here in line["arms"].items()]
    loads = [load for here in line["arms"].values() for load in here["load"]]
    setting = line["setting"]
    notes = [
        f"{setting['updates']} updates of {setting['batch_size']} items after {setting['warmup']} others. "
        f"Medians of {line['repeats']} repeats. {line['machine']}, {line['date']}. Load average before an "
        f"arm: {min(loads)} to {max(loads)}.",
        *(f"{arm}: {_ray(here)}." for arm, here in line["arms"].items() if "ray_ms_per_update" in here),
        *(f"{arm} was left out: {why}." for arm, why in line["left_out"].items()),
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n\n" + "\n".join(f"- {n}" for n in notes)


def _ray(here: dict[str, Any]) -> str:
    others = here.get("ray_others_pct")
    return (
        f"Ray adds {here['ray_ms_per_update']:g} ms ({here['ray_pct_per_update']:g} %; CPU time "
        f"{here['ray_pct_cpu']:g} %) to an update and {here['ray_start_s']:g} s to the start"
        + (f"; its other processes take {others:g} % of a core" if others is not None else "")
    )


def _cell(value: Any) -> str:
    if isinstance(value, list):
        return "–".join(f"{one:,g}" for one in value)
    return UNMEASURED if not value else f"{value:,.0f}" if value >= 1000 else f"{value:g}"


def _short(value: float) -> float:
    """Four significant digits."""
    return float(f"{value:.4g}")
