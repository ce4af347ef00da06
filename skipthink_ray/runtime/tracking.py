"""MLflow, or nothing. The driver is the only writer: workers hand their metrics to it (runtime/progress.py).

A run is found again by its tag `skipthink.key` (storage folder, stage and config), so that a restart goes on in the
same run, and a metric is never logged twice for one step. Client API only: no global active run.
"""

import logging
import os
import time
from pathlib import Path
from typing import Any, Protocol

from skipthink_ray.config import TrackingConfig
from skipthink_ray.runtime.artifacts import Folder

KEY, PARENT = "skipthink.key", "mlflow.parentRunId"
log = logging.getLogger(__name__)


class Tracker(Protocol):
    """One run of the tracking server."""

    def child(self, name: str, key: str) -> "Tracker": ...

    def params(self, params: dict[str, Any]) -> None: ...

    def metrics(self, metrics: dict[str, float], step: int) -> None: ...

    def artifact(self, path: Path) -> None: ...

    def end(self, status: str) -> None:
        """FINISHED, FAILED or KILLED."""
        ...

    def how_to_open(self) -> str | None: ...


class NullTracker:
    """Tracks nothing."""

    def child(self, name: str, key: str) -> "NullTracker":
        return self

    def params(self, params: dict[str, Any]) -> None: ...

    def metrics(self, metrics: dict[str, float], step: int) -> None: ...

    def artifact(self, path: Path) -> None: ...

    def end(self, status: str) -> None: ...

    def how_to_open(self) -> str | None:
        return None


class MlflowTracker:
    """A run of an MLflow server or database."""

    def __init__(self, uri: str, experiment_id: str, name: str, key: str, parent: str | None = None) -> None:
        from mlflow import MlflowClient

        self.uri, self.experiment_id = uri, experiment_id
        self.client = MlflowClient(tracking_uri=uri)
        known = self.client.search_runs([experiment_id], f"tags.`{KEY}` = '{key}'", max_results=1)
        if known:
            self.run_id = known[0].info.run_id
            self.client.update_run(self.run_id, status="RUNNING")
        else:
            tags = {KEY: key, **({PARENT: parent} if parent else {})}
            self.run_id = self.client.create_run(experiment_id, run_name=name, tags=tags).info.run_id
        self.last_step = {name: self._last_step(name) for name in (known[0].data.metrics if known else ())}

    def child(self, name: str, key: str) -> "MlflowTracker":
        return MlflowTracker(self.uri, self.experiment_id, name, key, parent=self.run_id)

    def params(self, params: dict[str, Any]) -> None:
        """Parameters of at most 500 characters; a restart does not log them again."""
        from mlflow.entities import Param

        known = self.client.get_run(self.run_id).data.params
        new = [Param(key, str(value)[:500]) for key, value in params.items() if key not in known]
        for start in range(0, len(new), 100):
            self.client.log_batch(self.run_id, params=new[start : start + 100])

    def metrics(self, metrics: dict[str, float], step: int) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        new = [Metric(key, float(value), now, step) for key, value in metrics.items() if step > self.last_step.get(key, -1)]
        if new:
            self.client.log_batch(self.run_id, metrics=new)
            self.last_step.update({metric.key: step for metric in new})

    def artifact(self, path: Path) -> None:
        self.client.log_artifact(self.run_id, str(path))

    def end(self, status: str) -> None:
        self.client.set_terminated(self.run_id, status)

    def how_to_open(self) -> str:
        if self.uri.startswith("sqlite:"):
            return f"mlflow ui --backend-store-uri '{self.uri}'"
        return f"{self.uri}/#/experiments/{self.experiment_id}/runs/{self.run_id}"

    def _last_step(self, name: str) -> int:
        return max(metric.step for metric in self.client.get_metric_history(self.run_id, name))


def start_tracker(config: TrackingConfig, storage: Folder, name: str, key: str) -> Tracker:
    """The parent run of a pipeline. ValueError where the tracking server cannot be reached."""
    if config.backend == "off":
        return NullTracker()
    uri = config.uri or os.environ.get("MLFLOW_TRACKING_URI") or _embedded(storage)
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    import mlflow
    from mlflow import MlflowClient

    try:
        client = MlflowClient(tracking_uri=uri)
        experiment = client.get_experiment_by_name(config.experiment)
        if experiment is None:
            artifacts = f"file://{storage.path}/mlartifacts" if uri.startswith("sqlite:") and storage.is_local else None
            experiment_id = client.create_experiment(config.experiment, artifact_location=artifacts)
        else:
            experiment_id = experiment.experiment_id
        return MlflowTracker(uri, experiment_id, name, key)
    except mlflow.exceptions.MlflowException as error:
        raise ValueError(
            f"tracking.uri: MLflow at '{uri}' does not answer: {str(error).splitlines()[0]}. Start it, correct the URI, "
            "or pass --tracking.backend off"
        ) from error


def _embedded(storage: Folder) -> str:
    if not storage.is_local:
        raise ValueError(
            f"tracking.uri: the storage path {storage.uri} is remote, so MLflow's database cannot lie there; "
            "name a tracking server, or pass --tracking.backend off"
        )
    return f"sqlite:///{storage.create().path}/mlflow.db"
