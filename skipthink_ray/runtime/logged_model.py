"""A student as a model in MLflow: its folder with the model card, linked to the run that made it."""

from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import LoggedModelStatus

KEY = "skipthink.key"


def log_student(
    client: MlflowClient, run_id: str, folder: Path, key: str, registered_name: str | None
) -> str:
    """Log the folder of a student as a model of a run, and register it if a name is given. Returns its id.

    A model with the same key is not logged again. Raises the errors of MLflow's client.
    """
    run = client.get_run(run_id)
    experiment = run.info.experiment_id
    for model in client.search_logged_models([experiment], f"source_run_id = '{run_id}'"):
        if model.tags.get(KEY) == key and model.status == LoggedModelStatus.READY:
            return model.model_id
    tags = {
        **{name: value for name, value in run.data.tags.items() if name.startswith("skipthink.")},
        KEY: key,
    }
    model = client.create_logged_model(experiment, "student", run_id, tags, model_type="transformers")
    client.log_model_artifacts(model.model_id, str(folder))
    model = client.finalize_logged_model(model.model_id, "READY")
    if registered_name:
        _register(client, registered_name, model.model_id, model.artifact_location, run_id)
    return model.model_id


def _register(client: MlflowClient, name: str, model_id: str, source: str, run_id: str) -> None:
    if not client.search_registered_models(f"name = '{name}'"):
        client.create_registered_model(name)
    client.create_model_version(name, source, run_id, model_id=model_id)
