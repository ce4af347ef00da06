"""The connection of a pipeline to its MLflow server.

If the server goes away during a run, the run continues. Unsent data waits in memory and on storage
(outbox.py). It is sent when the server answers again, at the latest when the same run is started again. Each
problem is reported once.
"""

import logging
import threading
import time
from collections.abc import Callable
from functools import cached_property

from skipthink_ray.runtime.artifacts import Folder
from skipthink_ray.runtime.mlflow_run import MlflowTracker, first_line
from skipthink_ray.runtime.outbox import Unsent, read_unsent, write_unsent
from skipthink_ray.runtime.redaction import shown

FIRST_PAUSE_S, LONGEST_PAUSE_S = 30.0, 300.0
"""First and longest pause before asking a silent server again."""
REFUSED = (
    "INVALID_PARAMETER_VALUE",
    "RESOURCE_DOES_NOT_EXIST",
    "BAD_REQUEST",
    "INVALID_STATE",
    "PERMISSION_DENIED",
)
"""MLflow error codes of a server that is up and refuses the data. Sending it again would not help."""
log = logging.getLogger(__name__)


class Link:
    """The connection to a server, shared by a pipeline's trackers.

    Waits before it asks a silent server again.
    :param find_experiment: returns the experiment's id; called when it is first needed
    :param run: the run's folder, for unsent data
    """

    def __init__(
        self, uri: str, find_experiment: Callable[[], str], run: Folder, say: Callable[[str], None]
    ) -> None:
        from mlflow import MlflowClient

        self.uri, self.find_experiment, self.run, self.say = uri, find_experiment, run, say
        self.shown = shown(uri)
        self.client = MlflowClient(tracking_uri=uri)
        self.trackers: list[MlflowTracker] = []
        self.lock = threading.RLock()
        self.pause_s, self.silent_until, self.refusal_told = 0.0, 0.0, False
        self.on_storage = False

    @cached_property
    def experiment_id(self) -> str:
        return self.find_experiment()

    def send(self, force: bool = False) -> bool:
        """Send the waiting data, oldest run first. Returns False if some data is left.

        `force`: ask the server even if its pause is not over.
        """
        with self.lock:
            if time.monotonic() < self.silent_until and not force:
                return False
            for tracker in self.trackers:
                while tracker.waits():
                    try:
                        tracker.send_next()
                    except Exception as error:  # a failing tracking server must not stop the training
                        log.warning("MLflow at %s", self.shown, exc_info=True)
                        if getattr(error, "error_code", "") not in REFUSED:
                            self._lose(error)
                            return False
                        self._refused(error)
                        tracker.drop_next()
            if self.pause_s:
                self.say(f"MLflow at '{self.shown}' answers again; the missing data is now tracked")
            self.pause_s = 0.0
            if self.on_storage:
                self.keep()
            return True

    def take_unsent(self) -> None:
        """Send what an earlier start of the run has left on storage."""
        kept = read_unsent(self.run)
        trackers = {tracker.key: tracker for tracker in self.trackers}
        for one in sorted(kept, key=lambda one: one.parent is not None):  # parents first
            parent = trackers.get(one.parent or "")
            if one.parent and parent is None:  # it is on the server, so its name does not matter
                parent = trackers[one.parent] = MlflowTracker(self, one.name, one.parent)
            if one.key in trackers:  # it goes on, so its former end does not count
                one.outbox.status = None
            else:
                trackers[one.key] = MlflowTracker(self, one.name, one.key, parent, one.tags)
            trackers[one.key].outbox = one.outbox
        self.on_storage = bool(kept)
        self.send(force=True)

    def keep(self) -> None:
        """Write what is unsent to storage."""
        unsent = [
            Unsent(one.name, one.key, one.parent and one.parent.key, one.outbox, one.tags)
            for one in self.trackers
            if one.waits()
        ]
        try:
            write_unsent(self.run, unsent)
        except OSError:
            log.warning("%s: could not keep what is not tracked yet", self.run.uri, exc_info=True)
        self.on_storage = bool(unsent)

    def _lose(self, error: Exception) -> None:
        if not self.pause_s:
            self.say(
                f"MLflow at '{self.shown}' does not answer ({first_line(error)}); "
                "metrics are not tracked for now, the run continues"
            )
        self.pause_s = min(LONGEST_PAUSE_S, 2 * self.pause_s or FIRST_PAUSE_S)
        self.silent_until = time.monotonic() + self.pause_s
        self.keep()

    def _refused(self, error: Exception) -> None:
        if not self.refusal_told:
            what = f"refuses some of the data ({first_line(error)}); the run continues without tracking it"
            self.say(f"MLflow at '{self.shown}' {what}")
        self.refusal_told = True
