"""Measures the memory that every rank needs to load, train, save and export a student, by ZeRO stage.

    python -m benchmarks.bench_large
    python -m benchmarks.bench_large --parameters 300 --ranks 4
    python -m benchmarks.bench_large --document docs/cluster.md      # update the table, run nothing

The student is a Llama with random weights, trained in fp32 on CPUs. Memory is what a process has allocated
itself, without the libraries and without files that it maps (`RssAnon`): the ranks of a node share the pages
of a mapped student. It is the peak of each phase, as a multiple of the student's size in fp32. The last lines
compare it with the estimate that refuses a student too large for a cluster (`training/states.py`), and apply
the estimate to a student of 7 billion parameters. The result is one JSON document, which is also appended to
`--results`.
"""

import argparse
import json
import os
import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pyarrow as pa
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from benchmarks.arguments import at_least
from benchmarks.bench_training import machine
from benchmarks.document import fill_tables
from benchmarks.evidence import finished
from skipthink_ray.config import ClusterConfig, TrainConfig
from skipthink_ray.method.markup import Item
from skipthink_ray.method.samples import Samples
from skipthink_ray.models.batching import collate
from skipthink_ray.rows import CHUNKED_SCHEMA
from skipthink_ray.training.backend import start_engine
from skipthink_ray.training.checkpoint import Progress, full_tensors, load_checkpoint, save_checkpoint
from skipthink_ray.training.states import needed

RESULTS = Path(__file__).with_name("large.jsonl")
STAGES = ("ddp", "ZeRO-2", "ZeRO-3")
PHASES = ("load", "start", "update", "save", "restore", "export")
LARGE = 7_000_000_000
"""Parameters of the student whose memory is estimated, on RANKS GPUs."""
RANKS, GIB = 8, 1 << 30


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--parameters", type=at_least(1), default=100, help="millions (default: 100)")
    parser.add_argument("--ranks", type=at_least(1), default=2, help="processes (default: 2)")
    parser.add_argument("--results", type=Path, default=RESULTS, help=f"(default: {RESULTS})")
    parser.add_argument("--document", type=Path, help="fill its table from the newest result")
    options = parser.parse_args()
    if options.document:
        line = finished(options.results)[-1]
        text = fill_tables(options.document.read_text(), "large", lambda: table(line))
        options.document.write_text(text)
        return
    line: dict[str, Any] = {
        "ranks": options.ranks,
        "machine": machine("cpu"),
        "date": time.strftime("%Y-%m-%d"),
    }
    with tempfile.TemporaryDirectory() as folder:
        line["parameters"] = _make_student(Path(folder) / "student", options.parameters)
        line["stages"] = {stage: _measure(Path(folder), stage, options.ranks) for stage in STAGES}
    line["estimates"] = {stage: _estimate(stage, LARGE, RANKS) for stage in STAGES}
    with options.results.open("a") as file:
        file.write(json.dumps(line) + "\n")
    print(table(line))
    print(json.dumps(line))


def _make_student(folder: Path, millions: int) -> int:
    """Save a student of about so many parameters. Returns how many it has."""
    width, per_layer = 768, 12 * 768**2
    config = LlamaConfig(
        vocab_size=8192,
        hidden_size=width,
        intermediate_size=8 * width // 3,
        num_hidden_layers=max(1, round((millions * 10**6 - 8192 * width) / per_layer)),
        num_attention_heads=12,
        tie_word_embeddings=True,
    )
    model = LlamaForCausalLM(config)
    model.save_pretrained(folder)
    return model.num_parameters()


def _cluster(stage: str, ranks: int) -> ClusterConfig:
    if stage == "ddp":
        return ClusterConfig(backend="ddp", num_workers=ranks)
    zero = {"ZeRO-2": 2, "ZeRO-3": 3}[stage]
    return ClusterConfig(backend="deepspeed", zero_stage=zero, num_workers=ranks)  # type: ignore[arg-type]


def _estimate(stage: str, size: int, ranks: int) -> float:
    """Bytes per worker in fp32."""
    return sum(needed(size, TrainConfig(), _cluster(stage, ranks)).values())


def _measure(folder: Path, stage: str, ranks: int) -> dict[str, Any]:
    """Peak bytes of every phase, of rank 0 and of the largest other rank."""
    out = folder / stage
    out.mkdir()
    mp.start_processes(_rank, (folder, stage, ranks), nprocs=ranks, start_method="spawn")
    peaks = [json.loads((out / f"{rank}.json").read_text()) for rank in range(ranks)]
    others = {phase: max(rank[phase] for rank in peaks[1:] or peaks) for phase in PHASES}
    size = int((folder / "student/model.safetensors").stat().st_size / 4)
    largest = max(max(rank.values()) for rank in peaks)
    print(f"{stage}: {largest / GIB:.2f} GiB on the largest rank", flush=True)
    return {"rank 0": peaks[0], "other ranks": others, "estimate": _estimate(stage, size, ranks)}


def _rank(rank: int, folder: Path, stage: str, ranks: int) -> None:
    out = folder / stage
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{out}/rendezvous", rank=rank, world_size=ranks)
    cluster, peaks = _cluster(stage, ranks), {}
    tiny = LlamaForCausalLM(LlamaConfig(hidden_size=32, intermediate_size=8, num_hidden_layers=1))
    start_engine(tiny, TrainConfig(), cluster, cluster.backend)  # imports libraries
    batch = collate([Item([1, 2], [3, 4])], 0, torch.device("cpu"))
    row = {"step_tokens": [1], "chunk_steps": [1]}  # a checkpoint holds chunks too
    samples = Samples(pa.Table.from_pylist([row], schema=CHUNKED_SCHEMA))
    before = _allocated()

    @contextmanager
    def phase(name: str) -> Iterator[None]:
        dist.barrier()
        with _peak() as peak:
            yield
            dist.barrier()
        peaks[name] = max(peak) - before

    with phase("load"):
        model = AutoModelForCausalLM.from_pretrained(folder / "student", dtype=torch.float32)
    with phase("start"):
        engine = start_engine(model, TrainConfig(), cluster, cluster.backend)
    with phase("update"):
        engine.update([batch], 2 * ranks, 1e-4)
    with phase("save"):
        save_checkpoint(out, engine, Progress(), samples)
    with phase("restore"):
        load_checkpoint(out, engine, samples)
    with phase("export"):
        fresh = AutoModelForCausalLM.from_pretrained(folder / "student", dtype=torch.float32)
        for name, value in full_tensors(engine, None):
            fresh.get_parameter(name).data.copy_(value)
    (out / f"{rank}.json").write_text(json.dumps(peaks))
    dist.barrier()
    os._exit(0)  # skips DeepSpeed's and gloo's own threads, which may abort a process that ends by itself


@contextmanager
def _peak() -> Iterator[list[int]]:
    """Bytes that this process has allocated, seen every millisecond."""
    seen, ended = [_allocated()], Event()

    def look() -> None:
        while not ended.wait(0.001):
            seen.append(_allocated())

    thread = Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        ended.set()
        thread.join()


def _allocated() -> int:
    found = re.search(r"RssAnon:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return 1024 * int(found[1])


def table(line: dict[str, Any]) -> str:
    size = 4 * line["parameters"]
    rows = [
        f"A student of {line['parameters'] / 1e6:.0f} million parameters ({size / GIB:.2f} GiB in fp32) on "
        f"{line['ranks']} processes, {line['machine']}, {line['date']}. Peak memory of a process as a "
        "multiple of the student's size:",
        "",
        f"| backend | rank | {' | '.join(PHASES)} | estimate |",
        f"|---|---|{'---|' * (len(PHASES) + 1)}",
    ]
    for stage, found in line["stages"].items():
        for rank in ("rank 0", "other ranks"):
            numbers = " | ".join(f"{found[rank][phase] / size:.1f}" for phase in PHASES)
            rows.append(f"| {stage} | {rank} | {numbers} | {found['estimate'] / size:.1f} |")
    large = ", ".join(f"{stage} {found / GIB:.0f} GiB" for stage, found in line["estimates"].items())
    student = f"{LARGE / 1e9:.0f} billion parameters in fp32 on {RANKS} GPUs"
    rows += ["", f"The estimate for {student}, per GPU: {large}."]
    return "\n".join(rows)


if __name__ == "__main__":
    main()
