"""Chunk-wise training of SmolLM2 as the pipeline runs it: Ray Train, ZeRO-2, two workers, one of them killed.

    python -m benchmarks.pretrained_cluster --rationales multiarith.jsonl

Trains two epochs in bf16 and sends SIGKILL to a worker about halfway. Training must go on from its last
checkpoint. Then the student answers unseen (dev) questions from the teacher's chunks, and the test questions
in stages. The result is the last line; `--results FILE` also appends it to a file. A run that was
interrupted continues with the same command.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.compute as pc

from benchmarks.reliability_run import victims

CONFIG = Path(__file__).parents[1] / "configs" / "smollm2.yaml"
NAME = "cluster"
DEV_SHARE = 0.15
KILL_AFTER = 170
"""Updates in the checkpoint after which a worker is killed: about half of the training."""
CHECKPOINT_EVERY_S = 120.0


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rationales", type=Path, required=True, help="rationales of real MultiArith")
    parser.add_argument("--storage", type=Path, default=Path("runs/pretrained_cluster"))
    parser.add_argument("--test-questions", type=int, help="answer only the first ones; otherwise all 180")
    parser.add_argument("--results", type=Path, help="JSON Lines file to append the result to")
    arguments = parser.parse_args()
    storage, options = arguments.storage.absolute(), cwt_options(arguments)
    killed_at = train_with_a_kill(storage, options)
    answers = judged(options, arguments)
    line = json.dumps({"killed_at": killed_at} | answers)
    if arguments.results:
        with arguments.results.open("a") as file:
            file.write(line + "\n")
    print(line)


def cwt_options(arguments: argparse.Namespace) -> list[str]:
    values = {
        "config": CONFIG,
        "name": NAME,
        "storage-path": arguments.storage.absolute(),
        "rationales.path": arguments.rationales.absolute(),
        "rationales.dev-share": DEV_SHARE,
        "cwt.precision": "bf16",
        "cluster.backend": "deepspeed",
        "cluster.zero-stage": 2,
        "cluster.num-workers": 2,
        "cluster.checkpoint-every-s": CHECKPOINT_EVERY_S,
    }
    return [part for key, value in values.items() for part in (f"--{key}", str(value))]


def train_with_a_kill(storage: Path, options: list[str]) -> int:
    """Run the stage cwt and kill a worker about halfway. Returns the update of the newest checkpoint then.

    Kills once, also if this command is interrupted and starts again. Raises CalledProcessError if a stage
    fails, and RuntimeError if the stage ends before the kill.
    """
    note = storage / "killed_at"
    cwt = storage / NAME / "cwt"
    skipthink = [sys.executable, "-m", "skipthink_ray.cli"]
    for stage in ("rationales", "samples"):
        subprocess.run([*skipthink, stage, *options], check=True)
    command = [*skipthink, "cwt", *options]
    run = subprocess.Popen(command)
    killed_at = int(note.read_text()) if note.exists() else None
    while run.poll() is None:
        time.sleep(2.0)
        update, workers = newest_checkpoint(cwt), victims("worker", psutil.Process(run.pid))
        if killed_at is None and update >= KILL_AFTER and workers:
            workers[0].kill()
            killed_at = update
            note.write_text(str(update))
            print(f"killed a worker; the newest checkpoint is of update {update}", flush=True)
    if run.returncode:
        raise subprocess.CalledProcessError(run.returncode, command)
    if killed_at is None:
        raise RuntimeError(f"{cwt} was finished before a worker was killed; delete it and start again")
    return killed_at


def newest_checkpoint(cwt: Path) -> int:
    """The update of the newest checkpoint; 0 if there is none."""
    states = sorted(cwt.glob("checkpoints/checkpoint_*/state.json"))
    return json.loads(states[-1].read_text())["update"] if states else 0


def judged(options: list[str], arguments: argparse.Namespace) -> dict[str, Any]:
    """Answers of the finished student, and what its training took.

    Dev questions count only if the teacher answered them correctly, as in training: from a wrong rationale,
    the student reads off the wrong answer.
    """
    from benchmarks.pretrained_run import answer_all, from_gold_chunks
    from skipthink_ray.method.samples import Samples
    from skipthink_ray.models.student import load_student
    from skipthink_ray.rows import DEV, TEST
    from skipthink_ray.runtime.artifacts import Folder
    from skipthink_ray.settings import load_config
    from skipthink_ray.tasks import task_of

    config = load_config("default", str(CONFIG), options[2:])
    run = Folder.open(f"{config.storage_path}/{config.name}")
    with run.child("cwt").local("student") as folder:
        student = load_student(folder)
    table: pa.Table = run.child("samples").table("samples").to_table().sort_by("row")
    chunks = student.model.config.skipthink["num_chunks"]
    by_teacher = pa.array(sorted(questions_right(arguments.rationales, task_of(config))))
    right = table.filter(pc.is_in(table["question"], by_teacher))
    rows = right.filter(DEV), table.filter(TEST).slice(0, arguments.test_questions)
    dev, test = (Samples(one).in_average_chunks(chunks) for one in rows)
    gold = from_gold_chunks(student, dev, config)
    print(json.dumps(gold), flush=True)
    records = answer_all(student, "staged", test, config)
    return {
        "dev_questions": len(dev),
        **gold,
        "test_questions": len(test),
        "staged_right_pct": 100 * float(np.mean([one["right"] for one in records])),
        "staged_empty_pct": 100 * float(np.mean([not one["answer"] for one in records])),
        "cwt": run.child("cwt").read_json("summary.json"),
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs",
    }


def questions_right(rationales: Path, task: Any) -> set[str]:
    """The questions that the teacher answered correctly."""
    rows = [json.loads(line) for line in rationales.read_text().split("\n") if line]
    return {row["question"] for row in rows if task.check(row["teacher_answer"], row["answer"])}


if __name__ == "__main__":
    main()
