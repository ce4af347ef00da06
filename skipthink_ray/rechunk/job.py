"""Chunk search as a separate job: re-chunks any number of samples with a given student.

Ray Data sends the names of row groups to a pool of actors. Each actor holds the student, reads its row
groups itself (runtime/actors.py gives the reason) and streams the result into Parquet. The driver never
holds the samples.

In: a folder of Parquet files with the columns of SAMPLE_SCHEMA, as the stages chunks and cwt write it.
Out: `samples/` with all rows and columns, new `chunk_steps`, and `boundaries_moved` (null if a rationale
has no movable boundary); `summary.json`. The search starts from the old `chunk_steps`. A rationale that is
longer than the student's positions keeps its chunks and gets a `reason`.

Each rationale is searched independently. Batches, actors and files do not change its chunks, except for float
rounding if two cuts tie. A finished search is a no-op; a killed search starts over.
"""

import math
import time
from collections.abc import Iterator
from typing import Annotated, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset
import pyarrow.parquet
import ray
from pyarrow import fs
from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from skipthink_ray.config import Address, ClusterConfig, Config, SearchConfig
from skipthink_ray.method.chunking import movable
from skipthink_ray.models.decoding import max_positions
from skipthink_ray.models.student import load_student
from skipthink_ray.rows import Samples
from skipthink_ray.runtime import actors, cluster
from skipthink_ray.runtime.artifacts import ROW_GROUP, Folder, begin, finish, is_done, refuse_foreign
from skipthink_ray.runtime.lock import only_writer
from skipthink_ray.stages.chunk_input import (
    check_rows,
    check_student,
    check_tokenizer,
    fingerprints,
    open_samples,
    split,
)
from skipthink_ray.training.rechunk import rechunk

MOVED = "boundaries_moved"
INSTEAD = "Choose another --out"


def _named(place: str) -> str:
    """Reject an empty name, for example from an unset shell variable: it would mean the working directory."""
    if not place:
        raise PydanticCustomError("unnamed", "name a folder")
    return place


Place = Annotated[Address, AfterValidator(_named)]


class ChunkSearchConfig(Config):
    """Search chunks with a given student."""

    student: Place
    """Folder of a student with markers, such as `student/` in the artifacts of chunks, base, cwt and stt."""
    samples: Place
    """Folder of Parquet files with samples, or an artifact that has one."""
    out: Place
    """Folder to write. If it already holds the finished search, nothing is done."""
    search: SearchConfig = SearchConfig()
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of annealed search."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Number format of the forward passes; bf16 on GPUs only."""
    num_actors: Annotated[int, Field(ge=1)] = 2
    """Number of actors, each with a copy of the student."""
    cpus_per_actor: Annotated[float, Field(gt=0.0)] = 1.0
    """CPUs per actor; also its number of torch threads."""
    gpus_per_actor: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0
    """GPUs per actor. A fraction lets several actors share a GPU; 0 runs on CPUs."""
    rows_per_batch: Annotated[int, Field(ge=1)] = 2048
    """Samples that an actor takes at a time. There are at most as many actors as such batches."""
    wait_s: Annotated[float, Field(ge=0.0)] = 0.0
    """How long to wait for an autoscaling cluster to grow before refusing a request that does not fit."""
    address: Address | None = None
    """Ray cluster to join; None joins the submitting job's cluster or starts a local one."""

    @property
    def cluster(self) -> ClusterConfig:
        return ClusterConfig(
            address=self.address,
            num_actors=self.num_actors,
            cpus_per_worker=self.cpus_per_actor,
            use_gpu=self.gpus_per_actor > 0,
            wait_s=self.wait_s,
        )


class SearchChunks:
    """Loads the student once. In: names of row groups. Out: their samples with searched chunks."""

    def __init__(self, config: ChunkSearchConfig, filesystem: fs.FileSystem) -> None:
        self.config, self.filesystem = config, filesystem
        parent, name = split(config.student)
        with parent.local(name) as folder:
            self.student = load_student(folder)
        actors.place(self.student, config.cluster)

    def __call__(self, batch: pa.Table) -> Iterator[pa.Table]:
        piece = batch.to_pylist()[0]
        with pyarrow.parquet.ParquetFile(piece["path"], filesystem=self.filesystem) as file:
            if piece["rows"] <= self.config.rows_per_batch:
                yield self.search(file.read_row_groups(piece["groups"]))
            else:  # a single row group that is too large for memory
                for part in file.iter_batches(self.config.rows_per_batch, piece["groups"]):
                    yield self.search(pa.Table.from_batches([part]))

    def search(self, batch: pa.Table) -> pa.Table:
        batch = _mark_too_long(batch, max_positions(self.student))
        unused = pc.is_valid(batch["reason"])
        used = batch.filter(pc.invert(unused))
        check_rows(used, self.student)
        samples = Samples(used)
        before_RM = samples.ends_RM
        after_RM = rechunk(
            self.student.model,
            self.student.ids,
            samples,
            before_RM,
            self.config.search,
            (self.config.seed, 0),
            self.config.precision == "bf16",
        ).ends_RM
        moved = pa.array((after_RM != before_RM).sum(1), pa.int32(), mask=~movable(before_RM))
        searched = samples.with_ends(after_RM).append_column(MOVED, moved)
        rest = batch.filter(unused)
        return pa.concat_tables(
            [searched, rest.append_column(MOVED, pa.nulls(len(rest), pa.int32()))]
        ).sort_by("row")


def run(config: ChunkSearchConfig) -> dict[str, Any]:
    """Search and write. Returns summary.json. ValueError for errors the user can fix."""
    if config.search.method == "average":
        raise ValueError(
            "method 'average' does not search (the stage chunks makes average chunks); "
            "use greedy, annealed or optimal"
        )
    if config.precision == "bf16" and not config.gpus_per_actor:
        raise ValueError("precision: bf16 needs GPUs; set --gpus-per-actor, or use fp32")
    check_student(config.student)
    table, out = open_samples(config.samples), Folder.open(config.out)
    check_tokenizer(config.student, config.samples)
    decisive = config.model_dump(include={"search", "seed", "precision"})
    identity = decisive | fingerprints(config.student, table)
    if is_done(out, identity, INSTEAD):
        return out.read_json("summary.json")
    refuse_foreign(out)
    pieces = list(_pieces(table, config.rows_per_batch))
    cluster.connect(config.cluster)
    num_actors = min(config.num_actors, len(pieces))
    _check_room(config, num_actors)
    try:
        with only_writer(out, INSTEAD.lower()):
            if not is_done(out, identity, INSTEAD):  # another job may have finished it meanwhile
                begin(out, identity)
                _search(config, table, pieces, num_actors, out)
            return out.read_json("summary.json")
    except OSError as error:
        raise ValueError(f"out: cannot write to {out.uri}: {error}") from error


def _search(
    config: ChunkSearchConfig,
    table: pyarrow.dataset.Dataset,
    pieces: list[dict[str, Any]],
    num_actors: int,
    out: Folder,
) -> None:
    started = time.perf_counter()
    searched = ray.data.from_items(pieces, override_num_blocks=len(pieces)).map_batches(
        SearchChunks,
        fn_constructor_kwargs={"config": config, "filesystem": table.filesystem},
        batch_format="pyarrow",
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(size=num_actors),
        num_cpus=config.cpus_per_actor,
        num_gpus=config.gpus_per_actor,
    )
    searched.write_parquet(
        f"{out.path}/samples",
        filesystem=out.filesystem,
        row_group_size=ROW_GROUP,
        ray_remote_args={"num_cpus": 0},
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


def _check_room(config: ChunkSearchConfig, num_actors: int) -> None:
    """Raises ValueError if the actors do not fit on the cluster."""
    share = config.gpus_per_actor
    if share:  # GPUs first, in whole numbers for the autoscaler; an actor never spans two GPUs
        what = f"chunk search ({num_actors} actors of {share:g} GPU)"
        cluster.require(
            what,
            config.cluster,
            math.ceil(num_actors / int(1 / share)),
            "--num-actors or --gpus-per-actor",
            "--wait-s",
        )
    on_cpu = config.cluster.model_copy(update={"use_gpu": False})
    cluster.require("chunk search", on_cpu, num_actors, "--num-actors or --cpus-per-actor", "--wait-s")


def _mark_too_long(batch: pa.Table, positions: int) -> pa.Table:
    """Give samples a `reason` if marker, question and rationale exceed the student's positions."""
    question, rationale = (
        np.array(pc.list_value_length(batch[f"{part}_tokens"])) for part in ("question", "rationale")
    )
    tokens = 1 + question + rationale
    long = pa.array((tokens > positions) & np.array(pc.is_null(batch["reason"])))
    details = pa.array([f"{count} tokens, the student has {positions} positions" for count in tokens])
    for name, value in (("reason", pa.scalar("too many tokens")), ("detail", details)):
        at = batch.schema.get_field_index(name)
        batch = batch.set_column(at, batch.schema.field(name), pc.if_else(long, value, batch[name]))
    return batch


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
