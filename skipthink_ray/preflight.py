"""The checks that can refuse a run, each as soon as what it needs is there.

    check_settings   when the configuration is read; needs nothing else
    check_run        before the first stage of a run; needs the storage, the inputs and the cluster
    check_samples    when the stage samples is finished; needs it

Every check raises ValueError with the key, its value and what would be right. The values of single keys are
checked in config/, and the input files while their content is hashed (`identify`).
"""

from collections.abc import Callable

from skipthink_ray.config import PipelineConfig
from skipthink_ray.identity import needs_of
from skipthink_ray.method.choosing import check_chunk_per_step
from skipthink_ray.method.skipping import check_search
from skipthink_ray.runtime.artifacts import Folder
from skipthink_ray.runtime.store import Run
from skipthink_ray.runtime.tracking import check_server
from skipthink_ray.tasks import check_source
from skipthink_ray.training.memory import check_idle_ranks, check_memory
from skipthink_ray.training.plan import check_removal, planned_chunks

Say = Callable[[str], None]


def check_settings(config: PipelineConfig) -> None:
    """Refuses an unknown task, a group, a source that the task lacks, a toy with a path or without dev.

    Also refuses what one chunk per step does not allow.
    """
    check_source(config)
    check_chunk_per_step(config)
    check_idle_ranks(config)
    rationales = config.rationales
    if rationales.source == "toy" and rationales.path:
        raise ValueError("rationales.path: a toy reads no file; add --rationales.source file (or dataset)")
    if rationales.source == "toy" and config.evaluation.split == "dev" and not rationales.dev_share:
        raise ValueError(
            "evaluation.split: a toy has no dev questions; hold some out with --rationales.dev-share 0.1"
        )


def check_run(config: PipelineConfig, current: Run, names: list[str], say: Say) -> None:
    """Refuses the stages `names` if it is known beforehand that they cannot be made.

    Downloads or converts a pretrained student, and joins or starts the Ray cluster.
    """
    current.refuse_other_folders()
    to_make = [name for name in names if not current.is_done(name)]
    _check_inputs(current, names)
    check_writable(current.folder)
    if "samples" in to_make:
        check_student(config, say)
    if "rationales" in to_make:
        _check_source_of_rows(config)
    check_server(config.tracking, current.storage)
    check_cluster(config, say)
    if {"skips", "icot", "evaluation"} & {*to_make} and current.is_done("samples"):
        check_samples(config, current.artifact("samples"))


def check_samples(config: PipelineConfig, samples: Folder) -> None:
    """Refuses a split without questions, too many chunks for the search for skips, and empty folds.

    Also refuses icot if its last epoch would still have rationale tokens.
    """
    summary = samples.read_json("summary.json")
    check_search(config.skips, planned_chunks(config, samples)[0])
    check_removal(config, samples)
    split = config.evaluation.split
    if not summary[split]:
        other = "dev" if split == "test" else "test"
        remedy = "add a split test" if split == "test" else "hold some out with --rationales.dev-share 0.1"
        raise ValueError(
            f"evaluation.split: the input has no {split} questions, but {summary[other]} {other} questions; "
            f"set --evaluation.split {other}, or {remedy}"
        )
    if config.skips.gate == "cross_fitted":
        _check_folds(config, samples)


def check_student(config: PipelineConfig, say: Say) -> None:
    """Refuses a pretrained student that is not a causal LM with a tokenizer."""
    if config.student.pretrained:
        from skipthink_ray.models.pretrained import check_pretrained

        check_pretrained(config.student.pretrained, say)


def _check_inputs(current: Run, names: list[str]) -> None:
    """Refuses stages whose inputs are neither finished nor made before them."""
    for name in names:
        for needed in needs_of(name, current.identities):
            if needed not in names and not current.is_done(needed):
                raise ValueError(
                    f"{name} needs the stage '{needed}', which is not finished for this configuration; "
                    "run it first"
                )


def check_writable(folder: Folder) -> None:
    """Raises ValueError if this process cannot write to a folder."""
    try:
        folder.write_text("_writable", "")
        folder.delete("_writable")
    except OSError as error:
        raise ValueError(f"storage_path: cannot write to {folder.uri}: {error}") from error


def _check_source_of_rows(config: PipelineConfig) -> None:
    """Refuses a data set that cannot be loaded or lacks a column, and a teacher that does not answer."""
    if config.rationales.source == "dataset":
        from skipthink_ray.data.sources import open_dataset

        open_dataset(config)
    if config.rationales.teacher.kind != "given":
        from skipthink_ray.teacher.asking import check_teacher

        check_teacher(config)


def check_cluster(config: PipelineConfig, say: Say) -> None:
    """Refuses a cluster that does not answer, that is too small, or whose nodes cannot work together."""
    from skipthink_ray.runtime import cluster
    from skipthink_ray.runtime.nodes import check_nodes

    if dashboard := cluster.connect(config.cluster):
        say(f"Ray dashboard: http://{dashboard}")
    if cluster.in_worker():  # a trial; its sweep has checked the cluster
        return
    storage, inputs = Folder.open(config.storage_path), _local_inputs(config)
    needs = (
        cluster.Need("training (cluster.num_workers)", config.cluster.num_workers),
        cluster.Need("skips and evaluation (cluster.num_actors)", config.cluster.num_actors),
    )
    check_nodes(storage, inputs, say, cluster.joined())
    if config.cluster.wait_s:  # an autoscaler grows only on request
        cluster.request([cluster.bundle(config.cluster)] * max(need.processes for need in needs))
    for need in needs:
        cluster.require(need, config.cluster, say)
    nodes = check_nodes(storage, inputs, say, cluster.joined())  # those that were added
    check_memory(config, nodes, storage)


def _local_inputs(config: PipelineConfig) -> list[Folder]:
    """The input files on a local disk, which every node reads."""
    if config.rationales.source != "file":
        return []
    from skipthink_ray.data.input_files import find_files

    return [file for file in find_files(config.rationales) if file.is_local]


def _check_folds(config: PipelineConfig, samples: Folder) -> None:
    from skipthink_ray.stages.folds import count_folds

    folds, counts = config.skips.folds, count_folds(config, samples)
    if len(counts) < folds:
        raise ValueError(
            f"skips.folds: {counts.total()} samples leave one of {folds} folds empty; "
            "use fewer folds or more samples"
        )
