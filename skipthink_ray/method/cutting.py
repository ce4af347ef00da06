"""Cuts rows into samples: steps and token ids (method §1).

Columns in: row, id, split, question, answer, rationale. Columns out: SAMPLE_SCHEMA, without a `reason`.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import chain, islice
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from skipthink_ray.config import SamplesConfig
from skipthink_ray.method.markup import join
from skipthink_ray.method.steps import split_steps
from skipthink_ray.rows import SAMPLE_SCHEMA

Encode = Callable[[list[str]], list[list[int]]]
"""Token ids of plain texts, without special tokens (`encode` in models/encoding.py)."""


def texts(row: Mapping[str, Any], formats: SamplesConfig) -> tuple[str, str, str]:
    """What a student reads or writes: the question part q, the rationale r, and the conclusion ` --> y`."""
    question, conclusion = (form.format(**row) for form in (formats.question_format, formats.answer_format))
    return question, row["rationale"] or "", conclusion


def cut(rows: Sequence[Mapping[str, Any]], encode: Encode, formats: SamplesConfig) -> pa.Table:
    """The samples of some rows. A chunk boundary changes no token, as every step is encoded alone.

    A column that the rows lack is null.
    """
    written = [texts(row, formats) for row in rows]
    steps = [split_steps(rationale) for _, rationale, _ in written]
    flat = iter(encode(list(chain.from_iterable(steps))))
    tokens = [list(islice(flat, len(one))) for one in steps]
    columns = {
        "question_tokens": encode([question for question, _, _ in written]),
        "rationale_tokens": [join(one) for one in tokens],
        "step_tokens": [[len(step) for step in one] for one in tokens],
        "answer_tokens": encode([row["answer"] for row in rows]),
        "conclusion_tokens": encode([conclusion for _, _, conclusion in written]),
    }
    cells = zip(*columns.values(), strict=True)
    table = [{**row, **dict(zip(columns, cell, strict=True))} for row, cell in zip(rows, cells, strict=True)]
    return pa.Table.from_pylist(table, schema=SAMPLE_SCHEMA)


def mark_too_long(samples: pa.Table, tokens_R: np.ndarray, limit: int, why: str) -> pa.Table:
    """Give the kept samples with more tokens than the limit a `reason`, and a `detail` that ends in `why`."""
    long = pa.array((tokens_R > limit) & np.array(pc.is_null(samples["reason"])))
    details = pa.array([f"{count} tokens, {why}" for count in tokens_R.tolist()], pa.string())
    for name, value in (("reason", pa.scalar("too many tokens")), ("detail", details)):
        at = samples.schema.get_field_index(name)
        marked = pc.if_else(long, value, samples[name])
        samples = samples.set_column(at, samples.schema.field(name), marked)
    return samples
