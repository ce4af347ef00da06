"""The whole method in one process, to read from top to bottom. docs/method.md has the formulas.

    python examples/one_process.py [--cwt.search.method optimal ...]        # ends with the demo's table

It does what `skipthink demo` does, with the same functions. It needs no cluster, writes no files and cannot
resume. The Base student writes the whole rationale. The CWT student learns chunk by chunk, and then shows
which chunks it does not need. The STT student learns to skip these. Shape suffixes: R samples, M chunks.
"""

import sys
import time
from functools import partial
from random import Random
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy import ndarray as Array
from rich.console import Console

from skipthink_ray.config import CwtConfig, PipelineConfig, TrainConfig
from skipthink_ray.method.choosing import decide_num_chunks
from skipthink_ray.method.cutting import cut, texts
from skipthink_ray.method.metrics import has_loop
from skipthink_ray.method.modes import Mode
from skipthink_ray.method.samples import Samples
from skipthink_ray.models.ablation import Ablation, judges_of
from skipthink_ray.models.batching import collate
from skipthink_ray.models.decoding import answer_questions
from skipthink_ray.models.encoding import encode
from skipthink_ray.models.student import Student, build_student, load_tokenizer, with_stages
from skipthink_ray.reporting.numbers import mode_numbers
from skipthink_ray.reporting.table import modes_table
from skipthink_ray.rows import ANSWER_SCHEMA, LATENCY_SCHEMA
from skipthink_ray.settings import load_config
from skipthink_ray.tasks import task_of
from skipthink_ray.tasks.splits import toy_split
from skipthink_ray.training.batches import Stage, build_item, epoch_items, plan_updates, updates_per_epoch
from skipthink_ray.training.engine import DataParallelEngine
from skipthink_ray.training.markers import attach, merge
from skipthink_ray.training.rechunk import rechunk
from skipthink_ray.training.schedule import learning_rate


def main(config: PipelineConfig) -> dict[str, Any]:
    """Train three students, evaluate them and print the table. Returns the numbers of every mode."""
    beyond = config.match, config.stt.start, config.skips.gate, config.skips.shuffled, config.evaluation.split
    if beyond != ("updates", "pretrained", "own", False, "test"):
        keys = "match, stt.start, skips.gate, skips.shuffled, evaluation.split"
        raise ValueError(f"{keys}: leave them out, or use skipthink")

    # Toy questions, with rationales by an oracle. Real rationales come from a large model.
    train_rows, test_rows = (draw_questions(config, split) for split in ("train", "test"))

    # All students start from the same weights. Only those of cwt and stt have the markers [1] to [M].
    def new_student(num_chunks: int = 0) -> Student:
        written = ("".join(texts(row, config.samples)) for row in train_rows)
        tokenizer = load_tokenizer(config.student, written)
        student = build_student(config.student, tokenizer, config.seed)
        start = config.student.marker_start, config.seed
        return with_stages(student, num_chunks, *start) if num_chunks else student

    # Cut rationales into steps, and steps into M average chunks.
    cut_rows = Samples(cut(train_rows, partial(encode, new_student().tokenizer), config.samples))
    num_chunks, _ = decide_num_chunks(config, cut_rows.step_tokens.lengths)  # M
    samples = cut_rows.in_average_chunks(num_chunks)
    updates = config.cwt.epochs * updates_per_epoch(
        "cwt", config.cwt, len(samples), [len(samples)] * (num_chunks + 1)
    )
    print(f"M = {num_chunks}; {len(samples)} rationales, {len(test_rows)} test questions, {updates} updates")

    # Base: an item is a question, its whole rationale and the answer.
    base, _ = train("base", config, new_student(), cut_rows.in_average_chunks(1), None, updates)

    # CWT: an item is one chunk; its prompt has the stage's marker. Every epoch starts with a chunk search.
    cwt, samples = train("cwt", config, new_student(num_chunks), samples, None, updates)

    # Skips: find the chunks without which the CWT student still answers its training questions correctly.
    judges = judges_of(cwt, config.skips, config.seed)
    kept_RM, right_R = Ablation(judges, task_of(config), config.skips, samples).find()
    kept = " ".join(f"{share:.0%}" for share in kept_RM.sum(0) / samples.present_RM.sum(0))
    print(f"skips: right with all chunks {right_R.mean():.1%}; kept of c_1..c_M: {kept}")

    # STT: from the initial weights again, train on CWT items and items with [thought] for skipped chunks.
    stt, _ = train("stt", config, new_student(num_chunks), samples, kept_RM, updates)
    return evaluate(config, {"full": base, "staged": cwt, "skip": stt}, test_rows)


def draw_questions(config: PipelineConfig, split: str) -> list[dict[str, Any]]:
    """Draw distinct toy questions, numbered. A hash reserves an eighth of all possible ones for test."""
    source, make, random, rows = config.rationales, task_of(config).toy, Random(f"{config.seed} {split}"), {}
    while len(rows) < (source.train_questions if split == "train" else source.test_questions):
        row = make(random, source.difficulty)
        if toy_split(row.question) == split:
            rows.setdefault(row.question, row)
    return [{"row": number, **row._asdict()} for number, row in enumerate(rows.values())]


def train(
    stage: Stage,
    config: PipelineConfig,
    student: Student,
    samples: Samples,
    kept_RM: Array | None,
    updates: int,
) -> tuple[Student, Samples]:
    """Train for `updates` updates; return the student and the samples with their final chunks.

    kept_RM: the chunks that skip items show; None: all.
    """
    settings: TrainConfig = getattr(config, stage)
    markers = attach(student.model, student.ids, settings.optim)  # with their own learning rate
    engine = DataParallelEngine(student.model, settings, markers)
    done, epoch, loss = 0, 0, torch.zeros(())
    while done < updates:
        search = settings.search if isinstance(settings, CwtConfig) else None
        if search and search.method != "average" and epoch % search.refresh_every_epochs == 0:
            # At most M forward passes per rationale give the loss of every possible chunk.
            seed = config.seed, epoch
            samples = rechunk(student.model, student.ids, samples, search, seed).samples
        rng = np.random.default_rng((config.seed, epoch))
        items = epoch_items(stage, settings, samples, rng, kept_RM, student.ids)
        student.model.train()
        for update in plan_updates(items, settings, rng)[: updates - done]:
            batch = [build_item(items, number, samples, student.ids) for number in update]
            num_targets = int(items.targets_I[update].sum())  # N, the denominator of the loss
            lr = learning_rate(settings.optim, done, updates)
            loss = engine.update([collate(batch, student.pad_id, student.model.device)], num_targets, lr)
            done += 1
        epoch += 1
    merge(student.model, markers)
    student.model.eval()
    print(f"{stage}: {done} updates, last loss {loss:.3f} nats per target token")
    return student, samples


def evaluate(
    config: PipelineConfig, students: dict[Mode, Student], rows: list[dict[str, Any]]
) -> dict[str, Any]:
    """Answer all test questions in every mode, then time some of them one at a time."""
    task, limits, answers, latencies = task_of(config), config.evaluation, [], []
    questions = encode(students["full"].tokenizer, [texts(row, config.samples)[0] for row in rows])
    for mode, student in students.items():
        for start in range(0, len(rows), limits.batch_size):
            asked, started = questions[start : start + limits.batch_size], time.perf_counter()
            written = answer_questions(student, mode, asked, limits.max_new_tokens)
            seconds = (time.perf_counter() - started) / len(asked)
            answers += [
                {"row": row, "mode": mode, "answer": one.answer, "tokens": one.tokens}
                | {"right": task.check(one.answer, rows[row]["answer"]), "loops": has_loop(one.text)}
                | {"stopped": one.stopped, "batch_seconds": seconds}
                for row, one in enumerate(written, start)
            ]
    for row, question in enumerate(questions[: limits.latency_questions]):
        for mode, student in students.items():
            started = time.perf_counter()
            answer_questions(student, mode, [question], limits.max_new_tokens)
            latencies.append({"row": row, "mode": mode, "seconds": time.perf_counter() - started})
    tables = pa.Table.from_pylist(answers, ANSWER_SCHEMA), pa.Table.from_pylist(latencies, LATENCY_SCHEMA)
    modes = {mode: mode_numbers(mode, config, *tables) for mode in students}
    Console().print("", modes_table(modes))
    return modes


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(load_config("toy", None, sys.argv[1:]))
