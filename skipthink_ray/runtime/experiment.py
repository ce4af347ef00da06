"""Where a run is tracked: the MLflow server, and the experiment there."""

import os
from collections.abc import Callable
from typing import TypeVar
from urllib.parse import quote, urlencode

from skipthink_ray.config import TrackingConfig
from skipthink_ray.runtime.artifacts import Folder
from skipthink_ray.runtime.redaction import shown, without_login

Created = TypeVar("Created")
RACED = ("BAD_REQUEST", "RESOURCE_ALREADY_EXISTS")
"""MLflow's error codes if another client creates the same thing at the same time."""
URI = "MLFLOW_TRACKING_URI"
KIND = {"mlflow.experimentKind": "custom_model_development"}
"""A tag of the experiment. Without it, MLflow opens a page for traces of language models."""


def how_to_compare(config: TrackingConfig, storage: Folder, tag: str, value: str) -> str | None:
    """How to open MLflow's table of the runs with a tag `skipthink.<tag>`. Creates the experiment.

    None if nothing is tracked, or if the server may be away and is.
    """
    if config.backend == "off":
        return None
    from mlflow.exceptions import MlflowException

    uri = server_uri(config, storage)
    try:
        number = experiment_id(config, storage, uri)
    except MlflowException:
        if config.may_be_away:
            return None
        raise
    wanted = f"tags.`skipthink.{tag}` = '{value}'"
    if not uri.startswith("http"):
        return f"mlflow ui --backend-store-uri '{shown(uri)}', with the search filter {wanted}"
    query = urlencode({"workflowType": "machine_learning", "searchFilter": wanted}, quote_via=quote)
    return f"{uri}/#/experiments/{number}/runs?{query}"


def server_uri(config: TrackingConfig, storage: Folder) -> str:
    """The configured server, MLFLOW_TRACKING_URI, or the storage path's own database.

    A server that does not answer is given up within seconds. MLflow would ask for minutes.
    """
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    named = os.environ.get(URI)
    if named and (clean := without_login(named)) != named:
        os.environ[URI] = clean
    return config.uri or os.environ.get(URI) or _embedded(storage)


def experiment_id(config: TrackingConfig, storage: Folder, uri: str) -> str:
    """Id of the experiment, created if it is missing. Raises ValueError if it was deleted."""
    return find_or_create(lambda: _experiment_id(config, storage, uri))


def find_or_create(call: Callable[[], Created]) -> Created:
    """The result of `call`, which creates something in MLflow unless it is there.

    `call` runs again if MLflow refuses because another client has just created the same.
    """
    from mlflow import MlflowException

    try:
        return call()
    except MlflowException as error:
        if error.error_code not in RACED:
            raise
        return call()


def _experiment_id(config: TrackingConfig, storage: Folder, uri: str) -> str:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name(config.experiment)
    if experiment is None:
        artifacts = (
            f"file://{storage.path}/mlartifacts" if uri.startswith("sqlite:") and storage.is_local else None
        )
        return client.create_experiment(config.experiment, artifacts, tags=KIND)
    if experiment.lifecycle_stage != "active":
        server = shown(uri)
        raise ValueError(
            f"tracking.experiment: the experiment '{config.experiment}' was deleted at MLflow '{server}'; "
            f"restore it with `MLFLOW_TRACKING_URI='{server}' mlflow experiments restore --experiment-id "
            f"{experiment.experiment_id}`, or name another with --tracking.experiment"
        )
    return experiment.experiment_id


def _embedded(storage: Folder) -> str:
    if not storage.is_local:
        raise ValueError(
            f"tracking.uri: the storage path {storage.uri} is remote and cannot hold MLflow's database; "
            "name a tracking server, or pass --tracking.backend off"
        )
    return f"sqlite:///{storage.create().path}/mlflow.db"
