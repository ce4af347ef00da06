"""The data of the page's inspector: samples of one or several runs, side by side.

Pure. In: entries, whose reports hold `samples`, `questions` and `dropped`. Out: JSON values:

    tasks: [{task, arms, texts, shown, items}], note
    arms:  [{name, how, search, skippable, shuffled}]
    items: [{key, kind, row, id, split, question, answer, steps, reason, stage, detail, by}]
    by:    by number of the arm: {sizes, kept, right} of a training sample; of a question, by mode,
           {text, answer, right, tokens, stopped}, where `text` is a number in `texts`; {} of a dropped row

Equal rows of several runs are one item.
"""

import json
from collections.abc import Sequence
from typing import Any

from skipthink_ray.method.steps import split_steps
from skipthink_ray.reporting.entry import Entry, by_task

KINDS = ("questions", "training", "dropped")
MOST_BYTES = 3_500_000
"""Limit of the data of a page. With more, fewer samples of each task are shown."""


def inspect(entries: Sequence[Entry], most_bytes: int = MOST_BYTES) -> dict[str, Any]:
    """The inspector's data, cut to the size limit."""
    most = max(len(entry.report[name]) for entry in entries for name in ("samples", "questions"))
    most = max(most, *(len(reason["examples"]) for entry in entries for reason in _reasons(entry)), 1)
    data = _gathered(entries, most)
    while len(json.dumps(data, ensure_ascii=False).encode()) > most_bytes and most > 1:
        most = most * 3 // 4
        data = _gathered(entries, most)
        data["note"] = f"At most {most} of each kind and run, to keep this page small."
    return data


def _gathered(entries: Sequence[Entry], most: int) -> dict[str, Any]:
    tasks = [_task(task, of_task, most) for task, of_task in by_task([*entries]).items()]
    return {"tasks": tasks, "note": ""}


def _task(task: str, entries: list[Entry], most: int) -> dict[str, Any]:
    items: dict[tuple[Any, ...], dict[str, Any]] = {}
    texts: dict[str, int] = {}
    totals = {kind: set[int]() for kind in KINDS}
    for number, entry in enumerate(entries):
        for item, seen in _items(entry, most, texts):
            key = (item["kind"], item["row"], item["id"], item["question"], item["reason"])
            items.setdefault(key, {**item, "by": {}})["by"][str(number)] = seen
        totals["questions"].add(entry.report["evaluation"]["questions"])
        totals["training"].add(entry.report["chunks"]["samples"])
        totals["dropped"].add(entry.report["dropped"]["total"])
    ordered = sorted(items.values(), key=lambda item: (KINDS.index(item["kind"]), item["row"]))
    of_kind = {kind: [item for item in ordered if item["kind"] == kind] for kind in KINDS}
    return {
        "task": task,
        "arms": [_arm(entry) for entry in entries],
        "texts": [*texts],
        "shown": {
            kind: {"shown": len(found), "of": max(len(found), *totals[kind])}
            for kind, found in of_kind.items()
        },
        "items": [{"key": f"{item['kind'][0]}{at}", **item} for at, item in enumerate(ordered)],
    }


def _arm(entry: Entry) -> dict[str, Any]:
    chunks, skips = entry.report["chunks"], entry.config["skips"]
    how = (
        f"judge {chunks['judge']}, search {chunks['search']}, skippable {chunks['skippable']}, "
        f"gate {chunks['gate']}, margin {skips['margin_nats']:g} nats"
    )
    if skips["agreement_passes"]:
        how += f", agreement of {skips['agreement_passes']} noisy copies"
    chunker = f"{entry.config['cwt']['search']['method']} chunks, M = {entry.num_chunks}"
    shown = {name: chunks[name] for name in ("search", "skippable", "shuffled")}
    return {"name": entry.arm, "how": f"{chunker}; {how}.", **shown}


def _items(entry: Entry, most: int, texts: dict[str, int]) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """The samples of a run, each with what the run made of it. Adds the outputs to `texts`."""
    report = entry.report
    found = []
    for row in report["questions"][:most]:
        steps = split_steps(row["rationale"]) if row["rationale"] else []
        modes = {
            mode: {**seen, "text": texts.setdefault(seen["text"], len(texts))}
            for mode, seen in row["modes"].items()
        }
        found.append((_item("questions", row, report["evaluation"]["split"], steps), modes))
    for row in report["samples"][:most]:
        chunks = row["chunks"]
        steps = split_steps("".join(chunk["text"] for chunk in chunks))
        cut = {
            "sizes": [chunk["steps"] for chunk in chunks],
            "kept": [chunk["kept"] for chunk in chunks],
            "right": row["right"],
        }
        found.append((_item("training", row, "train", steps), cut))
    for reason in _reasons(entry):
        for row in reason["examples"][:most]:
            steps = split_steps(row["rationale"]) if row["rationale"] else []
            item = _item("dropped", row, row["split"] or "no split", steps)
            fate = {"reason": reason["reason"], "stage": reason["stage"], "detail": row["detail"]}
            found.append(({**item, **fate}, {}))
    return found


def _item(kind: str, row: dict[str, Any], split: str, steps: list[str]) -> dict[str, Any]:
    told = {name: row[name] for name in ("row", "id", "question", "answer")}
    return {"kind": kind, **told, "split": split, "steps": steps, "reason": None}


def _reasons(entry: Entry) -> list[dict[str, Any]]:
    return entry.report["dropped"]["reasons"]
