"""One run of the evidence in one process: toy questions, base or cwt -> skips -> stt, test answers.

Seconds are CPU seconds of this process (one torch thread), which other processes do not inflate. All seeds
share the same questions. The seed determines the initial weights, the order of the updates, dropout and
annealing. Shape suffixes: R samples, M chunks.
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pyarrow as pa
from safetensors.torch import load_file, save_file

from benchmarks.evidence_arms import UPDATES, Run
from skipthink_ray.config import PipelineConfig, TrainConfig
from skipthink_ray.method import chunking
from skipthink_ray.method.choosing import decide_num_chunks
from skipthink_ray.method.cutting import cut, texts
from skipthink_ray.method.modes import MODE_OF, Mode
from skipthink_ray.method.samples import Samples
from skipthink_ray.method.skipping import Fold
from skipthink_ray.method.steps import split_steps
from skipthink_ray.models.ablation import Ablation, judges_of
from skipthink_ray.models.decoding import answer_questions
from skipthink_ray.models.encoding import encode
from skipthink_ray.models.scoring import stage_losses
from skipthink_ray.models.student import Student, build_student, load_tokenizer, with_stages
from skipthink_ray.tasks import ToyRow, task_of
from skipthink_ray.tasks.splits import toy_split
from skipthink_ray.training.batches import Stage, updates_per_epoch
from skipthink_ray.training.checkpoint import Progress
from skipthink_ray.training.engine import DataParallelEngine
from skipthink_ray.training.loop import Hooks, Job, train
from skipthink_ray.training.markers import attach, merge
from skipthink_ray.training.rechunk import rechunk

ENERGY_ROWS = 256
"""Number of rationales with a movable boundary over which energies are averaged."""
AGREEMENT_ROWS = 500
"""Number of training samples whose skips are recorded, for comparisons between seeds."""
STAGES: tuple[Stage, ...] = ("base", "cwt")


@dataclass(frozen=True)
class Prepared:
    """The data that all stages of a run share."""

    config: PipelineConfig
    updates: int
    samples: Samples
    test_questions: list[list[int]]
    test_answers: list[str]

    def new_student(self) -> Student:
        """The student before training, with weights drawn by the seed."""
        texts = written(self.config, toy_rows(self.config, "train"))
        tokenizer = load_tokenizer(
            self.config.student, texts
        )  # not shared, because the student adds markers to it
        return with_stages(
            build_student(self.config.student, tokenizer, self.config.seed),
            self.samples.num_chunks,
            self.config.student.marker_start,
            self.config.seed,
        )


@dataclass(frozen=True)
class Trained:
    student: Student
    samples: Samples
    """The training samples with their final chunks."""
    numbers: dict[str, Any]


def do(run: Run, cache: Path) -> dict[str, Any]:
    """All numbers of a run, by stage.

    `cache` keeps cwt students for arms that differ only in later stages.
    """
    prepared = prepare(run.config(), lambda samples: _updates(run, samples))
    if run.stage == "base":
        return {"base": train_student(prepared, "base", prepared.samples).numbers}
    cwt = _cwt(prepared, cache / f"cwt-{run.cwt_key()}")
    if run.stage == "cwt":
        return {"cwt": cwt.numbers}
    started = time.process_time()
    kept_RM, right_R = (
        _cross_fitted(prepared, cwt.samples)
        if prepared.config.skips.gate == "cross_fitted"
        else ablate(prepared, cwt.student, cwt.samples)
    )
    seconds = time.process_time() - started
    skips = skip_numbers(kept_RM, right_R, cwt.samples.present_RM) | {"cpu_s": seconds}
    return {"skips": skips, "stt": train_student(prepared, "stt", cwt.samples, kept_RM).numbers}


def ablate(prepared: Prepared, judge: Student, samples: Samples) -> tuple[np.ndarray, np.ndarray]:
    config = prepared.config
    judges = judges_of(judge, config.skips, config.seed)
    return Ablation(judges, task_of(config), config.skips, samples).find()


def _cross_fitted(prepared: Prepared, samples: Samples) -> tuple[np.ndarray, np.ndarray]:
    """Judge each sample by a student trained on the other folds for the same number of epochs."""
    folds, questions = prepared.config.skips.folds, samples.table["question"].to_pylist()
    kept_RM, right_R = np.ones_like(samples.ends_RM, dtype=bool), np.zeros(len(samples), dtype=bool)
    for number in range(folds):
        holds_R = Fold(number, folds, prepared.config.seed).holds(questions)
        outside = Samples(prepared.samples.table.filter(pa.array(~holds_R)))
        updates = round(prepared.updates * len(outside) / len(samples))
        judge = train_student(replace(prepared, updates=updates), "cwt", outside).student
        kept_RM[holds_R], right_R[holds_R] = ablate(
            prepared, judge, Samples(samples.table.filter(pa.array(holds_R)))
        )
    return kept_RM, right_R


def _updates(run: Run, samples: Samples) -> int:
    updates = UPDATES[run.task]
    if not run.arm.equal_epochs:
        return updates
    cwt = run.config().cwt
    cwt_items = [len(samples)] * (samples.num_chunks + 1)
    per_epoch = {stage: updates_per_epoch(stage, cwt, len(samples), cwt_items) for stage in STAGES}
    return round(updates * per_epoch["base"] / per_epoch["cwt"])


def prepare(config: PipelineConfig, updates: Callable[[Samples], int]) -> Prepared:
    """Rows, tokens and average chunks, as in the stages rationales, samples and cwt.

    updates: the updates of every training run.
    """
    train_rows, test_rows = toy_rows(config, "train"), toy_rows(config, "test")
    tokenizer = load_tokenizer(config.student, written(config, train_rows))
    num_chunks, _ = decide_num_chunks(config, (len(split_steps(row.rationale)) for row in train_rows))
    questions = encode(tokenizer, [texts(row._asdict(), config.samples)[0] for row in test_rows])
    numbered = [{"row": at, **row._asdict()} for at, row in enumerate(train_rows)]
    samples = Samples(cut(numbered, partial(encode, tokenizer), config.samples)).in_average_chunks(num_chunks)
    return Prepared(config, updates(samples), samples, questions, [row.answer for row in test_rows])


def toy_rows(config: PipelineConfig, split: str) -> list[ToyRow]:
    """Distinct questions, the same for every seed. A hash reserves an eighth of them for test."""
    toy, random = task_of(config).toy, Random(f"evidence {split}")
    assert toy
    wanted = config.rationales.train_questions if split == "train" else config.rationales.test_questions
    found: dict[str, ToyRow] = {}
    while len(found) < wanted:
        row = toy(random, config.rationales.difficulty)
        if toy_split(row.question) == split:
            found.setdefault(row.question, row)
    return list(found.values())


def written(config: PipelineConfig, rows: list[ToyRow]) -> list[str]:
    """The full texts of some rows: question, rationale and conclusion."""
    return ["".join(texts(row._asdict(), config.samples)) for row in rows]


def skip_numbers(kept_RM: np.ndarray, right_R: np.ndarray, present_RM: np.ndarray) -> dict[str, Any]:
    """Shares over all samples, and the packed flags of the first ones.

    Flags per chunk: 1 kept, 0 skipped, - empty.
    """
    flags_RM = np.where(present_RM, np.where(kept_RM, "1", "0"), "-")[:AGREEMENT_ROWS]
    return {
        "right_share": float(right_R.mean()),
        "skipped_share": float(1 - (kept_RM & present_RM).sum() / present_RM.sum()),
        "skipped_by_chunk": [
            round(float(share), 3)
            for share in 1 - (kept_RM & present_RM).sum(0) / np.maximum(present_RM.sum(0), 1)
        ],
        "flags": pack("".join(flags_RM.ravel())),
    }


def pack(flags: str) -> str:
    """The flags as base-3 digits of one hexadecimal number, to keep lines short."""
    return f"{int(flags.translate(str.maketrans('01-', '012')) or '0', 3):x}:{len(flags)}"


def _cwt(prepared: Prepared, folder: Path) -> Trained:
    """The cwt student of a configuration. It is trained once and saved in `folder`."""
    if (folder / "numbers.json").exists():
        student = prepared.new_student()
        student.model.load_state_dict(load_file(folder / "weights.safetensors"), strict=False)
        student.model.eval()
        samples = prepared.samples.with_ends(np.load(folder / "ends.npy"))
        return Trained(student, samples, json.loads((folder / "numbers.json").read_text()))
    trained = train_student(prepared, "cwt", prepared.samples)
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        name: tensor.detach().contiguous().clone()
        for name, tensor in trained.student.model.named_parameters()
    }
    save_file(tensors, folder / "weights.safetensors")
    np.save(folder / "ends.npy", trained.samples.ends_RM)
    (folder / "numbers.json").write_text(json.dumps(trained.numbers))
    return trained


def train_student(
    prepared: Prepared, stage: Stage, samples: Samples, kept_RM: np.ndarray | None = None
) -> Trained:
    """Train a new student and answer the test questions in the mode of its stage."""
    config: TrainConfig = getattr(prepared.config, stage)
    student, progress, nothing = prepared.new_student(), Progress(), Hooks(lambda *_: None, lambda *_: None)
    markers = attach(student.model, student.ids, config.optim)
    job = Job(stage, config, prepared.updates, prepared.config.seed, kept_RM=kept_RM)
    engine, started = DataParallelEngine(student.model, config, markers), time.process_time()
    found = train(job, samples, student, engine, progress, nothing)
    seconds = time.process_time() - started
    merge(student.model, markers)
    student.model.eval()
    numbers: dict[str, Any] = {
        "updates": progress.update,
        "epochs": progress.epoch,
        "target_tokens": progress.target_tokens,
        "item_tokens": progress.item_tokens,
        "train_cpu_s": seconds,
        "final_loss_nats": float(np.mean([row["loss_nats"] for row in progress.history[-20:]])),
    }
    numbers |= _evaluate(prepared, student, MODE_OF[stage])
    if stage == "cwt":
        numbers |= _chunk_numbers(prepared, student, samples, found, progress)
    return Trained(student, found, numbers)


def _evaluate(prepared: Prepared, student: Student, mode: Mode) -> dict[str, Any]:
    limits, task, started = prepared.config.evaluation, task_of(prepared.config), time.process_time()
    answers = []
    for first in range(0, len(prepared.test_questions), limits.batch_size):
        questions = prepared.test_questions[first : first + limits.batch_size]
        answers += answer_questions(student, mode, questions, limits.max_new_tokens)
    right = [
        task.check(answer.answer, gold) for answer, gold in zip(answers, prepared.test_answers, strict=True)
    ]
    return {
        "accuracy_pct": 100 * float(np.mean(right)),
        "tokens": float(np.mean([answer.tokens for answer in answers])),
        "stopped_pct": 100 * float(np.mean([answer.stopped for answer in answers])),
        "evaluation_cpu_s": time.process_time() - started,
    }


def _chunk_numbers(
    prepared: Prepared, student: Student, average: Samples, found: Samples, progress: Progress
) -> dict[str, Any]:
    """Energies of the final, average and optimal chunks, and the cost of one more search."""
    ends_RM = found.ends_RM
    rows = np.nonzero(chunking.movable(ends_RM))[0][:ENERGY_ROWS]
    numbers: dict[str, Any] = {
        "num_chunks": found.num_chunks,
        "movable_share": float(chunking.movable(ends_RM).mean()),
    }
    numbers["searches"] = sum("search_s" in epoch for epoch in progress.epochs)
    numbers["moved_share_by_search"] = [
        round(epoch["boundaries_moved"] / max(epoch["boundaries_movable"], 1), 3)
        for epoch in progress.epochs
        if "search_s" in epoch
    ]
    if not len(rows):
        return numbers
    whole_BM = np.repeat(ends_RM[rows, -1:], found.num_chunks, axis=1)
    losses = stage_losses(student.model, student.ids, found, rows, whole_BM)
    best_RM = chunking.optimal_chunks(losses, ends_RM[rows])
    for name, ends in (
        ("energy", ends_RM[rows]),
        ("average_energy", average.ends_RM[rows]),
        ("optimum", best_RM),
    ):
        numbers[f"{name}_nats"] = float(chunking.energy(losses, ends).mean())
    search = prepared.config.cwt.search
    if search.method != "average":
        started = time.process_time()
        rechunk(student.model, student.ids, found, search, (prepared.config.seed, progress.epoch))
        numbers["one_search_cpu_s"] = time.process_time() - started
    return numbers
