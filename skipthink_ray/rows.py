"""The tables that stages exchange: their columns, and the filters of rows. Parquet on storage.

| table | written by | columns |
| --- | --- | --- |
| rows | rationales | ROW_SCHEMA (DRAFT_SCHEMA while the stage works) |
| samples | samples; cwt (with the chunks it found) | SAMPLE_SCHEMA; CHUNKED_SCHEMA |
| skips | skips | SKIP_SCHEMA |
| answers, latencies | evaluation | ANSWER_SCHEMA, LATENCY_SCHEMA |
| history | base, cwt, stt | HISTORY_SCHEMA |

A dropped row stays in its table, with a `reason` and a `detail`.

`row` is the row's number in the input, unique within a run. Every table is read in the order of `row`.
"""

from itertools import accumulate
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

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
        **_FATE,
    }
)
CHUNK_STEPS = pa.field("chunk_steps", _TOKENS)  # number of steps of each of the M chunks
CHUNKED_SCHEMA = SAMPLE_SCHEMA.append(CHUNK_STEPS)
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

TRACKED = ("loss_nats", "target_tokens", "lr")
"""The columns of a history that are tracked as metrics."""


def tracked(stage: str, history: list[dict[str, Any]]) -> list[tuple[int, dict[str, float]]]:
    """Rows of a history as metrics: (update, values by name)."""
    return [(row["update"], {f"{stage}/{name}": row[name] for name in TRACKED}) for row in history]


def tracked_epochs(
    stage: str, epochs: list[dict[str, Any]], updates: int
) -> list[tuple[int, dict[str, float]]]:
    """Records of finished epochs as metrics, each at the last update of its epoch.

    :param updates: made so far; the last epoch may have ended before its plan did
    """
    ends = accumulate(record["updates"] for record in epochs)
    return [
        (
            min(end, updates) - 1,
            {f"{stage}/{key}": float(value) for key, value in record.items() if key != "epoch"},
        )
        for end, record in zip(ends, epochs, strict=True)
    ]


KEPT = pc.field("reason").is_null()
"""A filter of rows and samples: those that the run uses."""
TRAIN = KEPT & (pc.field("split") == "train")
"""The used rows to train on."""
TEST = KEPT & (pc.field("split") == "test")
DEV = KEPT & (pc.field("split") == "dev")
HELD_OUT = {"test": TEST, "dev": DEV}
"""Filters of the questions that a run may answer, by `evaluation.split`."""
