"""Trains the toys with their shipped configurations: base, cwt, and an stt student per judge of the skips.

    python -m benchmarks.bench_toys                                # run what benchmarks/toys.jsonl lacks
    python -m benchmarks.bench_toys --document docs/results.md     # update the tables of the document

Runs in one process, without a cluster. All students make the same number of updates as in the pipeline:
`cwt.epochs` passes over the CWT items. Seconds are CPU seconds of one torch thread.
"""

import argparse
import json
import os
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.document import fill_tables
from benchmarks.evidence import finished
from benchmarks.evidence_arms import digest
from skipthink_ray.config import PipelineConfig
from skipthink_ray.settings import load_config

RESULTS = Path(__file__).with_name("toys.jsonl")
CONFIGS = Path(__file__).parents[1] / "configs"
TOYS = {"demo": "toy", "tso": "toy_tso.yaml", "llc": "toy_llc.yaml"}
"""Preset or file in `configs/` by the name of the table."""
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
        "--results", type=Path, default=RESULTS, help="JSON Lines file, one line per finished toy"
    )
    parser.add_argument("--toys", nargs="*", choices=list(TOYS), default=list(TOYS), help="only these toys")
    parser.add_argument("--document", type=Path, help="fill in the tables of this document, run nothing")
    arguments = parser.parse_args()
    try:
        lines = finished(arguments.results)
    except ValueError as error:
        parser.error(str(error))
    if arguments.document:
        arguments.document.write_text(fill(arguments.document.read_text(), lines))
    else:
        run_missing(arguments.toys, arguments.results, {line["key"] for line in lines})


def settings(toy: str) -> PipelineConfig:
    """The shipped configuration of a toy."""
    name = TOYS[toy]
    return load_config("default", str(CONFIGS / name)) if name.endswith(".yaml") else load_config(name, None)


def key_of(toy: str) -> str:
    """A key of all that a toy's numbers depend on."""
    unused = {"name", "storage_path", "cluster", "endpoint", "tracking", "report"}
    return digest(settings(toy).model_dump(exclude=unused))


def run_missing(toys: list[str], results: Path, done: set[str]) -> None:
    """Run the toys that are not done, one after another."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    import torch

    torch.set_num_threads(1)
    for toy in toys:
        if key_of(toy) in done:
            continue
        line = {"key": key_of(toy), "toy": toy, "numbers": numbers_of(settings(toy))}
        with results.open("a") as file:
            file.write(json.dumps(line) + "\n")
        print(f"{time.strftime('%H:%M:%S')} {toy}\n{table([line], toy)}", flush=True)


def numbers_of(config: PipelineConfig) -> dict[str, Any]:
    """All numbers of a configuration, by stage."""
    from benchmarks.evidence_run import ablate, prepare, skip_numbers, train_student
    from skipthink_ray.training.batches import updates_per_epoch

    prepared = prepare(
        config,
        lambda samples: (
            config.cwt.epochs
            * updates_per_epoch("cwt", config.cwt, len(samples), [len(samples)] * (samples.num_chunks + 1))
        ),
    )
    base = train_student(prepared, "base", prepared.samples)
    shape = {"parameters": base.student.model.num_parameters(), "num_chunks": prepared.samples.num_chunks}
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
    return fill_tables(document, "toys", partial(table, lines))


def table(lines: list[dict[str, Any]], toy: str) -> str:
    """A row per student."""
    numbers = next((line["numbers"] for line in lines if line["key"] == key_of(toy)), None)
    if not numbers:
        return "Not run yet."
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


def _markdown(rows: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in (rows[0], ["---"] * len(rows[0]), *rows[1:]))


if __name__ == "__main__":
    main()
