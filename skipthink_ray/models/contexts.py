"""What a CWT student answers from some of a sample's chunks (method §5), and what it writes itself in place of others.

Reading: the answer from any of the teacher's chunks. Writing: the student goes on from some of the first chunks; it
writes the later ones in stages, each with its own marker over the growing context, and then the answer.
Shape suffixes: A asked contexts, M chunks.
"""

import numpy as np

from skipthink_ray.config import SkipsConfig
from skipthink_ray.method.markup import Sample, join, prompt
from skipthink_ray.models.student import Student
from skipthink_ray.models.verifying import Ask, Verifier, Written


class Contexts:
    """Answers of a student about some samples. Keys and values that come again are held as long as this lives."""

    def __init__(self, student: Student, samples: list[Sample], config: SkipsConfig) -> None:
        self.student, self.samples, self.config = student, samples, config
        self.chunks = [sample.chunks for sample in samples]
        self.verifier = Verifier(student, config.batch_size)

    def write(self, rows: np.ndarray, kept_AM: np.ndarray, written_from: int | None = None) -> list[Written]:
        """The greedy answer about every row after its kept chunks, and after c_written_from+1 .. c_M of the student's own.

        `written_from` counts from 0; None lets it write the answer alone. What is kept lies before it. A chunk ends
        with EOS, which is left out, or is cut at `max_chunk_tokens` and stays as it is.
        """
        shown = [self._shown(row, kept) for row, kept in zip(rows.tolist(), kept_AM.tolist(), strict=True)]
        contexts = [list(tokens) for tokens in shown]
        verified_A, decoded_A = np.zeros(len(rows), dtype=int), np.zeros(len(rows), dtype=int)
        stages = range(kept_AM.shape[1] if written_from is None else written_from, kept_AM.shape[1])
        for stage in stages:
            hold = stage > stages.start  # the next question of a search begins a stage later
            asks = [
                self._ask_chunk(row, stage, context, len(teachers) if hold else None)
                for row, context, teachers in zip(rows.tolist(), contexts, shown, strict=True)
            ]
            for at, one in enumerate(self.verifier.ask(asks)):
                contexts[at] += without_eos(one.ids, self.student.ids.eos)
                verified_A[at] += one.verified
                decoded_A[at] += not one.verified
        teachers = [len(tokens) if stages else None for tokens in shown]
        asks = [self._ask_answer(*each) for each in zip(rows.tolist(), contexts, teachers, strict=True)]
        answers = self.verifier.ask(asks)
        for answer, verified, decoded in zip(answers, verified_A.tolist(), decoded_A.tolist(), strict=True):
            answer.chunks_verified, answer.chunks_decoded = verified, decoded
        return answers

    def _shown(self, row: int, kept: list[bool]) -> list[int]:
        return join(chunk for chunk, keep in zip(self.chunks[row], kept, strict=True) if keep)

    def _ask_chunk(self, row: int, stage: int, context: list[int], hold: int | None) -> Ask:
        """`hold` counts the first tokens of the context that will come again; None: not even the question will."""
        question, ids = self.samples[row].question, self.student.ids
        tokens = prompt(ids, ids.stages[stage], question, context)
        held = 0 if hold is None else len(ids.start) + 1 + len(question) + hold
        return Ask(row, tokens, [*self.chunks[row][stage], ids.eos], self.config.max_chunk_tokens, held)

    def _ask_answer(self, row: int, context: list[int], teachers: int | None) -> Ask:
        """`teachers` counts the tokens of the teacher's chunks; None: all are. Reading goes on from contexts that were right."""
        question, ids = self.samples[row].question, self.student.ids
        tokens = prompt(ids, ids.answer, question, context)
        held = 0 if teachers is None else len(ids.start) + 1 + len(question) + teachers
        held_verified = len(tokens) if teachers is None else 0
        return Ask(
            row, tokens, [*self.samples[row].answer, ids.eos], self.config.max_new_tokens, held, held_verified
        )


def without_eos(ids: list[int], eos: int) -> list[int]:
    """What a stage wrote, as it enters later prompts."""
    return [token for token in ids if token != eos]
