"""Compares our training loop with a literal one, with Hugging Face's trainers, and with itself inside Ray.

    python -m benchmarks.bench_training                              # the toy student on CWT items
    python -m benchmarks.bench_training --size smollm2 --updates 6
    python -m benchmarks.bench_training --device cuda --size gpt2 --precision bf16 --batch-size 64
    python -m benchmarks.bench_training --document docs/speed.md     # update the tables, run nothing

The plan of an epoch is made once (training_plan.py). Every arm replays its updates from the same weights,
with the same learning rates, precision and threads, in processes of its own (training_arms.py; the peers are
in training_peers.py). Arms take turns. The losses of the updates before the window must equal those of the
literal arm, within 2e-6 (fp32) or 1e-2 (bf16); otherwise the benchmark stops with the arm's name.

Times are wall seconds of whole windows. The columns with CPU are the CPU time of the workers, which other
processes on the machine inflate less; it leaves out waiting, for example for another worker. Memory is the
peak of the workers, without Ray's own processes. All arms run with OMP_WAIT_POLICY=PASSIVE: threads that spin
at a barrier are slower if another process uses the machine. They also run with THP_MEM_ALLOC_ENABLE=1, as a
pipeline does: torch then takes huge pages for large tensors. The last line is one JSON document,
which is also appended to `--results`. TRL's arms need `pip install trl`.
"""

import argparse
import json
import platform
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.arguments import at_least
from benchmarks.evidence import finished
from benchmarks.training_arms import ARMS, LITERAL, Arm, unavailable
from benchmarks.training_plan import Plan, Setting, make_plan
from benchmarks.training_run import Disagreement, measure
from benchmarks.training_table import fill, numbers, show
from skipthink_ray.models.student import load_student

RESULTS = Path(__file__).with_name("training.jsonl")
WARMUP = {"cpu": 5, "cuda": 20}


def main() -> None:
    parser = _parser()
    options = parser.parse_args()
    if options.document:
        try:
            lines = finished(options.results)
        except ValueError as error:
            parser.error(str(error))
        options.document.write_text(fill(options.document.read_text(), lines))
        return
    setting = Setting(
        options.size,
        options.data,
        options.stage,
        options.precision,
        options.device,
        options.batch_size or (16 if options.size == "toy" else 8),
        WARMUP[options.device],
        options.updates,
    )
    arms, left_out = choose(options.arms, options.device, options.precision)
    for name, why in left_out.items():
        print(f"{name} is left out: {why}", flush=True)
    if LITERAL in left_out:
        parser.error(f"{LITERAL} cannot run: {left_out[LITERAL]}")
    try:
        with TemporaryDirectory() as folder:
            plan = make_plan(Path(folder), setting, options.file)
            found = run(plan, arms, options)
    except (ValueError, Disagreement) as error:
        parser.error(str(error))
    line = {
        "name": setting.name,
        "setting": vars(setting),
        "repeats": options.repeats,
        "machine": machine(options.device),
        "date": time.strftime("%Y-%m-%d"),
        "left_out": left_out,
        "arms": found,
    }
    with options.results.open("a") as file:
        file.write(json.dumps(line) + "\n")
    print(json.dumps(line))


def choose(wanted: list[str] | None, device: str, precision: str) -> tuple[list[Arm], dict[str, str]]:
    """(arms to run, {arm: why it cannot run}). The literal arm is always there, and first."""
    names = [name for name in ARMS if not wanted or name in wanted or name == LITERAL]
    reasons = {name: unavailable(ARMS[name], device, precision) for name in names}
    left_out = {name: why for name, why in reasons.items() if why}
    return [ARMS[name] for name in names if name not in left_out], left_out


def run(plan: Plan, arms: list[Arm], options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Measure all arms and print their table. Returns {arm: its numbers}."""
    records = measure(plan, arms, options.repeats)
    model = load_student(plan.folder / "student").model
    found = numbers(plan, model, records, options.peak_tflops)
    show(plan.setting.name, found)
    return found


def machine(device: str) -> str:
    if device == "cuda":
        import torch

        return torch.cuda.get_device_name()
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    models = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    return f"{len(models)} cores of {models[0]}" if models else platform.machine()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", choices=("toy", "smollm2", "gpt2", "qwen"), default="toy")
    parser.add_argument("--data", choices=("toy", "gsm8k", "long"), default="toy")
    parser.add_argument(
        "--file", type=Path, help="the data gsm8k: JSON Lines with question, rationale, answer"
    )
    parser.add_argument("--stage", choices=("base", "cwt"), default="cwt", help="whose items to train on")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument(
        "--batch-size", type=at_least(1), help="items per update; default 16 (toy) or 8 (all others)"
    )
    parser.add_argument("--updates", type=at_least(1), default=100, help="updates of the measured window")
    parser.add_argument("--repeats", type=at_least(1), default=3)
    parser.add_argument(
        "--arms", nargs="*", metavar="ARM", choices=list(ARMS), help="only these and the literal"
    )
    parser.add_argument("--peak-tflops", type=float, help="peak of the device, for the useful MFU")
    parser.add_argument("--results", type=Path, default=RESULTS, help="JSON Lines file to append to")
    parser.add_argument("--document", type=Path, help="fill in the tables of this document, run nothing")
    return parser


if __name__ == "__main__":
    main()
