"""Configuration of tracking with MLflow."""

from typing import Annotated, Literal

from pydantic import Field

from skipthink_ray.config.base import Address, Config


class TrackingConfig(Config):
    """Where metrics are logged."""

    backend: Literal["mlflow", "off"] = "mlflow"
    """mlflow: log to MLflow; off: no tracking."""
    uri: Address | None = None
    """MLflow tracking URI. None: MLFLOW_TRACKING_URI, or SQLite under the storage path (if it is local)."""
    may_be_away: bool = False
    """Start even if the MLflow server does not answer. Metrics are kept on storage until it does. By default
    only a run that has begun goes on without its server."""
    experiment: str = "skipthink"
    """Name of the MLflow experiment."""
    log_student: bool = False
    """Whether a run that makes its report logs the skip student as a model. A sweep logs the chosen one."""
    register_as: Annotated[str | None, Field(pattern=r"^[\w][\w .-]*$")] = None
    """Name in MLflow's model registry under which the skip student is logged and registered.
    None: not registered."""
