"""Runs the trials of a sweep with Ray Tune, several at once if the cluster has room for their workers."""

import logging
import os
import threading
from collections import Counter
from collections.abc import Callable
from tempfile import TemporaryDirectory
from typing import Any

from ray import tune
from ray.tune.search import Searcher

from skipthink_ray.config import PipelineConfig
from skipthink_ray.pipeline import processes_at_once
from skipthink_ray.runtime.actors import start_shared_actors
from skipthink_ray.runtime.cluster import room
from skipthink_ray.runtime.progress import cause
from skipthink_ray.tuning.plan import Source, Trial
from skipthink_ray.tuning.sweep import Record, Sweep, failed
from skipthink_ray.tuning.trial import run_trial

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


class _Searcher(Searcher):
    """Hands a source's trials to Ray Tune. The sweep's records are its only state."""

    def __init__(self, source: Source, start: Callable[[Trial], dict[str, Any]]) -> None:
        super().__init__()
        self.source, self.start, self.running = source, start, dict[str, Trial]()

    def suggest(self, trial_id: str) -> Any:
        trial = self.source.next()
        if trial is None:
            return self.FINISHED
        self.running[trial_id] = trial
        return {"trial": self.start(trial)}

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        self.source.ended(self.running.pop(trial_id))

    def __getstate__(self) -> dict[str, Any]:
        """Ray Tune pickles it for a restored experiment, which a sweep never is."""
        return {}

    def save(self, checkpoint_path: str) -> None: ...

    def restore(self, checkpoint_path: str) -> None: ...


def concurrent_trials(config: PipelineConfig) -> int:
    """How many trials like this one the cluster has room for. All trials of a sweep use as many processes."""
    return max(1, room(config.cluster) // processes_at_once(config))


def run_trials(
    sweep: Sweep,
    source: Source,
    at_once: int,
    start: Callable[[Trial], dict[str, Any]],
    tell: Callable[[Record], None],
) -> int:
    """Run the trials of a source; each writes its record. `tell` receives it soon after.

    Needs a connected Ray cluster. Ray Tune starts a trial again, once, if its process dies. Returns how many
    trials did not run to their end, because the first ones all failed for one reason.
    :param start: the arguments of `run_trial` for a trial
    """
    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"  # Ctrl-C ends the sweep
    start_shared_actors()
    follower = _Follower(sweep, tell)

    def begin(trial: Trial) -> dict[str, Any]:
        sweep.forget(trial)
        follower.started.append(trial)
        return start(trial)

    with TemporaryDirectory() as folder, follower:
        results = tune.Tuner(
            tune.with_resources(run_trial, tune.PlacementGroupFactory([{HEAD: 0.001}])),
            tune_config=tune.TuneConfig(
                search_alg=_Searcher(source, begin), num_samples=-1, max_concurrent_trials=at_once
            ),
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
    missing = [trial for trial in follower.started if trial.name not in follower.told]
    died = [trial for trial in missing if trial.config.name in errors]
    for trial in died:
        record = failed(trial, f"its process died: {cause(errors[trial.config.name])}", again=True)
        sweep.record(record)
        tell(record)
    return len(source) + len(missing) - len(died)


class _Follower:
    """Tells each new record, from a thread."""

    def __init__(self, sweep: Sweep, tell: Callable[[Record], None]) -> None:
        self.sweep, self.tell = sweep, tell
        self.started: list[Trial] = []
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
        running = [trial for trial in self.started if trial.name not in self.told]
        for name, record in self.sweep.records(running).items():
            self.told.add(name)
            self.tell(record)
