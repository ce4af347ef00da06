"""A student as a model in MLflow: its folder with the model card, linked to the run that made it."""

from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import LoggedModel, LoggedModelStatus, Run

KEY = "skipthink.key"


def log_student(
    client: MlflowClient, run_id: str, folder: Path, key: str, registered_name: str | None
) -> None:
    """Log the folder of a student as a model of a run, and register it if a name is given.

    What a model with the same key has already is not done again. Raises the errors of MLflow's client.
    """
    run = client.get_run(run_id)
    models = client.search_logged_models([run.info.experiment_id], f"source_run_id = '{run_id}'")
    ready = [one for one in models if one.tags.get(KEY) == key and one.status == LoggedModelStatus.READY]
    model = ready[0] if ready else _log(client, run, folder, key)
    if not registered_name:
        return
    if not client.search_registered_models(f"name = '{registered_name}'"):
        client.create_registered_model(registered_name)
    versions = client.search_model_versions(f"name = '{registered_name}'")
    if model.artifact_location not in {version.source for version in versions}:
        client.create_model_version(registered_name, model.artifact_location, run_id, model_id=model.model_id)


def _log(client: MlflowClient, run: Run, folder: Path, key: str) -> LoggedModel:
    tags = {name: value for name, value in run.data.tags.items() if name.startswith("skipthink.")}
    model = client.create_logged_model(
        run.info.experiment_id, "student", run.info.run_id, {**tags, KEY: key}, model_type="transformers"
    )
    client.log_model_artifacts(model.model_id, str(folder))
    return client.finalize_logged_model(model.model_id, "READY")
