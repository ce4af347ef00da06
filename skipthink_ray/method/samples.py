"""The samples table as arrays, with its chunks (SAMPLE_SCHEMA and CHUNKED_SCHEMA in rows.py).

Shape suffixes: R samples, M chunks.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.dataset

from skipthink_ray.method.chunking import average_chunks, sizes_of
from skipthink_ray.method.markup import Sample
from skipthink_ray.method.skipping import Fold
from skipthink_ray.rows import CHUNK_STEPS, TRAIN

PARTS = ("question", "rationale", "step", "answer", "conclusion")
COLUMNS = ["row", *(f"{part}_tokens" for part in PARTS)]
"""The columns behind the arrays, without chunks. Training reads only these; texts stay on storage."""


@dataclass(frozen=True)
class Ragged:
    """Lists of unequal length, stored flat: row i is `values[offsets[i]:offsets[i + 1]]`."""

    values: np.ndarray
    offsets: np.ndarray

    @classmethod
    def from_column(cls, table: pa.Table, name: str) -> "Ragged":
        """A view of a column in one piece. It copies nothing but the offsets."""
        column = table[name]
        lists = column.chunk(0) if column.num_chunks else pa.array([], column.type)
        offsets = lists.offsets.to_numpy()
        return cls(lists.flatten().to_numpy(), offsets - offsets[0])

    def __getitem__(self, row: int) -> np.ndarray:
        return self.values[self.offsets[row] : self.offsets[row + 1]]

    @property
    def lengths(self) -> np.ndarray:
        return np.diff(self.offsets)


@dataclass(frozen=True, eq=False)
class Samples:
    """Samples in the order of `row`, with their chunks. The table may lack columns that nobody asks for.

    Before cwt, samples lack chunks; `in_average_chunks` adds them.
    """

    table: pa.Table

    def __post_init__(self) -> None:
        row_R = self.table["row"].to_numpy()
        table = self.table.sort_by("row") if (row_R[1:] < row_R[:-1]).any() else self.table
        object.__setattr__(self, "table", table.combine_chunks())

    def __len__(self) -> int:
        return self.table.num_rows

    def __iter__(self) -> Iterator[Sample]:
        return (self.sample(row) for row in range(len(self)))

    @cached_property
    def question(self) -> Ragged:
        return Ragged.from_column(self.table, "question_tokens")

    @cached_property
    def rationale(self) -> Ragged:
        return Ragged.from_column(self.table, "rationale_tokens")

    @cached_property
    def step_tokens(self) -> Ragged:
        """Number of tokens of each step."""
        return Ragged.from_column(self.table, "step_tokens")

    @cached_property
    def answer(self) -> Ragged:
        return Ragged.from_column(self.table, "answer_tokens")

    @cached_property
    def conclusion(self) -> Ragged:
        return Ragged.from_column(self.table, "conclusion_tokens")

    @cached_property
    def step_ends(self) -> Ragged:
        """Number of tokens from the start of the rationale to the end of each step."""
        running = np.concatenate([[0], self.step_tokens.values.cumsum()])
        before = running[self.step_tokens.offsets[:-1]]
        return Ragged(running[1:] - np.repeat(before, self.step_tokens.lengths), self.step_tokens.offsets)

    @property
    def num_chunks(self) -> int:
        """M."""
        return self.sizes_RM.shape[1]

    @cached_property
    def sizes_RM(self) -> np.ndarray:
        """Number of steps of each chunk."""
        sizes = Ragged.from_column(self.table, CHUNK_STEPS.name).values.astype(np.int64)
        return sizes.reshape(len(self), -1) if len(self) else np.zeros((0, 1), np.int64)

    @cached_property
    def ends_RM(self) -> np.ndarray:
        """Number of steps from the start of the rationale to the end of each chunk."""
        return self.sizes_RM.cumsum(1)

    @cached_property
    def present_RM(self) -> np.ndarray:
        """Which chunks have steps."""
        return self.sizes_RM > 0

    @cached_property
    def chunk_token_ends_RM(self) -> np.ndarray:
        """Number of tokens from the start of the rationale to the end of each chunk."""
        index_RM = self.step_tokens.offsets[:-1, None] + np.maximum(self.ends_RM, 1) - 1
        return np.where(self.ends_RM > 0, self.step_ends.values[index_RM], 0)

    @cached_property
    def chunk_tokens_RM(self) -> np.ndarray:
        """Number of tokens of each chunk."""
        return sizes_of(self.chunk_token_ends_RM)

    def sample(self, row: int) -> Sample:
        steps = np.split(self.rationale[row], self.step_ends[row][:-1])
        return Sample(
            question=self.question[row].tolist(),
            steps=[step.tolist() for step in steps],
            sizes=self.sizes_RM[row].tolist(),
            answer=self.answer[row].tolist(),
            conclusion=self.conclusion[row].tolist(),
        )

    def with_ends(self, ends_RM: np.ndarray) -> "Samples":
        """The same samples with other chunks. All other columns are shared."""
        offsets = np.arange(len(self) + 1, dtype=np.int32) * np.int32(ends_RM.shape[1])
        sizes = pa.ListArray.from_arrays(offsets, sizes_of(ends_RM).ravel().astype(np.int32))
        at = self.table.schema.get_field_index(CHUNK_STEPS.name)
        if at < 0:
            return replace(self, table=self.table.append_column(CHUNK_STEPS, sizes))
        return replace(self, table=self.table.set_column(at, CHUNK_STEPS, sizes))

    def in_average_chunks(self, num_chunks: int) -> "Samples":
        """The same samples in M average chunks (method §4)."""
        return self.with_ends(average_chunks(self.step_tokens.lengths, num_chunks))


def training_samples(
    source: pyarrow.dataset.Dataset, columns: list[str], held_out: Fold | None = None
) -> Samples:
    """The training samples outside the fold `held_out`, with these columns."""
    table = source.to_table(columns=columns, filter=TRAIN)
    if held_out:
        questions = source.to_table(columns=["question"], filter=TRAIN)["question"].to_pylist()
        table = table.filter(pa.array(~held_out.holds(questions)))
    return Samples(table)
