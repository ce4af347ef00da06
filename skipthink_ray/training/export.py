"""The result of a training run: the student as a Hugging Face folder, its history and its summary."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from skipthink_ray.method.samples import Samples, training_samples
from skipthink_ray.models.card import model_card
from skipthink_ray.models.separation import marker_separation
from skipthink_ray.models.serving import prepare_for_serving
from skipthink_ray.models.student import Student, save_student
from skipthink_ray.rows import HISTORY_SCHEMA, SAMPLE_SCHEMA
from skipthink_ray.training.checkpoint import Progress, full_tensors
from skipthink_ray.training.engine import Engine
from skipthink_ray.training.markers import attach, merge

if TYPE_CHECKING:
    from skipthink_ray.training.launch import Request


def export(
    request: "Request",
    student: Student | None,
    engine: Engine,
    samples: Samples,
    progress: Progress,
    backend: str,
) -> dict[str, Any]:
    """Rank 0 writes `student/`, `history/`, `samples/` and `epochs.json`. Returns the summary. Collective.

    :param student: on rank 0, the student as it was before training; it receives the trained weights
    """
    markers = attach(student.model, student.ids, request.train_config.optim) if student else None
    _copy_weights(engine, student)
    losses = [row["loss_nats"] for row in progress.history]
    window = max(1, min(20, len(losses) // 2))
    summary = {
        "updates": progress.update,
        "epochs": progress.epoch,
        "target_tokens": progress.target_tokens,
        "item_tokens": progress.item_tokens,
        "seconds": progress.seconds,
        "search_seconds": progress.search_seconds,
        "final_loss_nats": float(np.mean(losses[-window:])),
        "backend": backend,
        "first_loss_nats": float(np.mean(losses[:window])),
        "padding_share": float(np.mean([epoch["padding_share"] for epoch in progress.epochs])),
    }
    if student and markers:
        merge(student.model, markers)
        prepare_for_serving(student, request.stage, request.config)
        summary |= {"parameters": student.model.num_parameters()}
        summary |= marker_separation(student, request.stage)
        with TemporaryDirectory() as local:
            save_student(student, Path(local))
            (Path(local) / "README.md").write_text(
                model_card(request.stage, request.config, student, summary)
            )
            request.out.upload(Path(local), "student")
        request.out.write_table("history", pa.Table.from_pylist(progress.history, schema=HISTORY_SCHEMA))
        request.out.write_json("epochs.json", progress.epochs)
        if request.stage == "cwt":
            source = request.samples.table("samples")
            whole = training_samples(source, SAMPLE_SCHEMA.names, request.held_out)
            request.out.write_table("samples", whole.with_ends(samples.ends_RM).table)
    return summary


def _copy_weights(engine: Engine, student: Student | None) -> None:
    """Copy the trained weights into the student of rank 0, one after the other. Collective."""
    own = dict(student.model.named_parameters()) if student else {}
    for name, value in full_tensors(engine, None):
        own[name].data.copy_(value)
