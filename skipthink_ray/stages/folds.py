"""The students of the cross-fitted gate (method §5): for each fold, cwt trained on the samples outside it.

They are stored under the stage's checkpoints. So a killed stage finds the finished ones when it resumes,
and they are deleted together with the checkpoints.
"""

from collections import Counter
from dataclasses import replace

from skipthink_ray.config import PipelineConfig
from skipthink_ray.method.skipping import Fold, fold_of
from skipthink_ray.rows import TRAIN
from skipthink_ray.runtime.artifacts import CHECKPOINTS, Folder, begin, finish, is_finished
from skipthink_ray.runtime.tracker import NullTracker
from skipthink_ray.stages.context import Context
from skipthink_ray.training.launch import Request, launch
from skipthink_ray.training.plan import total_updates


def fold_students(context: Context) -> dict[Fold, Folder]:
    """Each fold with the folder of the student trained without it."""
    config, samples = context.config, context.inputs["samples"]
    num_chunks = context.inputs["cwt"].read_json("summary.json")["num_chunks"]
    counts = count_folds(config, samples)
    students = {}
    for fold in (Fold(number, config.skips.folds, config.seed) for number in range(config.skips.folds)):
        out = context.out.child(f"{CHECKPOINTS}/fold-{fold.number}")
        students[fold] = out
        identity = {"fold": fold.number, "folds": fold.folds}
        if is_finished(out, identity):
            context.say(f"fold {fold.number + 1} of {fold.folds}: student already trained")
            continue
        begin(out, identity)
        updates = total_updates(config, "cwt", samples, counts.total() - counts[fold.number])
        request = Request("cwt", config, updates, num_chunks, samples, samples, None, out, held_out=fold)
        with replace(context, tracker=NullTracker()).line("updates", updates) as line:
            summary = launch(request, line, context.stopper)
        finish(out, summary)
        context.say(
            f"fold {fold.number + 1} of {fold.folds}: student without its {counts[fold.number]} samples, "
            f"{summary['updates']} updates in {summary['seconds']:.1f} s, "
            f"loss {summary['final_loss_nats']:.3f} nats"
        )
    return students


def count_folds(config: PipelineConfig, samples: Folder) -> Counter[int]:
    """Number of training samples in each fold that has any."""
    counts = Counter[int]()
    for batch in samples.table("samples").to_batches(columns=["question"], filter=TRAIN):
        questions = batch["question"].to_pylist()
        counts.update(fold_of(question, config.skips.folds, config.seed) for question in questions)
    return counts
