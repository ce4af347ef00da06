"""What becomes of an input row (stage rationales), row by row and in plain Python: parse it, judge it.

parse: raw text -> question, answer, rationale, or the reason why the row cannot be used. judge: what the rationale is
worth, once there is one. A row that is not used further keeps its place, with a `reason` and a `detail`.
"""

import json
import re
from random import Random
from typing import Any

from skipthink_ray.config import PipelineConfig
from skipthink_ray.rows import DRAFT_SCHEMA
from skipthink_ray.tasks.conclusions import without_run_on
from skipthink_ray.tasks.task import Task

UNUSABLE = (
    "not UTF-8",
    "malformed JSON",
    "not an object",
    "missing field",
    "empty field",
    "unusable answer",
    "teacher failed",
)
"""Reasons that say the input or the teacher is broken; more than `max_bad_share` of them fails the stage."""
SHOWN_CHARS = 1000
_NOTHING = {
    "final": "the final text holds only the conclusion; if the teacher thinks, set rationales.teacher.rationale to thinking or both",
    "thinking": "the teacher gave no thinking; set rationales.teacher.rationale to final or both",
    "both": "the teacher gave no thinking, and its final text holds only the conclusion",
}
"""Why a row has the reason "no rationale", by `rationales.teacher.rationale`."""
_REFUSAL = re.compile(
    r"""^\W*(?:
        i(?:\ a|['’]?)m\ (?:(?:very|really|so)\ )?sorry\b | sorry,\ (?:but\ )?i\b | i\ apologi[sz]e\b | as\ an\ ai\b |
        (?:unfortunately,\ )?i(?:\ cannot|\ can['’]?t|\ can\ not|\ won['’]?t|\ will\ not|(?:\ a|['’]?)m\ (?:not\ able|unable)\ to)
        \ (?:\w+\ )?(?:help|assist|answer|provide|do\ that|comply|fulfil|solve|continue|engage)
    )""",
    re.IGNORECASE | re.VERBOSE,
)


def parse_row(raw: dict[str, Any], config: PipelineConfig, task: Task) -> dict[str, Any]:
    """A row of RAW_SCHEMA as one of DRAFT_SCHEMA; `reason` says what is wrong with its form."""
    columns, given = config.rationales.columns, config.rationales.teacher.kind == "given"
    values, reason, detail = _load(raw)
    named = values.get(columns.id)
    row_id = f"row-{raw['row'] + 1}" if named is None else str(named)
    row = {
        **dict.fromkeys(DRAFT_SCHEMA.names),
        "row": raw["row"],
        "id": row_id,
        "split": _split(values, row_id, config, task),
    }
    if not reason:
        fields = (
            ("question", "answer", "rationale") if given or row["split"] == "test" else ("question", "answer")
        )
        row |= {name: _text(values.get(getattr(columns, name))) for name in fields}
        reason, detail = _malformed(row, values, config, task)
        if row["rationale"]:
            row["rationale"] = without_run_on(row["rationale"], row["question"] or "")
        row["concluded"] = _text(values.get(columns.teacher_answer, row["answer"])) if given else None
    return {**row, "reason": reason, "detail": detail or (str(raw["raw"])[:SHOWN_CHARS] if reason else None)}


def judge_row(row: dict[str, Any], config: PipelineConfig, task: Task) -> dict[str, Any]:
    """The row with the reason why its rationale is not used; a row that has a reason already keeps it."""
    if row["reason"]:
        return row
    reason, detail = _fault(row, config, task)
    return {**row, "reason": reason, "detail": detail}


def _load(raw: dict[str, Any]) -> tuple[dict[str, Any], str | None, str | None]:
    if raw["error"]:
        return {}, "not UTF-8", f"{raw['error']}: {raw['raw'][:SHOWN_CHARS]}"
    try:
        values = json.loads(raw["raw"])
        json.dumps(values, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:  # JSON can spell half a character: "\\ud800"
        return {}, "not UTF-8", f"{error.reason}: {raw['raw'][:SHOWN_CHARS]}"
    except (ValueError, RecursionError) as error:
        return {}, "malformed JSON", f"{error}: {raw['raw'][:SHOWN_CHARS]}"
    return (
        (values, None, None) if isinstance(values, dict) else ({}, "not an object", raw["raw"][:SHOWN_CHARS])
    )


def _text(value: Any) -> str | None:
    """The text of a cell; None for what is neither text nor a number."""
    usable = isinstance(value, str | int | float) and not isinstance(value, bool)
    return str(value).strip() if usable else None


def _split(values: dict[str, Any], row_id: str, config: PipelineConfig, task: Task) -> str:
    """The named split, else the benchmark's, else one drawn by the question: one question never stands on both sides."""
    named, question = (
        values.get(column) for column in (config.rationales.columns.split, config.rationales.columns.question)
    )
    if named is not None:
        return str(named).strip().lower()
    if isinstance(question, str) and (published := task.split(question)):
        return published
    drawn = Random(f"{config.data_seed} {values.get(config.rationales.columns.question, row_id)}").random()
    return "test" if drawn < config.rationales.test_share else "train"


def _malformed(
    row: dict[str, Any], values: dict[str, Any], config: PipelineConfig, task: Task
) -> tuple[str | None, str | None]:
    columns = config.rationales.columns
    if row["split"] not in ("train", "test"):
        return "other split", f"column '{columns.split}' is '{row['split']}', neither train nor test"
    needed = ["rationale"] if row["split"] == "train" and config.rationales.teacher.kind == "given" else []
    for name in ("question", "answer", *needed):
        if row[name] is None:
            shown = json.dumps(values, ensure_ascii=False)[:SHOWN_CHARS]
            return "missing field", f"no text or number as '{getattr(columns, name)}' in {shown}"
        if not row[name]:
            return "empty field", f"'{getattr(columns, name)}' is empty"
    if not task.check(row["answer"], row["answer"]):
        return (
            "unusable answer",
            f"the answer '{row['answer']}' is no {task.kind}, as task '{task.name}' expects",
        )
    return None, None


def _fault(row: dict[str, Any], config: PipelineConfig, task: Task) -> tuple[str | None, str | None]:
    rationale, train = row["rationale"] or "", row["split"] == "train"
    length = len(row["question"]) + len(rationale)
    if length > config.rationales.max_chars:
        return "too long", f"{length} characters, limit rationales.max_chars = {config.rationales.max_chars}"
    refuses = row["finish"] == "refused" or bool(_REFUSAL.search(rationale))
    if train and refuses and config.rationales.filters.refusals:
        return "refusal", rationale[:SHOWN_CHARS]
    if train and row["finish"] == "length":
        limit = config.rationales.teacher.max_tokens
        return (
            "cut off",
            f"it reached rationales.teacher.max_tokens = {limit}: ... {rationale[-SHOWN_CHARS:]}",
        )
    if train and not task.check(row["concluded"], row["answer"]):
        return "wrong answer", f"the teacher concluded '{row['concluded']}', right is '{row['answer']}'"
    if train and not rationale:
        return "no rationale", _NOTHING[config.rationales.teacher.rationale]
    return None, None
