"""Refuses a training run that cannot fit into the memory of its workers, or that leaves some of them idle.

The estimate counts what every update needs: weights, gradients, the states of AdamW, and what ZeRO copies and
gathers. A run that needs more than the nodes have is refused. One that is let through may still run out of
memory, because activations, buffers for communication and temporary tensors are not counted.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from skipthink_ray.config import ClusterConfig, PipelineConfig, StudentConfig
from skipthink_ray.method.modes import STUDENT_OF
from skipthink_ray.models.pretrained import resolve
from skipthink_ray.runtime.artifacts import Folder
from skipthink_ray.runtime.cluster import slots
from skipthink_ray.runtime.nodes import Node, check_disks
from skipthink_ray.training.states import ADAMW_BYTES, FP32_BYTES, needed

MIB = 1 << 20
SPARE_BYTES = 512 * MIB
"""Disk space for tables and logs."""


def check_idle_ranks(config: PipelineConfig) -> None:
    """Refuses more workers than an update has items: the others would compute a dummy row."""
    workers = config.cluster.num_workers
    for stage in STUDENT_OF.values():
        size = getattr(config, stage).batch_size
        if size < workers and not (stage == "icot" and not config.icot.removal):
            raise ValueError(
                f"{stage}.batch_size: {size} items per update on cluster.num_workers = {workers}: "
                f"{workers - size} ranks would compute a dummy row; set --cluster.num-workers {size}, "
                f"or --{stage}.batch-size {workers} or more"
            )


def check_memory(config: PipelineConfig, nodes: Sequence[Node], storage: Folder) -> None:
    """Refuses a student whose training cannot fit, on the memory or the disks of the nodes. Gives numbers."""
    size = parameters_of(config.student)
    if size is None:
        return
    weights = FP32_BYTES * size
    checkpoint = weights + ADAMW_BYTES * size
    # two checkpoints are kept while a third is written, for two stages side by side; each stage has a student
    check_disks(nodes, storage, checkpoint + SPARE_BYTES, 6 * checkpoint + 5 * weights + SPARE_BYTES)
    for stage in STUDENT_OF.values():
        if stage != "icot" or config.icot.removal:
            _check_stage(stage, config, size, nodes)


def _check_stage(stage: str, config: PipelineConfig, size: int, nodes: Sequence[Node]) -> None:
    train = getattr(config, stage)
    parts = needed(size, train, config.cluster)
    per_worker, workers = sum(parts.values()), config.cluster.num_workers
    places = sum(_places(node, per_worker, config.cluster) for node in nodes)  # nodes may have one name
    if places >= workers:
        return
    named = ", ".join(f"{name} {count / MIB:,.0f}" for name, count in parts.items())
    kind = "GPU memory" if config.cluster.use_gpu else "memory"
    has = ", ".join(f"node {node.name} {_memory(node, config.cluster) / MIB:,.0f} MiB" for node in nodes)
    in_bf16 = needed(size, train.model_copy(update={"precision": "bf16"}), config.cluster)
    precision = f"--{stage}.precision bf16, " if sum(in_bf16.values()) < per_worker else ""
    raise ValueError(
        f"{stage}: a worker needs {per_worker / MIB:,.0f} MiB of {kind} ({named}) for a student of "
        f"{size:,} parameters, but the cluster can hold {places} of "
        f"cluster.num_workers = {workers}: {has}. Use a smaller student, {precision}a higher "
        "--cluster.zero-stage with more workers, or larger nodes"
    )


def _places(node: Node, per_worker: int, cluster: ClusterConfig) -> int:
    """The number of workers that a node can hold."""
    fitting = slots(node.resources, cluster)
    if not per_worker:
        return fitting
    if cluster.use_gpu:
        known = node.seen.gpu_bytes
        return min(fitting, sum(has >= per_worker for has in known)) if known else fitting
    return min(fitting, int(_memory(node, cluster) // per_worker))


def _memory(node: Node, cluster: ClusterConfig) -> float:
    """Bytes for a worker: of the smallest GPU, or of a node's memory as Ray counts it for its workers."""
    if cluster.use_gpu:
        return min(node.seen.gpu_bytes, default=0)
    return node.resources.get("memory", 0)


def parameters_of(student: StudentConfig) -> int | None:
    """The number of parameters of a student before it is loaded; None if it lies on the Hub."""
    if student.pretrained is None:
        width, layers = student.width, student.layers
        per_layer = 4 * width**2 + 3 * width * 3 * width + 2 * width
        return student.vocabulary * width + layers * per_layer + width
    folder = Path(resolve(student.pretrained))
    count = sum(_parameters(file) for file in folder.glob("*.safetensors")) if folder.is_dir() else 0
    return count or None


def _parameters(file: Path) -> int:
    """The number of parameters in a safetensors file, from its header."""
    with file.open("rb") as stream:
        header: dict[str, Any] = json.loads(stream.read(int.from_bytes(stream.read(8), "little")))
    total = 0
    for name, tensor in header.items():
        if name != "__metadata__":
            numbers = 1
            for length in tensor["shape"]:
                numbers *= length
            total += numbers
    return total
