"""Measures time and memory of every stage on rationales as long as a reasoning teacher's.

    python -m benchmarks.bench_long --rationales 8

Each rationale has 300 steps and over 8,000 tokens, with the lines, doubts, lists and displays that reasoning
models write. The student is small and trains for one epoch on one worker (DDP), because the question is
whether each stage takes such a length, and what it costs. Memory is measured as in bench_rationales.py. The
last line is one JSON document.
"""

import argparse
import io
import json
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.console import Console

from benchmarks.arguments import at_least
from benchmarks.bench_rationales import GIB, IDLE_SAMPLES, SAMPLE_S, Sampler
from skipthink_ray.config import PipelineConfig
from skipthink_ray.identity import stages_of
from skipthink_ray.pipeline import run
from skipthink_ray.runtime import cluster

STEPS, TOKENS = 300, 8000
"""Steps of each rationale, and the number of tokens that each exceeds."""
TEST_QUESTIONS = 2


def thinking(boxes: int) -> str:
    """A running sum in 300 steps, with the lines, doubts, lists and displays of reasoning models."""
    lines, total = [], 0
    for step in range(1, STEPS + 1):
        more = step % boxes + 1
        opener, end = (
            ("Wait, let me check that:", "."),
            (f"{step}. Now", "."),
            ("So", "."),
            ("\\[", " \\]"),
            ("- Next,", "."),
        )[step % 5]
        sums = (
            f"the sum of all {boxes} boxes up to number {step} is {total} + {more} = {total + more} pens, "
            "and none of them is lost"
        )
        lines.append(f"{opener} {sums}{end}")
        total += more
    return "\n".join(lines)


def write_rows(file: Path, rationales: int) -> Path:
    """Training rows with long rationales, and test questions."""
    train = [
        {
            "question": f"Tom fills {boxes} boxes with pens. How many pens are there?",
            "answer": str(boxes),
            "rationale": thinking(boxes),
            "split": "train",
        }
        for boxes in range(7, 7 + rationales)
    ]
    test = [
        {"question": f"Eva fills {bags} bags with cups. How many cups?", "answer": str(bags), "split": "test"}
        for bags in range(2, 2 + TEST_QUESTIONS)
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in [*train, *test]))
    return file


def long_config(storage: Path, file: Path, width: int) -> PipelineConfig:
    return PipelineConfig.model_validate(
        {
            "name": "long",
            "storage_path": str(storage),
            "rationales": {"source": "file", "path": str(file), "max_chars": 60_000},
            "student": {"max_tokens": 12_000, "layers": 1, "width": width, "heads": 2},
            "cwt": {"epochs": 1},
            "cluster": {"backend": "ddp", "num_workers": 1, "num_actors": 1},
            "evaluation": {"max_new_tokens": 8, "latency_questions": TEST_QUESTIONS},
            "tracking": {"backend": "off"},
        }
    )


def measure(config: PipelineConfig, rationales: int) -> dict[str, Any]:
    cluster.connect(config.cluster)
    sampler = Sampler(Path(config.storage_path) / config.name)
    time.sleep(SAMPLE_S * (IDLE_SAMPLES + 4))
    idle = max(own + shared for _, own, shared in sampler.memory[-IDLE_SAMPLES:])
    stages = {}
    for stage in stages_of(config):
        before = sampler.seconds()
        run(config, Console(file=io.StringIO(), width=120), "bench_long", only=[stage])
        used = [own + shared for at, own, shared in sampler.memory if at >= before]
        stages[stage] = {
            "seconds": round(sampler.seconds() - before, 1),
            "peak_gib_above_idle": round((max(used, default=idle) - idle) / GIB, 2),
        }
    sampler.close()
    cluster.disconnect()
    summary = json.loads((Path(config.storage_path) / config.name / "samples" / "summary.json").read_text())
    return {
        "rationales": rationales,
        "steps": summary["steps_mean"],
        "tokens": summary["rationale_tokens_mean"],
        "student_parameters": summary["student_parameters"],
        "stages": stages,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rationales", type=at_least(1), default=8)
    parser.add_argument("--width", type=at_least(4), default=16, help="the student's width; 2 heads, 1 layer")
    parsed = parser.parse_args()
    with TemporaryDirectory() as folder:
        file = write_rows(Path(folder) / "long.jsonl", parsed.rationales)
        print(json.dumps(measure(long_config(Path(folder) / "runs", file, parsed.width), parsed.rationales)))


if __name__ == "__main__":
    main()
