"""Pools of actors that hold a student, over the row groups of a table.

An actor is handed the name of a row group and reads it itself. So the pool needs no read tasks beside it, which would
wait for ever for a CPU where the actors hold all of them; and what is computed together does not depend on the number
of actors. Tasks that write take no CPU, for the same reason.
"""

from typing import Any

import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet
import ray
import torch

from skipthink_ray.config import ClusterConfig
from skipthink_ray.models.student import Student
from skipthink_ray.runtime.artifacts import Folder

ROWS_PER_FILE = 1 << 14
"""At least. A task that writes finds no idle process where the actors hold all CPUs, and starts one: a second of CPU time each."""


def map_row_groups(
    source: Folder,
    name: str,
    actor: type,
    arguments: dict[str, Any],
    out: Folder,
    out_name: str,
    config: ClusterConfig,
) -> None:
    """Put every row group of a table through a pool of `num_actors` and write what comes out as another table.

    `actor(**arguments)` is called on a batch of one `piece` (see `read_piece`); Ray Data retries it where an actor dies.
    """
    pieces = [
        {"piece": fragment.path, "group": group.id}
        for fragment in source.table(name).get_fragments()
        for group in fragment.row_groups
    ]
    pool = ray.data.ActorPoolStrategy(size=min(config.num_actors, len(pieces)))
    done = ray.data.from_items(pieces, override_num_blocks=len(pieces)).map_batches(
        actor,
        fn_constructor_kwargs=arguments,
        batch_format="pyarrow",
        batch_size=1,
        compute=pool,
        **resources(config),
    )
    done.write_parquet(
        f"{out.path}/{out_name}",
        filesystem=out.filesystem,
        min_rows_per_file=ROWS_PER_FILE,
        ray_remote_args={"num_cpus": 0},
    )


def read_piece(batch: pa.Table, source: Folder) -> pa.Table:
    """The row group that a batch of `map_row_groups` names."""
    piece = batch.to_pylist()[0]
    return pyarrow.parquet.ParquetFile(piece["piece"], filesystem=source.filesystem).read_row_group(
        piece["group"]
    )


def resources(config: ClusterConfig) -> dict[str, Any]:
    return {"num_cpus": config.cpus_per_worker, "num_gpus": int(config.use_gpu)}


def place(student: Student, config: ClusterConfig) -> None:
    """Put a student on the actor's device, ready for inference."""
    torch.set_num_threads(max(1, int(config.cpus_per_worker)))
    student.model.to("cuda" if config.use_gpu else "cpu").eval()
