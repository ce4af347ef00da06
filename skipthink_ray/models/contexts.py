"""Asks a CWT student for its answer from some chunks of a sample (method §5).

Reading: the student answers from any subset of the teacher's chunks. Writing: it sees some of the first
chunks, writes the later ones stage by stage, each with its own marker and the growing context, and then the
answer. Without the `[answer]` marker, the prompt of stage M asks for the answer: after the chunks comes the
trigger, which is the conclusion up to `-->`. Shape suffixes: A contexts, M chunks.
"""

import numpy as np

from skipthink_ray.config import SkipsConfig
from skipthink_ray.method.markup import ARROW, Sample, kept_tokens, prompt, stage_target
from skipthink_ray.models.decoding import text_of
from skipthink_ray.models.student import Student
from skipthink_ray.models.verifying import Ask, Verifier, Written


class Contexts:
    """A student's answers about some samples. Keeps reusable keys and values in memory."""

    def __init__(self, student: Student, samples: list[Sample], config: SkipsConfig) -> None:
        self.student, self.samples, self.config = student, samples, config
        self.answers = [_answer_parts(student, sample) for sample in samples]
        self.verifier = Verifier(student, config.batch_size)

    def write(self, rows: np.ndarray, kept_AM: np.ndarray, written_from: int | None = None) -> list[Written]:
        """The greedy answer for each row, from its kept chunks and the chunks that the student writes.

        The student writes the chunks from index `written_from` (0-based) on; with None it writes only the
        answer. All kept chunks come before that index. A chunk ends at EOS, which is removed, or before the
        answer's trigger, or is cut at `max_chunk_tokens`.
        """
        shown = [
            kept_tokens(self.samples[row], kept)
            for row, kept in zip(rows.tolist(), kept_AM.tolist(), strict=True)
        ]
        contexts = [list(tokens) for tokens in shown]
        verified_A, decoded_A = np.zeros(len(rows), dtype=int), np.zeros(len(rows), dtype=int)
        stages = range(kept_AM.shape[1] if written_from is None else written_from, kept_AM.shape[1])
        for stage in stages:
            store = stage > stages.start  # the next search step starts one stage later and shares this prefix
            asks = [
                self._ask_chunk(row, stage, context, len(teachers) if store else None)
                for row, context, teachers in zip(rows.tolist(), contexts, shown, strict=True)
            ]
            for at, (row, one) in enumerate(zip(rows.tolist(), self.verifier.ask(asks), strict=True)):
                contexts[at] += before(self.answers[row][0], without_eos(one.ids, self.student.ids.eos))
                verified_A[at] += one.verified
                decoded_A[at] += not one.verified
        teachers = [len(tokens) if stages else None for tokens in shown]
        asks = [self._ask_answer(*each) for each in zip(rows.tolist(), contexts, teachers, strict=True)]
        answers = self.verifier.ask(asks)
        for answer, verified, decoded in zip(answers, verified_A.tolist(), decoded_A.tolist(), strict=True):
            answer.chunks_verified, answer.chunks_decoded = verified, decoded
        return answers

    def _ask_chunk(self, row: int, stage: int, context: list[int], hold: int | None) -> Ask:
        """`hold`: number of context tokens that later prompts share; None: not even the question."""
        question, ids = self.samples[row].question, self.student.ids
        tokens = prompt(ids, ids.stages[stage], question, context)
        held = 0 if hold is None else len(ids.start) + 1 + len(question) + hold
        target = stage_target(self.samples[row], ids, stage)
        return Ask(row, tokens, target, self.config.max_chunk_tokens, held)

    def _ask_answer(self, row: int, context: list[int], teachers: int | None) -> Ask:
        """`teachers`: context tokens from the teacher's chunks; None: all, cached if the answer is right."""
        question, ids, (trigger, answer) = self.samples[row].question, self.student.ids, self.answers[row]
        tokens = prompt(ids, ids.answer, question, [*context, *trigger])
        held = 0 if teachers is None else len(ids.start) + 1 + len(question) + teachers
        held_verified = len(tokens) if teachers is None else 0
        return Ask(row, tokens, [*answer, ids.eos], self.config.max_new_tokens, held, held_verified)


def _answer_parts(student: Student, sample: Sample) -> tuple[list[int], list[int]]:
    """(trigger, answer): what follows the chunks in the prompt for the answer, and what is expected then."""
    if not student.ids.answer_in_last_chunk:
        return [], [*sample.answer]
    conclusion = [*sample.conclusion]
    length = next(n for n in range(1, len(conclusion) + 1) if ARROW in text_of(student, conclusion[:n]))
    return conclusion[:length], conclusion[length:]


def before(trigger: list[int], ids: list[int]) -> list[int]:
    """The tokens before the trigger; all if the trigger is empty or missing."""
    starts = range(len(ids) if trigger else 0)
    return ids[: next((at for at in starts if ids[at : at + len(trigger)] == trigger), len(ids))]


def without_eos(ids: list[int], eos: int) -> list[int]:
    """The text of a stage as it enters later prompts."""
    return [token for token in ids if token != eos]
