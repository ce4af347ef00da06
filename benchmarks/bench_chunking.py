"""Compares chunk search over the stage-loss matrix with the paper's literal search, on the same rationales.

python -m benchmarks.bench_chunking --data FILE.jsonl # GSM8K's rationales, toy-size student, CPU python -m
benchmarks.bench_chunking --data FILE.jsonl --student gpt2-124m --device cuda --dtype bf16 --peak-tflops 989

Sections of the result: `searches` (seconds per rationale of the literal search, of a batched one and of ours,
with ratios), `search_only` (rationales per second of the search after the forward passes), `scaling` (cost by
n and M; --plot draws it), `forwards` (share of the device's peak). All searches must find the same
boundaries, unless the literal search decides between losses closer than TIE_NATS. The last line is one JSON
document. Needs torch, transformers and numpy, but not Ray. Without --data, the rationales are random tokens
with GSM8K's numbers of steps.
"""

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from benchmarks import literal_chunking as literal
from benchmarks.arguments import at_least
from benchmarks.chunking_texts import (
    GPT2,
    GSM8K_STEPS,
    Rationales,
    Text,
    build_student,
    join_texts,
    read_texts,
)
from skipthink_ray.method import chunking
from skipthink_ray.method.markup import MarkerIds
from skipthink_ray.models.scoring import stage_losses
from skipthink_ray.training.batches import length_batches

TIE_NATS = 1e-5
SEARCH = SimpleNamespace(
    eta_nats=0.1, objective="chunk", start_temperature_nats=0.5, cooling=0.95, proposals=200
)
SEED = (0, 0)


def clock() -> float:
    """CPU seconds of this process, which other processes hardly disturb. Wall seconds on a GPU."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.process_time()


def search_ours(
    model: Any, ids: MarkerIds, data: Rationales, method: str, batch_tokens: int
) -> tuple[np.ndarray, float]:
    """(ends, seconds of the forward passes). The same search as training/rechunk.py, in one process."""
    ends_RM = data.ends_RM
    rows = np.flatnonzero(chunking.movable(ends_RM))
    lengths = np.diff(data.question.offsets)[rows] + np.diff(data.rationale.offsets)[rows] + 1
    started, parts, order = clock(), [], length_batches(rows, lengths, batch_tokens)
    config = SimpleNamespace(**vars(SEARCH), method=method)
    for batch in order:
        parts.append(stage_losses(model, ids, data, batch, chunking.reach(ends_RM[batch], config)))  # type: ignore[arg-type]
    forwards_s = clock() - started
    if order:
        found = np.concatenate(order)
        ends_RM[found] = chunking.search(chunking.join_losses(parts), ends_RM[found], config, found, SEED)
    return ends_RM, forwards_s


def search_literally(
    model: Any, ids: MarkerIds, data: Rationales, method: str, batched: bool
) -> tuple[np.ndarray, np.ndarray, int, int]:
    """(ends, margin of the closest decision per rationale, forward passes, tokens)."""
    ends_RM, margins, forwards, tokens = data.ends_RM, np.full(len(data.tokens), np.inf), 0, 0
    drawn = chunking.draw_proposals(SEARCH.proposals, SEED)
    for row in np.flatnonzero(chunking.movable(ends_RM)):
        loss = literal.ItemLosses(model, ids.stages, ids.eos, data.questions[row], data.tokens[row], batched)
        given = {
            "greedy": (SEARCH.eta_nats,),
            "annealed": (SEARCH, drawn.of(np.array([row]))),
            "optimal": (),
        }[method]
        ends_RM[row], margins[row] = literal.SEARCHES[method](loss, ends_RM[row].tolist(), *given)
        forwards, tokens = forwards + loss.forwards, tokens + loss.tokens
    return ends_RM, margins, forwards, tokens


def timed(function: Callable[..., Any], *arguments: Any) -> tuple[Any, float]:
    started = clock()
    value = function(*arguments)
    return value, clock() - started


def compare(
    model: Any, ids: MarkerIds, texts: list[Text], steps: str, method: str, arguments: argparse.Namespace
) -> dict[str, Any]:
    """One line of `searches`. The literal searches run on the first rationales, ours on these and on all."""
    data = Rationales([text[0] for text in texts], [text[1] for text in texts], arguments.chunks)
    count = arguments.literal_gsm8k if steps == "gsm8k" else arguments.literal_long
    few = Rationales(data.questions[:count], data.tokens[:count], data.num_chunks)
    search_ours(model, ids, few, method, arguments.batch_tokens)  # warm-up
    (ours_RM, forwards_s), ours_s = timed(search_ours, model, ids, data, method, arguments.batch_tokens)
    (few_RM, _), few_s = timed(search_ours, model, ids, few, method, arguments.batch_tokens)
    moved = few_RM != few.ends_RM
    line: dict[str, Any] = {
        "steps": steps,
        "method": method,
        "rationales": len(texts),
        "ours_s_per_rationale": ours_s / len(texts),
        "search_share": 1 - forwards_s / ours_s,
        "literal_rationales": len(few.tokens),
        "movable_share": float(chunking.movable(few.ends_RM).mean()),
        "moved": int(moved.sum()),
    }
    for name, batched in (("literal", False), ("batched", True)):
        (found_RM, margin_R, forwards, tokens), seconds = timed(
            search_literally, model, ids, few, method, batched
        )
        different_R = (found_RM != few_RM).any(1)
        wrong = int((different_R & (margin_R > TIE_NATS)).sum())
        if wrong and arguments.dtype == "fp32":
            raise SystemExit(
                f"{method}, {steps} steps: {wrong} rationales differ from the {name} search without a tie"
            )
        line |= {
            f"{name}_s_per_rationale": seconds / len(few.tokens),
            f"{name}_forwards": forwards,
            f"{name}_tokens": tokens,
            f"{name}_differences": int(different_R.sum()),
            f"{name}_differences_that_do_not_tie": wrong,
        }
        if line["movable_share"]:  # otherwise the ratio would compare overheads only
            line[f"ratio_to_{name}"] = seconds / len(few.tokens) / line["ours_s_per_rationale"]
            line[f"ratio_to_{name}_same_rationales"] = seconds / few_s
    assert (few_RM == ours_RM[: len(few_RM)]).all() or arguments.dtype != "fp32", (
        "our own boundaries depend on the batch"
    )
    return line


def search_only(num_chunks: int) -> dict[str, Any]:
    """Rationales per second and core of the search alone, for GSM8K's step counts: all, and movable ones."""
    rng = np.random.default_rng(0)
    num_steps = rng.permutation(np.repeat(list(GSM8K_STEPS), list(GSM8K_STEPS.values())))
    movable = num_steps > num_chunks
    shape = (int(movable.sum()), num_chunks, max(GSM8K_STEPS))
    count_RK = rng.integers(5, 40, (shape[0], shape[2])).astype(float)
    losses = chunking.StageLosses(
        rng.gamma(2.0, 1.0, shape) * count_RK[:, None], rng.gamma(0.5, 2.0, shape), count_RK
    )
    ends_RM = chunking.average_chunks(num_steps, num_chunks)[movable]
    rates: dict[str, Any] = {"rationales": len(num_steps), "movable": shape[0]}
    for method in ("greedy", "optimal", "annealed"):
        config = SimpleNamespace(**vars(SEARCH), method=method)
        seconds = min(
            timed(chunking.search, losses, ends_RM, config, np.arange(shape[0]), SEED)[1] for _ in range(5)
        )
        rates[method] = {"per_s": len(num_steps) / seconds, "movable_per_s": shape[0] / seconds}
    return rates


def scaling(
    model_of: Callable[[int], tuple[Any, MarkerIds]], texts: list[Text], arguments: argparse.Namespace
) -> list[dict[str, Any]]:
    """Seconds per rationale by n and M: our forward passes, our search, and the literal greedy search."""
    lines = []
    for num_chunks in (2, 4, 8):
        model, ids = model_of(num_chunks)
        for num_steps in (10, 20, 40, 80):
            some = join_texts(texts, num_steps, arguments.scaling)
            data = Rationales([text[0] for text in some], [text[1] for text in some], num_chunks)
            line: dict[str, Any] = {"steps": num_steps, "chunks": num_chunks}
            for method in ("greedy", "optimal"):
                (_, forwards_s), seconds = timed(
                    search_ours, model, ids, data, method, arguments.batch_tokens
                )
                line |= {
                    f"{method}_forwards_s": forwards_s / len(some),
                    f"{method}_search_s": (seconds - forwards_s) / len(some),
                }
            for name, batched in (("literal", False), ("batched", True)):
                _, seconds = timed(search_literally, model, ids, data, "greedy", batched)
                line[f"{name}_greedy_s"] = seconds / len(some)
                line[f"ratio_to_{name}"] = line[f"{name}_greedy_s"] / (
                    line["greedy_forwards_s"] + line["greedy_search_s"]
                )
            lines.append(line)
    return lines


def forward_flops(model: Any, data: Rationales) -> float:
    """FLOPs of the M passes of scoring.py, without padding.

    Counts 2 per weight and token, attention, and logits in the band.
    """
    config, embedding = model.config, model.get_output_embeddings().weight
    embeddings = sum(e.weight.numel() for e in model.modules() if isinstance(e, torch.nn.Embedding))
    trunk = model.base_model.num_parameters() - embeddings
    total, chunks = 0.0, data.num_chunks
    for question, steps in zip(data.questions, data.tokens, strict=True):
        if len(steps) <= chunks:
            continue
        ends = np.cumsum([0, *(len(step) for step in steps)])
        for m in range(chunks):
            band = (ends[m], ends[len(steps) - chunks + 1 + m])
            length = 1 + len(question) + band[1]
            total += (
                2 * trunk * length
                + 2 * config.num_hidden_layers * config.hidden_size * length**2
                + 2 * embedding.numel() * (band[1] - band[0] + 1)
            )
    return float(total)


def plot(lines: list[dict[str, Any]], file: str) -> None:
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt
    from matplotlib.ticker import NullLocator

    figure, axes = plt.subplots(1, 3, figsize=(12, 3.6), sharey=True, layout="constrained")
    for axis, chunks in zip(axes, (2, 4, 8), strict=True):
        own = [line for line in lines if line["chunks"] == chunks]
        names = {
            "literal_greedy_s": "literal greedy: a pass per cut",
            "batched_greedy_s": "literal greedy, cuts batched",
            "optimal_forwards_s": "ours, optimal: passes",
            "greedy_forwards_s": "ours, greedy: passes",
            "optimal_search_s": "ours, optimal: search",
            "greedy_search_s": "ours, greedy: search",
        }
        for key, label in names.items():
            axis.plot(
                [line["steps"] for line in own],
                [max(line[key], 1e-7) for line in own],
                marker="o",
                markersize=3,
                label=label,
            )
        axis.set(xscale="log", yscale="log", xlabel="steps of a rationale (n)", title=f"M = {chunks}")
        axis.set_xticks(steps := [line["steps"] for line in own], steps, minor=False)
        axis.xaxis.set_minor_locator(NullLocator())
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("seconds per rationale")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right center", fontsize=8)
    figure.savefig(file, dpi=130)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", help="JSON Lines with question and rationale")
    parser.add_argument("--student", choices=["toy", *GPT2], default="toy")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--dtype", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument(
        "--threads",
        type=at_least(1),
        default=1,
        help="torch threads; the project gives a worker one per requested CPU",
    )
    parser.add_argument("--chunks", type=at_least(2), default=4, help="M")
    parser.add_argument(
        "--batch-tokens", type=at_least(1), default=2048, help="tokens per forward pass of our search"
    )
    parser.add_argument(
        "--steps", nargs="*", type=at_least(1), default=[20, 100], help="lengths of the joined rationales"
    )
    parser.add_argument(
        "--methods", nargs="*", choices=list(literal.SEARCHES), default=["greedy", "annealed", "optimal"]
    )
    parser.add_argument(
        "--rationales", type=at_least(1), default=400, help="GSM8K's own rationales, for our search"
    )
    parser.add_argument("--long", type=at_least(1), default=16, help="joined rationales, for our search")
    parser.add_argument(
        "--literal-gsm8k",
        type=at_least(1),
        default=200,
        help="GSM8K's own rationales, for the literal searches",
    )
    parser.add_argument(
        "--literal-long", type=at_least(1), default=2, help="joined rationales, for the literal searches"
    )
    parser.add_argument(
        "--literal-optimal-steps",
        type=at_least(1),
        default=20,
        help="most steps of a rationale for the methods optimal and annealed",
    )
    parser.add_argument(
        "--scaling",
        type=at_least(0),
        default=0,
        help="rationales per point of `scaling`; 0 skips this section",
    )
    parser.add_argument("--plot", help="PNG file for a plot of `scaling`")
    parser.add_argument(
        "--peak-tflops", type=float, help="peak of the device and dtype; H200: 989 in dense bf16"
    )
    arguments = parser.parse_args()
    if arguments.data and not Path(arguments.data).is_file():
        parser.error(f"--data: no such file: {arguments.data}")
    if arguments.plot and not arguments.scaling:
        parser.error("--plot draws what --scaling measures; give both")
    return arguments


def main() -> None:
    arguments = parse()
    torch.set_num_threads(arguments.threads)
    vocabulary = 1024 if arguments.student == "toy" else 50257
    texts = read_texts(arguments.data, vocabulary)
    dtype = torch.bfloat16 if arguments.dtype == "bf16" else torch.float32

    def model_of(num_chunks: int) -> tuple[Any, MarkerIds]:
        model, ids = build_student(arguments.student, vocabulary, num_chunks, positions=8192)
        return model.to(arguments.device, dtype).eval(), ids

    model, ids = model_of(arguments.chunks)
    lines = []
    sets = {
        "gsm8k": texts[: arguments.rationales],
        **{str(n): join_texts(texts, n, arguments.long) for n in arguments.steps},
    }
    for steps, some in sets.items():
        for method in arguments.methods:
            if method != "greedy" and steps != "gsm8k" and int(steps) > arguments.literal_optimal_steps:
                continue
            lines.append(compare(model, ids, some, steps, method, arguments))
            print(
                {
                    key: round(value, 5) if isinstance(value, float) else value
                    for key, value in lines[-1].items()
                },
                flush=True,
            )
    data = Rationales(
        [text[0] for text in sets["gsm8k"]], [text[1] for text in sets["gsm8k"]], arguments.chunks
    )
    _, seconds = search_ours(model, ids, data, "optimal", arguments.batch_tokens)
    flops = forward_flops(model, data)
    forwards: dict[str, Any] = {"tflop": flops / 1e12, "seconds": seconds, "tflops": flops / seconds / 1e12}
    if arguments.peak_tflops:
        forwards["share_of_peak"] = forwards["tflops"] / arguments.peak_tflops
    grown = scaling(model_of, texts, arguments) if arguments.scaling else []
    if arguments.plot:
        plot(grown, arguments.plot)
    device = (
        torch.cuda.get_device_name()
        if arguments.device == "cuda"
        else f"{os.cpu_count()} CPU cores, {platform.machine()}"
    )
    made = {
        "student": arguments.student,
        "parameters": model.num_parameters(),
        "device": device,
        "torch": torch.__version__,
    }
    made |= {name: getattr(arguments, name) for name in ("dtype", "threads", "chunks", "batch_tokens")}
    print(
        json.dumps(
            {
                "made": made,
                "searches": lines,
                "search_only": search_only(arguments.chunks),
                "forwards": forwards,
                "scaling": grown,
            }
        )
    )


if __name__ == "__main__":
    main()
