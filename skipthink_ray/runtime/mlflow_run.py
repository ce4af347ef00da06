"""A run on an MLflow server or in a database, and the connection to it.

The tag `skipthink.key` (storage folder, stage and config) identifies a run. A restart continues the same
MLflow run and never logs a metric twice for one step. This module uses only MLflow's client API, without a
global active run.

If the server goes away during a run, the run continues. Unsent data waits in memory and on storage
(outbox.py). It is sent when the server answers again, at the latest when the same run is started again. So no
method of a tracker raises. Each problem is reported once.
"""

import json
import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from skipthink_ray.runtime.artifacts import Folder
from skipthink_ray.runtime.experiment import find_or_create
from skipthink_ray.runtime.outbox import BATCH, Outbox, Unsent, read_unsent, write_unsent
from skipthink_ray.runtime.redaction import shown
from skipthink_ray.runtime.tracker import Rows

KEY, PARENT = "skipthink.key", "mlflow.parentRunId"
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

    Waits before it asks a silent server again. run: the run's folder, for unsent data.
    """

    def __init__(self, uri: str, experiment_id: str, run: Folder, say: Callable[[str], None]) -> None:
        from mlflow import MlflowClient

        self.uri, self.experiment_id, self.run, self.say = uri, experiment_id, run, say
        self.shown = shown(uri)
        self.client = MlflowClient(tracking_uri=uri)
        self.trackers: list[MlflowTracker] = []
        self.lock = threading.RLock()
        self.pause_s, self.silent_until, self.refusal_told = 0.0, 0.0, False
        self.on_storage = False

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
                trackers[one.key] = MlflowTracker(self, one.name, one.key, parent)
            trackers[one.key].outbox = one.outbox
        self.on_storage = bool(kept)
        self.send(force=True)

    def keep(self) -> None:
        """Write what is unsent to storage."""
        unsent = [
            Unsent(tracker.name, tracker.key, tracker.parent and tracker.parent.key, tracker.outbox)
            for tracker in self.trackers
            if tracker.waits()
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


class MlflowTracker:
    """A run on an MLflow server or in a database. The first thing sent creates it there."""

    def __init__(
        self,
        link: Link,
        name: str,
        key: str,
        parent: "MlflowTracker | None" = None,
        tags: dict[str, str] | None = None,
    ) -> None:
        self.link, self.name, self.key, self.parent, self.tags = link, name, key, parent, tags or {}
        self.run_id: str | None = None
        self.known: dict[str, set[int]] = {}
        """Steps that the server has, by metric."""
        self.outbox = Outbox()
        with link.lock:
            link.trackers.append(self)

    def child(self, name: str, key: str) -> "MlflowTracker":
        with self.link.lock:
            known = [tracker for tracker in self.link.trackers if tracker.key == key]
            tracker = known[0] if known else MlflowTracker(self.link, name, key, parent=self)
            tracker.run_id, tracker.outbox.status = None, None  # one that has ended goes on
        self.link.send()
        return tracker

    def params(self, params: dict[str, Any]) -> None:
        """Log parameters, cut to 500 characters. A restart does not log them again."""
        with self.link.lock:
            self.outbox.params |= {key: str(value)[:500] for key, value in params.items()}
        self.link.send()

    def metrics(self, rows: Rows) -> None:
        now = int(time.time() * 1000)
        with self.link.lock:
            self.outbox.metrics += [
                (key, float(value), now, step)
                for step, values in rows
                for key, value in values.items()
                if step not in self.known.get(key, ())
            ]
        self.link.send()

    def artifact(self, name: str, content: bytes) -> None:
        """Send a file."""
        with self.link.lock:
            self.outbox.files[name] = content
        self.link.send()

    def dataset(self, name: str, digest: str, source: dict[str, Any]) -> None:
        with self.link.lock:
            self.outbox.dataset = {
                "name": name,
                "digest": digest,
                "source_type": "skipthink",
                "source": json.dumps(source),
            }
        self.link.send()

    def student(self, folder: Path, key: str, registered_name: str | None) -> None:
        """As in Tracker. If that fails, it is reported and not tried again."""
        from skipthink_ray.runtime.logged_model import log_student

        client, run_id = self.link.client, self.run_id or ""
        try:
            find_or_create(lambda: log_student(client, run_id, folder, key, registered_name))
        except Exception as error:  # a failing tracking server must not end the run
            log.warning("MLflow at %s", self.link.shown, exc_info=True)
            self.link.say(f"MLflow at '{self.link.shown}' did not take the student ({first_line(error)})")

    def end(self, status: str) -> None:
        with self.link.lock:
            self.outbox.status = status
        is_last = self.parent is None
        if not self.link.send(force=is_last and status != "KILLED") and is_last:
            self.link.keep()
            self.link.say(
                f"MLflow at '{self.link.shown}' still does not answer. What it lacks is kept in "
                f"{self.link.run.uri}; the same command sends it"
            )

    def how_to_open(self) -> str:
        if not self.link.uri.startswith("http"):
            return f"mlflow ui --backend-store-uri '{self.link.shown}'"
        return f"{self.link.uri}/#/experiments/{self.link.experiment_id}/runs/{self.run_id}"

    def waits(self) -> bool:
        return self.run_id is None or bool(self.outbox)

    def send_next(self) -> None:
        """Create the run, or send a part of the waiting data. Raises the errors of MLflow's client."""
        from mlflow.entities import Dataset, DatasetInput, Metric, Param

        client, outbox = self.link.client, self.outbox
        if self.run_id is None:
            self._open()
        elif outbox.params:
            known = client.get_run(self.run_id).data.params
            new = [Param(key, value) for key, value in outbox.params.items() if key not in known]
            for start in range(0, len(new), 100):
                client.log_batch(self.run_id, params=new[start : start + 100])
            outbox.params = {}
        elif outbox.dataset:
            used, run_id = [DatasetInput(Dataset(**outbox.dataset))], self.run_id
            find_or_create(lambda: client.log_inputs(run_id, used))
            outbox.dataset = {}
        elif outbox.metrics:
            part = {
                (key, step): Metric(key, value, at, step) for key, value, at, step in outbox.metrics[:BATCH]
            }
            new = [metric for (key, step), metric in part.items() if step not in self.known.get(key, ())]
            if new:
                client.log_batch(self.run_id, metrics=new)
            for metric in new:
                self.known.setdefault(metric.key, set()).add(metric.step)
            outbox.metrics = outbox.metrics[BATCH:]
        elif outbox.files:
            self._send_file(*next(iter(outbox.files.items())))
        elif outbox.status:
            client.set_terminated(self.run_id, outbox.status)
            outbox.status = None

    def _send_file(self, name: str, content: bytes) -> None:
        from mlflow.exceptions import MlflowException
        from requests import ConnectionError, Timeout

        try:
            with TemporaryDirectory() as folder:
                (Path(folder) / name).write_bytes(content)
                self.link.client.log_artifact(self.run_id or "", str(Path(folder) / name))
        except (MlflowException, ConnectionError, Timeout):
            raise
        except Exception as error:  # the artifact store fails, not the server; the run's folder has the file
            log.warning("MLflow at %s", self.link.shown, exc_info=True)
            self.link.say(f"MLflow at '{self.link.shown}' did not take {name} ({first_line(error)})")
        del self.outbox.files[name]

    def drop_next(self) -> None:
        """Drop the data that the server refused."""
        if self.run_id is None:
            self.run_id = ""
        else:
            self.outbox.drop_next()

    def _open(self) -> None:
        client, experiment_id = self.link.client, self.link.experiment_id
        known = client.search_runs([experiment_id], f"tags.`{KEY}` = '{self.key}'", max_results=1)
        if known:
            run_id = known[0].info.run_id
            client.update_run(run_id, status="RUNNING")
            self.known = {
                name: {metric.step for metric in client.get_metric_history(run_id, name)}
                for name in known[0].data.metrics
            }
        else:
            tags = {KEY: self.key, **{f"skipthink.{name}": value for name, value in self.tags.items()}}
            if self.parent and self.parent.run_id:
                tags[PARENT] = self.parent.run_id
            run_id = client.create_run(experiment_id, run_name=self.name, tags=tags).info.run_id
        self.run_id = run_id


def first_line(error: Exception) -> str:
    return shown((str(error).strip() or repr(error)).splitlines()[0])[:200]
