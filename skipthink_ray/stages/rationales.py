"""Stage 1: questions, answers and rationales, cleaned. Every input row is kept or dropped with a reason.

Steps: read and parse; ask the teacher if the input has no rationales; judge each row; drop duplicates and
training questions that leaked from the test set. The last step compares rows; the others see one row at a
time. A training row is kept only if its rationale reaches the right answer (method §3). A test row needs
none.

Artifact: `rows/` (RATIONALE_SCHEMA and `reason`, `detail`; `reason` is null for a kept row).
"""

from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import ray

from skipthink_ray.config import PipelineConfig
from skipthink_ray.data import sources, toy
from skipthink_ray.data.cleaning import UNUSABLE, judge_row, parse_row
from skipthink_ray.data.input_files import find_files
from skipthink_ray.data.leakage import HeldOutQuestions, with_key
from skipthink_ray.rows import DRAFT_SCHEMA, HELD_OUT, ROW_SCHEMA, TRAIN
from skipthink_ray.runtime import actors
from skipthink_ray.runtime.artifacts import refuse_lost_rows
from skipthink_ray.runtime.board import Board
from skipthink_ray.runtime.lock import only_writer
from skipthink_ray.stages.context import Context
from skipthink_ray.tasks import task_of
from skipthink_ray.teacher import asking
from skipthink_ray.teacher.ledger import ledger_folder
from skipthink_ray.teacher.vllm import fill_with_vllm


def make(context: Context) -> dict[str, Any]:
    """Write `rows/`. Returns row counts by split and reason, and the teacher's tokens."""
    config, out = context.config, context.out
    total = (
        config.rationales.train_questions + config.rationales.test_questions
        if config.rationales.source == "toy"
        else 0
    )
    given = config.rationales.teacher.kind == "given"
    for remark in sources.remarks(config):
        context.say(remark)
    with context.line("rows", total) as line:
        parsed = _source(config).map_batches(
            _parse,  # pyright: ignore[reportArgumentType]  # ray's type knows no keyword arguments
            batch_format="pyarrow",
            batch_size=1000,
            fn_kwargs={"config": config, "board": line.board if given else None},
        )
        parsed.write_parquet(
            f"{out.path}/{'drafts' if given else 'parsed'}",
            filesystem=out.filesystem,
            row_group_size=asking.PIECE_ROWS,
        )
        written = out.table("drafts" if given else "parsed").count_rows()
        refuse_lost_rows("rationales", total or written, written)
        if not given:
            _ask(context, line.board)
        _compare(context)
    summary = _count(context)
    for name in ("parsed", "drafts"):
        out.delete(name)
    reasons = ", ".join(f"{reason} {number}" for reason, number in summary["reasons"].items())
    dev = f"{summary['dev']} for dev, " if summary["dev"] else ""
    context.say(
        f"{summary['train']} to train on, {dev}{summary['test']} to test on, {summary['dropped']} dropped"
        + (f" ({reasons})" if reasons else "")
    )
    return summary


def _source(config: PipelineConfig) -> "ray.data.Dataset":
    source = config.rationales
    if source.source == "file":
        return sources.read_files(find_files(source))
    if source.source == "dataset":
        return sources.read_dataset(config)
    return toy.dataset(config)


def _parse(batch: pa.Table, config: PipelineConfig, board: Board | None) -> pa.Table:
    """RAW_SCHEMA to DRAFT_SCHEMA. With a board, the input has the rationales, so rows are judged here."""
    task = task_of(config)
    rows = [parse_row(row, config, task) for row in batch.to_pylist()]
    if board:
        rows = [with_key(judge_row(row, config, task)) for row in rows]
        board.advance(len(rows))
    return pa.Table.from_pylist(rows, schema=DRAFT_SCHEMA)


def _ask(context: Context, board: Board) -> None:
    """Ask the teacher: `parsed` to `drafts`. Only one run per storage path asks at a time."""
    config = context.config
    parsed = context.out.table("parsed")
    to_ask = parsed.count_rows(filter=TRAIN)
    total = parsed.count_rows() + to_ask * (config.rationales.teacher.samples - 1)
    board.post(0, total, "")
    ledger = ledger_folder(config).create()
    with only_writer(ledger, "a teacher's answers are shared by all runs of a storage path"):
        if config.rationales.teacher.kind == "vllm":
            fill_with_vllm(config, context.out, ledger)
        arguments = {
            "config": config,
            "model": asking.model_of(config),
            "folder": context.out,
            "ledger": ledger,
            "board": board,
        }
        drafts = context.out.child("drafts")
        actors.map_row_groups(context.out, "parsed", asking.Ask, arguments, drafts, asking.pool(config))
    refuse_lost_rows("rationales: the teacher", total, context.out.table("drafts").count_rows())


def _compare(context: Context) -> None:
    """`drafts` to `rows`. Drops duplicate training rows and leaked questions.

    A training question leaks if it is also in dev or test, a dev question if it is also in test.
    """
    filters, drafts = context.config.rationales.filters, context.out.table("drafts")
    held_out = {}
    for split, those in HELD_OUT.items():
        rows = drafts.to_table(columns=["row", "id", "question"], filter=those).sort_by("row")
        questions = HeldOutQuestions(rows["question"].to_pylist(), filters.leak_similarity)
        held_out[split] = ray.put((questions, rows["id"].to_pylist()))
    known = {
        "held_out": held_out,
        "samples": context.config.rationales.teacher.samples,
        "twice": ray.put(_repeated(drafts) if filters.duplicates else (np.zeros(0, np.int64),) * 2),
    }
    compared = ray.data.read_parquet(drafts.files, filesystem=context.out.filesystem).map_batches(
        _mark,  # pyright: ignore[reportArgumentType]
        batch_format="pyarrow",
        batch_size=1000,
        fn_kwargs=known,
    )
    compared.write_parquet(f"{context.out.path}/rows", filesystem=context.out.filesystem)
    refuse_lost_rows("rationales", drafts.count_rows(), context.out.table("rows").count_rows())


def _repeated(drafts: "pa.dataset.Dataset") -> tuple[np.ndarray, np.ndarray]:
    """Duplicate rows in ascending order, and the earlier row of each. Memory: two numbers per row."""
    kept = drafts.to_table(columns=["row", "key"], filter=pc.field("key").is_valid())
    row_R, key_R = kept["row"].to_numpy(), kept["key"].to_numpy()
    order_R = np.lexsort((row_R, key_R))
    row_R, key_R = row_R[order_R], key_R[order_R]
    starts_R = np.concatenate([[True], key_R[1:] != key_R[:-1]])[: len(key_R)]
    first_R = row_R[np.maximum.accumulate(np.where(starts_R, np.arange(len(key_R)), 0))]
    repeated, earlier = row_R[~starts_R], first_R[~starts_R]
    ascending = np.argsort(repeated)
    return repeated[ascending], earlier[ascending]


@lru_cache(maxsize=3)
def _fetch(reference: Any) -> Any:
    """An object from Ray's object store, unpacked once per worker instead of once per batch."""
    return ray.get(reference)


def _mark(batch: pa.Table, held_out: dict[str, Any], twice: Any, samples: int) -> pa.Table:
    repeated, earlier = _fetch(twice)
    rows = batch.select(ROW_SCHEMA.names).to_pylist()
    for row in rows:
        if row["reason"] or row["split"] == "test":
            continue
        at = int(np.searchsorted(repeated, row["row"]))
        if at < len(repeated) and repeated[at] == row["row"]:
            row |= {
                "reason": "duplicate",
                "detail": f"row {earlier[at] // samples + 1} has the same question and rationale",
            }
        else:
            row |= _leak(row, {split: one for split, one in held_out.items() if split != row["split"]})
    return pa.Table.from_pylist(rows, schema=ROW_SCHEMA)


def _leak(row: dict[str, Any], held_out: dict[str, Any]) -> dict[str, str]:
    """The reason of a row whose question is also in one of the held-out splits."""
    for split, reference in held_out.items():
        questions, ids = _fetch(reference)
        if near := questions.near(row["question"]):
            detail = f"{near[1]:.0%} of {split} question '{ids[near[0]]}': {row['question']}"
            return {"reason": f"{split} question", "detail": detail}
    return {}


def _count(context: Context) -> dict[str, Any]:
    """Rows by outcome. ValueError if too many are unusable, or if no row is left to train or test on."""
    table = context.out.table("rows")
    rows = table.to_table(columns=["row", "split", "reason"])
    counts = rows.group_by(["split", "reason"]).aggregate([([], "count_all")]).to_pylist()
    kept = {
        split: sum(c["count_all"] for c in counts if c["reason"] is None and c["split"] == split)
        for split in ("train", "dev", "test")
    }
    reasons: dict[str, int] = {}
    for count in counts:
        if count["reason"]:
            reasons[count["reason"]] = reasons.get(count["reason"], 0) + count["count_all"]
    samples = context.config.rationales.teacher.samples  # one input row becomes up to `samples` rows
    inputs, bad = (
        len(np.unique(part["row"].to_numpy() // samples))
        for part in (rows, rows.filter(pc.field("reason").isin(UNUSABLE)))
    )
    limit = context.config.rationales.max_bad_share
    where = context.config.rationales.path or "the toy"
    if bad > limit * inputs:
        first = (
            table.to_table(filter=pc.field("reason").isin(UNUSABLE)).sort_by("row").slice(0, 1).to_pylist()[0]
        )
        raise ValueError(
            f"{where}: {bad} of {inputs} rows are unusable, more than rationales.max_bad_share = {limit:g}; "
            "mend them or set --rationales.max-bad-share. "
            f"First: row {first['row'] // samples + 1}, {first['reason']}: {first['detail'][:200]}. "
            f"All are listed with their reasons in {context.out.child('rows').uri}"
        )
    for split, number in (("train", kept["train"]), ("test", kept["test"] + kept["dev"])):
        if not number:
            raise ValueError(
                f"{where}: no usable row is left to {split} on; "
                f"dropped: {reasons or 'none'}{_example(table, split)}"
            )
    return {
        "rows": rows.num_rows,
        **kept,
        "dropped": sum(reasons.values()),
        "reasons": reasons,
        **_teacher_tokens(context),
    }


def _example(table: "pa.dataset.Dataset", split: str) -> str:
    """The reason for the first dropped row of a split."""
    dropped = (
        table.to_table(filter=pc.field("reason").is_valid() & (pc.field("split") == split))
        .sort_by("row")
        .slice(0, 1)
        .to_pylist()
    )
    return f". First: {dropped[0]['reason']}, {(dropped[0]['detail'] or '')[:300]}" if dropped else ""


def _teacher_tokens(context: Context) -> dict[str, float]:
    """Tokens of the teacher's answers, earlier runs included, and their cost at the configured prices."""
    endpoint = context.config.endpoint
    if context.config.rationales.teacher.kind == "given":
        return {}
    used = asking.tokens_used(
        context.out.table("drafts").to_table(columns=["request", "prompt_tokens", "tokens"])
    )
    cost = (used["prompt_tokens"] * endpoint.price_input + used["tokens"] * endpoint.price_output) / 1e6
    return {
        "teacher_prompt_tokens": used["prompt_tokens"],
        "teacher_tokens": used["tokens"],
        "teacher_cost": cost,
    }
