"""The skip ablation of some samples, with a CWT student and the gates of method §5.

An answer passes if it is right by the task's check, has the required margin, and perturbed copies of the
student are right too. `Written.verified` means that one forward pass has shown that the student writes the
right answer (`models/verifying.py`). Shape suffixes: R samples, M chunks, A contexts.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from skipthink_ray.config import SkipsConfig
from skipthink_ray.method.markup import Sample
from skipthink_ray.method.samples import Samples
from skipthink_ray.method.skipping import find_kept
from skipthink_ray.models.contexts import Contexts
from skipthink_ray.models.decoding import text_of
from skipthink_ray.models.perturbing import perturbed
from skipthink_ray.models.student import Student
from skipthink_ray.models.verifying import Written
from skipthink_ray.tasks import Task


class Writer(Protocol):
    """Determines what a student writes."""

    def write(self, rows: np.ndarray, kept_AM: np.ndarray, written_from: int | None = None) -> list[Written]:
        """See `Contexts.write`."""
        ...


def judges_of(student: Student, config: SkipsConfig, seed: int) -> list[Student]:
    """The student, and `agreement_passes` perturbed copies that must agree with it."""
    # different seeds never share a copy
    numbers = range(seed * config.agreement_passes, (seed + 1) * config.agreement_passes)
    return [student, *(perturbed(student, config.agreement_noise, number) for number in numbers)]


@dataclass
class Ablation:
    """Finds the chunks of `samples` that the student does not need."""

    judges: list[Student]
    """See `judges_of`."""
    task: Task
    config: SkipsConfig
    samples: Samples
    writer: Callable[[Student, list[Sample], SkipsConfig], Writer] = Contexts
    """How a judge is asked about some samples. A benchmark uses the paper's literal procedure instead."""
    verified_R: np.ndarray = field(init=False)
    """Number of answers verified by one forward pass, per sample."""
    decoded_R: np.ndarray = field(init=False)
    """Number of decoded answers, per sample."""
    chunks_verified_R: np.ndarray = field(init=False)
    """Judge `writing`: number of chunks verified by one forward pass, per sample."""
    chunks_decoded_R: np.ndarray = field(init=False)
    """Judge `writing`: number of decoded chunks, per sample."""

    def __post_init__(self) -> None:
        for count in ("verified_R", "decoded_R", "chunks_verified_R", "chunks_decoded_R"):
            setattr(self, count, np.zeros(len(self.samples), dtype=np.int32))
        self.rendered = list(self.samples)
        self.gold = self.samples.table["answer"].to_pylist()

    def find(self) -> tuple[np.ndarray, np.ndarray]:
        """(kept_RM, right_R): the chunks to keep, and whether the answer from all chunks passes the gate."""
        present_RM, tokens_RM = self.samples.present_RM, self.samples.chunk_tokens_RM
        lengths_R = self.samples.question.lengths + tokens_RM.sum(1)
        kept_RM, right_R = present_RM.copy(), np.zeros(len(present_RM), dtype=bool)
        for rows in self._groups(np.argsort(lengths_R, kind="stable")):
            rendered = [self.rendered[row] for row in rows]
            writers = [self.writer(judge, rendered, self.config) for judge in self.judges]

            def passes(
                at_A: np.ndarray, kept_AM: np.ndarray, given: int, rows=rows, writers=writers
            ) -> np.ndarray:
                return self._passes(writers, rows, at_A, kept_AM, given)

            kept_RM[rows], right_R[rows] = find_kept(present_RM[rows], tokens_RM[rows], passes, self.config)
        return kept_RM, right_R

    def _groups(self, order: np.ndarray) -> list[np.ndarray]:
        """Samples that are processed together. Their keys and values are in memory at the same time."""
        size = self.config.batch_size
        return [order[start : start + size] for start in range(0, len(order), size)]

    def _passes(
        self, writers: list[Writer], rows: np.ndarray, at_A: np.ndarray, kept_AM: np.ndarray, given: int
    ) -> np.ndarray:
        """Whether the answers of `rows[at_A]` pass (see AnswersRight). One wrong judge is enough to fail."""
        passes_A = np.ones(len(at_A), dtype=bool)
        for number, writer in enumerate(writers):
            asked = np.flatnonzero(passes_A)
            if not len(asked):
                break
            written = writer.write(at_A[asked], kept_AM[asked], given)
            margin_nats = self.config.margin_nats if number == 0 else 0.0
            right = [self._is_right(one, row) for one, row in zip(written, rows[at_A[asked]], strict=True)]
            passes_A[asked] = np.array(right) & (
                np.array([one.margin_nats for one in written]) >= margin_nats
            )
            self._count(rows[at_A[asked]], written)
        return passes_A

    def _count(self, rows: np.ndarray, written: list[Written]) -> None:
        verified = np.array([one.verified for one in written])
        self.verified_R[rows] += verified
        self.decoded_R[rows] += ~verified
        self.chunks_verified_R[rows] += np.array([one.chunks_verified for one in written], dtype=np.int32)
        self.chunks_decoded_R[rows] += np.array([one.chunks_decoded for one in written], dtype=np.int32)

    def _is_right(self, written: Written, row: int) -> bool:
        if written.verified:
            return True
        return self.task.check(text_of(self.judges[0], written.ids).strip() or None, self.gold[row])
