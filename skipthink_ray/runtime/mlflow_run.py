"""A run on an MLflow server or in a database.

The tag `skipthink.key` (storage folder, stage and config) identifies a run. A restart continues the same
MLflow run and never logs a metric twice for one step. This module uses only MLflow's client API, without a
global active run. No method of a tracker raises: see Link.
"""

import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from skipthink_ray.runtime.artifacts import Folder
from skipthink_ray.runtime.experiment import find_or_create
from skipthink_ray.runtime.outbox import BATCH, Outbox
from skipthink_ray.runtime.redaction import shown
from skipthink_ray.runtime.tracker import Rows

if TYPE_CHECKING:
    from skipthink_ray.runtime.mlflow_link import Link  # which imports this module

KEY, PARENT = "skipthink.key", "mlflow.parentRunId"
log = logging.getLogger(__name__)


class MlflowTracker:
    """A run on an MLflow server or in a database. The first thing sent creates it there."""

    def __init__(
        self,
        link: "Link",
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

    def student(self, artifact: Folder, key: str, registered_name: str | None) -> None:
        """As in Tracker. The student is read from storage when it is sent."""
        with self.link.lock:
            self.outbox.student = {"folder": artifact.uri, "key": key, "registered_name": registered_name}
        self.link.send()

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
        if not self.run_id:  # the server has not answered yet
            return self.link.uri
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
        elif outbox.student:
            self._send_student(**outbox.student)
        elif outbox.status:
            client.set_terminated(self.run_id, outbox.status)
            outbox.status = None

    def _send_file(self, name: str, content: bytes) -> None:
        with self._stored(name), TemporaryDirectory() as folder:
            (Path(folder) / name).write_bytes(content)
            self.link.client.log_artifact(self.run_id or "", str(Path(folder) / name))
        del self.outbox.files[name]

    def _send_student(self, folder: str, key: str, registered_name: str | None) -> None:
        from skipthink_ray.runtime.logged_model import log_student

        client, run_id = self.link.client, self.run_id or ""
        with self._stored("the student"), Folder.open(folder).local("student") as local:
            if not local.exists():  # MLflow would log an empty model
                raise FileNotFoundError(f"{folder}/student is gone")
            find_or_create(lambda: log_student(client, run_id, local, key, registered_name))
        self.outbox.student = {}

    @contextmanager
    def _stored(self, what: str) -> Iterator[None]:
        """Reports that MLflow's artifact store fails, and goes on: storage still has the data.

        Raises the errors of a server that does not answer.
        """
        from mlflow.exceptions import MlflowException
        from requests import ConnectionError, Timeout

        try:
            yield
        except (MlflowException, ConnectionError, Timeout):
            raise
        except Exception as error:
            log.warning("MLflow at %s", self.link.shown, exc_info=True)
            self.link.say(f"MLflow at '{self.link.shown}' did not take {what} ({first_line(error)})")

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
