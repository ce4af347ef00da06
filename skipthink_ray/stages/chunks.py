"""Stage 2: steps, tokens and average chunks of every rationale, and the student before training.

Artifact: `samples/` (SAMPLE_SCHEMA; `reason` is set if a sample is too long for the student) and `student/`
(a Hugging Face folder: the pretrained student with its markers, from which base, cwt and stt start).
"""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset
import ray

from skipthink_ray.config import PipelineConfig
from skipthink_ray.method.choosing import choose_num_chunks
from skipthink_ray.method.chunking import average_chunks
from skipthink_ray.method.steps import split_steps
from skipthink_ray.models.decoding import max_positions
from skipthink_ray.models.student import build_student, encode, load_tokenizer, save_student
from skipthink_ray.rows import SAMPLE_SCHEMA
from skipthink_ray.runtime.artifacts import ROW_GROUP
from skipthink_ray.stages.context import Context
from skipthink_ray.tasks import task_of

TOKENIZER_ROWS = 50_000
"""Maximum number of rows to train a tokenizer from scratch on."""


def make(context: Context) -> dict[str, Any]:
    """Write `samples/` and `student/`. Returns M, sample counts and the student's size."""
    config, rows = context.config, context.inputs["rationales"].table("rows")
    kept = pc.field("reason").is_null()
    total = rows.count_rows(filter=kept)
    with context.line("rows", total) as line:
        tokenizer = load_tokenizer(config.student, _texts(rows, config))
        num_chunks = _num_chunks(config, rows)
        student = build_student(config.student, tokenizer, num_chunks, config.seed)
        with TemporaryDirectory() as folder:
            save_student(student, Path(folder))
            context.out.upload(Path(folder), "student")
        limit = min(config.student.max_tokens, max_positions(student))
        arguments = {
            "tokenizer": student.tokenizer,
            "start_tokens": len(student.ids.start),
            "num_chunks": num_chunks,
            "config": config,
            "limit": limit,
            "board": line.board,
        }
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
    return _summary(context, num_chunks, student.model.num_parameters())


def _texts(rows: pa.dataset.Dataset, config: PipelineConfig) -> Iterator[str]:
    """The texts of the training rows that the student will read or write."""
    train = pc.field("reason").is_null() & (pc.field("split") == "train")
    batches = rows.to_batches(columns=["question", "rationale", "answer"], filter=train)
    for row in islice((row for batch in batches for row in batch.to_pylist()), TOKENIZER_ROWS):
        yield (
            config.chunks.question_format.format(**row)
            + row["rationale"]
            + config.chunks.answer_format.format(**row)
        )


def _num_chunks(config: PipelineConfig, rows: pa.dataset.Dataset) -> int:
    """M: as configured, else the task's own, else from the step counts.

    The rounded mean of the step counts is the paper's M for tasks other than arithmetic.
    """
    wanted = config.chunks.num_chunks or task_of(config).num_chunks
    if isinstance(wanted, int):
        return wanted
    train = pc.field("reason").is_null() & (pc.field("split") == "train")
    batches = rows.to_batches(columns=["rationale"], filter=train)
    counts = np.array(
        [len(split_steps(text)) for batch in batches for text in batch["rationale"].to_pylist()]
    )
    return choose_num_chunks(counts) if wanted == "auto" else max(1, round(float(np.mean(counts))))


def _cut(
    batch: pa.Table,
    tokenizer: Any,
    start_tokens: int,
    num_chunks: int,
    config: PipelineConfig,
    limit: int,
    board: Any,
) -> pa.Table:
    board.advance.remote(len(batch))
    batch = batch.filter(pc.is_null(batch["reason"]))
    rows = batch.to_pylist()
    steps = [split_steps(row["rationale"] or "") for row in rows]
    ends_RM = average_chunks(np.array([len(one) for one in steps], dtype=np.int64), num_chunks)
    flat = iter(encode(tokenizer, [step for one in steps for step in one]))
    questions = encode(tokenizer, [config.chunks.question_format.format(**row) for row in rows])
    answers = encode(tokenizer, [row["answer"] for row in rows])
    conclusions = encode(tokenizer, [config.chunks.answer_format.format(**row) for row in rows])
    cut = []
    for row, one, ends_M, question, answer, conclusion in zip(
        rows, steps, ends_RM, questions, answers, conclusions, strict=True
    ):
        tokens = list(islice(flat, len(one)))
        sample = {
            **row,
            "question_tokens": question,
            "rationale_tokens": [token for step in tokens for token in step],
            "step_tokens": [len(step) for step in tokens],
            "answer_tokens": answer,
            "conclusion_tokens": conclusion,
            "chunk_steps": np.diff(ends_M, prepend=0).tolist(),
        }
        cut.append({**sample, **_fate(sample, start_tokens, limit)})
    return pa.Table.from_pylist(cut, schema=SAMPLE_SCHEMA)


def _fate(sample: dict[str, Any], start_tokens: int, limit: int) -> dict[str, str | None]:
    length = (
        sum(len(sample[f"{part}_tokens"]) for part in ("question", "rationale", "conclusion"))
        + start_tokens
        + 2
    )
    if length <= limit:
        return {"reason": None, "detail": None}
    return {
        "reason": "too many tokens",
        "detail": f"{length} tokens, limit {limit} (student.max_tokens or the model's positions)",
    }


def _summary(context: Context, num_chunks: int, parameters: int) -> dict[str, Any]:
    lengths = {name: pc.list_value_length(pc.field(f"{name}_tokens")) for name in ("step", "rationale")}
    table = context.out.table("samples").to_table(
        columns={"split": pc.field("split"), "reason": pc.field("reason"), **lengths}
    )
    used = table.filter(pc.is_null(table["reason"]))
    train = used.filter(pc.equal(used["split"], "train"))
    dropped = table.num_rows - used.num_rows
    if not train.num_rows or train.num_rows == used.num_rows:
        raise ValueError(
            f"no sample is left to {'test' if train.num_rows else 'train'} on: "
            f"{dropped} of {table.num_rows} have more than "
            f"student.max_tokens = {context.config.student.max_tokens} tokens, "
            "or more than the model has positions"
        )
    steps, tokens = pc.mean(train["step"]).as_py(), pc.mean(train["rationale"]).as_py()
    context.say(
        f"M = {num_chunks}; {steps:.1f} steps and {tokens:.1f} tokens a rationale; "
        f"student of {parameters:,} parameters" + (f"; {dropped} too long" if dropped else "")
    )
    return {
        "num_chunks": num_chunks,
        "train": train.num_rows,
        "test": used.num_rows - train.num_rows,
        "dropped": dropped,
        "reasons": {"too many tokens": dropped} if dropped else {},
        "steps_mean": steps,
        "rationale_tokens_mean": tokens,
        "student_parameters": parameters,
    }
