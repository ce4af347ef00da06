"""The few metrics of a whole run, for MLflow: they lie on the run that has its parameters."""

from skipthink_ray.method.modes import STUDENT_OF
from skipthink_ray.runtime.store import REPORT, Run

OF_ANSWERS = ("accuracy_pct", "tokens")


def main_numbers(current: Run) -> dict[str, float]:
    """Metrics `<split>/<mode>_<number>` of a run, by name; empty before its evaluation is finished.

    `<mode>_accuracy_pct` and `<mode>_tokens`, and with a report also `<mode>_latency_s` (seconds per question
    at batch 1) and `skip_speedup` (full / skip) with its interval, `_low` and `_high`.
    """
    if not current.is_done("evaluation"):
        return {}
    summary = current.artifact("evaluation").read_json("summary.json")
    numbers = {f"{mode}_{name}": summary[f"{mode}_{name}"] for mode in STUDENT_OF for name in OF_ANSWERS}
    if current.is_done(REPORT):
        modes = current.artifact(REPORT).read_json("report.json")["modes"]
        numbers |= {f"{mode}_latency_s": modes[mode]["latency_s"]["value"] for mode in STUDENT_OF}
        speedup = modes["skip"]["speedup"]
        numbers["skip_speedup"] = speedup["value"]
        numbers |= {f"skip_speedup_{end}": speedup[end] for end in ("low", "high")}
    split = current.identities["evaluation"]["config"]["evaluation"]["split"]
    return {f"{split}/{name}": float(value) for name, value in numbers.items()}
