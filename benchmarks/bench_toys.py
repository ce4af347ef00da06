"""Measures what students learn on the toys TSO and LLC and in the demo, and what makes TSO learnable.

    python -m benchmarks.bench_toys                                # run what benchmarks/toys.jsonl lacks
    python -m benchmarks.bench_toys --table                        # print the tables
    python -m benchmarks.bench_toys --document docs/results.md     # update the tables of the document

Runs in one process, without a cluster. An arm makes the same number of updates as the pipeline: `cwt.epochs`
passes over the CWT items. Seconds are CPU seconds of one torch thread.
"""

import argparse
import json
import os
import re
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.evidence import finished
from benchmarks.toy_arms import ToyArm, arms

RESULTS = Path(__file__).with_name("toys.jsonl")
BLOCK = re.compile(r"(<!-- toys (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)
JUDGES = ("reading", "writing")
STAGES = {
    "base": "full (base)",
    "cwt": "staged (cwt)",
    "stt, reading": "skip (stt), judge reading",
    "stt, writing": "skip (stt), judge writing",
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--results", type=Path, default=RESULTS, help="JSON Lines file, one line per finished run"
    )
    parser.add_argument(
        "--parts", nargs="*", choices=sorted({arm.part for arm in arms()}), help="only these parts"
    )
    parser.add_argument(
        "--arms",
        nargs="*",
        metavar="ARM",
        choices=sorted({arm.name for arm in arms()}),
        help="only these arms",
    )
    parser.add_argument("--table", action="store_true", help="print the tables, run nothing")
    parser.add_argument("--document", type=Path, help="fill in the tables of this document, run nothing")
    arguments = parser.parse_args()
    try:
        lines = finished(arguments.results)
    except ValueError as error:
        parser.error(str(error))
    if arguments.document:
        arguments.document.write_text(fill(arguments.document.read_text(), lines))
    elif arguments.table:
        print(
            *(f"**{part}**\n\n{table(lines, part)}\n" for part in dict.fromkeys(arm.part for arm in arms())),
            sep="\n",
        )
    else:
        run_missing(arguments)


def run_missing(arguments: argparse.Namespace) -> None:
    """Run the missing arms, one after another."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    import torch

    torch.set_num_threads(1)
    for arm in arms():
        done = {line["key"] for line in finished(arguments.results)}
        wanted = (not arguments.parts or arm.part in arguments.parts) and (
            not arguments.arms or arm.name in arguments.arms
        )
        if not wanted or arm.key() in done:
            continue
        line = {
            "key": arm.key(),
            "part": arm.part,
            "arm": arm.name,
            "seed": arm.seed,
            "numbers": numbers_of(arm),
        }
        with arguments.results.open("a") as file:
            file.write(json.dumps(line) + "\n")
        reached = {
            stage: round(of["accuracy_pct"], 1)
            for stage, of in line["numbers"].items()
            if "accuracy_pct" in of
        }
        print(time.strftime("%H:%M:%S"), arm.part, arm.name, reached, flush=True)


def numbers_of(arm: ToyArm) -> dict[str, Any]:
    """All numbers of an arm, by stage."""
    from benchmarks.evidence_run import ablate, prepare, skip_numbers, train_student
    from skipthink_ray.training.batches import updates_per_epoch

    config = arm.settings()
    prepared = prepare(
        config,
        lambda samples: (
            config.cwt.epochs
            * updates_per_epoch("cwt", config.cwt, len(samples), [len(samples)] * (samples.num_chunks + 1))
        ),
    )
    base = train_student(prepared, "base", prepared.samples)
    shape = {"parameters": base.student.model.num_parameters(), "num_chunks": prepared.samples.num_chunks}
    if not arm.whole:
        return {"base": base.numbers | shape}
    cwt = train_student(prepared, "cwt", prepared.samples)
    numbers: dict[str, Any] = {"base": base.numbers | shape, "cwt": cwt.numbers}
    for judge in JUDGES:
        judging = replace(
            prepared,
            config=config.model_copy(update={"skips": config.skips.model_copy(update={"judge": judge})}),
        )
        started = time.process_time()
        kept_RM, right_R = ablate(judging, cwt.student, cwt.samples)
        seconds = time.process_time() - started
        numbers[f"skips, {judge}"] = skip_numbers(kept_RM, right_R, cwt.samples.present_RM) | {
            "cpu_s": seconds
        }
        numbers[f"stt, {judge}"] = train_student(prepared, "stt", cwt.samples, kept_RM).numbers
    return numbers


def fill(document: str, lines: list[dict[str, Any]]) -> str:
    """The document with its tables updated from the results."""
    return BLOCK.sub(lambda found: f"{found[1]}\n{table(lines, found[2])}\n\n{found[3]}", document)


def table(lines: list[dict[str, Any]], part: str) -> str:
    """One table: a row per stage if the arm runs the whole method, a row per arm if it trains only Base."""
    by_key = {line["key"]: line["numbers"] for line in lines}
    listed = [(arm, by_key[arm.key()]) for arm in arms() if arm.part == part and arm.key() in by_key]
    if not listed:
        return "Not run yet."
    return _by_stage(listed[0][1]) if listed[0][0].whole else _by_arm(listed)


def _by_stage(numbers: dict[str, Any]) -> str:
    base = numbers["base"]
    rows = [
        [
            "student",
            "accuracy %",
            "tokens",
            "full / mode",
            "updates",
            "training, CPU s",
            "kept of c_1..c_M, %",
        ]
    ]
    for stage, name in STAGES.items():
        of, skips = numbers[stage], numbers.get(stage.replace("stt", "skips"), {})
        ratio = f"{base['tokens'] / of['tokens']:.2f}"
        kept = " ".join(f"{100 * (1 - share):.0f}" for share in skips.get("skipped_by_chunk", ())) or "–"
        cells = (
            f"{of['accuracy_pct']:.1f}",
            f"{of['tokens']:.1f}",
            ratio,
            str(of["updates"]),
            f"{of['train_cpu_s']:.0f}",
            kept,
        )
        rows.append([name, *cells])
    right = f"{100 * numbers['skips, reading']['right_share']:.1f} % of the training samples"
    return f"{_markdown(rows)}\n\nM = {base['num_chunks']}; right with all chunks: {right}."


def _by_arm(listed: list[tuple[ToyArm, dict[str, Any]]]) -> str:
    rows = [["arm", "full thinking %", "tokens", "loss, nats", "updates", "parameters", "training, CPU s"]]
    for arm, numbers in listed:
        of = numbers["base"]
        cells = (
            f"{of['accuracy_pct']:.1f}",
            f"{of['tokens']:.1f}",
            f"{of['final_loss_nats']:.3f}",
            of["updates"],
            f"{of['parameters']:,}",
        )
        rows.append([arm.name, *map(str, cells), f"{of['train_cpu_s']:.0f}"])
    return _markdown(rows)


def _markdown(rows: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in (rows[0], ["---"] * len(rows[0]), *rows[1:]))


if __name__ == "__main__":
    main()
