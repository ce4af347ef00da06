"""Runs a chunk search over any number of samples, with a given student, in a pool of actors.

Ray Data sends the names of row groups to a pool of actors. Each actor holds the student, reads its row
groups itself (runtime/actors.py gives the reason) and streams the result into Parquet. The driver never
holds the samples.

In: a folder of Parquet files with the columns of SAMPLE_SCHEMA, as the stages samples and cwt write it.
Out: `samples/` with all rows and columns, new `chunk_steps`, and `boundaries_moved` (null if no boundary
can move); `summary.json`. The search starts from the old `chunk_steps`, or from average chunks if there are
none. A rationale that is longer than the student's positions keeps its chunks and gets a `reason`.

Each rationale is searched independently. Batches, actors and files do not change its chunks, except for float
rounding if two cuts tie. A finished search is a no-op; a killed search starts over.
"""

import math
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pyarrow.compute as pc
import pyarrow.dataset

from skipthink_ray.config.rechunk import RechunkConfig
from skipthink_ray.rechunk.inputs import check_student_folder, check_tokenizer, fingerprints, open_samples
from skipthink_ray.rechunk.search import MOVED, SearchChunks
from skipthink_ray.runtime import actors, cluster
from skipthink_ray.runtime.artifacts import ROW_GROUP, Folder, begin, finish, is_done, refuse_foreign
from skipthink_ray.runtime.lock import only_writer
from skipthink_ray.runtime.nodes import check_nodes
from skipthink_ray.runtime.storage import absolute
from skipthink_ray.runtime.waiting import wait_for_room

INSTEAD = "Choose another --out"
PLACES = ("student", "samples", "out")


def run(config: RechunkConfig) -> dict[str, Any]:
    """Search and write. Returns summary.json. ValueError for errors the user can fix."""
    if config.search.method == "average":
        raise ValueError(
            "method 'average' does not search (cwt starts from average chunks); "
            "use greedy, annealed or optimal"
        )
    if config.precision == "bf16" and not config.gpus_per_actor:
        raise ValueError("precision: bf16 needs GPUs; set --gpus-per-actor, or use fp32")
    config = config.model_copy(update={name: absolute(getattr(config, name), name) for name in PLACES})
    check_student_folder(config.student)
    table, out = open_samples(config.samples), Folder.open(config.out)
    check_tokenizer(config.student, config.samples)
    decisive = config.model_dump(include={"search", "seed", "precision"})
    identity = decisive | fingerprints(config.student, table)
    if is_done(out, identity, INSTEAD):
        return out.read_json("summary.json")
    refuse_foreign(out)
    pieces = list(_pieces(table, config.rows_per_batch))
    cluster.connect(config.cluster)
    num_actors, say = min(config.num_actors, len(pieces)), partial(print, file=sys.stderr)
    files = [Folder(table.filesystem, path, path) for path in table.files]
    check_nodes(out, files, say, cluster.joined())
    _check_room(config, num_actors, say)
    check_nodes(out, files, say, cluster.joined())  # those that the autoscaler added
    try:
        with only_writer(out, INSTEAD.lower()):
            if not is_done(out, identity, INSTEAD):  # another job may have finished it meanwhile
                begin(out, identity)
                _search(config, table, pieces, num_actors, out)
            return out.read_json("summary.json")
    except OSError as error:
        raise ValueError(f"out: cannot write to {out.uri}: {error}") from error


def _search(
    config: RechunkConfig,
    table: pyarrow.dataset.Dataset,
    pieces: list[dict[str, Any]],
    num_actors: int,
    out: Folder,
) -> None:
    started = time.perf_counter()
    actors.map_pieces(
        pieces,
        SearchChunks,
        {"config": config, "student": Folder.open(config.student), "filesystem": table.filesystem},
        out.child("samples"),
        actors.Pool(num_actors, config.cpus_per_actor, config.gpus_per_actor),
        row_group_size=ROW_GROUP,
    )
    summary = _summary(out.table("samples"), table.count_rows())
    finish(out, {**summary, "actors": num_actors, "seconds": time.perf_counter() - started})


def _pieces(table: pyarrow.dataset.Dataset, rows: int) -> Iterator[dict[str, Any]]:
    """Neighbouring row groups of a file with about `rows` samples together, to make few batches."""
    for fragment in table.get_fragments():
        groups, count = [], 0
        for group in fragment.row_groups:
            if groups and count + group.num_rows > rows:
                yield {"path": fragment.path, "groups": groups, "rows": count}
                groups, count = [], 0
            groups, count = [*groups, group.id], count + group.num_rows
        if groups:
            yield {"path": fragment.path, "groups": groups, "rows": count}


def _check_room(config: RechunkConfig, num_actors: int, say: Callable[[str], None]) -> None:
    """Wait until the actors have room on the cluster. Raises ValueError if they cannot fit."""
    share, lower = config.gpus_per_actor, "--num-actors or --cpus-per-actor"
    needs = [
        (
            cluster.Need("chunk search", num_actors, lower, "--wait-s"),
            config.cluster.model_copy(update={"use_gpu": False}),
        )
    ]
    if share:  # in whole GPUs, as an actor never spans two
        what = f"chunk search ({num_actors} actors of {share:g} GPU)"
        gpus = math.ceil(num_actors / int(1 / share))
        need = cluster.Need(what, gpus, "--num-actors or --gpus-per-actor", "--wait-s")
        needs.insert(0, (need, config.cluster))
    if config.wait_s:
        cluster.request([{"CPU": config.cpus_per_actor, **({"GPU": share} if share else {})}] * num_actors)
    for need, per in needs:
        cluster.require(need, per, say)
    for need, per in needs:
        wait_for_room(per, need.processes, say, time.sleep)


def _summary(written: pyarrow.dataset.Dataset, rows: int) -> dict[str, Any]:
    """Counts of the result. Raises RuntimeError if rows were lost."""
    counts = {"rows": 0, "searched": 0, "boundaries_moved": 0, "unused": 0}
    for batch in written.to_batches(columns=["reason", MOVED]):
        counts["rows"] += batch.num_rows
        counts["searched"] += batch.num_rows - batch[MOVED].null_count
        counts["boundaries_moved"] += pc.sum(batch[MOVED]).as_py() or 0
        counts["unused"] += batch.num_rows - batch["reason"].null_count
    if counts["rows"] != rows:
        raise RuntimeError(f"chunk search: {rows} samples gave {counts['rows']} rows")
    return counts
