"""Runs of the comparison on a pretrained student: train and evaluate in this process, without a cluster.

The samples and the student come from a run's finished `chunks` stage, so rows, tokens and chunks are those of the pipeline.
A sixth of the training questions, by hash, is the dev split: no student sees it, and every choice is made on it.
Shape suffixes: R samples, M chunks.
"""

import hashlib
import json
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from safetensors.torch import load_file, save_file

from benchmarks.pretrained_arms import Arm
from skipthink_ray.config import PipelineConfig, TrainConfig
from skipthink_ray.method.metrics import has_loop
from skipthink_ray.models.decoding import Mode, answer_questions, text_of
from skipthink_ray.models.marker_start import start_markers
from skipthink_ray.models.student import Student, load_student
from skipthink_ray.models.verifying import Contexts
from skipthink_ray.rows import Samples
from skipthink_ray.runtime.artifacts import Folder
from skipthink_ray.tasks import Task, task_of
from skipthink_ray.training.checkpoint import Progress
from skipthink_ray.training.engine import DataParallelEngine
from skipthink_ray.training.loop import Hooks, Job, train
from skipthink_ray.training.markers import attach, merge

DEV_SHARE_OF_HASHES = 6
MODE_OF: dict[str, Mode] = {"base": "full", "cwt": "staged", "stt": "skip"}


@dataclass(frozen=True)
class Data:
    """The finished `chunks` stage of a run, and where students are kept."""

    chunks: Folder
    cache: Path

    @cached_property
    def table(self) -> pa.Table:
        return self.chunks.table("samples").to_table(filter=pc.field("reason").is_null()).sort_by("row")

    def samples(self, split: str, at_most: int | None = None) -> Samples:
        """split: train (without dev), dev or test."""
        table = self.table.filter(pc.field("split") == ("test" if split == "test" else "train"))
        if split != "test":
            dev = [hashlib.sha256(text.encode()).digest()[0] % DEV_SHARE_OF_HASHES == 0 for text in table["question"].to_pylist()]
            table = table.filter(pa.array([is_dev == (split == "dev") for is_dev in dev]))
        return Samples(table if at_most is None else table.slice(0, at_most))

    def new_student(self, config: PipelineConfig) -> Student:
        with self.chunks.local("student") as folder:
            student = load_student(folder)
        start = config.student.marker_start
        start_markers(student.model, student.tokenizer, start, len(student.ids.stages), config.seed)
        return student


def train_student(
    data: Data, arm: Arm, kept_RM: np.ndarray | None = None, samples: Samples | None = None
) -> tuple[Student, dict[str, Any]]:
    """The arm's student, from the cache or trained now; and what its training cost."""
    folder = data.cache / arm.training_key
    config = arm.config()
    student = data.new_student(config)
    if (folder / "numbers.json").exists():
        student.model.load_state_dict(load_file(folder / "weights.safetensors"), strict=False)
        student.model.eval()
        return student, json.loads((folder / "numbers.json").read_text())
    samples = samples or data.samples("train", arm.samples)
    settings: TrainConfig = getattr(config, arm.stage)
    markers = attach(student.model, student.ids, settings.optim)
    engine, progress = DataParallelEngine(student.model, settings, markers), Progress()
    kept_RM = np.ones_like(samples.ends_RM, dtype=bool) if kept_RM is None else kept_RM
    job = Job(arm.stage, settings, arm.updates, config.seed)
    started = time.perf_counter()
    hooks = Hooks(lambda done, rows: _say(arm, done, rows, started), lambda *_: None)
    ends_RM = train(job, samples, kept_RM, student, engine, progress, samples.ends_RM, hooks)
    merge(student.model, markers)
    student.model.eval()
    losses = [row["loss_nats"] for row in progress.history]
    numbers = {
        "updates": progress.update, "epochs": progress.epoch, "target_tokens": progress.target_tokens,
        "item_tokens": progress.item_tokens, "train_s": progress.seconds, "search_s": progress.search_seconds,
        "first_loss_nats": float(np.mean(losses[:20])), "final_loss_nats": float(np.mean(losses[-20:])),
        "marker_distance": marker_distance(student),
    }  # fmt: skip
    if arm.kept:
        folder.mkdir(parents=True, exist_ok=True)
        weights = {name: tensor.detach().contiguous().clone() for name, tensor in student.model.named_parameters()}
        save_file(weights, folder / "weights.safetensors")
        np.save(folder / "ends.npy", ends_RM)
        (folder / "numbers.json").write_text(json.dumps(numbers))
    return student, numbers


def _say(arm: Arm, progress: Progress, rows: list[dict[str, Any]], started: float) -> None:
    loss = float(np.mean([row["loss_nats"] for row in rows]))
    print(f"  {arm.name}: {progress.update}/{arm.updates} updates, loss {loss:.3f}, {time.perf_counter() - started:.0f} s", flush=True)


def marker_distance(student: Student) -> float:
    """Smallest distance between two of `[1]`..`[M]`, `[answer]`, over the median distance of ordinary tokens."""
    weight_VD = student.model.get_input_embeddings().weight.detach()
    used = weight_VD[[*student.ids.stages, student.ids.answer]]
    ordinary = weight_VD[torch.randperm(min(student.ids.stages), generator=torch.Generator().manual_seed(0))[:500]]
    return float(torch.pdist(used).min() / torch.pdist(ordinary).median())


def answers_from_gold(student: Student, samples: Samples, config: PipelineConfig) -> dict[str, Any]:
    """How often the cwt student answers rightly from all of the teacher's chunks, and how often it writes nothing."""
    task, gold = task_of(config), samples.table["answer"].to_pylist()
    rendered = [samples.sample(row, ends_M) for row, ends_M in enumerate(samples.ends_RM)]
    written = Contexts(student, rendered, config.skips).write(np.arange(len(samples)), np.ones_like(samples.ends_RM, dtype=bool))
    texts = [text_of(student, one.ids).strip() for one in written]
    right = [task.check(text or None, answer) for text, answer in zip(texts, gold, strict=True)]
    empty = [not text for text in texts]
    return {"gold_right_pct": 100 * float(np.mean(right)), "gold_empty_pct": 100 * float(np.mean(empty)), "gold_n": len(texts)}


def answer_all(student: Student, mode: Mode, samples: Samples, config: PipelineConfig) -> list[dict[str, Any]]:
    """One record per question: right, tokens, answer, text."""
    task: Task = task_of(config)
    gold, questions = samples.table["answer"].to_pylist(), samples.table["question_tokens"].to_pylist()
    size, records = config.evaluation.batch_size, []
    for start in range(0, len(questions), size):
        answers = answer_questions(student, mode, questions[start : start + size], config.evaluation.max_new_tokens)
        for answer, truth in zip(answers, gold[start : start + size], strict=True):
            records.append({
                "right": task.check(answer.answer, truth), "tokens": answer.tokens, "answer": answer.answer,
                "stopped": answer.stopped, "loops": has_loop(answer.text), "text": answer.text,
            })  # fmt: skip
    return records


def shares(records: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "accuracy_pct": 100 * float(np.mean([one["right"] for one in records])),
        "empty_pct": 100 * float(np.mean([one["answer"] is None for one in records])),
        "tokens": float(np.mean([one["tokens"] for one in records])),
        "at_limit_pct": 100 * float(np.mean([not one["stopped"] for one in records])),
        "loops_pct": 100 * float(np.mean([one["loops"] for one in records])),
        "n": len(records),
    }
