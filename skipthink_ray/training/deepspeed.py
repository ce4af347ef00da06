"""The DeepSpeed configuration as a plain dict. DeepSpeed's config-json page documents the keys."""

from typing import Any

from skipthink_ray.config import ClusterConfig, TrainConfig


def deepspeed_config(train: TrainConfig, cluster: ClusterConfig, world: int) -> dict[str, Any]:
    """ZeRO, precision, clipping and accumulation. The optimiser, torch's AdamW, is passed separately."""
    micro_batch = max(1, -(-train.batch_size // (world * cluster.accumulation)))
    return {
        "train_micro_batch_size_per_gpu": micro_batch,
        "gradient_accumulation_steps": cluster.accumulation,
        "gradient_clipping": train.optim.clip_norm,
        "zero_optimization": {
            "stage": cluster.zero_stage,
            "overlap_comm": cluster.use_gpu,
            "reduce_bucket_size": 50_000_000,
            "allgather_bucket_size": 50_000_000,
        },
        "bf16": {"enabled": train.precision == "bf16"},
        "zero_allow_untested_optimizer": True,
        "steps_per_print": 10**9,
        "wall_clock_breakdown": False,
    }
