"""What a whole run sends to MLflow: its main numbers and the tables from which `skipthink compare` works.

They lie on the run that has the parameters, not on the runs of its stages.
"""

import json
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow.parquet

from skipthink_ray.method.modes import STUDENT_OF
from skipthink_ray.reporting.comparison import Published
from skipthink_ray.runtime.store import REPORT, Run
from skipthink_ray.runtime.tracker import Tracker

OF_ANSWERS = ("accuracy_pct", "tokens")
REPORT_FILE, ANSWERS, LATENCIES = "report.json", "answers.parquet", "latencies.parquet"
"""Files of a run with a report. The tables have ANSWER_SCHEMA without texts, and LATENCY_SCHEMA."""


def publish(current: Run, tracker: Tracker) -> None:
    """Send the numbers of a run whose evaluation is finished, and its files if its report is."""
    if not current.is_done("evaluation"):
        return
    tracker.metrics(main_numbers(current), step=0)
    if not current.is_done(REPORT):
        return
    run = published(current)
    with TemporaryDirectory() as folder:
        files = {name: Path(folder) / name for name in (REPORT_FILE, ANSWERS, LATENCIES)}
        files[REPORT_FILE].write_text(json.dumps(run.report, ensure_ascii=False), encoding="utf-8")
        pyarrow.parquet.write_table(run.answers, files[ANSWERS])
        pyarrow.parquet.write_table(run.latencies, files[LATENCIES])
        for file in files.values():
            tracker.artifact(file)


def published(current: Run) -> Published:
    """A run with a report, from its artifacts."""
    evaluation = current.artifact("evaluation")
    answers, latencies = (evaluation.table(name).to_table() for name in ("answers", "latencies"))
    report = current.artifact(REPORT).read_json(REPORT_FILE)
    return Published(report, answers.drop_columns(["text"]), latencies)


def main_numbers(current: Run) -> dict[str, float]:
    """Metrics `<split>/<mode>_<number>` by name.

    `<mode>_accuracy_pct` and `<mode>_tokens`, and with a report also `<mode>_latency_s` (seconds per question
    at batch 1) and `skip_speedup` (full / skip) with its interval, `_low` and `_high`.
    """
    summary = current.artifact("evaluation").read_json("summary.json")
    numbers = {f"{mode}_{name}": summary[f"{mode}_{name}"] for mode in STUDENT_OF for name in OF_ANSWERS}
    if current.is_done(REPORT):
        modes = current.artifact(REPORT).read_json(REPORT_FILE)["modes"]
        numbers |= {f"{mode}_latency_s": modes[mode]["latency_s"]["value"] for mode in STUDENT_OF}
        speedup = modes["skip"]["speedup"]
        numbers["skip_speedup"] = speedup["value"]
        numbers |= {f"skip_speedup_{end}": speedup[end] for end in ("low", "high")}
    split = current.identities["evaluation"]["config"]["evaluation"]["split"]
    return {f"{split}/{name}": float(value) for name, value in numbers.items()}
