"""The skip ablation of some samples, with a CWT student and the gates of method §5.

An answer passes where it is right by the task's check, leads by the margin asked for, and perturbed copies of the
student are right too. Shape suffixes: R samples, M chunks, A asked contexts.
"""

from dataclasses import dataclass, field

import numpy as np

from skipthink_ray.config import SkipsConfig
from skipthink_ray.method import markup
from skipthink_ray.method.skipping import find_kept
from skipthink_ray.models.decoding import generate
from skipthink_ray.models.perturbing import perturbed
from skipthink_ray.models.student import Student
from skipthink_ray.models.verifying import Contexts, Written, margins
from skipthink_ray.rows import Samples
from skipthink_ray.tasks import Task


def perturbed_copies(student: Student, config: SkipsConfig, seed: int) -> list[Student]:
    """The copies of a student that must agree with it; none without `agreement_passes`."""
    return [perturbed(student, config.agreement_noise, seed + number) for number in range(config.agreement_passes)]


@dataclass
class Ablation:
    """Which chunks of `samples` the student does not need."""

    student: Student
    task: Task
    config: SkipsConfig
    samples: Samples
    verify: bool = True
    """False generates every answer from its whole prompt: the literal algorithm of the paper, for comparison."""
    copies: list[Student] | None = None
    """Its perturbed copies, where many ablations share them; None makes those of seed 0 where the gate asks for any."""
    verified_R: np.ndarray = field(init=False)
    """Answers that one forward pass settled, per sample."""
    decoded_R: np.ndarray = field(init=False)
    """Answers that were decoded, per sample."""

    def __post_init__(self) -> None:
        copies = perturbed_copies(self.student, self.config, seed=0) if self.copies is None else self.copies
        self.judges = [self.student, *copies]
        self.verified_R = np.zeros(len(self.samples), dtype=np.int32)
        self.decoded_R = np.zeros_like(self.verified_R)
        self.rendered = [self.samples.sample(row, ends_M) for row, ends_M in enumerate(self.samples.ends_RM)]
        self.gold = self.samples.table["answer"].to_pylist()

    def find(self) -> tuple[np.ndarray, np.ndarray]:
        """(kept_RM, right_R): the chunks to keep, and whether the answer from all chunks passes the gate."""
        ends_RM = self.samples.ends_RM
        present_RM = np.diff(ends_RM, axis=1, prepend=0) > 0
        tokens_RM = np.diff(self.samples.chunk_token_ends(ends_RM), axis=1, prepend=0)
        lengths_R = self.samples.question.lengths + tokens_RM.sum(1)
        kept_RM, right_R = present_RM.copy(), np.zeros(len(ends_RM), dtype=bool)
        for rows in self._groups(np.argsort(lengths_R, kind="stable")):
            writers = [self._writer(judge, rows) for judge in self.judges]

            def passes(at_A: np.ndarray, kept_AM: np.ndarray, rows=rows, writers=writers) -> np.ndarray:
                return self._passes(writers, rows, at_A, kept_AM)

            kept_RM[rows], right_R[rows] = find_kept(present_RM[rows], tokens_RM[rows], passes, self.config)
        return kept_RM, right_R

    def _groups(self, order: np.ndarray) -> list[np.ndarray]:
        """Samples whose keys and values are held at once; generating holds none."""
        size = self.config.batch_size if self.verify else len(order)
        return [order[start : start + size] for start in range(0, len(order), size)]

    def _writer(self, judge: Student, rows: np.ndarray) -> "Contexts | Generator":
        samples = [self.rendered[row] for row in rows]
        if self.verify:
            return Contexts(judge, samples, self.config.max_new_tokens, self.config.batch_size)
        return Generator(judge, samples, self.config)

    def _passes(self, writers: "list[Contexts | Generator]", rows: np.ndarray, at_A: np.ndarray, kept_AM: np.ndarray) -> np.ndarray:
        """Whether the answers of `rows[at_A]` from their kept chunks pass; a copy is asked where all before it were right."""
        passes_A = np.ones(len(at_A), dtype=bool)
        for number, writer in enumerate(writers):
            asked = np.flatnonzero(passes_A)
            if not len(asked):
                break
            written = writer.write(at_A[asked], kept_AM[asked])
            margin_nats = self.config.margin_nats if number == 0 else 0.0
            right = [self._is_right(one, row) for one, row in zip(written, rows[at_A[asked]], strict=True)]
            passes_A[asked] = np.array(right) & (np.array([one.margin_nats for one in written]) >= margin_nats)
            verified = np.array([one.verified for one in written])
            np.add.at(self.verified_R, rows[at_A[asked[verified]]], 1)
            np.add.at(self.decoded_R, rows[at_A[asked[~verified]]], 1)
        return passes_A

    def _is_right(self, written: Written, row: int) -> bool:
        if written.verified:
            return True
        text = self.student.tokenizer.decode([token for token in written.ids if token != self.student.ids.eos])
        return self.task.check(text.strip() or None, self.gold[row])


class Generator:
    """What `Contexts` does, by one `generate` per context, batched by length, and nothing shared."""

    def __init__(self, student: Student, samples: list[markup.Sample], config: SkipsConfig) -> None:
        self.student, self.samples, self.config = student, samples, config

    def write(self, rows: np.ndarray, kept_AM: np.ndarray) -> list[Written]:
        items = [markup.answer_item(self.samples[row], self.student.ids, kept) for row, kept in zip(rows, kept_AM, strict=True)]
        order = np.argsort([len(item.prompt) for item in items], kind="stable")
        written: dict[int, Written] = {}
        for start in range(0, len(order), self.config.batch_size):
            batch = order[start : start + self.config.batch_size].tolist()
            ids = generate(self.student, [items[at].prompt for at in batch], self.config.max_new_tokens)
            answers = [markup.Item(items[at].prompt, one) for at, one in zip(batch, ids, strict=True)]
            leads = margins(self.student, answers).tolist() if self.config.margin_nats else [0.0] * len(batch)
            written |= {at: Written(one, lead, verified=False) for at, one, lead in zip(batch, ids, leads, strict=True)}
        return [written[at] for at in range(len(items))]
