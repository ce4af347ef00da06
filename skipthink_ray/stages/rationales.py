"""Stage 1: questions, answers and rationales, cleaned; every input row ends here as kept or with a reason.

Artifact: `rows/` (RATIONALE_SCHEMA and `reason`, `detail`; `reason` is null for a kept row).
Rationales of training rows are kept only where the teacher concluded rightly (method §3). A test row needs none.
"""

import hashlib
import json
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import ray

from skipthink_ray.config import PipelineConfig
from skipthink_ray.rows import ROW_SCHEMA
from skipthink_ray.runtime import sources
from skipthink_ray.stages.context import Context
from skipthink_ray.tasks import Task, task_of

UNUSABLE = ("not UTF-8", "malformed JSON", "not an object", "missing field", "empty field", "unusable answer")
"""Reasons that say the input is broken; more than `max_bad_share` of them fails the stage."""
TEST_SHARE_OF_HASHES = 8


def make(context: Context) -> dict[str, Any]:
    """Write `rows/`. Returns how many rows were kept and dropped, by split and reason."""
    config = context.config
    total = config.rationales.train_questions + config.rationales.test_questions if config.rationales.source == "toy" else 0
    with context.line("rows", total) as line:
        cleaned = _source(config).map_batches(
            _clean,  # pyright: ignore[reportArgumentType]  # ray's type knows no keyword arguments
            batch_format="pyarrow",
            batch_size=1000,
            fn_kwargs={"config": config, "board": line.board},
        )
        cleaned.write_parquet(f"{context.out.path}/rows", filesystem=context.out.filesystem)
    summary = _count(context)
    context.say(f"{summary['train']} to train on, {summary['test']} to test on, {summary['dropped']} dropped {summary['reasons'] or ''}")
    return summary


def _source(config: PipelineConfig) -> "ray.data.Dataset":
    source = config.rationales
    if source.source == "file":
        return sources.read_files(sources.find_files(source), source.columns)
    if source.source == "dataset":
        return sources.read_dataset(config)
    test = ray.data.from_items(_test_questions(config))
    train = ray.data.range(source.train_questions).map_batches(
        _toy_rows,  # pyright: ignore[reportArgumentType]
        batch_format="pyarrow",
        fn_kwargs={"config": config},
    )
    return test.union(train)


def _is_test_question(question: str) -> bool:
    """A fixed eighth of all questions is reserved for test, by hash: disjoint without comparing, on any number of workers."""
    return hashlib.sha256(question.encode()).digest()[0] % TEST_SHARE_OF_HASHES == 0


def _toy_row(config: PipelineConfig, row: int, draw: int, split: str) -> dict[str, Any]:
    task, random = task_of(config), Random(f"{config.seed} {split} {draw}")
    assert task.toy
    while True:
        toy = task.toy(random, config.rationales.difficulty)
        if _is_test_question(toy.question) == (split == "test"):
            values = {"id": f"{task.name}-{split}-{draw}", "split": split, **toy._asdict()}
            return {"row": row, "raw": json.dumps(values, ensure_ascii=False), "error": None}


def _toy_rows(batch: pa.Table, config: PipelineConfig) -> pa.Table:
    first = config.rationales.test_questions
    rows = [_toy_row(config, first + draw, draw, "train") for draw in batch["id"].to_pylist()]
    return pa.Table.from_pylist(rows, schema=sources.RAW_SCHEMA)


def _test_questions(config: PipelineConfig) -> list[dict[str, Any]]:
    """Distinct test questions. ValueError where the toy does not have so many."""
    wanted, found = config.rationales.test_questions, {}
    for draw in range(20 * wanted + 1000):
        row = _toy_row(config, len(found), draw, "test")
        found.setdefault(json.loads(row["raw"])["question"], row)
        if len(found) == wanted:
            return [{**row, "row": number} for number, row in enumerate(found.values())]
    raise ValueError(
        f"rationales.test_questions: the toy of '{config.task}' at difficulty {config.rationales.difficulty} has only about "
        f"{len(found)} distinct test questions, {wanted} were asked for"
    )


def _clean(batch: pa.Table, config: PipelineConfig, board: Any) -> pa.Table:
    task = task_of(config)
    rows = [_clean_row(row, config, task) for row in batch.to_pylist()]
    board.advance.remote(len(rows))
    return pa.Table.from_pylist(rows, schema=ROW_SCHEMA)


def _clean_row(raw: dict[str, Any], config: PipelineConfig, task: Task) -> dict[str, Any]:
    columns = config.rationales.columns
    empty = dict.fromkeys(ROW_SCHEMA.names)
    values, reason, detail = _parse(raw)
    named = values.get(columns.id)
    row_id = f"row-{raw['row'] + 1}" if named is None else str(named)
    row = {**empty, "row": raw["row"], "id": row_id, "split": _split(values, row_id, config)}
    if not reason:
        row |= {name: _text(values.get(getattr(columns, name))) for name in ("question", "answer", "rationale")}
        reason, detail = _fault(row, values, config, task)
    return {**row, "reason": reason, "detail": detail or (str(raw["raw"])[:1000] if reason else None)}


def _parse(raw: dict[str, Any]) -> tuple[dict[str, Any], str | None, str | None]:
    if raw["error"]:
        return {}, "not UTF-8", f"{raw['error']}: {raw['raw'][:1000]}"
    try:
        values = json.loads(raw["raw"])
        json.dumps(values, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:  # JSON can spell half a character: "\\ud800"
        return {}, "not UTF-8", f"{error.reason}: {raw['raw'][:1000]}"
    except ValueError as error:
        return {}, "malformed JSON", f"{error}: {raw['raw'][:1000]}"
    return (values, None, None) if isinstance(values, dict) else ({}, "not an object", raw["raw"][:1000])


def _text(value: Any) -> str | None:
    """The text of a cell; None for what is neither text nor a number."""
    usable = isinstance(value, str | int | float) and not isinstance(value, bool)
    return str(value).strip() if usable else None


def _split(values: dict[str, Any], row_id: str, config: PipelineConfig) -> str:
    """The named split, else one drawn by the question: the same question never stands on both sides."""
    named = values.get(config.rationales.columns.split)
    if named is not None:
        return str(named).strip().lower()
    drawn = Random(f"{config.seed} {values.get(config.rationales.columns.question, row_id)}").random()
    return "test" if drawn < config.rationales.test_share else "train"


def _fault(row: dict[str, Any], values: dict[str, Any], config: PipelineConfig, task: Task) -> tuple[str | None, str | None]:
    """(reason, detail) of a row that cannot be used."""
    columns = config.rationales.columns
    if row["split"] not in ("train", "test"):
        return "other split", f"column '{columns.split}' is '{row['split']}', neither train nor test"
    for name in ("question", "answer", *(["rationale"] if row["split"] == "train" else [])):
        if row[name] is None:
            return "missing field", f"no text or number as '{getattr(columns, name)}' in {json.dumps(values, ensure_ascii=False)[:1000]}"
        if not row[name]:
            return "empty field", f"'{getattr(columns, name)}' is empty"
    if not task.check(row["answer"], row["answer"]):
        return "unusable answer", f"the answer '{row['answer']}' is no {task.kind}, as task '{task.name}' expects"
    length = len(row["question"]) + len(row["rationale"] or "")
    if length > config.rationales.max_chars:
        return "too long", f"{length} characters, limit rationales.max_chars = {config.rationales.max_chars}"
    concluded = values.get(columns.teacher_answer, row["answer"])
    if row["split"] == "train" and not task.check(_text(concluded), row["answer"]):
        return "wrong answer", f"the teacher concluded '{concluded}', right is '{row['answer']}'"
    return None, None


def _count(context: Context) -> dict[str, Any]:
    """Rows by fate. ValueError where too many are unusable, or none is left to train or test on."""
    table = context.out.table("rows")
    rows = table.to_table(columns=["split", "reason"])
    counts = rows.group_by(["split", "reason"]).aggregate([([], "count_all")]).to_pylist()
    kept = {split: sum(c["count_all"] for c in counts if c["reason"] is None and c["split"] == split) for split in ("train", "test")}
    reasons: dict[str, int] = {}
    for count in counts:
        if count["reason"]:
            reasons[count["reason"]] = reasons.get(count["reason"], 0) + count["count_all"]
    bad = sum(number for reason, number in reasons.items() if reason in UNUSABLE)
    limit = context.config.rationales.max_bad_share
    where = context.config.rationales.path or "the toy"
    if bad > limit * rows.num_rows:
        first = table.to_table(filter=pc.field("reason").isin(UNUSABLE)).sort_by("row").slice(0, 1).to_pylist()[0]
        raise ValueError(
            f"{where}: {bad} of {rows.num_rows} rows are unusable, more than rationales.max_bad_share = {limit:g}. "
            f"First: row {first['row'] + 1}, {first['reason']}: {first['detail'][:200]}. All are listed with their reasons in "
            f"{context.out.uri}/rows"
        )
    for split, number in kept.items():
        if not number:
            raise ValueError(f"{where}: no usable row is left to {split} on; dropped: {reasons or 'none'}")
    return {"rows": rows.num_rows, **kept, "dropped": sum(reasons.values()), "reasons": reasons}
