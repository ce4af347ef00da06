"""Gives up trials that are hopeless: their loss in cwt is far above that of another trial of the task.

A trial compares itself at fixed shares of its updates with all that were there before it, also in an earlier
process of the sweep. Losses of cwt can be compared between chunkers, and roughly between numbers of chunks.
Those of stt cannot, because its targets depend on what was skipped.
"""

import logging

import numpy as np

from skipthink_ray.runtime.board import Rows
from skipthink_ray.tuning.plan import Trial
from skipthink_ray.tuning.space import EarlyStop
from skipthink_ray.tuning.sweep import Sweep

log = logging.getLogger(__name__)
STAGE = "cwt"
WINDOW_SHARE = 0.05
"""The loss at a point is the mean over this share of all updates before it."""


class Watch:
    """Follows the loss of a trial. Call it with what the stage has tracked since the last call."""

    def __init__(self, sweep: Sweep, trial: Trial, rule: EarlyStop) -> None:
        self.sweep, self.trial, self.rule = sweep, trial, rule
        self.losses: dict[int, float] = {}
        self.passed: dict[str, float] = {}
        """Mean loss at each share of the updates that the trial has reached, in nats per target token."""
        self.reason = ""
        """Why the trial was given up; empty if it was not."""

    def __call__(self, stage: str, total: int, rows: Rows) -> str:
        """Returns why the trial is given up, or nothing.

        :param total: updates of the stage
        """
        if stage != STAGE or self.reason:
            return self.reason
        name = f"{STAGE}/loss_nats"
        self.losses |= {step: values[name] for step, values in rows if name in values}
        for share in self.rule.at_shares:
            if f"{share:g}" not in self.passed and max(self.losses, default=-1) + 1 >= max(1, share * total):
                self.reason = self.reason or self._pass(share, total)
        return self.reason

    def _pass(self, share: float, total: int) -> str:
        end = max(1, round(share * total))
        start = max(0, end - max(1, round(WINDOW_SHARE * total)))
        window = [loss for step, loss in self.losses.items() if start <= step < end]
        if not window:  # a board that started again has lost them
            return ""
        loss = self.passed[f"{share:g}"] = float(np.mean(window))
        try:
            self.sweep.write_losses(self.trial, self.passed)
            others = self.sweep.losses(self.trial.task)
        except OSError:  # remote storage; the trial just goes on
            log.warning("%s: could not compare the losses of trials", self.sweep.folder.uri, exc_info=True)
            return ""
        others.pop(self.trial.name, None)
        there = {name: losses[f"{share:g}"] for name, losses in others.items() if f"{share:g}" in losses}
        best = min(there, key=lambda name: there[name], default=None)
        if best is None or loss <= self.rule.slack * there[best]:
            return ""
        return (
            f"stopped early after {end} of {total} updates of {STAGE}: its loss of {loss:.3f} nats is "
            f"{loss / there[best]:.1f} times that of {best}"
        )
