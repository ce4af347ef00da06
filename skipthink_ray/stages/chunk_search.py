"""Chunk search as a job of its own: samples of any number in, the same samples with the chunks that a given student finds out.

Ray Data hands the names of row groups to a pool of actors, each with the student in its memory; an actor reads its own
(runtime/actors.py says why), and what it finds streams into Parquet. The driver never holds the samples.
In: a folder of Parquet files with the columns of SAMPLE_SCHEMA, as the stages chunks and cwt write it. Out: `samples/` with
all rows and columns, `chunk_steps` searched from what it was, and `boundaries_moved` (null where there was nothing to move);
`summary.json`. A rationale longer than the student's positions keeps its chunks and is given a `reason`.
What a rationale's chunks become depends on no other rationale, so neither on batches, actors or files, but for float
rounding where two cuts tie. A finished search is a no-op; one that was killed starts again.
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
    """The folder itself. An error where it is empty, as an unset variable of the shell is: that would be the working directory."""
    if not place:
        raise PydanticCustomError("unnamed", "name a folder")
    return place


Place = Annotated[Address, AfterValidator(_named)]


class ChunkSearchConfig(Config):
    """Search chunks with a given student."""

    student: Place
    """Folder of a student with its markers, as `student/` in the artifacts of chunks, base, cwt and stt."""
    samples: Place
    """Folder of Parquet files with samples, or an artifact that has one."""
    out: Place
    """Folder to write; where it is finished already, nothing is done."""
    search: SearchConfig = SearchConfig()
    seed: Annotated[int, Field(ge=0)] = 0
    """annealed: seed of the random numbers."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Number format of the forward passes; bf16 on GPUs only."""
    num_actors: Annotated[int, Field(ge=1)] = 2
    """Actors, each with a student."""
    cpus_per_actor: Annotated[float, Field(gt=0.0)] = 1.0
    """CPUs of an actor; also its number of torch threads."""
    gpus_per_actor: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0
    """GPUs of an actor; with a fraction several share one, 0 computes on CPUs."""
    rows_per_batch: Annotated[int, Field(ge=1)] = 2048
    """Samples that an actor takes at a time; no more actors are started than there are such pieces."""
    wait_s: Annotated[float, Field(ge=0.0)] = 0.0
    """How long to wait for an autoscaling cluster to grow before saying that the request does not fit."""
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
    """Loads the student once; the name of some row groups in, their samples with searched chunks out."""

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
            else:  # one row group, too large to be held
                for part in file.iter_batches(self.config.rows_per_batch, piece["groups"]):
                    yield self.search(pa.Table.from_batches([part]))

    def search(self, batch: pa.Table) -> pa.Table:
        batch = _without_long_ones(batch, max_positions(self.student))
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
    """Search and write. Returns summary.json. ValueError for what the user can mend."""
    if config.search.method == "average":
        raise ValueError(
            "method: average searches nothing; the stage chunks makes average chunks. Take greedy, annealed or optimal"
        )
    if config.precision == "bf16" and not config.gpus_per_actor:
        raise ValueError("precision: bf16 is for GPUs; set --gpus-per-actor, or take fp32")
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
            if not is_done(out, identity, INSTEAD):  # by another, while this one waited
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
    found = ray.data.from_items(pieces, override_num_blocks=len(pieces)).map_batches(
        SearchChunks,
        fn_constructor_kwargs={"config": config, "filesystem": table.filesystem},
        batch_format="pyarrow",
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(size=num_actors),
        num_cpus=config.cpus_per_actor,
        num_gpus=config.gpus_per_actor,
    )
    found.write_parquet(
        f"{out.path}/samples",
        filesystem=out.filesystem,
        row_group_size=ROW_GROUP,
        ray_remote_args={"num_cpus": 0},
    )
    summary = _summary(out.table("samples"), table.count_rows())
    finish(out, {**summary, "actors": num_actors, "seconds": time.perf_counter() - started})


def _pieces(table: pyarrow.dataset.Dataset, rows: int) -> Iterator[dict[str, Any]]:
    """Neighbouring row groups of a file, of about `rows` samples together: few batches."""
    for fragment in table.get_fragments():
        groups, held = [], 0
        for group in fragment.row_groups:
            if groups and held + group.num_rows > rows:
                yield {"path": fragment.path, "groups": groups, "rows": held}
                groups, held = [], 0
            groups, held = [*groups, group.id], held + group.num_rows
        if groups:
            yield {"path": fragment.path, "groups": groups, "rows": held}


def _check_room(config: ChunkSearchConfig, num_actors: int) -> None:
    """ValueError where the actors do not fit on the cluster."""
    share = config.gpus_per_actor
    if share:  # first, and in whole GPUs, for an autoscaler; no actor is split over two
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


def _without_long_ones(batch: pa.Table, positions: int) -> pa.Table:
    """The batch, with a reason where marker, question and rationale have more tokens than the student has positions."""
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
    """RuntimeError where not every row came out."""
    counts = {"rows": 0, "searched": 0, "boundaries_moved": 0, "unused": 0}
    for batch in written.to_batches(columns=["reason", MOVED]):
        counts["rows"] += batch.num_rows
        counts["searched"] += batch.num_rows - batch[MOVED].null_count
        counts["boundaries_moved"] += pc.sum(batch[MOVED]).as_py() or 0
        counts["unused"] += batch.num_rows - batch["reason"].null_count
    if counts["rows"] != rows:
        raise RuntimeError(f"chunk search: {rows} samples went in, {counts['rows']} came out")
    return counts
