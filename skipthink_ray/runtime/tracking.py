"""Starts tracking with MLflow. Only the driver writes; workers pass it their metrics (runtime/board.py)."""

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import partial

from skipthink_ray.config import TrackingConfig
from skipthink_ray.runtime.artifacts import Folder
from skipthink_ray.runtime.experiment import experiment_id, server_uri
from skipthink_ray.runtime.mlflow_link import REFUSED, Link
from skipthink_ray.runtime.mlflow_run import MlflowTracker, first_line
from skipthink_ray.runtime.outbox import UNSENT
from skipthink_ray.runtime.redaction import shown
from skipthink_ray.runtime.tracker import NullTracker, Tracker

log = logging.getLogger(__name__)


def start_tracker(
    config: TrackingConfig,
    storage: Folder,
    name: str,
    key: str,
    say: Callable[[str], None] = log.warning,
    tags: dict[str, str] | None = None,
) -> Tracker:
    """Start the parent run of a pipeline. Raises ValueError if the server or the experiment cannot be used.

    `say` receives one message if the server goes away later. It may be away already if `config.may_be_away`.
    """
    if config.backend == "off":
        return NullTracker()
    uri = server_uri(config, storage)
    link = Link(uri, partial(experiment_id, config, storage, uri), storage.child(name), say)
    tracker = MlflowTracker(link, name, key, tags=tags)
    with _passes_if(config.may_be_away), _explained(uri):
        tracker.send_next()
    link.take_unsent()
    return tracker


def check_server(config: TrackingConfig, storage: Folder) -> None:
    """Raises ValueError, as `start_tracker` does, before a run waits for its cluster."""
    if config.backend != "off":
        uri = server_uri(config, storage)
        with _passes_if(config.may_be_away), _explained(uri):
            experiment_id(config, storage, uri)


class NoAnswer(ValueError):
    """The tracking server does not answer. One that refuses is another fault."""


def _passes_if(may_be_away: bool) -> AbstractContextManager[None]:
    return suppress(NoAnswer) if may_be_away else nullcontext()


@contextmanager
def _explained(uri: str) -> Iterator[None]:
    """Turns MLflow's errors into ValueErrors that name the server."""
    import mlflow

    try:
        yield
    except mlflow.exceptions.MlflowException as error:
        server, reason = f"tracking.uri: MLflow at '{shown(uri)}'", first_line(error)
        if getattr(error, "error_code", "") in REFUSED:
            raise ValueError(
                f"{server} refuses: {reason}. Correct the URI or your rights, or pass --tracking.backend off"
            ) from error
        raise NoAnswer(
            f"{server} does not answer: {reason}. Start it, correct the URI, or pass --tracking.may-be-away "
            "or --tracking.backend off"
        ) from error


def send_unsent(
    config: TrackingConfig, storage: Folder, name: str, say: Callable[[str], None] = log.warning
) -> None:
    """Send what a run that has ended could not send. `say` receives a message if that fails again."""
    if config.backend == "off" or not storage.child(name).exists(UNSENT):
        return
    uri = server_uri(config, storage)
    import mlflow

    try:
        number = experiment_id(config, storage, uri)
    except mlflow.exceptions.MlflowException as error:
        say(
            f"MLflow at '{shown(uri)}' does not answer ({first_line(error)}); {name} is not fully tracked yet"
        )
    else:
        Link(uri, lambda: number, storage.child(name), say).take_unsent()
