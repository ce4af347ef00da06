"""Compares skip ablation by verification on shared keys and values with the literal rule by plain `generate`.

    python -m benchmarks.bench_skips                    # the toy student, one CPU thread
    python -m benchmarks.bench_skips --student gpt2-124m --device cuda --precision bf16
    python -m benchmarks.bench_skips --actors 1 2       # throughput of the stage's actor pool

A student of the given architecture starts from random weights and trains briefly on toy questions (cwt, chunk
dropout 0.5, so that some chunks are superfluous). Then three searches run in turn on the same samples, for
each of the judges `reading` and `writing`: the literal one, ours, and ours without sharing, which isolates
the gain of shared prefixes. The best of `--repeats` runs counts, in CPU seconds on a CPU (which other
processes do not inflate) and in wall seconds on a GPU. `positions` counts the token positions that the
student computed, padding included. The last line is one JSON document. Only --actors needs Ray.
"""

import argparse
import json
import platform
import sys
import time
from functools import partial
from itertools import chain
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from benchmarks.arguments import at_least
from benchmarks.chunking_texts import GPT2
from benchmarks.literal_skips import Generator
from skipthink_ray.config import (
    ClusterConfig,
    CwtConfig,
    OptimConfig,
    PipelineConfig,
    SamplesConfig,
    SkipsConfig,
    StudentConfig,
)
from skipthink_ray.method.cutting import cut, texts
from skipthink_ray.method.markup import Sample
from skipthink_ray.method.samples import Samples
from skipthink_ray.method.skipping import check_search
from skipthink_ray.models.ablation import Ablation
from skipthink_ray.models.contexts import Contexts
from skipthink_ray.models.encoding import encode
from skipthink_ray.models.student import Student, build_student, load_tokenizer, save_student, with_stages
from skipthink_ray.models.verifying import Verifier
from skipthink_ray.runtime.board import Board
from skipthink_ray.tasks import TASKS, ToyRow
from skipthink_ray.training.checkpoint import Progress
from skipthink_ray.training.engine import DataParallelEngine
from skipthink_ray.training.loop import Hooks, Job, train

GPT2_VOCABULARY = 50_257
OPTIONS = ("search", "batch_size", "max_chunk_tokens")
"""Command-line options that set fields of SkipsConfig."""
FORMATS = SamplesConfig()


def toy_samples(task: str, count: int, tokenizer: Any, num_chunks: int) -> Samples:
    rows = [{"row": at, **row._asdict()} for at, row in enumerate(_rows(task, count))]
    return Samples(cut(rows, partial(encode, tokenizer), FORMATS)).in_average_chunks(num_chunks)


def make_student(options: argparse.Namespace) -> Student:
    """A student with random weights. GPT-2 uses the toy's tokenizer but keeps its own vocabulary size."""
    config = StudentConfig(vocabulary=1024)
    written = chain.from_iterable(texts(row._asdict(), FORMATS) for row in _rows(options.task, 2000))
    student = with_stages(
        build_student(config, load_tokenizer(config, written), seed=0),
        options.num_chunks,
        config.marker_start,
        seed=0,
    )
    if options.student == "toy":
        return student
    layers, width, heads = GPT2[options.student]
    torch.manual_seed(0)
    model = GPT2LMHeadModel(
        GPT2Config(vocab_size=GPT2_VOCABULARY, n_embd=width, n_layer=layers, n_head=heads)
    )
    model.config.eos_token_id = model.generation_config.eos_token_id = student.ids.eos
    model.config.pad_token_id = model.generation_config.pad_token_id = student.pad_id
    return Student(model, student.tokenizer, student.ids, student.pad_id)


def train_briefly(student: Student, samples: Samples, options: argparse.Namespace) -> None:
    lr = options.lr or (5e-3 if options.student == "toy" else 3e-4)
    optim = OptimConfig(lr=lr, schedule="cosine", warmup_share=0.05, beta2=0.98)
    config = CwtConfig(
        batch_size=16,
        answer_chunk_dropout=0.5,
        precision=options.precision,
        optim=optim,
        search={"method": "average"},
    )
    job, nothing = Job("cwt", config, options.updates, seed=0), Hooks(lambda *_: None, lambda *_: None)
    student.model.to(options.device)
    train(job, samples, student, DataParallelEngine(student.model, config), Progress(), nothing)
    student.model.to(torch.bfloat16 if options.precision == "bf16" else torch.float32).eval()


def timed(ablation: Ablation, on_gpu: bool) -> tuple[float, np.ndarray, np.ndarray]:
    clock = time.perf_counter if on_gpu else time.process_time
    started = clock()
    kept_RM, right_R = ablation.find()
    return clock() - started, kept_RM, right_R


class Forgetful(Verifier):
    """A verifier that caches no prefixes, to measure the gain of sharing."""

    def _remember(self, *_: object) -> None: ...


class Unshared(Contexts):
    """Verification that computes every prompt from its first token."""

    def __init__(self, student: Student, samples: list[Sample], config: SkipsConfig) -> None:
        super().__init__(student, samples, config)
        self.verifier = Forgetful(student, config.batch_size)


def compare(student: Student, samples: Samples, options: argparse.Namespace) -> dict[str, Any]:
    """Results per judge (see `compare_writers`), and the ratio of the seconds of writing to reading."""
    counted: list[int] = []
    student.model.register_forward_pre_hook(
        lambda _, __, inputs: counted.append(inputs["input_ids"].numel()), with_kwargs=True
    )
    judges = ("reading",) if options.search == "exhaustive" else ("reading", "writing")
    found = {judge: compare_writers(student, samples, judge, counted, options) for judge in judges}
    clock = {"samples": len(samples), "clock": "wall" if options.device == "cuda" else "cpu"}
    if "writing" not in found:
        return clock | found
    seconds = [found[judge]["seconds"]["ours"] for judge in ("writing", "reading")]
    return clock | found | {"writing_by_reading": round(seconds[0] / seconds[1], 2)}


def compare_writers(
    student: Student, samples: Samples, judge: str, counted: list[int], options: argparse.Namespace
) -> dict[str, Any]:
    """Best seconds of each search, and the number of samples with different verdicts."""
    config = SkipsConfig.model_validate(
        {"judge": judge, **{name: getattr(options, name) for name in OPTIONS}}
    )
    writers = {
        "literal": partial(Generator, batch_size=options.batch_size),
        "unshared": Unshared,
        "ours": Contexts,
    }
    seconds: dict[str, list[float]] = {name: [] for name in writers}
    positions: dict[str, int] = {}
    found: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for repeat in range(options.repeats + 1):  # the first repeat is a warm-up
        for name, writer in writers.items():
            # the literal search caches nothing, so it can batch all samples
            together = len(samples) if name == "literal" else options.batch_size
            measured = Ablation(
                [student],
                TASKS[options.task],
                config.model_copy(update={"batch_size": together}),
                samples,
                writer,
            )
            counted.clear()
            taken, kept_RM, right_R = timed(measured, options.device == "cuda")
            positions[name], found[name] = sum(counted), (kept_RM, right_R)
            seconds[name] += [taken] if repeat else []
    best = {name: min(taken) for name, taken in seconds.items()}
    present_RM = samples.present_RM
    kept_RM, right_R = found["ours"]
    different = (found["literal"][0] != kept_RM).any(1) | (found["literal"][1] != right_R)
    return {
        **{
            name: int(getattr(measured, f"{name}_R").sum())
            for name in ("verified", "decoded", "chunks_verified", "chunks_decoded")
        },
        "right_share": round(float(right_R.mean()), 3),
        "kept_share": round(float(kept_RM.sum() / present_RM.sum()), 3),
        "kept_share_by_chunk": (kept_RM.sum(0) / np.maximum(present_RM.sum(0), 1)).round(3).tolist(),
        "seconds": {name: round(taken, 3) for name, taken in best.items()},
        "positions": positions,
        "ratio_of_positions": round(positions["literal"] / positions["ours"], 2),
        "ratio": round(best["literal"] / best["ours"], 2),
        "ratio_of_sharing": round(best["unshared"] / best["ours"], 2),
        "samples_with_another_verdict": int(different.sum()),
    }


def throughput(student: Student, samples: Samples, options: argparse.Namespace) -> dict[str, Any]:
    """Samples per second of the stage's pool on a local cluster, by number of actors and without start-up."""
    import ray

    from skipthink_ray.runtime import actors, cluster
    from skipthink_ray.runtime.artifacts import Folder
    from skipthink_ray.stages.skips import Ablate

    cluster.connect(ClusterConfig())
    clock = ray.remote(num_cpus=0)(Clock)
    rates: dict[int, float] = {}
    with TemporaryDirectory() as place:
        folder = Folder.open(place)
        save_student(student, Path(place) / "student")
        many = pa.concat_tables([samples.table] * options.copies)
        folder.write_table("samples", many.set_column(0, "row", pa.array(range(len(many)))))
        config = PipelineConfig(
            task=options.task, skips=SkipsConfig(search=options.search, batch_size=options.batch_size)
        )
        for number in options.actors:
            config = config.model_copy(update={"cluster": ClusterConfig(num_actors=number)})
            times = clock.remote()
            arguments = {"config": config, "cwt": folder, "students": {}, "board": Board(times, "skips")}
            out = folder.child(f"skips-{number}")
            actors.map_row_groups(folder, "samples", Ablate, arguments, out, config.cluster)
            rates[number] = round(_steady(ray.get(times.take.remote()), len(many)), 1)
            ray.kill(times)
    first = options.actors[0]
    return {
        "samples_per_second": rates,
        "ratio_to_fewest": {number: round(rate / rates[first], 2) for number, rate in rates.items()},
    }


class Clock:
    """Stands behind the stage's board and records the time of each progress report."""

    def __init__(self) -> None:
        self.seen: list[tuple[float, int]] = []

    def advance(self, stage: str, by: int) -> None:
        self.seen.append((time.perf_counter(), by))

    def take(self) -> list[tuple[float, int]]:
        return self.seen


def _steady(seen: list[tuple[float, int]], total: int) -> float:
    """Samples per second without the first and last tenth, which exclude start-up and an emptying pool."""
    times, done = np.array([when for when, _ in seen]), np.cumsum([count for _, count in seen])
    inside = (done >= 0.1 * total) & (done <= 0.9 * total)
    return float((done[inside][-1] - done[inside][0]) / (times[inside][-1] - times[inside][0]))


def _rows(task: str, count: int) -> list[ToyRow]:
    random, toy = Random(0), TASKS[task].toy
    assert toy
    return [toy(random, 1) for _ in range(count)]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--student", choices=("toy", *GPT2), default="toy")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument(
        "--task", default="multiarith", choices=[name for name, task in TASKS.items() if task.toy]
    )
    parser.add_argument("--search", choices=("sequential", "exhaustive", "all"), default="sequential")
    parser.add_argument("--num-chunks", type=at_least(1), default=4)
    parser.add_argument("--samples", type=at_least(1), default=512)
    parser.add_argument("--batch-size", type=at_least(1), default=64)
    parser.add_argument(
        "--max-chunk-tokens", type=at_least(1), default=128, help="judge writing: length limit of a chunk"
    )
    parser.add_argument(
        "--updates", type=at_least(1), default=1000, help="training updates before the measurements"
    )
    parser.add_argument(
        "--lr", type=float, default=None, help="learning rate; 5e-3 for the toy student, else 3e-4"
    )
    parser.add_argument("--repeats", type=at_least(1), default=3)
    parser.add_argument(
        "--actors",
        type=at_least(1),
        nargs="*",
        default=[],
        help="measure the pool with each of these numbers of actors",
    )
    parser.add_argument(
        "--copies",
        type=at_least(1),
        default=10,
        help="with --actors: copies of the samples to process",
    )
    options = parser.parse_args()
    try:
        check_search(SkipsConfig(search=options.search), options.num_chunks)
    except ValueError as error:
        parser.error(str(error))
    torch.set_num_threads(1)
    student = make_student(options)
    samples = toy_samples(options.task, options.samples, student.tokenizer, options.num_chunks)
    started = time.perf_counter()
    train_briefly(student, samples, options)
    print(f"trained for {options.updates} updates in {time.perf_counter() - started:.0f} s", file=sys.stderr)
    found = throughput(student, samples, options) if options.actors else compare(student, samples, options)
    device = torch.cuda.get_device_name() if options.device == "cuda" else platform.machine()
    print(json.dumps({"benchmark": "skips", **vars(options), "device_name": device, **found}))


if __name__ == "__main__":
    main()
