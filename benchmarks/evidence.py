"""The evidence for the defaults: chunkers, kinds of updates, gates and numbers of chunks on two toys.

    python -m benchmarks.evidence             run what benchmarks/evidence.jsonl lacks; append the results
    python -m benchmarks.evidence --table     print the tables
    python -m benchmarks.evidence --document docs/results.md     update the tables of the document

Runs need neither a cluster nor an accelerator. `--processes` of them run in parallel, with one torch thread
each.
"""

import argparse
import json
import multiprocessing
import os
import time
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from itertools import islice
from pathlib import Path
from typing import Any

from benchmarks.arguments import at_least
from benchmarks.evidence_arms import PARTS, SEEDS, TASKS, runs

RESULTS = Path(__file__).with_name("evidence.jsonl")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--results", type=Path, default=RESULTS, help="JSON Lines file, one line per finished run"
    )
    parser.add_argument(
        "--cache",
        type=Path,
        default=Path("runs/evidence"),
        help="folder for the cwt students that arms share",
    )
    parser.add_argument("--processes", type=at_least(1), default=2)
    parser.add_argument("--parts", nargs="*", choices=list(PARTS), help="only these parts")
    parser.add_argument("--tasks", nargs="*", choices=list(TASKS), help="only these tasks")
    parser.add_argument("--stages", nargs="*", choices=["base", "cwt", "stt"], help="only these stages")
    names = sorted({arm.name for arms in PARTS.values() for arm in arms})
    parser.add_argument("--arms", nargs="*", choices=names, metavar="ARM", help="only these arms")
    parser.add_argument("--seeds", nargs="*", type=int, choices=SEEDS, help="only these seeds")
    parser.add_argument("--table", action="store_true", help="print the tables, run nothing")
    parser.add_argument("--document", type=Path, help="fill in the tables of this document, run nothing")
    arguments = parser.parse_args()
    try:
        finished(arguments.results)
    except ValueError as error:
        parser.error(str(error))
    if arguments.table or arguments.document:
        from benchmarks.evidence_table import fill, tables

        if arguments.document:
            arguments.document.write_text(fill(arguments.document.read_text(), finished(arguments.results)))
        else:
            print(tables(finished(arguments.results)))
    else:
        run_missing(arguments)


def finished(results: Path) -> list[dict[str, Any]]:
    """The lines of the results file. Raises ValueError with the number of a line that is not JSON."""
    lines = []
    for number, line in enumerate(results.read_text().splitlines() if results.exists() else [], start=1):
        try:
            lines.append(json.loads(line))
        except ValueError as error:
            raise ValueError(
                f"{results}, line {number}: {error}; delete that line to repeat its run"
            ) from error
    return lines


def run_missing(arguments: argparse.Namespace) -> None:
    """Run the missing runs in order, each in its own process."""
    processes = arguments.processes
    only = {"part": arguments.parts, "task": arguments.tasks, "stage": arguments.stages}
    done = {line["key"] for line in finished(arguments.results)}
    arms, seeds = arguments.arms, arguments.seeds
    wanted = [
        run
        for run in runs()
        if all(not chosen or getattr(run, name) in chosen for name, chosen in only.items())
    ]
    wanted = [
        run for run in wanted if (not arms or run.arm.name in arms) and (seeds is None or run.seed in seeds)
    ]
    lacking = [run for run in wanted if run.key() not in done]
    print(f"{len(lacking)} of {len(wanted)} runs to make", flush=True)
    missing = iter(lacking)
    spawn = multiprocessing.get_context("spawn")  # torch's threads do not survive a fork
    with ProcessPoolExecutor(processes, mp_context=spawn, initializer=_start) as pool:
        waiting: set[Future[dict[str, Any]]] = set()
        while True:
            waiting |= {
                pool.submit(_one, run, arguments.cache) for run in islice(missing, processes - len(waiting))
            }
            if not waiting:
                return
            ended, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            for future in ended:
                line = future.result()
                with arguments.results.open("ab+") as file:
                    # the last line may lack its line break
                    whole = not file.tell() or (file.seek(-1, os.SEEK_END) and file.read() == b"\n")
                    file.write((b"" if whole else b"\n") + json.dumps(line).encode() + b"\n")
                shown = ("part", "arm", "stage", "task", "seed", "wall_s")
                reached = {
                    name: round(line["numbers"][line["stage"]].get(name, -1), 3)
                    for name in ("accuracy_pct", "skipped_share")
                }
                print(time.strftime("%H:%M:%S"), *(line[name] for name in shown), reached, flush=True)


def _start() -> None:
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    import torch

    torch.set_num_threads(1)


def _one(run: Any, cache: Path) -> dict[str, Any]:
    from benchmarks.evidence_run import do

    started = time.perf_counter()
    numbers = do(run, cache)
    identity = {"part": run.part, "arm": run.arm.name, "stage": run.stage, "task": run.task, "seed": run.seed}
    return {"key": run.key(), **identity, "numbers": numbers, "wall_s": round(time.perf_counter() - started)}


if __name__ == "__main__":
    main()
