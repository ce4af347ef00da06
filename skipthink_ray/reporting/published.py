"""What a whole run sends to MLflow: its main numbers and the tables from which `skipthink compare` works.

They lie on the run that has the parameters, not on the runs of its stages.
"""

import json
from typing import Any

import pyarrow as pa
import pyarrow.parquet

from skipthink_ray.config import TrackingConfig
from skipthink_ray.method.modes import modes_of
from skipthink_ray.reporting.comparison import Published
from skipthink_ray.rows import ANSWER_SCHEMA
from skipthink_ray.runtime.artifacts import digest
from skipthink_ray.runtime.store import REPORT, Run
from skipthink_ray.runtime.tracker import Tracker

OF_ANSWERS = ("accuracy_pct", "tokens")
REPORT_FILE, ANSWERS, LATENCIES = "report.json", "answers.parquet", "latencies.parquet"
"""Files of a run with a report. The tables have ANSWER_SCHEMA without texts, and LATENCY_SCHEMA."""


def publish(current: Run, tracker: Tracker, config: TrackingConfig) -> None:
    """Send the numbers of a run whose evaluation is finished, and its files if its report is."""
    if not current.is_done("evaluation"):
        return
    run = published(current) if current.is_done(REPORT) else None
    tracker.metrics([(0, _main_numbers(current, run))])
    if run:
        tracker.artifact(REPORT_FILE, json.dumps(run.report, ensure_ascii=False).encode())
        tracker.artifact(ANSWERS, _parquet(run.answers))
        tracker.artifact(LATENCIES, _parquet(run.latencies))
        if config.log_student or config.register_as:
            tracker.student(current.artifact("stt"), digest(current.identities["stt"]), config.register_as)


def published(current: Run) -> Published:
    """A run with a report, from its artifacts."""
    evaluation = current.artifact("evaluation")
    answers = evaluation.table("answers").to_table([name for name in ANSWER_SCHEMA.names if name != "text"])
    report = current.artifact(REPORT).read_json(REPORT_FILE)
    return Published(report, answers, evaluation.table("latencies").to_table(), data_of(current))


def data_of(current: Run) -> str:
    """A digest of the source of the rationales: input files by content, filters, teacher; not of the seed."""
    return digest(source_of(current))


def source_of(current: Run) -> dict[str, Any]:
    """The source of the rationales, as JSON values."""
    config = current.identities["rationales"]["config"]
    source = {key: value for key, value in config["rationales"].items() if key != "seed"}
    return {**config, "rationales": source}


def _main_numbers(current: Run, run: Published | None) -> dict[str, float]:
    """Metrics `<split>/<mode>_<number>` by name.

    `<mode>_accuracy_pct` and `<mode>_tokens`, and with a report also `<mode>_latency_s` (seconds per question
    at batch 1) and `skip_speedup` (full / skip) with its interval, `_low` and `_high`.
    """
    summary = current.artifact("evaluation").read_json("summary.json")
    answered = modes_of(current.identities)
    numbers = {f"{mode}_{name}": summary[f"{mode}_{name}"] for mode in answered for name in OF_ANSWERS}
    if run:
        modes = run.report["modes"]
        numbers |= {f"{mode}_latency_s": modes[mode]["latency_s"]["value"] for mode in answered}
        speedup = modes["skip"]["speedup"]
        numbers["skip_speedup"] = speedup["value"]
        numbers |= {f"skip_speedup_{end}": speedup[end] for end in ("low", "high")}
    split = current.identities["evaluation"]["config"]["evaluation"]["split"]
    return {f"{split}/{name}": float(value) for name, value in numbers.items()}


def _parquet(table: pa.Table) -> bytes:
    buffer = pa.BufferOutputStream()
    pyarrow.parquet.write_table(table, buffer)
    return buffer.getvalue().to_pybytes()
