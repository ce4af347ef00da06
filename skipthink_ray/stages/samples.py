"""Stage 2: steps and tokens of every rationale, and the student before training. Independent of M.

Artifact: `samples/` (SAMPLE_SCHEMA; `reason` is set if a sample is too long for the student), `steps.json`
(training samples by number of steps, which decide M) and `student/` (a Hugging Face folder, from which base,
cwt and stt start; its vocabulary lacks only the stage markers `[1]` to `[M]`).
"""

import traceback
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset
import ray

from skipthink_ray.config import PipelineConfig, SamplesConfig
from skipthink_ray.method.cutting import Encode, cut, mark_too_long, texts
from skipthink_ray.models.encoding import sendable
from skipthink_ray.rows import HELD_OUT, KEPT, TRAIN
from skipthink_ray.runtime.artifacts import ROW_GROUP, Folder, refuse_lost_rows
from skipthink_ray.runtime.board import Board
from skipthink_ray.stages.context import Context
from skipthink_ray.training.plan import STEPS

TOKENIZER_ROWS = 50_000
"""Maximum number of rows to train a tokenizer from scratch on."""


@dataclass(frozen=True)
class _NewStudent:
    """What the stage needs to know of the student before training."""

    encode: Encode
    num_start_tokens: int
    """Number of tokens with which the student's prompts start."""
    limit: int
    """Maximum number of tokens of a sample."""
    parameters: int


def make(context: Context) -> dict[str, Any]:
    """Write `samples/` and `student/`. Returns sample counts and the student's size."""
    config, rows = context.config, context.inputs["rationales"].table("rows")
    total = rows.count_rows(filter=KEPT)
    with context.line("rows", total) as line:
        student = _make_student(context)
        arguments = {"student": student, "formats": config.samples, "board": line.board}
        source = ray.data.read_parquet(
            rows.files, filesystem=context.inputs["rationales"].filesystem, ray_remote_args={"num_cpus": 0.1}
        )
        samples = source.map_batches(
            _cut,  # pyright: ignore[reportArgumentType]  # ray's type knows no keyword arguments
            batch_format="pyarrow",
            batch_size=1000,
            fn_kwargs=arguments,
        )
        samples.write_parquet(
            f"{context.out.path}/samples", filesystem=context.out.filesystem, row_group_size=ROW_GROUP
        )
    refuse_lost_rows("samples", total, context.out.table("samples").count_rows())
    return _summary(context, student.parameters)


def _make_student(context: Context) -> _NewStudent:
    """Write `student/`, from scratch in a Ray task, so that the driver does not import torch.

    Later tasks, such as the timing of answers, may use its process again. A pretrained student is loaded
    here, because only the driver is sure to have its files and the settings of the Hub.
    """
    arguments = context.config, context.inputs["rationales"], context.out
    if context.config.student.pretrained:
        return _write_student(*arguments)
    student = context.stopper.call(_write_or_refuse, *arguments)
    if isinstance(student, ValueError):
        raise student
    return student


def _write_or_refuse(*arguments: Any) -> _NewStudent | ValueError:
    """`_write_student`, which returns an error that the user can fix. Ray would wrap it if it were raised."""
    try:
        return _write_student(*arguments)
    except ValueError as error:
        traceback.print_exc()  # to the log
        return error


def _write_student(config: PipelineConfig, rationales: Folder, out: Folder) -> _NewStudent:
    """Write `student/` into `out`. Imports torch. Raises ValueError if the student cannot be made."""
    from skipthink_ray.models.decoding import max_positions
    from skipthink_ray.models.student import build_student, load_tokenizer, save_student

    tokenizer = load_tokenizer(config.student, _texts(rationales.table("rows"), config))
    student = build_student(config.student, tokenizer, config.seed)
    with TemporaryDirectory() as folder:
        save_student(student, Path(folder))
        out.upload(Path(folder), "student")
    return _NewStudent(
        encode=sendable(student.tokenizer),
        num_start_tokens=len(student.ids.start),
        limit=min(config.student.max_tokens, max_positions(student)),
        parameters=student.model.num_parameters(),
    )


def _texts(rows: pa.dataset.Dataset, config: PipelineConfig) -> Iterator[str]:
    """The texts of the training rows that the student will read or write."""
    batches = rows.to_batches(columns=["question", "rationale", "answer"], filter=TRAIN)
    for row in islice((row for batch in batches for row in batch.to_pylist()), TOKENIZER_ROWS):
        yield "".join(texts(row, config.samples))


def _cut(batch: pa.Table, student: _NewStudent, formats: SamplesConfig, board: Board) -> pa.Table:
    rows = batch.filter(KEPT).to_pylist()
    board.advance(len(rows))
    samples = cut(rows, student.encode, formats)
    parts = (samples[f"{part}_tokens"] for part in ("question", "rationale", "conclusion"))
    tokens_R = np.sum([pc.list_value_length(part).to_numpy() for part in parts], axis=0)
    tokens_R += student.num_start_tokens + 2
    why = f"limit {student.limit} (student.max_tokens or the model's positions)"
    return mark_too_long(samples, tokens_R, student.limit, why)


def _summary(context: Context, parameters: int) -> dict[str, Any]:
    lengths = {name: pc.list_value_length(pc.field(f"{name}_tokens")) for name in ("step", "rationale")}
    table = context.out.table("samples").to_table(
        columns={"split": pc.field("split"), "reason": pc.field("reason"), **lengths}
    )
    used, train = table.filter(KEPT), table.filter(TRAIN)
    dropped = table.num_rows - used.num_rows
    if not train.num_rows or train.num_rows == used.num_rows:
        raise ValueError(
            f"no sample is left to {'test' if train.num_rows else 'train'} on: "
            f"{dropped} of {table.num_rows} have more than "
            f"student.max_tokens = {context.config.student.max_tokens} tokens, "
            "or more than the model has positions"
        )
    counts = sorted(Counter(train["step"].to_pylist()).items())
    context.out.write_json(STEPS, {str(steps): count for steps, count in counts})
    steps, tokens = pc.mean(train["step"]).as_py(), pc.mean(train["rationale"]).as_py()
    context.say(
        f"{steps:.1f} steps and {tokens:.1f} tokens a rationale; "
        f"student of {parameters:,} parameters" + (f"; {dropped} too long" if dropped else "")
    )
    return {
        "train": train.num_rows,
        **{split: used.filter(pc.field("split") == split).num_rows for split in HELD_OUT},
        "dropped": dropped,
        "reasons": {"too many tokens": dropped} if dropped else {},
        "steps_mean": steps,
        "rationale_tokens_mean": tokens,
        "student_parameters": parameters,
    }
