"""Measures the memory that every rank needs to load, train, save and export a student, by ZeRO stage.

    python -m benchmarks.bench_large
    python -m benchmarks.bench_large --parameters 300 --ranks 4
    python -m benchmarks.bench_large --document docs/cluster.md      # update the table, run nothing

The student is a Llama with random weights, trained in fp32 on CPUs. Memory is what a process has allocated
itself, without the libraries and without files that it maps (`RssAnon`): the ranks of a node share the pages
of a mapped student. Freed memory goes back to the system at once (`MALLOC_MMAP_THRESHOLD_`); otherwise, the C
library keeps blocks of up to 32 MB, and the numbers would contain them, as those of a real worker on CPUs do.
The table shows the peak of each phase as a multiple of the student's size in fp32. Phases are the parts of a
stage that need most memory, without Ray: `restore` does not load the weights before the engine starts, and
`export` does not write the student. The column `estimate` is what the preflight expects a worker to need
(`training/states.py`); the last line applies it to a student of 7 billion parameters. The result is one JSON
document, which is also appended to `--results`.
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
    os.environ["MALLOC_MMAP_THRESHOLD_"] = str(1 << 16)  # for the ranks
    with tempfile.TemporaryDirectory() as folder:
        line["parameters"] = _make_student(Path(folder) / "student", options.parameters)
        line["stages"] = {stage: _measure(Path(folder), stage, options.ranks) for stage in STAGES}
    with options.results.open("a") as file:
        file.write(json.dumps(line) + "\n")
    print(table(line))
    print(json.dumps(line))


def _make_student(folder: Path, millions: int) -> int:
    """Save a student of about so many parameters. Returns how many it has."""
    width, per_layer, vocabulary = 768, 12 * 768**2, 32_000
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=8 * width // 3,
        num_hidden_layers=max(1, round((millions * 10**6 - vocabulary * width) / per_layer)),
        num_attention_heads=12,
        tie_word_embeddings=True,
    )
    model = LlamaForCausalLM(config)
    model.save_pretrained(folder)
    return model.num_parameters()


def _cluster(stage: str, ranks: int, use_gpu: bool = False) -> ClusterConfig:
    values = {"num_workers": ranks, "use_gpu": use_gpu, "backend": "ddp"}
    if stage != "ddp":
        values |= {"backend": "deepspeed", "zero_stage": int(stage[-1])}
    return ClusterConfig.model_validate(values)


def _estimate(size: int, cluster: ClusterConfig) -> int:
    """Bytes per worker in fp32."""
    return sum(needed(size, TrainConfig(), cluster).values())


def _measure(folder: Path, stage: str, ranks: int) -> dict[str, Any]:
    """Peak bytes of every phase, of rank 0 and of the largest other rank."""
    out = folder / stage
    out.mkdir()
    mp.start_processes(_rank, (folder, stage, ranks), nprocs=ranks, start_method="spawn")
    peaks = [json.loads((out / f"{rank}.json").read_text()) for rank in range(ranks)]
    others = {phase: max(rank[phase] for rank in peaks[1:] or peaks) for phase in PHASES}
    largest = max(max(rank.values()) for rank in peaks)
    print(f"{stage}: {largest / GIB:.2f} GiB on the largest rank", flush=True)
    return {"rank 0": peaks[0], "other ranks": others}


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
        for _ in range(2):  # the optimiser's states exist from the second on
            engine.update([batch], 2 * ranks, 1e-4)
    with phase("save"):
        save_checkpoint(out, engine, Progress(), samples)
    with phase("restore"):
        load_checkpoint(out, engine, samples)
    with phase("export"):
        fresh: Any = None
        if rank == 0:
            fresh = AutoModelForCausalLM.from_pretrained(folder / "student", dtype=torch.float32)
        for name, value in full_tensors(engine, None):  # only rank 0 gets any
            fresh.get_parameter(name).data.copy_(value)
    (out / f"{rank}.json").write_text(json.dumps(peaks))
    dist.barrier()
    os._exit(0)  # otherwise a thread of DeepSpeed or gloo may abort the process when it ends


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
    size, ranks = line["parameters"], line["ranks"]
    bytes_fp32 = 4 * size
    rows = [
        f"A student of {size / 1e6:.0f} million parameters ({bytes_fp32 / GIB:.2f} GiB in fp32) on {ranks} "
        "processes,",
        f"{line['machine']}, {line['date']}. Peak memory of a process as a multiple of the student's size:",
        "",
        f"| backend | rank | {' | '.join(PHASES)} | estimate |",
        f"|---|---|{'---|' * (len(PHASES) + 1)}",
    ]
    for stage, found in line["stages"].items():
        estimate = _estimate(size, _cluster(stage, ranks)) / bytes_fp32
        for rank in ("rank 0", "other ranks"):
            numbers = " | ".join(f"{max(0, found[rank][phase]) / bytes_fp32:.1f}" for phase in PHASES)
            rows.append(f"| {stage} | {rank} | {numbers} | {estimate:.1f} |")
    large = {stage: _estimate(LARGE, _cluster(stage, RANKS, use_gpu=True)) / GIB for stage in STAGES}
    student = f"{LARGE / 1e9:.0f} billion parameters in fp32 on {RANKS} GPUs"
    named = ", ".join(f"{stage} {gib:.0f} GiB" for stage, gib in large.items())
    return "\n".join([*rows, "", f"The estimate for {student}, per GPU: {named}."])


if __name__ == "__main__":
    main()
