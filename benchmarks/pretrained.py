"""Comparison on a pretrained student: SmolLM2-135M on real MultiArith, in this process, resumable arm by arm.

    skipthink rationales --config configs/smollm2.yaml --rationales.path multiarith.jsonl
    skipthink samples --config configs/smollm2.yaml --rationales.path multiarith.jsonl
    python -m benchmarks.pretrained --run runs/smollm2          # runs what benchmarks/pretrained.jsonl lacks
    python -m benchmarks.pretrained --table                     # prints its tables
    python -m benchmarks.pretrained --document docs/results.md  # puts its tables into the document

markers: 48 updates on 96 samples, judged on dev.
table: the student before training, then base, cwt and stt with equal updates, on dev and test.
speed: seconds per question of all trained students of the table, in one process.
The last line is one JSON document with what this call ran.
"""

import argparse
import json
import platform
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.arguments import at_least
from benchmarks.evidence import finished
from benchmarks.pretrained_arms import MARKERS, TABLE, Arm
from skipthink_ray.runtime.artifacts import Folder

RESULTS = Path(__file__).with_name("pretrained.jsonl")
PARTS = {"markers": MARKERS, "table": TABLE, "speed": ()}
TIMED_QUESTIONS = 20


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", type=Path, help="folder of a run whose stage samples is finished")
    parser.add_argument("--parts", nargs="*", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--arms", nargs="*", metavar="ARM", help="only these arms")
    parser.add_argument("--threads", type=at_least(1), default=2)
    parser.add_argument(
        "--results", type=Path, default=RESULTS, help="JSON Lines file, one line per finished arm"
    )
    parser.add_argument(
        "--cache", type=Path, default=Path("runs/pretrained"), help="folder for trained students"
    )
    parser.add_argument("--table", action="store_true", help="print the tables, run nothing")
    parser.add_argument("--document", type=Path, help="fill in the tables of this document, run nothing")
    arguments = parser.parse_args()
    lines = finished(arguments.results)
    if arguments.table or arguments.document:
        from benchmarks.pretrained_table import fill, tables

        if arguments.document:
            arguments.document.write_text(fill(arguments.document.read_text(), lines))
        else:
            print("\n\n".join(tables(lines).values()))
        return
    if arguments.run is None or not (arguments.run / "samples" / "_DONE").exists():
        parser.error("--run: name a run whose stage samples is finished; see the first command above")
    torch.set_num_threads(arguments.threads)
    done = {line["key"] for line in lines}
    made = []
    for part in arguments.parts:
        for arm in PARTS[part]:
            if arm.key not in done and (not arguments.arms or arm.name in arguments.arms):
                made.append(_run(arguments, part, arm))
                with arguments.results.open("a") as file:
                    file.write(json.dumps(made[-1]) + "\n")
    if "speed" in arguments.parts:
        made.append(_speed(arguments))
        with arguments.results.open("a") as file:
            file.write(json.dumps(made[-1]) + "\n")
    print(json.dumps(made))


def _speed(arguments: argparse.Namespace) -> dict[str, Any]:
    from benchmarks.pretrained_run import Data, seconds_by_arm

    done = {line["key"] for line in finished(arguments.results)}
    arms = [arm for arm in TABLE if arm.key in done and arm.stage != "few-shot"]
    data = Data(Folder.open(str(arguments.run)).child("samples"), arguments.cache)
    return {
        "key": f"speed-{len(done)}",
        "part": "speed",
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads",
        "seconds_by_arm": seconds_by_arm(data, arms, TIMED_QUESTIONS),
    }


def _run(arguments: argparse.Namespace, part: str, arm: Arm) -> dict[str, Any]:
    from benchmarks.pretrained_run import Data, answer_all, few_shot, from_gold_chunks, trained
    from skipthink_ray.method.modes import MODE_OF

    print(arm.name, flush=True)
    data, config = Data(Folder.open(str(arguments.run)).child("samples"), arguments.cache), arm.config()
    line: dict[str, Any] = {
        "key": arm.key,
        "part": part,
        "arm": arm.name,
        "stage": arm.stage,
        "threads": arguments.threads,
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads",
    }
    if arm.stage == "few-shot":
        line |= {"updates": 0}
        answers = few_shot(data, config)
    else:
        made = trained(data, arm)
        line |= made.numbers
        answers = partial(answer_all, made.student, MODE_OF[arm.stage], config=config)
        if arm.stage == "cwt":
            line |= {
                f"dev_{key}": value
                for key, value in from_gold_chunks(made.student, data.samples("dev"), config).items()
            }
    if part == "table":
        for split in ("dev", "test"):
            records = answers(samples=data.samples(split))
            line |= {f"{split}_{key}": value for key, value in _shares(records).items()}
            line[f"{split}_right"] = "".join(str(int(one["right"])) for one in records)
            line[f"{split}_token_counts"] = [one["tokens"] for one in records]
    shown = {key: value for key, value in line.items() if not isinstance(value, list | str)}
    print("  " + json.dumps(shown), flush=True)
    return line


def _shares(records: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "questions": len(records),
        "accuracy_pct": 100 * float(np.mean([one["right"] for one in records])),
        "format_errors_pct": 100 * float(np.mean([one["answer"] is None for one in records])),
        "at_limit_pct": 100 * float(np.mean([not one["stopped"] for one in records])),
        "loops_pct": 100 * float(np.mean([one["loops"] for one in records])),
        "tokens": float(np.mean([one["tokens"] for one in records])),
    }


if __name__ == "__main__":
    main()
