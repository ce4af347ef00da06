"""Measures memory and speed of the stages rationales and samples on many questions, on a local cluster.

    python -m benchmarks.bench_rationales --questions 1000000

Memory covers this process and all its descendants (Ray's daemons and workers). Private and file-mapped memory
counts by its proportional share (PSS). The object store counts by the size of its files in /dev/shm, because
all processes share them. Idle memory is that of Ray and one worker per CPU before the first stage. The
Parquet rows on disk show the progress of a pass (`drafts`: generated and judged, `rows`: compared, `samples`:
chunked). The last line is one JSON document. Linux only, because it reads /proc.
"""

import argparse
import io
import json
import os
import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil
import pyarrow.parquet
from rich.console import Console

from skipthink_ray.config import PipelineConfig, RationalesConfig, TrackingConfig
from skipthink_ray.pipeline import run
from skipthink_ray.runtime import cluster

GIB = 1 << 30
PASSES = {"drafts": "rationales", "rows": "rationales", "samples": "samples"}
SAMPLE_S, IDLE_SAMPLES = 1.0, 4


class Sampler:
    """A thread that samples memory and finished rows until `close`."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.started = folder, time.monotonic()
        self.memory: list[tuple[float, int, int]] = []
        """Seconds, private and mapped bytes, bytes of the object store."""
        self.rows: dict[str, list[tuple[float, int]]] = {name: [] for name in PASSES}
        self.counted: dict[Path, int] = {}
        self.stop, self.thread = threading.Event(), threading.Thread(target=self._follow, daemon=True)
        self.thread.start()

    def close(self) -> None:
        self.stop.set()
        self.thread.join()

    def seconds(self) -> float:
        return time.monotonic() - self.started

    def _follow(self) -> None:
        while not self.stop.wait(SAMPLE_S):
            self.memory.append((self.seconds(), *used_bytes()))
            for name, stage in PASSES.items():
                done = sum(map(self._count, (self.folder / stage / name).glob("*.parquet")))
                if done != (self.rows[name][-1][1] if self.rows[name] else 0) and done:
                    self.rows[name].append((self.seconds(), done))

    def _count(self, file: Path) -> int:
        """Rows of a finished file; 0 for a file that is being written."""
        if file not in self.counted:
            try:
                self.counted[file] = pyarrow.parquet.ParquetFile(file).metadata.num_rows
            except (OSError, pyarrow.ArrowInvalid):
                return 0
        return self.counted[file]


def used_bytes() -> tuple[int, int]:
    """Memory of this process tree: bytes that are private or mapped from files (PSS), and shared bytes."""
    own, shared = 0, {}
    for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
        try:
            rollup = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
            shared |= dict(_shared_files(process.pid))
        except (OSError, psutil.Error):
            continue  # the process has ended
        kib = {line.split(":")[0]: int(line.split()[1]) for line in rollup.splitlines()[1:]}
        own += (kib["Pss"] - kib["Pss_Shmem"]) << 10
    return own, sum(shared.values())


def _shared_files(pid: int) -> Iterator[tuple[int, int]]:
    """Inode and allocated bytes of a process's open files in /dev/shm, including deleted ones."""
    for descriptor in os.scandir(f"/proc/{pid}/fd"):
        try:
            if os.readlink(descriptor.path).startswith("/dev/shm/"):
                status = os.stat(descriptor.path)
                yield status.st_ino, status.st_blocks * 512
        except FileNotFoundError:
            continue  # the file was closed


def tenths(times: list[tuple[float, int]], total: int) -> dict[str, float | int] | None:
    """Rows/s of the slowest and the fastest tenth of a pass; None if it has fewer than 11 finished files."""
    if len(times) < 11:
        return None
    first_s, first = times[0]
    marks_s = [first_s]
    for tenth in range(1, 11):
        wanted = first + (total - first) * tenth / 10
        after = next(at for at, (_, done) in enumerate(times) if done >= wanted - 1e-6)
        (low_s, low), (high_s, high) = times[after - 1], times[after]
        marks_s.append(low_s + (high_s - low_s) * (wanted - low) / (high - low))
    rates = [(total - first) / 10 / (end - start) for start, end in pairwise(marks_s)]
    return {
        "slowest_tenth_rows_per_s": round(min(rates)),
        "fastest_tenth_rows_per_s": round(max(rates)),
        "files": len(times),
    }


def measure(questions: int, difficulty: int, storage: Path) -> dict[str, Any]:
    config = PipelineConfig(
        name="bench",
        storage_path=str(storage),
        rationales=RationalesConfig(train_questions=questions, difficulty=difficulty),
        tracking=TrackingConfig(backend="off"),
    )
    cluster.connect(config.cluster)
    sampler = Sampler(storage / "bench")
    time.sleep(SAMPLE_S * (IDLE_SAMPLES + 4))
    idle = max(own + shared for _, own, shared in sampler.memory[-IDLE_SAMPLES:])
    console, report, total = (
        Console(file=io.StringIO(), width=120),
        {},
        questions + config.rationales.test_questions,
    )
    for stage in ("rationales", "samples"):
        before = sampler.seconds()
        run(config, console, "bench_rationales", only=[stage])
        seconds = sampler.seconds() - before
        used = [(own, shared) for at, own, shared in sampler.memory if at >= before]
        report[stage] = {
            "seconds": round(seconds, 1),
            "rows_per_s": round(total / seconds),
            "peak_gib_above_idle": round((max(own + shared for own, shared in used) - idle) / GIB, 2),
            "peak_object_store_gib": round(max(shared for _, shared in used) / GIB, 2),
            "summary": json.loads((storage / "bench" / stage / "summary.json").read_text()),
        }
    time.sleep(2 * SAMPLE_S)  # wait for the last files
    sampler.close()
    cluster.disconnect()
    passes = {name: tenths(times, times[-1][1]) for name, times in sampler.rows.items() if times}
    peak = max(stage["peak_gib_above_idle"] for stage in report.values())
    head = {
        "questions": total,
        "cpus": os.cpu_count(),
        "idle_gib": round(idle / GIB, 2),
        "peak_gib_above_idle": peak,
    }
    return {**head, **report, "passes": passes}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--questions", type=int, default=50_000, help="training questions to generate")
    parser.add_argument("--difficulty", type=int, default=3)
    parser.add_argument("--storage-path", type=Path, help="folder to keep; a temporary one if not set")
    parsed = parser.parse_args()
    with TemporaryDirectory() as temporary:
        print(
            json.dumps(measure(parsed.questions, parsed.difficulty, parsed.storage_path or Path(temporary)))
        )


if __name__ == "__main__":
    main()
