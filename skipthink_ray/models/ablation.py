"""The skip ablation of a batch of samples, with a CWT student (method §5): verify, and decode only what that leaves open.

A target that one teacher-forced forward pass shows to be the argmax everywhere is exactly what greedy decoding emits,
so it is right. Another surface form may be right too, so all other answers are decoded and checked.
"""

from dataclasses import dataclass, field

import numpy as np

from skipthink_ray.config import SkipsConfig
from skipthink_ray.method import markup
from skipthink_ray.method.skipping import find_kept
from skipthink_ray.models.decoding import generate
from skipthink_ray.models.student import Student
from skipthink_ray.models.verifying import emits_target
from skipthink_ray.rows import Samples
from skipthink_ray.tasks import Task


@dataclass
class Ablation:
    """Which chunks of `samples` the student does not need. Shape suffixes: R samples, M chunks."""

    student: Student
    task: Task
    config: SkipsConfig
    samples: Samples
    verify: bool = True
    """False decodes every answer: the literal algorithm of the paper, for comparison."""
    verified_R: np.ndarray = field(init=False)
    """Answers that a forward pass settled, per sample."""
    decoded_R: np.ndarray = field(init=False)
    """Answers that were decoded, per sample."""

    def __post_init__(self) -> None:
        self.verified_R = np.zeros(len(self.samples), dtype=np.int32)
        self.decoded_R = np.zeros_like(self.verified_R)
        ends_RM = self.samples.ends_RM
        self.rendered = [self.samples.sample(row, ends_RM[row]) for row in range(len(self.samples))]
        self.gold = self.samples.table["answer"].to_pylist()

    def find(self) -> tuple[np.ndarray, np.ndarray]:
        """(kept_RM, right_R): the chunks to keep, and whether the student is right with all of them."""
        present_RM = np.diff(self.samples.ends_RM, axis=1, prepend=0) > 0
        return find_kept(present_RM, self.answers_right, self.config)

    def answers_right(self, rows: np.ndarray, kept_RM: np.ndarray) -> np.ndarray:
        """Whether the greedy answer from the kept chunks is right, for each of `rows`."""
        if not len(rows):
            return np.zeros(0, dtype=bool)
        items = [markup.answer_item(self.rendered[row], self.student.ids, kept) for row, kept in zip(rows, kept_RM, strict=True)]
        by_length = np.argsort([len(item.prompt) for item in items], kind="stable")
        right = np.zeros(len(rows), dtype=bool)
        if self.verify:
            short = np.array([len(item.target) <= self.config.max_new_tokens for item in items])  # a longer one would be cut off
            for batch in self._batches(by_length[short[by_length]]):
                right[batch] = emits_target(self.student, [items[at] for at in batch])
            self.verified_R[rows[right]] += 1
        for batch in self._batches(by_length[~right[by_length]]):
            written = generate(self.student, [items[at].prompt for at in batch], self.config.max_new_tokens)
            right[batch] = [self._is_right(ids, self.gold[rows[at]]) for at, ids in zip(batch, written, strict=True)]
            self.decoded_R[rows[batch]] += 1
        return right

    def _batches(self, order: np.ndarray) -> list[np.ndarray]:
        return [order[start : start + self.config.batch_size] for start in range(0, len(order), self.config.batch_size)]

    def _is_right(self, written: list[int], gold: str) -> bool:
        text = self.student.tokenizer.decode([token for token in written if token != self.student.ids.eos])
        return self.task.check(text.strip() or None, gold)
