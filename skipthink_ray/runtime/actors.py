"""Pools of actors that hold a student and work through the row groups of a table.

An actor receives the name of a row group and reads the rows itself. Separate read tasks would wait forever
for a CPU if the actors hold all of them. Write tasks request no CPU for the same reason. One call computes
one row group, so the batches do not depend on the number of actors.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet
import ray

from skipthink_ray.config import ClusterConfig
from skipthink_ray.runtime.artifacts import Folder

ROWS_PER_FILE = 1 << 14
"""Minimum rows per file. Each write task may start a worker process, which costs about 1 s of CPU."""


@dataclass(frozen=True)
class Pool:
    """Actors of one kind, and what each of them needs."""

    num_actors: int
    num_cpus: float
    num_gpus: float

    @classmethod
    def of(cls, config: ClusterConfig) -> "Pool":
        return cls(config.num_actors, **resources(config))


def map_row_groups(
    source: Folder,
    name: str,
    actor: type,
    arguments: dict[str, Any],
    out: Folder,
    config: ClusterConfig,
    repeat: Sequence[Mapping[str, Any]] = ({},),
) -> None:
    """Send every row group of a table through a pool of actors and write the results as the table `out`.

    The actors are called on batches with one `piece` each (see `read_piece`).
    :param repeat: columns to add to the pieces; all row groups are sent once for each of them
    """
    pieces = [
        {"piece": fragment.path, "group": group.id, **columns}
        for columns in repeat
        for fragment in source.table(name).get_fragments()
        for group in fragment.row_groups
    ]
    map_pieces(pieces, actor, arguments, out, Pool.of(config), min_rows_per_file=ROWS_PER_FILE)


def map_pieces(
    pieces: list[dict[str, Any]],
    actor: type,
    arguments: dict[str, Any],
    out: Folder,
    pool: Pool,
    **parquet: Any,
) -> None:
    """Send pieces through a pool of actors, one piece at a time, and write the results as the table `out`.

    Each actor is `actor(**arguments)`. There are at most as many as pieces. If an actor dies, Ray Data
    retries its piece. `parquet`: how the files are written.
    """
    done = ray.data.from_items(pieces, override_num_blocks=len(pieces)).map_batches(
        actor,
        fn_constructor_kwargs=arguments,
        batch_format="pyarrow",
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(size=min(pool.num_actors, len(pieces))),
        num_cpus=pool.num_cpus,
        num_gpus=pool.num_gpus,
    )
    done.write_parquet(out.path, filesystem=out.filesystem, ray_remote_args={"num_cpus": 0}, **parquet)


def read_piece(batch: pa.Table, source: Folder) -> pa.Table:
    """Read the row group that a batch of `map_row_groups` names."""
    piece = batch.to_pylist()[0]
    return pyarrow.parquet.ParquetFile(piece["piece"], filesystem=source.filesystem).read_row_group(
        piece["group"]
    )


def resources(config: ClusterConfig) -> dict[str, Any]:
    return {"num_cpus": config.cpus_per_worker, "num_gpus": int(config.use_gpu)}


def start_shared_actors() -> None:
    """Start the actors that all data sets of a cluster share, such as Ray Data's ActorLocationTracker.

    Otherwise the first data set starts them. In a trial of Ray Tune they would belong to the trial's
    placement group and end with the trial, and the data sets of all other trials would fail.
    """
    pool = ray.data.ActorPoolStrategy(size=1)
    items = ray.data.from_items([0])  # read by this process: a read task would wait for a CPU
    items.map_batches(_Unchanged, compute=pool, num_cpus=0).materialize()


class _Unchanged:
    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        return batch
