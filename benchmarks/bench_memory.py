"""Measures the memory that a student of the size of GPT-2 needs to train on one very long item.

    python -m benchmarks.bench_memory
    python -m benchmarks.bench_memory --tokens 16000 --arms "both"
    python -m benchmarks.bench_memory --document docs/speed.md     # update the table, run nothing

The student has random weights, 124 million parameters and the vocabulary of GPT-2. It makes two updates in
fp32, on one process with all cores. Every arm has a process of its own, whose peak memory is that of the
operating system (the largest resident set). The losses must agree. The last line is one JSON document, which
is also appended to `--results`.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.arguments import at_least
from benchmarks.bench_training import machine
from benchmarks.document import fill_tables
from benchmarks.evidence import finished

RESULTS = Path(__file__).with_name("memory.jsonl")
GIB = 1 << 30
UPDATES, PROMPT_TOKENS = 2, 100
ARMS = {
    "both": "logits in slices, and gradient checkpointing",
    "slices": "logits in slices (as shipped)",
    "checkpointing": "gradient checkpointing, all logits at once",
    "neither": "activations kept, all logits at once",
}
TOLERANCE = 1e-5
"""Largest relative difference of a loss to that of the first arm."""


def main() -> None:
    parser = _parser()
    options = parser.parse_args()
    if options.document:
        try:
            line = finished(options.results)[-1]
            options.document.write_text(
                fill_tables(options.document.read_text(), "memory", lambda: table(line))
            )
        except IndexError:
            parser.error(f"{options.results} has no results yet")
        except ValueError as error:
            parser.error(str(error))
        return
    if options.arm:
        print(json.dumps(measure(options.arm, options.tokens)))
        return
    found = {arm: _in_own_process(arm, options.tokens) for arm in options.arms}
    first = next(iter(found.values()))["losses"]
    for arm, record in found.items():
        if any(
            abs(one - other) > TOLERANCE * other for one, other in zip(record["losses"], first, strict=True)
        ):
            parser.error(f"{arm}: losses {record['losses']} instead of {first}")
    line = {
        "tokens": options.tokens,
        "machine": machine("cpu"),
        "date": time.strftime("%Y-%m-%d"),
        "arms": found,
    }
    with options.results.open("a") as file:
        file.write(json.dumps(line) + "\n")
    print(json.dumps(line))


def measure(arm: str, tokens: int) -> dict[str, Any]:
    """Train in this process. Returns losses, peak bytes, bytes before training, and seconds per update."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    from skipthink_ray.config import ClusterConfig, TrainConfig
    from skipthink_ray.method.markup import Item
    from skipthink_ray.models.batching import collate
    from skipthink_ray.training import loss
    from skipthink_ray.training.backend import start_engine

    if arm in ("checkpointing", "neither"):
        loss.WHOLE_LOGITS = sys.maxsize
    torch.manual_seed(0)
    config = GPT2Config(n_positions=tokens, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0)
    cluster = ClusterConfig(gradient_checkpointing=arm in ("both", "checkpointing"))
    before = _peak_bytes()
    engine = start_engine(GPT2LMHeadModel(config), TrainConfig(), cluster, "ddp")
    engine.model.train()
    ids = torch.randint(0, config.vocab_size, (tokens,)).tolist()
    batch = collate([Item(ids[:PROMPT_TOKENS], ids[PROMPT_TOKENS:])], 0, torch.device("cpu"))
    started = time.perf_counter()
    losses = [float(engine.update([batch], tokens - PROMPT_TOKENS, 1e-4)) for _ in range(UPDATES)]
    seconds = (time.perf_counter() - started) / UPDATES
    return {"losses": losses, "peak_bytes": _peak_bytes(), "before_bytes": before, "seconds": seconds}


def _peak_bytes() -> int:
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _in_own_process(arm: str, tokens: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.bench_memory", "--arm", arm, "--tokens", str(tokens)]
    ended = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if ended.returncode:
        sys.exit(f"{arm} ended with {ended.returncode}; with -9 the machine's memory is too small for it")
    record = json.loads(ended.stdout.splitlines()[-1])
    print(f"{arm}: {record['peak_bytes'] / GIB:.2f} GiB, {record['seconds']:.1f} s per update", flush=True)
    return record


def table(line: dict[str, Any]) -> str:
    rows = [
        f"{line['tokens']:,} tokens, {line['machine']}, {line['date']}:",
        "",
        "| arm | peak GiB | seconds per update |",
        "| --- | --- | --- |",
    ]
    for arm, record in line["arms"].items():
        rows.append(f"| {ARMS[arm]} | {record['peak_bytes'] / GIB:.1f} | {record['seconds']:.1f} |")
    return "\n".join(rows)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tokens", type=at_least(PROMPT_TOKENS + 1), default=8000, help="length of the item")
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=list(ARMS))
    parser.add_argument("--arm", choices=list(ARMS), help="measure this one in this process")
    parser.add_argument("--results", type=Path, default=RESULTS, help="JSON Lines file to append to")
    parser.add_argument("--document", type=Path, help="fill in the table of this document, run nothing")
    return parser


if __name__ == "__main__":
    main()
