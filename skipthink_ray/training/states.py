"""The memory of a student in training: its weights, gradients and optimiser states, per worker."""

from skipthink_ray.config import ClusterConfig, TrainConfig

ADAMW_BYTES, FP32_BYTES, BF16_BYTES = 8, 4, 2
"""Bytes per parameter: two fp32 states, and a number in each format."""


def gathered_parameters(size: int) -> int:
    """How many parameters DeepSpeed may gather ahead of their use under ZeRO-3: a tenth of the student.

    The parameters of the module in use are always gathered, such as the embedding.
    """
    return max(1_000_000, size // 10)


def needed(size: int, train: TrainConfig, cluster: ClusterConfig) -> dict[str, int]:
    """Bytes that a worker needs at least, by use. Which parts ZeRO shards depends on its stage.

    If the backend is still to be chosen, these are the bytes of the one that needs less. With one worker that
    is DDP: ZeRO has nothing to shard, and keeps more copies.
    """
    backends = ("ddp", "deepspeed") if cluster.chooses_backend else (cluster.backend,)
    parts = [_needed(size, train, cluster, deepspeed=backend != "ddp") for backend in backends]
    return min(parts, key=lambda each: sum(each.values()))


def _needed(size: int, train: TrainConfig, cluster: ClusterConfig, deepspeed: bool) -> dict[str, int]:
    zero, workers = cluster.zero if deepspeed else 0, cluster.num_workers
    bf16 = train.precision == "bf16" and deepspeed
    each = BF16_BYTES if bf16 else FP32_BYTES
    whole = {"weights": each * size, "gradients": each * size, "AdamW": ADAMW_BYTES * size}
    # ZeRO 1 to 3 keep a copy of the weights in fp32, even if these are in fp32 already. In stage 3 that is an
    # accident: DeepSpeed compares a device with its name.
    whole["weights in fp32"] = FP32_BYTES * size if bf16 or zero else 0
    whole["gradients of the step"] = (each + (FP32_BYTES if bf16 else 0)) * size if zero in (1, 2) else 0
    whole_on_each = {3: (), 2: ("weights",), 1: ("weights", "gradients")}.get(zero, tuple(whole))
    parts = {name: number if name in whole_on_each else number // workers for name, number in whole.items()}
    if zero == 3 and workers > 1:
        parts["gathered"] = each * min(size, gathered_parameters(size))
    # A worker loads the whole student in fp32 first. With ZeRO-3, no GPU holds the whole student. On CPUs,
    # rank 0 collects it for every checkpoint.
    if zero < 3 or not cluster.use_gpu:
        parts["loading"] = max(0, FP32_BYTES * size - sum(parts.values()))
    return {name: number for name, number in parts.items() if number}
