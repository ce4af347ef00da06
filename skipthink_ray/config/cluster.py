"""Where a run executes."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from skipthink_ray.config.base import Address, Config, PositiveInt


class ClusterConfig(Config):
    """Where the run executes. This changes results only by float rounding and the random draws of dropout."""

    address: Address | None = None
    """Ray cluster to join (`auto`, `ray://...`). None: the submitting job's cluster, or a new local one."""
    num_workers: PositiveInt = 2
    """Number of training workers (ranks)."""
    num_actors: PositiveInt = 2
    """Number of actors for the stages skips and evaluation."""
    use_gpu: bool = False
    """Use one GPU per worker and actor."""
    cpus_per_worker: Annotated[float, Field(gt=0.0)] = 1
    """CPUs per training worker or actor; also its number of torch threads."""
    backend: Literal["auto", "deepspeed", "ddp"] = "auto"
    """ddp: torch's DistributedDataParallel. auto: DeepSpeed if `zero_stage` is set, or if weights, gradients
    and optimiser states would take more than half of a worker's memory with ddp and less with DeepSpeed;
    otherwise ddp. It is ddp too if DeepSpeed cannot start, unless `zero_stage` is 3."""
    zero_stage: Literal[0, 1, 2, 3] | None = None
    """DeepSpeed ZeRO stage. None: 2 if DeepSpeed is used."""
    accumulation: PositiveInt = 1
    """Micro-batches per update on each worker (gradient accumulation), if `micro_batch_tokens` is not set."""
    micro_batch_tokens: PositiveInt | None = None
    """The most tokens in a micro-batch on a worker, padding included. A longer item is a micro-batch of its
    own. All workers make as many as the one that needs most. None: `accumulation` says how many."""
    gradient_checkpointing: bool = False
    """Compute each layer's activations again in the backward pass instead of keeping them. A layer's input is
    all that stays in memory, so items of thousands of tokens fit. Training takes longer (docs/speed.md)."""
    max_failures: Annotated[int, Field(ge=0)] = 3
    """How often a stage's workers may fail, without a new checkpoint in between, before the run ends.
    They restart from the last checkpoint. Announced ends of spot nodes do not count."""
    checkpoint_every_s: Annotated[float, Field(gt=0.0)] = 600.0
    """Seconds of training within an epoch after which a checkpoint is saved. Each epoch ends with one too.
    Checkpoints take at most a tenth of the time."""
    wait_s: Annotated[float, Field(ge=0.0)] = 0.0
    """Seconds to wait for an autoscaling cluster to grow before reporting that the request does not fit."""

    @model_validator(mode="after")
    def splits_in_one_way(self) -> Self:
        """Refuse two settings for the number of micro-batches."""
        if self.micro_batch_tokens is not None and self.accumulation > 1:
            raise ValueError(
                f"cluster.accumulation: {self.accumulation} micro-batches and cluster.micro_batch_tokens: "
                f"{self.micro_batch_tokens} exclude each other; remove one of the two"
            )
        return self

    @property
    def chooses_backend(self) -> bool:
        """Whether a training stage chooses its backend itself. The choice depends on its workers' memory."""
        return self.backend == "auto" and self.zero_stage is None

    @property
    def zero(self) -> int:
        """Stage of ZeRO if DeepSpeed is used."""
        return 2 if self.zero_stage is None else self.zero_stage
