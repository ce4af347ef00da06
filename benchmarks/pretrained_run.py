"""Runs of the comparison on a pretrained student: train and evaluate in this process, without a cluster.

Samples and student come from the finished stage `samples` of a run, so they are the pipeline's.
A sixth of the training questions, chosen by hash, is the dev split.
No student trains on it. Every choice is made on it.
Shape suffixes: R samples, M chunks.
"""

import hashlib
import json
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from safetensors.torch import load_file, save_file

from benchmarks.few_shot import answer_few_shot, examples_of
from benchmarks.pretrained_arms import BASE, SHOTS, Arm
from skipthink_ray.config import PipelineConfig, TrainConfig
from skipthink_ray.method.metrics import has_loop
from skipthink_ray.method.modes import MODE_OF, Mode
from skipthink_ray.method.samples import Samples
from skipthink_ray.method.skipping import shuffle_skips, skippable
from skipthink_ray.models.ablation import Ablation, judges_of
from skipthink_ray.models.batching import collate
from skipthink_ray.models.contexts import Contexts
from skipthink_ray.models.decoding import answer_questions, text_of
from skipthink_ray.models.separation import marker_separation
from skipthink_ray.models.student import Student, load_student, marker_ids, prompt_start, with_stages
from skipthink_ray.rows import KEPT, TEST, TRAIN
from skipthink_ray.runtime.artifacts import Folder
from skipthink_ray.tasks import task_of
from skipthink_ray.training.batches import updates_per_epoch
from skipthink_ray.training.checkpoint import Progress, load_checkpoint, load_weights, save_checkpoint
from skipthink_ray.training.engine import DataParallelEngine
from skipthink_ray.training.loop import Hooks, Job, train
from skipthink_ray.training.markers import Markers, attach, merge
from skipthink_ray.training.plan import planned_chunks

DEV_ONE_IN = 6
WEIGHTS, BEST, CHECKPOINT = "weights.safetensors", "best_epoch.safetensors", "checkpoint"
SAVE_EVERY_S = 600.0
"""Seconds between checkpoints within an epoch."""


@dataclass(frozen=True)
class Data:
    """A run's finished stage `samples`, and the folder in which trained students are kept."""

    artifact: Folder
    cache: Path

    @cached_property
    def table(self) -> pa.Table:
        return self.artifact.table("samples").to_table(filter=KEPT).sort_by("row")

    def samples(self, split: str, at_most: int | None = None) -> Samples:
        """split: train (without dev), dev or test."""
        table = self.table.filter(TEST if split == "test" else TRAIN)
        if split != "test":
            is_dev = [
                hashlib.sha256(text.encode()).digest()[0] % DEV_ONE_IN == 0
                for text in table["question"].to_pylist()
            ]
            table = table.filter(pa.array([one == (split == "dev") for one in is_dev]))
        samples = Samples(table if at_most is None else table.slice(0, at_most))
        return samples.in_average_chunks(self.num_chunks)

    @cached_property
    def num_chunks(self) -> int:
        """M."""
        return planned_chunks(BASE.config(), self.artifact)[0]

    def new_student(self, config: PipelineConfig) -> Student:
        """The run's student, with the start of markers and prompts that an arm asks for."""
        with self.artifact.local("student") as folder:
            student = load_student(folder)
        student = with_stages(student, self.num_chunks, config.student.marker_start, config.seed)
        made = student.model.config.skipthink | {"prompt_start": prompt_start(config.student)}
        return replace(student, ids=marker_ids(student.tokenizer, made))


@dataclass(frozen=True)
class Trained:
    student: Student
    samples: Samples
    """The training samples with their final chunks."""
    numbers: dict[str, Any]


def trained(data: Data, arm: Arm) -> Trained:
    """The arm's student: from the cache, or trained now and put there."""
    if arm.best_epoch:
        return _best_epoch(data, arm)
    folder, student = data.cache / arm.key, data.new_student(arm.config())
    if (folder / "numbers.json").exists():
        samples = data.samples("train", arm.samples).with_ends(np.load(folder / "ends.npy"))
        numbers = json.loads((folder / "numbers.json").read_text())
        return Trained(_with_weights(student, folder / WEIGHTS), samples, numbers)
    folder.mkdir(parents=True, exist_ok=True)
    made = _train(data, arm, student, folder)
    _save(student, folder / WEIGHTS)
    np.save(folder / "ends.npy", made.samples.ends_RM)
    (folder / "numbers.json").write_text(json.dumps(made.numbers))
    return made


def _best_epoch(data: Data, arm: Arm) -> Trained:
    """The weights that the same arm's training kept after its best epoch by dev."""
    last = trained(data, replace(arm, best_epoch=False))
    by_epoch = last.numbers["dev_accuracy_pct_by_epoch"]
    epoch = int(np.argmax(by_epoch)) + 1
    samples, folder = last.samples, data.cache / replace(arm, best_epoch=False).key
    per_epoch = updates_per_epoch("base", arm.config().base, len(samples), [])
    numbers = {"updates": min(epoch * per_epoch, arm.updates), "epochs": epoch}
    return Trained(_with_weights(last.student, folder / BEST), samples, numbers)


def _save(student: Student, path: Path) -> None:
    save_file(
        {name: tensor.detach().contiguous().clone() for name, tensor in student.model.named_parameters()},
        path,
    )


def _with_weights(student: Student, path: Path) -> Student:
    student.model.load_state_dict(load_file(path), strict=False)
    student.model.eval()
    return student


def _train(data: Data, arm: Arm, student: Student, folder: Path) -> Trained:
    config, samples = arm.config(), data.samples("train", arm.samples)
    settings: TrainConfig = getattr(config, arm.stage)
    kept_RM, found = None, {}
    if arm.cwt:
        judge = trained(data, arm.cwt)
        samples = judge.samples
        kept_RM, found = _skips_once(data, arm, judge.student, samples)
    markers = attach(student.model, student.ids, settings.optim)
    engine, progress, samples = _start(folder / CHECKPOINT, student, settings, markers, samples)

    keeper = _Keeper(folder, engine)

    def on_epoch(progress: Progress, samples: Samples) -> None:
        if arm.stage == "base":
            _judge_epoch(data, arm, student, progress, folder / BEST)
        keeper.save(progress, samples)

    def on_updates(progress: Progress, rows: list[dict[str, Any]]) -> None:
        _say(arm, progress, rows)

    assert arm.stage != "few-shot"
    job = Job(arm.stage, settings, arm.updates, config.seed, kept_RM=kept_RM)
    hooks = Hooks(on_updates, on_epoch, in_epoch=keeper.save_sometimes)
    samples = train(job, samples, student, engine, progress, hooks)
    merge(student.model, markers)
    student.model.eval()
    losses = [row["loss_nats"] for row in progress.history]
    numbers = {
        "updates": progress.update,
        "epochs": progress.epoch,
        "target_tokens": progress.target_tokens,
        "item_tokens": progress.item_tokens,
        "train_s": progress.seconds,
        "search_s": progress.search_seconds,
        "first_loss_nats": float(np.mean(losses[:20])),
        "final_loss_nats": float(np.mean(losses[-20:])),
        **marker_separation(student, arm.stage),
        **found,
    }
    if arm.stage == "base":
        numbers["dev_accuracy_pct_by_epoch"] = [epoch["dev_accuracy_pct"] for epoch in progress.epochs]
    return Trained(student, samples, numbers)


class _Keeper:
    """Writes checkpoints: at the end of epochs, and within those that last long."""

    def __init__(self, folder: Path, engine: DataParallelEngine) -> None:
        self.folder, self.engine = folder, engine
        self.saved = time.perf_counter()
        """When the last checkpoint was written."""

    def save_sometimes(self, progress: Progress, samples: Samples) -> None:
        """Save within an epoch."""
        if time.perf_counter() - self.saved > SAVE_EVERY_S:
            self.save(progress, samples)

    def save(self, progress: Progress, samples: Samples) -> None:
        fresh = self.folder / "checkpoint.new"
        fresh.mkdir(exist_ok=True)
        save_checkpoint(fresh, self.engine, progress, samples)
        shutil.rmtree(self.folder / CHECKPOINT, ignore_errors=True)
        fresh.rename(self.folder / CHECKPOINT)
        self.saved = time.perf_counter()


def _start(
    checkpoint: Path, student: Student, settings: TrainConfig, markers: Markers, samples: Samples
) -> tuple[DataParallelEngine, Progress, Samples]:
    """A new engine, or that of the last checkpoint."""
    if not checkpoint.exists():
        return DataParallelEngine(student.model, settings, markers), Progress(), samples
    load_weights(checkpoint, student.model)
    engine = DataParallelEngine(student.model, settings, markers)
    engine.update([collate([], student.pad_id, student.model.device)], 1, lr=0.0)  # creates the states
    return engine, *load_checkpoint(checkpoint, engine, samples)


def _judge_epoch(data: Data, arm: Arm, student: Student, progress: Progress, best: Path) -> None:
    """Record dev accuracy after an epoch of base. Keeps the weights of the best epoch in `best`."""
    student.model.eval()
    records = answer_all(student, MODE_OF["base"], data.samples("dev"), arm.config())
    accuracy = 100 * float(np.mean([one["right"] for one in records]))
    earlier = [epoch["dev_accuracy_pct"] for epoch in progress.epochs[:-1]]
    progress.epochs[-1]["dev_accuracy_pct"] = accuracy
    if accuracy > max(earlier, default=-1.0):
        _save(student, best)
    print(f"  {arm.name}: epoch {progress.epoch}, dev accuracy {accuracy:.1f} %", flush=True)


def _say(arm: Arm, progress: Progress, rows: list[dict[str, Any]]) -> None:
    loss = float(np.mean([row["loss_nats"] for row in rows]))
    print(f"  {arm.name}: {progress.update}/{arm.updates} updates, loss {loss:.3f}", flush=True)


def _skips_once(data: Data, arm: Arm, judge: Student, samples: Samples) -> tuple[np.ndarray, dict[str, Any]]:
    """The skips to train on. An arm with shuffled skips takes those of the arm without, and shuffles them."""
    gated = replace(arm, overrides=arm.overrides | {"skips.shuffled": False})
    folder = data.cache / gated.key
    if not (folder / "skips.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        kept_RM, found = find_skips(judge, samples, gated.config())
        np.save(folder / "kept.npy", kept_RM)
        (folder / "skips.json").write_text(json.dumps(found))
        print(f"  {json.dumps(found)}", flush=True)
    kept_RM, found = np.load(folder / "kept.npy"), json.loads((folder / "skips.json").read_text())
    config = arm.config()
    if config.skips.shuffled:
        may_skip_RM = samples.present_RM & skippable(samples.present_RM, config.skips.skippable)
        kept_RM = shuffle_skips(kept_RM, may_skip_RM, config.seed)
    return kept_RM, found


def find_skips(judge: Student, samples: Samples, config: PipelineConfig) -> tuple[np.ndarray, dict[str, Any]]:
    """(kept_RM, numbers): the chunks that the gate keeps."""
    started = time.perf_counter()
    ablation = Ablation(judges_of(judge, config.skips, config.seed), task_of(config), config.skips, samples)
    kept_RM, right_R = ablation.find()
    shares = kept_RM.sum(0) / np.maximum(samples.present_RM.sum(0), 1)
    numbers = {
        "skips_right_pct": 100 * float(right_R.mean()),
        "kept_pct_by_chunk": (100 * shares).round(1).tolist(),
        "skips_s": time.perf_counter() - started,
    }
    return kept_RM, numbers


def from_gold_chunks(student: Student, samples: Samples, config: PipelineConfig) -> dict[str, Any]:
    """Percentage of samples answered correctly, or not at all, from all of the teacher's chunks."""
    task, gold = task_of(config), samples.table["answer"].to_pylist()
    contexts = Contexts(student, list(samples), config.skips)
    written = contexts.write(np.arange(len(samples)), np.ones_like(samples.present_RM))
    answers = [text_of(student, one.ids).strip() or None for one in written]
    right = [task.check(answer, truth) for answer, truth in zip(answers, gold, strict=True)]
    empty = [answer is None for answer in answers]
    return {"gold_right_pct": 100 * float(np.mean(right)), "gold_empty_pct": 100 * float(np.mean(empty))}


def few_shot(data: Data, config: PipelineConfig) -> Callable[..., list[dict[str, Any]]]:
    """(samples) -> the records of the student before training, with worked examples in the prompt."""
    examples, limit = examples_of(data.samples("train"), SHOTS), config.evaluation.max_new_tokens
    student, task = data.new_student(config), task_of(config)
    return lambda samples: answer_few_shot(student, task, examples, samples, limit)


def answer_all(
    student: Student, mode: Mode, samples: Samples, config: PipelineConfig
) -> list[dict[str, Any]]:
    """One record per question: right, tokens, answer, stopped, loops."""
    task, records = task_of(config), []
    gold, questions = samples.table["answer"].to_pylist(), samples.table["question_tokens"].to_pylist()
    size, limit = config.evaluation.batch_size, config.evaluation.max_new_tokens
    for start in range(0, len(questions), size):
        answers = answer_questions(student, mode, questions[start : start + size], limit)
        for answer, truth in zip(answers, gold[start : start + size], strict=True):
            records.append(
                {
                    "right": task.check(answer.answer, truth),
                    "tokens": answer.tokens,
                    "answer": answer.answer,
                    "stopped": answer.stopped,
                    "loops": has_loop(answer.text),
                }
            )
    return records


def seconds_by_arm(data: Data, arms: list[Arm], questions: int) -> dict[str, list[float]]:
    """{arm key: seconds of each of the first test questions}, at batch 1. Arms take turns at a question."""
    students = [(arm, trained(data, arm).student, arm.config().evaluation) for arm in arms]
    tokens = data.samples("test", questions).table["question_tokens"].to_pylist()
    seconds: dict[str, list[float]] = {arm.key: [] for arm in arms}
    for number, question in enumerate([tokens[0], *tokens]):
        for arm, student, evaluation in students:
            started = time.perf_counter()
            answer_questions(student, MODE_OF[arm.stage], [question], evaluation.max_new_tokens)
            if number:  # the first warms up
                seconds[arm.key].append(time.perf_counter() - started)
    return seconds
