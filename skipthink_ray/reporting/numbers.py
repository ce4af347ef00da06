"""The report as one dictionary (report.json), with every number of the page, computed from the stages'
artifacts.

Pure: no files, no clock. In: `Material`. Out: JSON values, unrounded; an estimate is {"value", "low",
"high"}.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from skipthink_ray.config import EvaluationConfig, PipelineConfig
from skipthink_ray.method.chunking import LARGEST_SIZE
from skipthink_ray.method.intervals import bootstrap, bounded_mean
from skipthink_ray.method.metrics import percent, ratio_of_sums, smooth_curve
from skipthink_ray.method.modes import STUDENT_OF, Mode, modes_of
from skipthink_ray.method.steps import split_steps
from skipthink_ray.models.pretrained import describe
from skipthink_ray.reporting.result import result_sentences

CURVE_POINTS, CURVE_WINDOWS = 300, 20
DETAIL_CHARS, DROPPED_CHARS = 200, 1000


@dataclass(frozen=True)
class Material:
    """The inputs of the report, as read from the artifacts."""

    config: PipelineConfig
    summaries: dict[str, dict[str, Any]]
    """summary.json of every stage."""
    epochs: list[dict[str, Any]]
    """epochs.json of cwt."""
    histories: dict[str, pa.Table]
    """HISTORY_SCHEMA of every student."""
    answers: pa.Table
    """ANSWER_SCHEMA without texts, all questions of the evaluated split."""
    latencies: pa.Table
    """LATENCY_SCHEMA."""
    sizes_MS: np.ndarray
    """Training samples by chunk position and number of steps, 0 to LARGEST_SIZE or more."""
    samples: list[dict[str, Any]]
    """Training samples to show: row, id, question, answer, rationale, chunk_steps, kept, right."""
    questions: list[dict[str, Any]]
    """Questions to show: row, id, question, answer, rationale; `modes` with the columns of ANSWER_SCHEMA."""
    drops: list[dict[str, Any]]
    """Rows dropped: stage, reason, count, and `examples` with row, id, split, texts and detail."""
    made: dict[str, Any]
    """Command, versions, machine, date, digests."""


def build_report(material: Material) -> dict[str, Any]:
    """report.json."""
    config, summaries = material.config, material.summaries
    modes = {
        mode: mode_numbers(mode, config, material.answers, material.latencies)
        for mode in modes_of(material.histories)
    }
    timed = len(_of_mode(material.latencies, "full"))
    evaluation = {
        "questions": len(_of_mode(material.answers, "full")),
        "timed_questions": timed,
        "answered_before": summaries["evaluation"]["answered_before"],
        "seed": config.seed,
        "confidence_pct": 100 * config.evaluation.confidence,
        **config.evaluation.model_dump(
            include={"split", "bootstrap_samples", "batch_size", "max_new_tokens"}
        ),
    }
    pretrained = config.student.pretrained and describe(config.student.pretrained)
    student = {"pretrained": pretrained, "parameters": summaries["stt"]["parameters"]}
    return {
        "name": config.name,
        "task": config.task,
        "student": student,
        "result": result_sentences(modes, evaluation, student, summaries["samples"]["train"]),
        "warnings": [warning for stage in summaries.values() for warning in stage.get("warnings", [])],
        "evaluation": evaluation,
        "modes": modes,
        "training": _training(material),
        "curves": {stage: _curve(history) for stage, history in material.histories.items()},
        "chunks": _chunks(material),
        "samples": [_sample(row) for row in material.samples],
        "questions": [{**row, "row": row["row"] + 1} for row in material.questions],
        "dropped": _dropped(material),
        "made": {**material.made, "seed": config.seed, "config": config.model_dump(mode="json")},
    }


def _of_mode(table: pa.Table, mode: str) -> pa.Table:
    return table.filter(pc.field("mode") == mode).sort_by("row")


def _paired(table: pa.Table, mode: str) -> tuple[pa.Table, pa.Table]:
    """The rows of a mode and of full thinking, in the same order. RuntimeError if the questions differ."""
    here, full = _of_mode(table, mode), _of_mode(table, "full")
    if here["row"] != full["row"] or not len(full):
        raise RuntimeError(
            f"report: the questions answered in mode {mode} differ from those answered in mode full"
        )
    return here, full


def mode_numbers(
    mode: Mode, pipeline: PipelineConfig, answers: pa.Table, latencies: pa.Table
) -> dict[str, Any]:
    """The metrics of a mode, and its comparison with full thinking.

    In: ANSWER_SCHEMA and LATENCY_SCHEMA, all modes.
    """
    config, seed = pipeline.evaluation, pipeline.seed
    answers, full = _paired(answers, mode)
    timed, full_timed = _paired(latencies, mode)
    right, full_right = (100.0 * _array(table, "right") for table in (answers, full))
    tokens, seconds = _array(answers, "tokens"), _array(timed, "seconds")
    draw = (config.bootstrap_samples, config.confidence, seed)
    versus_full = (
        {}
        if mode == "full"
        else {
            "difference_points": asdict(bounded_mean(right - full_right, (-100.0, 100.0), *draw)),
            "token_ratio": _ratio(_array(full, "tokens"), tokens, config, seed),
            "speedup": _ratio(_array(full_timed, "seconds"), seconds, config, seed),
        }
    )
    return {
        "stage": STUDENT_OF[mode],
        "accuracy_pct": asdict(bounded_mean(right, (0.0, 100.0), *draw)),
        "format_errors_pct": percent(answers["answer"].is_null().to_numpy()),
        "at_limit_pct": percent(~_array(answers, "stopped")),
        "loops_pct": percent(_array(answers, "loops")),
        "tokens": asdict(bootstrap(_mean, [tokens], *draw)),
        "latency_s": asdict(bootstrap(_mean, [seconds], *draw)),
        "questions_per_s": 1 / _mean(_array(answers, "batch_seconds")),
        **versus_full,
    }


def _array(table: pa.Table, column: str) -> np.ndarray:
    return table[column].to_numpy()


def _mean(values: np.ndarray) -> float:
    return float(values.mean())


def _ratio(full: np.ndarray, here: np.ndarray, config: EvaluationConfig, seed: int) -> dict[str, float]:
    return asdict(bootstrap(ratio_of_sums, [full, here], config.bootstrap_samples, config.confidence, seed))


def _training(material: Material) -> dict[str, Any]:
    stages = {}
    for stage in material.histories:
        summary = material.summaries[stage]
        stages[stage] = {
            "updates": summary["updates"],
            "epochs": summary["epochs"],
            "target_tokens": summary["target_tokens"],
            "target_tokens_per_update": summary["target_tokens"] / summary["updates"],
            "seconds": summary["seconds"],
            "tokens_per_s": summary["item_tokens"] / summary["seconds"],
            "padding_pct": 100 * summary["padding_share"],
            "search_pct": 100 * summary["search_seconds"] / summary["seconds"],
            "final_loss_nats": summary["final_loss_nats"],
            "backend": summary["backend"],
        }
    searches = [
        {
            "epoch": epoch["epoch"] + 1,
            "moved": epoch["boundaries_moved"],
            "movable": epoch["boundaries_movable"],
            "moved_pct": 100 * epoch["boundaries_moved"] / max(epoch["boundaries_movable"], 1),
            "energy_nats": epoch["energy_nats"],
            "seconds": epoch["search_s"],
        }
        for epoch in material.epochs
        if "boundaries_moved" in epoch
    ]
    return {
        "match": material.config.match,
        "search": material.config.cwt.search.method,
        "stages": stages,
        "searches": searches,
    }


def _curve(history: pa.Table) -> dict[str, Any]:
    """Loss and N over the updates, smoothed and thinned."""
    history = history.sort_by("update")
    window = len(history) // CURVE_WINDOWS // 2 * 2 + 1
    curves = {
        name: smooth_curve(_array(history, name), window, CURVE_POINTS).tolist()
        for name in ("loss_nats", "target_tokens")
    }
    updates = smooth_curve(_array(history, "update") + 1.0, 1, CURVE_POINTS).tolist()
    return {"window_updates": window, "update": updates, **curves}


def _chunks(material: Material) -> dict[str, Any]:
    skips, sizes_MS = material.summaries["skips"], material.sizes_MS
    used = np.nonzero(sizes_MS.sum(0))[0]
    last = int(used[-1]) if len(used) else 0
    positions = [
        {
            "position": m + 1,
            "kept_pct": 100 * kept,
            "sizes_pct": (100 * sizes_S[: last + 1] / max(sizes_S.sum(), 1)).tolist(),
        }
        for m, (kept, sizes_S) in enumerate(zip(skips["kept_share_by_chunk"], sizes_MS, strict=True))
    ]
    return {
        "samples": skips["samples"],
        "right_pct": 100 * skips["right_share"],
        "kept_pct": 100 * skips["kept_share"],
        **{
            name: skips[name]
            for name in ("verified", "decoded", "chunks_verified", "chunks_decoded", "seconds")
        },
        **material.config.skips.model_dump(include={"judge", "search", "skippable", "gate", "shuffled"}),
        "sizes": [f"{size} or more" if size == LARGEST_SIZE else str(size) for size in range(last + 1)],
        "positions": positions,
    }


def _sample(row: dict[str, Any]) -> dict[str, Any]:
    steps, chunks, at = split_steps(row["rationale"]), [], 0
    for position, (size, kept) in enumerate(zip(row["chunk_steps"], row["kept"], strict=True), start=1):
        chunks.append(
            {"position": position, "steps": size, "kept": kept, "text": "".join(steps[at : at + size])}
        )
        at += size
    shown = {name: row[name] for name in ("id", "question", "answer", "right")}
    return {"row": row["row"] + 1, **shown, "chunks": chunks}


def _dropped(material: Material) -> dict[str, Any]:
    read, cut = material.summaries["rationales"], material.summaries["samples"]
    reasons = [
        {
            **{name: drop[name] for name in ("stage", "reason", "count")},
            "examples": [_dropped_row(row) for row in drop["examples"]],
        }
        for drop in material.drops
    ]
    total = sum(reason["count"] for reason in reasons)
    if total != read["rows"] - cut["train"] - cut["dev"] - cut["test"]:
        raise RuntimeError(
            f"report: {read['rows']} rows read, {cut['train']} + {cut['dev']} + {cut['test']} kept, "
            f"but {total} dropped with a reason"
        )
    return {
        "read": read["rows"],
        "train": cut["train"],
        "dev": cut["dev"],
        "test": cut["test"],
        "total": total,
        "shown": sum(len(reason["examples"]) for reason in reasons),
        "reasons": reasons,
    }


def _dropped_row(row: dict[str, Any]) -> dict[str, Any]:
    """A dropped row to show. It may be a whole file in one field, so its texts are cut."""
    cut = {name: _cut(row[name], DROPPED_CHARS) for name in ("question", "answer", "rationale")}
    return {**row, **cut, "row": row["row"] + 1, "detail": _cut(row["detail"] or "", DETAIL_CHARS)}


def _cut(text: str | None, limit: int) -> str | None:
    return text if text is None or len(text) <= limit else f"{text[:limit]}…"


def count_sizes(batches: Iterable[pa.RecordBatch], num_chunks: int) -> np.ndarray:
    """Samples by chunk position and number of steps, [M, LARGEST_SIZE + 1]. Batches need `chunk_steps`."""
    sizes_MS = np.zeros((num_chunks, LARGEST_SIZE + 1), dtype=np.int64)
    for batch in batches:
        sizes_RM = batch["chunk_steps"].flatten().to_numpy().reshape(-1, num_chunks)
        positions_RM = np.broadcast_to(np.arange(num_chunks), sizes_RM.shape)
        np.add.at(sizes_MS, (positions_RM, np.minimum(sizes_RM, LARGEST_SIZE)), 1)
    return sizes_MS
