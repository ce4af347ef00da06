"""Runs the arms of bench_training.py in turn, and checks that their losses agree."""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.evidence import finished
from benchmarks.training_arms import LITERAL, Arm
from benchmarks.training_plan import Plan

ROOT = Path(__file__).parents[1]
TOLERANCE = {"fp32": 2e-6, "bf16": 1e-2}
"""Largest relative difference of a loss to the literal arm's."""
TRL_TOLERANCE = {"fp32": 1e-5, "bf16": 1e-2}
"""TRL computes the loss in chunks of its own, whose rounding differs (3e-6 were seen)."""


class Disagreement(RuntimeError):
    """An arm failed, or does not compute the plan's updates."""


def measure(plan: Plan, arms: Sequence[Arm], repeats: int) -> dict[str, list[dict[str, Any]]]:
    """{arm: one record per repeat}. Every second repeat runs the arms in reverse order.

    The literal arm is always the first of all. Raises Disagreement with the arm's name.
    """
    records: dict[str, list[dict[str, Any]]] = {arm.name: [] for arm in arms}
    expected: list[float] = []
    for repeat in range(repeats):
        for arm in arms if repeat % 2 == 0 else arms[::-1]:
            record = run_arm(plan, arm)
            expected = expected or record["losses"]
            tolerance = TRL_TOLERANCE if arm.kind == "trl" else TOLERANCE
            check_losses(arm.name, record["losses"], expected, tolerance[plan.setting.precision])
            records[arm.name].append(record)
            print(_line(arm, repeat, record, plan), file=sys.stderr, flush=True)
    return records


def check_losses(arm: str, losses: list[float], expected: list[float], tolerance: float) -> None:
    """Raises Disagreement if a loss differs from the expected one by more than a share `tolerance`."""
    if len(losses) != len(expected):
        raise Disagreement(f"{arm}: {len(losses)} losses before the window instead of {len(expected)}")
    for update, (loss, wanted) in enumerate(zip(losses, expected, strict=True)):
        apart = abs(loss - wanted) / abs(wanted)
        if not apart <= tolerance:
            raise Disagreement(
                f"{arm}: the loss of update {update} is {loss:.8f} instead of {wanted:.8f} ({LITERAL}); "
                f"they differ by {apart:.1e}, more than {tolerance:g}, so its updates are not the plan's"
            )


def run_arm(plan: Plan, arm: Arm) -> dict[str, Any]:
    """Run an arm once, with a process per worker (in Ray: one driver). Returns its measurements.

    Seconds are those of the slowest worker; CPU seconds, positions and memory are summed over the workers.
    """
    for old in (*plan.folder.glob("*.rendezvous"), *plan.folder.glob(f"{arm.name}-*.json")):
        old.unlink()
    load, launched = os.getloadavg()[0], time.time()
    environment = {**os.environ, "OMP_NUM_THREADS": str(arm.threads), "TOKENIZERS_PARALLELISM": "false"}
    environment |= {"PYTHONPATH": str(ROOT), "OMP_WAIT_POLICY": "PASSIVE"}
    environment.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    log = plan.folder / "log.txt"
    with log.open("w") as stream:
        command = [sys.executable, "-m", "benchmarks.training_arms", str(plan.folder), arm.name]
        workers = [
            subprocess.Popen(
                [*command, str(rank), str(launched)],
                cwd=ROOT,
                env=environment,
                stdout=stream,
                stderr=subprocess.STDOUT,
            )
            for rank in range(1 if arm.kind == "ray" else arm.workers)
        ]
        codes = [worker.wait() for worker in workers]
    if any(codes):
        raise Disagreement(f"{arm.name} failed:\n{log.read_text()[-3000:]}")
    ranks = [finished(plan.folder / f"{arm.name}-{rank}.json")[0] for rank in range(arm.workers)]
    return ranks[0] | {
        "seconds": max(one["seconds"] for one in ranks),
        **{name: sum(one[name] for one in ranks) for name in ("cpu_s", "positions", "peak_bytes")},
        "load": load,
    }


def _line(arm: Arm, repeat: int, record: dict[str, Any], plan: Plan) -> str:
    each = 1000 * record["seconds"] / plan.setting.updates
    return f"{time.strftime('%H:%M:%S')} {repeat + 1}. {arm.name}: {each:.1f} ms, load {record['load']:.1f}"
