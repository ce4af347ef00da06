"""The DeepSpeed configuration as a plain dict, and the op that DeepSpeed compiles on a CPU.

DeepSpeed's config-json page documents the keys.
"""

import hashlib
import os
import sys
from pathlib import Path
from typing import Any

from filelock import FileLock

from skipthink_ray.config import ClusterConfig, TrainConfig
from skipthink_ray.runtime.cache import cache_folder
from skipthink_ray.training.states import gathered_parameters

BUCKET = 50_000_000
"""Parameters that DeepSpeed sends at once."""


def deepspeed_config(
    train: TrainConfig, cluster: ClusterConfig, world: int, num_parameters: int
) -> dict[str, Any]:
    """ZeRO, precision and clipping. The optimiser, torch's AdamW, is passed separately.

    The number of micro-batches varies between updates. So DeepSpeed's own number is 1, and
    `DeepSpeedEngine.update` marks the last one.
    With ZeRO-3, each of DeepSpeed's buffers holds at most `gathered_parameters(num_parameters)`. DeepSpeed's
    own bounds are a billion parameters, so it would keep the whole of most students on every rank.
    """
    bound = gathered_parameters(num_parameters)
    zero_3 = {
        "reduce_bucket_size": min(BUCKET, bound),
        "sub_group_size": bound,
        "stage3_prefetch_bucket_size": min(BUCKET, bound),
        "stage3_max_live_parameters": bound,
        "stage3_max_reuse_distance": bound,
    }
    return {
        "train_micro_batch_size_per_gpu": max(1, -(-train.batch_size // world)),
        "gradient_accumulation_steps": 1,
        "gradient_clipping": train.optim.clip_norm,
        "zero_optimization": {
            "stage": cluster.zero,
            "overlap_comm": cluster.use_gpu,
            "reduce_bucket_size": BUCKET,
            "allgather_bucket_size": BUCKET,
            **(zero_3 if cluster.zero == 3 else {}),
        },
        "bf16": {"enabled": train.precision == "bf16"},
        "zero_allow_untested_optimizer": True,
        "steps_per_print": 10**9,
        "wall_clock_breakdown": False,
    }


def use_own_tools() -> None:
    """Put the bin folder of this Python environment first on PATH, where pip installs ninja.

    The op must be built by the same ninja each time: another version takes it for outdated and compiles it
    again, which takes a minute.
    """
    own = str(Path(sys.executable).parent)
    if os.environ.get("PATH", "").split(os.pathsep)[0] != own:
        os.environ["PATH"] = os.pathsep.join([own, os.environ.get("PATH", "")])


def load_communication_op() -> None:
    """Compile DeepSpeed's CPU communication op, unless it is cached, and load it into this process.

    One process of the machine compiles at a time. torch marks a build with a file `lock` that stays if the
    process is killed, and every later process would wait for it forever. Our own lock ends with its process,
    so whoever holds it may remove such a file. Each Python environment has its own cache, because torch
    compiles again if the path of a header changes.
    """
    from deepspeed.ops.op_builder.cpu.comm import ShareMemCommBuilder

    use_own_tools()
    environment = hashlib.sha256(sys.prefix.encode()).hexdigest()[:12]
    root = Path(
        os.environ.setdefault("TORCH_EXTENSIONS_DIR", str(cache_folder() / "torch_extensions" / environment))
    )
    root.mkdir(parents=True, exist_ok=True)
    with FileLock(root / "skipthink.lock"):
        (root / ShareMemCommBuilder.NAME / "lock").unlink(missing_ok=True)
        ShareMemCommBuilder().load(verbose=False)
