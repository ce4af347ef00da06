"""Runs the trials of a sweep with Ray Tune, several at once if the cluster has room for their workers."""

import logging
import os
import threading
from collections import Counter
from collections.abc import Callable
from tempfile import TemporaryDirectory
from typing import Any

from ray import tune

from skipthink_ray.runtime.cluster import room
from skipthink_ray.runtime.progress import cause
from skipthink_ray.tuning.plan import Trial
from skipthink_ray.tuning.sweep import Record, Sweep, failed
from skipthink_ray.tuning.trial import arguments_of, run_trial

log = logging.getLogger(__name__)
GIVE_UP_AFTER = 3
"""A sweep whose first trials all fail for one reason stops after this many."""
POLL_S = 1.0
HEAD = "node:__internal_head__"
"""Resource of the head node. Trials wait there, so that workers' nodes may come and go."""


class StopIfAllFail(tune.Stopper):
    """Stops the sweep if its first trials all failed for one reason."""

    def __init__(self) -> None:
        self.reasons: Counter[str] = Counter()

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        self.reasons[result["reason"]] += 1
        return False

    def stop_all(self) -> bool:
        return len(self.reasons) == 1 and "" not in self.reasons and self.reasons.total() >= GIVE_UP_AFTER


def concurrent_trials(trial: Trial) -> int:
    """How many trials like this one the cluster has room for. All trials of a sweep use as many processes."""
    return max(1, room(trial.config.cluster) // trial.processes)


def run_trials(sweep: Sweep, trials: list[Trial], command: str, tell: Callable[[Record], None]) -> int:
    """Run the trials; each writes its record. `tell` receives every record soon after it was written.

    Needs a connected Ray cluster. Ray Tune starts a trial again, once, if its process dies. Returns how many
    trials did not run, because the first ones all failed for one reason.
    """
    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"  # Ctrl-C ends the sweep
    sweep.forget(trials)
    planned = [arguments_of(trial, command) for trial in trials]
    follower = _Follower(sweep, trials, tell)
    with TemporaryDirectory() as folder, follower:
        results = tune.Tuner(
            tune.with_resources(run_trial, tune.PlacementGroupFactory([{HEAD: 0.001}])),
            param_space={"trial": tune.grid_search(planned)},
            tune_config=tune.TuneConfig(max_concurrent_trials=concurrent_trials(trials[0])),
            run_config=tune.RunConfig(
                name=sweep.name,
                storage_path=folder,  # of Ray Tune's own state, which a sweep does not need to continue
                verbose=0,
                failure_config=tune.FailureConfig(max_failures=1),
                stop=StopIfAllFail(),
            ),
        ).fit()
    errors = {
        (result.config or {})["trial"]["config"]["name"]: result.error for result in results if result.error
    }
    missing = [trial for trial in trials if trial.name not in follower.told]
    died = [trial for trial in missing if trial.config.name in errors]
    for trial in died:
        record = failed(trial, f"its process died: {cause(errors[trial.config.name])}", again=True)
        sweep.record(record)
        tell(record)
    return len(missing) - len(died)


class _Follower:
    """Tells each new record, from a thread."""

    def __init__(self, sweep: Sweep, trials: list[Trial], tell: Callable[[Record], None]) -> None:
        self.sweep, self.trials, self.tell = sweep, trials, tell
        self.told: set[str] = set()
        self.stop, self.thread = threading.Event(), threading.Thread(target=self._follow, daemon=True)

    def __enter__(self) -> "_Follower":
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self.thread.join()
        self._poll()

    def _follow(self) -> None:
        while not self.stop.wait(POLL_S):
            try:
                self._poll()
            except OSError:  # remote storage; the last poll raises it if it lasts
                log.warning("%s: could not read the records of trials", self.sweep.folder.uri, exc_info=True)

    def _poll(self) -> None:
        running = [trial for trial in self.trials if trial.name not in self.told]
        for name, record in self.sweep.records(running).items():
            self.told.add(name)
            self.tell(record)
