"""Parses and judges input rows (stage rationales), one row at a time and in plain Python.

parse: raw text -> question, answer and rationale, or the reason why the row is unusable. judge: checks the
rationale once there is one. An unusable row stays in the table, with a `reason` and a `detail`.
"""

import json
import math
import re
from dataclasses import dataclass
from difflib import get_close_matches
from random import Random
from typing import Any, Literal

from skipthink_ray.config import PipelineConfig
from skipthink_ray.config.rationales import ColumnsConfig, RationalesConfig
from skipthink_ray.rows import DRAFT_SCHEMA
from skipthink_ray.tasks import TASKS
from skipthink_ray.tasks.conclusions import without_run_on
from skipthink_ray.tasks.public import Form, Row
from skipthink_ray.tasks.splits import in_share
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
"""Reasons that point to a broken input or teacher. The stage fails if their share exceeds `max_bad_share`."""
SHOWN_CHARS = 1000
NOT_UTF8 = "bytes that are not UTF-8"
"""The key of the object that stands for such bytes in a row of RAW_SCHEMA."""
ASK_A_TEACHER = (
    "let a teacher write them (--rationales.teacher.kind endpoint --rationales.teacher.model NAME)"
)
_WANTED = {"answer": "text or number"}
SPLITS = {"train": "train", "test": "test"} | dict.fromkeys(("validation", "valid", "val", "dev"), "dev")
"""Names of splits in an input, and the split that each is."""
LONGEST_NUMBER_ANSWER = 200
"""Characters of an answer that is a number with a unit or a short sentence around it."""
_NOTHING = {
    "final": "the final text has only the conclusion; "
    "if the teacher thinks, set rationales.teacher.rationale to thinking or both",
    "thinking": "the teacher wrote no thinking; set rationales.teacher.rationale to final or both",
    "both": "the teacher wrote no thinking, and its final text has only the conclusion",
}
"""The detail of the reason "no rationale", by `rationales.teacher.rationale`."""
_REFUSAL = re.compile(
    r"""^\W*(?:
        i(?:\ a|['’]?)m\ (?:(?:very|really|so)\ )?sorry\b | sorry,\ (?:but\ )?i\b | i\ apologi[sz]e\b
        | as\ an\ ai\b
        | (?:unfortunately,\ )?i
        (?:\ cannot|\ can['’]?t|\ can\ not|\ won['’]?t|\ will\ not|(?:\ a|['’]?)m\ (?:not\ able|unable)\ to)
        \ (?:\w+\ )?(?:help|assist|answer|provide|do\ that|comply|fulfil|solve|continue|engage)
    )""",
    re.IGNORECASE | re.VERBOSE,
)


Origin = Literal["column", "published", "file", "drawn", "dev share"]
"""Where the split of a row comes from."""


@dataclass(frozen=True)
class Reading:
    """A row of the input, and how it is read."""

    stored: Row
    """Its columns; empty if it cannot be read."""
    values: Row
    """The same, or plain columns made of them if the row has the form of a benchmark's own files."""
    columns: ColumnsConfig
    """The names of the columns of `values`."""
    form: Form | None
    origin: Origin
    row: dict[str, Any]
    """DRAFT_SCHEMA. If the row is malformed, `reason` says why."""


def parse_row(raw: dict[str, Any], config: PipelineConfig, task: Task) -> dict[str, Any]:
    """Parse a row of RAW_SCHEMA into DRAFT_SCHEMA. If it is malformed, `reason` says why."""
    return read_row(raw, config, task).row


def read_row(raw: dict[str, Any], config: PipelineConfig, task: Task) -> Reading:
    given = config.rationales.teacher.kind == "given"
    stored, reason, detail = _load(raw)
    values, columns, form = _plain(stored, config.rationales, task)
    named = values.get(columns.id)
    row_id = f"row-{raw['row'] + 1}" if named is None else str(named)
    split, origin = _split(values, raw, row_id, columns, config, task)
    question = values.get(columns.question)
    if split == "train" and isinstance(question, str) and in_share(question, config.rationales.dev_share):
        split, origin = "dev", "dev share"
    row = {**dict.fromkeys(DRAFT_SCHEMA.names), "row": raw["row"], "id": row_id, "split": split}
    if not reason:
        fields = ("question", "answer", "rationale") if given or split != "train" else ("question", "answer")
        row |= {name: _text(values.get(getattr(columns, name)), name, task.kind) for name in fields}
        reason, detail = _malformed(row, values, columns, config, task)
        if row["rationale"]:
            row["rationale"] = without_run_on(row["rationale"], row["question"] or "")
        concluded = values.get(columns.teacher_answer, row["answer"])
        row["concluded"] = _text(concluded, "answer", task.kind) if given else None
    row |= {"reason": reason, "detail": detail or (str(raw["raw"])[:SHOWN_CHARS] if reason else None)}
    return Reading(stored, values, columns, form, origin, row)


def judge_row(row: dict[str, Any], config: PipelineConfig, task: Task) -> dict[str, Any]:
    """The row with the reason why its rationale is unusable, if it is.

    A row that already has a reason keeps it.
    """
    if row["reason"]:
        return row
    reason, detail = _fault(row, config, task)
    return {**row, "reason": reason, "detail": detail}


def _load(raw: dict[str, Any]) -> tuple[Row, str | None, str | None]:
    """(columns of a row of RAW_SCHEMA, reason, detail); without columns if there is a reason."""
    if raw["error"]:
        return {}, "not UTF-8", f"{raw['error']}: {raw['raw'][:SHOWN_CHARS]}"
    try:
        values = json.loads(raw["raw"])
        json.dumps(values, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:  # JSON can encode a lone surrogate: "\\ud800"
        return {}, "not UTF-8", f"{error.reason}: {raw['raw'][:SHOWN_CHARS]}"
    except (ValueError, RecursionError) as error:
        return {}, "malformed JSON", f"{error}: {raw['raw'][:SHOWN_CHARS]}"
    return (
        (values, None, None) if isinstance(values, dict) else ({}, "not an object", raw["raw"][:SHOWN_CHARS])
    )


def plain_columns(source: RationalesConfig) -> list[str]:
    """The columns that an input must have if it is not one of a benchmark's own files."""
    needed = ("question", "answer", "rationale") if source.teacher.kind == "given" else ("question", "answer")
    return [getattr(source.columns, name) for name in needed]


def require_columns(where: str, rows: list[dict[str, Any]], source: RationalesConfig, task: Task) -> None:
    """Raises ValueError if the first rows lack a column and are not in the form of a benchmark's files."""
    present = list(dict.fromkeys(name for row in rows for name in row))
    if form := next(filter(None, (task.form_of(row, plain_columns(source)) for row in rows)), None):
        has_rationale = (task.public and task.public.has_rationale) or source.columns.rationale in present
        if source.teacher.kind == "given" and not has_rationale:
            raise ValueError(
                f"{where}: {form.name}: there are no rationales; {ASK_A_TEACHER}, or add a column "
                f"'{source.columns.rationale}'"
            )
        return
    fields = zip(("question", "answer", "rationale"), plain_columns(source), strict=False)
    missing = [(field, wanted) for field, wanted in fields if wanted not in present]
    if missing:
        field, wanted = missing[0]
        near = get_close_matches(wanted, present, n=1)
        hint = f" Did you mean '{near[0]}'?" if near else ""
        teacher = f", or {ASK_A_TEACHER}" if missing[-1][0] == "rationale" else ""
        more = "".join(f", and --rationales.columns.{other} for the {other}" for other, _ in missing[1:])
        raise ValueError(
            f"{where}: no column '{wanted}' for the {field}; it has {', '.join(present)}.{hint} "
            f"Set --rationales.columns.{field}{more}{teacher}.{_other_task(rows, source)}"
        )


def _other_task(rows: list[dict[str, Any]], source: RationalesConfig) -> str:
    """The task whose published files have rows like these, as a hint."""
    for name, task in TASKS.items():
        if any(task.form_of(row, plain_columns(source)) for row in rows):
            return f" The rows look like those of --task {name}."
    return ""


def _plain(values: Row, source: RationalesConfig, task: Task) -> tuple[Row, ColumnsConfig, Form | None]:
    """A row of a benchmark's own file with plain columns, their names, and the form; other rows as they are.

    A configured column that is not part of the benchmark's form replaces what the form has for that field: a
    teacher's rationale beside GSM8K's own solution, for example.
    """
    form = task.form_of(values, plain_columns(source))
    if form is None:
        return values, source.columns, None
    plain = ColumnsConfig()
    try:
        converted = form.read(values)
    except (AttributeError, KeyError, IndexError, TypeError, ValueError):
        return values, source.columns, form
    columns = {name: getattr(source.columns, name) for name in ColumnsConfig.model_fields}
    own = {
        getattr(plain, name): values[column]
        for name, column in columns.items()
        if column in values and column not in form.needs
    }
    return converted | own, plain, form


def _text(value: Any, name: str, kind: str) -> str | None:
    """The text of a cell. An answer may also be a number (5.0 is 5) or a boolean (yes or no). Else None."""
    if isinstance(value, str):
        return value.strip()
    if name != "answer":
        return None
    if isinstance(value, bool):
        return {True: "yes", False: "no"}[value] if kind == "yes_no" else None
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else str(value) if math.isfinite(value) else None
    return str(value) if isinstance(value, int) else None


def _split(
    values: Row,
    raw: dict[str, Any],
    row_id: str,
    columns: ColumnsConfig,
    config: PipelineConfig,
    task: Task,
) -> tuple[str, Origin]:
    """The split of a row, and where it comes from.

    The row's own, else the benchmark's, else that of its file, else a random one.

    The question seeds the random split, so that it never appears in both train and test.
    """
    named, question = values.get(columns.split), values.get(columns.question)
    if named is not None:
        name = str(named).strip().lower()
        return SPLITS.get(name, name), "column"
    if isinstance(question, str) and (published := task.split(question)):
        return published, "published"
    if raw.get("split"):
        return raw["split"], "file"
    drawn = Random(f"{config.data_seed} {values.get(columns.question, row_id)}").random()
    return "test" if drawn < config.rationales.test_share else "train", "drawn"


def _malformed(
    row: dict[str, Any], values: dict[str, Any], columns: ColumnsConfig, config: PipelineConfig, task: Task
) -> tuple[str | None, str | None]:
    if row["split"] not in SPLITS.values():
        return "other split", f"column '{columns.split}' is '{row['split']}'; it takes {', '.join(SPLITS)}"
    needed = ["rationale"] if row["split"] == "train" and config.rationales.teacher.kind == "given" else []
    for name in ("question", "answer", *needed):
        column = getattr(columns, name)
        if isinstance(value := values.get(column), dict) and NOT_UTF8 in value:
            return "not UTF-8", f"the bytes of the column '{column}': {value[NOT_UTF8]}"
        if row[name] is None:
            shown, wanted = json.dumps(values, ensure_ascii=False)[:SHOWN_CHARS], _WANTED.get(name, "text")
            return "missing field", f"no {wanted} as '{column}' in {shown}"
        if not row[name]:
            return "empty field", f"'{getattr(columns, name)}' is empty"
    if not task.check(row["answer"], row["answer"]):
        return (
            "unusable answer",
            f"the answer '{row['answer']}' is not a {task.kind}, which task '{task.name}' expects",
        )
    answer = task.parse(row["answer"])
    if task.kind == "number" and (len(answer) > LONGEST_NUMBER_ANSWER or "\n" in answer or "####" in answer):
        return (
            "unusable answer",
            f"'{columns.answer}' holds a whole solution, not its final number: '{answer[:SHOWN_CHARS]}'; "
            "name the column with the number in rationales.columns.answer, or set own_task.pattern to a "
            "regular expression that finds it",
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
        return (
            "wrong answer",
            f"the teacher concluded '{row['concluded']}', but the right answer is '{row['answer']}'",
        )
    if train and not rationale:
        return "no rationale", _NOTHING[config.rationales.teacher.rationale]
    return None, None
