"""The tables that stages exchange, and their columns: Parquet on storage, pyarrow and numpy in memory.

| table | written by | columns |
| --- | --- | --- |
| rows | rationales | ROW_SCHEMA (DRAFT_SCHEMA while the stage works) |
| samples | chunks; cwt (with the chunks it found) | SAMPLE_SCHEMA |
| skips | skips | SKIP_SCHEMA |
| answers, latencies | evaluation | ANSWER_SCHEMA, LATENCY_SCHEMA |
| history | base, cwt, stt | HISTORY_SCHEMA |

A dropped row stays in its table, with a `reason` and a `detail`.

`row` is the row's number in the input, unique within a run. Every table is read in the order of `row`.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from skipthink_ray.method.markup import Sample

RATIONALE_SCHEMA = pa.schema(
    {
        "row": pa.int64(),
        "id": pa.string(),
        "split": pa.string(),
        "question": pa.string(),
        "answer": pa.string(),
        "rationale": pa.string(),
    }
)
_FATE = {"reason": pa.string(), "detail": pa.string()}
ROW_SCHEMA = pa.schema([*RATIONALE_SCHEMA, *pa.schema(_FATE)])
DRAFT_SCHEMA = pa.schema(
    [
        *ROW_SCHEMA,
        pa.field("concluded", pa.string()),  # the teacher's own answer
        pa.field("finish", pa.string()),  # why the teacher stopped: stop, length, refused
        pa.field("request", pa.string()),  # hash of the request to the teacher
        pa.field("prompt_tokens", pa.int64()),
        pa.field("tokens", pa.int64()),
        pa.field("key", pa.int64()),  # equal for duplicates; only for training rows that are kept
    ]
)
_TOKENS = pa.list_(pa.int32())
SAMPLE_SCHEMA = pa.schema(
    {
        **{name: RATIONALE_SCHEMA.field(name).type for name in RATIONALE_SCHEMA.names},
        "question_tokens": _TOKENS,
        "rationale_tokens": _TOKENS,
        "step_tokens": _TOKENS,  # number of tokens of each step
        "answer_tokens": _TOKENS,
        "conclusion_tokens": _TOKENS,
        "chunk_steps": _TOKENS,  # number of steps of each of the M chunks
        **_FATE,
    }
)
SKIP_SCHEMA = pa.schema(
    {
        "row": pa.int64(),
        "kept": pa.list_(pa.bool_()),  # of the M chunks
        "right": pa.bool_(),  # the CWT student answers correctly from all chunks
        "verified": pa.int32(),  # answers verified by one forward pass
        "decoded": pa.int32(),  # answers that had to be decoded
        # of the chunks that the student wrote (judge: writing):
        "chunks_verified": pa.int32(),  # those verified by one forward pass
        "chunks_decoded": pa.int32(),  # those that had to be decoded
    }
)
ANSWER_SCHEMA = pa.schema(
    {
        "row": pa.int64(),
        "mode": pa.string(),
        "text": pa.string(),
        "answer": pa.string(),  # null: format error
        "right": pa.bool_(),
        "tokens": pa.int32(),
        "stopped": pa.bool_(),  # ended in EOS before the length limit
        "loops": pa.bool_(),  # repeats itself
        "batch_seconds": pa.float64(),  # this question's share of the seconds of its batch
    }
)
LATENCY_SCHEMA = pa.schema(
    {"row": pa.int64(), "mode": pa.string(), "seconds": pa.float64(), "tokens": pa.int32()}
)
HISTORY_SCHEMA = pa.schema(
    {
        "update": pa.int64(),
        "epoch": pa.int32(),
        "loss_nats": pa.float64(),
        "target_tokens": pa.int64(),  # N
        "lr": pa.float64(),
    }
)

TEST = pc.field("reason").is_null() & (pc.field("split") == "test")
"""A filter of the samples table: the samples to evaluate."""


@dataclass(frozen=True)
class Ragged:
    """Lists of unequal length, stored flat: row i is `values[offsets[i]:offsets[i + 1]]`."""

    values: np.ndarray
    offsets: np.ndarray

    @classmethod
    def from_column(cls, table: pa.Table, name: str) -> "Ragged":
        column = table[name].combine_chunks()
        if isinstance(column, pa.ChunkedArray):  # an empty table has nothing to combine
            column = pa.array([], column.type)
        offsets = column.offsets.to_numpy()
        return cls(column.values.to_numpy(), offsets)

    def __getitem__(self, row: int) -> np.ndarray:
        return self.values[self.offsets[row] : self.offsets[row + 1]]

    @property
    def lengths(self) -> np.ndarray:
        return np.diff(self.offsets)


class Samples:
    """The samples table as arrays. `ends_RM` (R samples, M chunks): steps up to the end of each chunk."""

    def __init__(self, table: pa.Table) -> None:
        self.table = table.sort_by("row")
        self.question, self.rationale, self.steps, self.answer, self.conclusion = (
            Ragged.from_column(self.table, f"{name}_tokens")
            for name in ("question", "rationale", "step", "answer", "conclusion")
        )
        sizes = Ragged.from_column(self.table, "chunk_steps")
        self.ends_RM = sizes.values.reshape(len(self), -1).cumsum(1) if len(self) else np.zeros((0, 1), int)

    def __len__(self) -> int:
        return self.table.num_rows

    @property
    def num_chunks(self) -> int:
        return self.ends_RM.shape[1]

    @cached_property
    def step_ends(self) -> Ragged:
        """Number of tokens from the start of the rationale to the end of each step."""
        running = np.concatenate([[0], self.steps.values.cumsum()])
        before = running[self.steps.offsets[:-1]]
        return Ragged(running[1:] - np.repeat(before, self.steps.lengths), self.steps.offsets)

    def chunk_token_ends(self, ends_RM: np.ndarray) -> np.ndarray:
        """Number of tokens from the start of the rationale to the end of each chunk, [R, M]."""
        index_RM = self.steps.offsets[:-1, None] + np.maximum(ends_RM, 1) - 1
        return np.where(ends_RM > 0, self.step_ends.values[index_RM], 0)

    def sample(self, row: int, ends_M: np.ndarray) -> Sample:
        steps = np.split(self.rationale[row], self.step_ends[row][:-1])
        return Sample(
            question=self.question[row].tolist(),
            steps=[step.tolist() for step in steps],
            sizes=np.diff(ends_M, prepend=0).tolist(),
            answer=self.answer[row].tolist(),
            conclusion=self.conclusion[row].tolist(),
        )

    def with_ends(self, ends_RM: np.ndarray) -> pa.Table:
        """The table with new chunk sizes."""
        sizes = pa.array(np.diff(ends_RM, axis=1, prepend=0).tolist(), _TOKENS)
        return self.table.set_column(self.table.schema.get_field_index("chunk_steps"), "chunk_steps", sizes)
