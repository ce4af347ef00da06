"""Measures an arm of bench_training.py in its own process.

Hooks on the model and on torch's optimiser divide an update into phases, so they fit every trainer:

    forward      from the start of the model's forward to its end
    backward     to the start of the optimiser step: loss, backward, exchange of gradients, clipping
    optimizer    to the end of the optimiser step
    rest         to the next forward: batches, learning rates, hooks, logs

The window begins after the warm-up and ends with the last update. On CUDA, phases are not measured, because
the clock waits for the device only at the ends of the window.
"""

import json
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.training_plan import Setting

PHASES = ("forward", "backward", "optimizer", "rest")


class Clock:
    """The time, positions and losses of one arm's updates.

    launched: seconds since the epoch at which the arm's process was started.
    others: returns the CPU seconds that other processes, such as Ray's, have used so far, by process id.
    Asking takes time, so it is done an update before the window, and after it.
    """

    def __init__(
        self, setting: Setting, launched: float, others: Callable[[], dict[int, float]] = dict
    ) -> None:
        self.setting, self.launched, self.others = setting, launched, others
        self.on_gpu = setting.device == "cuda"
        self.losses: list[float | torch.Tensor] = []
        self.phases = dict.fromkeys(PHASES, 0.0)
        self.positions = self.done = 0
        self.start_s = self.began = self.ended = self.checkpoint_s = self.cpu_s = self.others_share = 0.0
        self.others_before, self.others_since = dict[int, float](), 0.0
        self.phase, self.since = "rest", time.perf_counter()

    def attach(self, model: Any, optimizer: torch.optim.Optimizer) -> None:
        """Count this model's positions, and time its phases. Call it before the first update."""
        model.register_forward_pre_hook(self._before_forward, with_kwargs=True)
        model.register_forward_hook(lambda *_: self._enter("backward"))
        optimizer.register_step_pre_hook(lambda *_: self._enter("optimizer"))
        optimizer.register_step_post_hook(lambda *_: self._enter("rest"))

    def tick(self) -> None:
        """An update has ended."""
        self.done += 1
        if self.done == self.setting.warmup - 1:
            self.others_before, self.others_since = self.others(), time.perf_counter()
        if self.done == self.setting.warmup:
            self._wait()
            self.positions, self.phases = 0, dict.fromkeys(PHASES, 0.0)
            self.began = time.perf_counter()
            self.since, self.cpu_s = self.began, time.process_time()
        elif self.done == self.setting.warmup + self.setting.updates:
            self._wait()
            self._enter(self.phase)
            self.ended, self.cpu_s = time.perf_counter(), time.process_time() - self.cpu_s
            used = sum(cpu_s - self.others_before.get(one, 0.0) for one, cpu_s in self.others().items())
            self.others_share = used / (time.perf_counter() - self.others_since)

    def record(self) -> dict[str, Any]:
        """The measurements of this process. Raises RuntimeError if the arm made too few updates."""
        if not self.ended:
            raise RuntimeError(f"the arm made {self.done} updates")
        return {
            "seconds": self.ended - self.began,
            "cpu_s": self.cpu_s,
            "others_share": self.others_share,
            "positions": self.positions,
            "losses": [float(loss) for loss in self.losses[: self.setting.warmup]],
            "phases_ms": {} if self.on_gpu else self._phases_ms(),
            "peak_bytes": self._peak(),
            "start_s": self.start_s,
            "checkpoint_s": self.checkpoint_s,
        }

    def write(self, file: Path) -> None:
        file.write_text(json.dumps(self.record()))

    def _before_forward(self, _: Any, positional: tuple[Any, ...], named: dict[str, Any]) -> None:
        if not self.start_s:
            self.start_s = time.time() - self.launched
        self.positions += (named["input_ids"] if "input_ids" in named else positional[0]).numel()
        self._enter("forward")

    def _enter(self, phase: str) -> None:
        now = time.perf_counter()
        self.phases[self.phase] += now - self.since
        self.phase, self.since = phase, now

    def _wait(self) -> None:
        if self.on_gpu:
            torch.cuda.synchronize()

    def _phases_ms(self) -> dict[str, float]:
        return {name: 1000 * seconds / self.setting.updates for name, seconds in self.phases.items()}

    def _peak(self) -> int:
        """The most memory that the process (CPU) or torch (CUDA) held, in bytes."""
        if self.on_gpu:
            return torch.cuda.max_memory_allocated()
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
