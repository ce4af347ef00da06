"""The actor of a chunk search: it holds the student and searches one batch of samples at a time.

In: names of row groups of Parquet files with the columns of SAMPLE_SCHEMA. Out: their rows with new
`chunk_steps`, and with `boundaries_moved` (null if no boundary can move).
"""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet
from pyarrow import fs

from skipthink_ray.config.rechunk import RechunkConfig
from skipthink_ray.method.chunking import movable
from skipthink_ray.method.cutting import mark_too_long
from skipthink_ray.method.samples import Samples
from skipthink_ray.models.decoding import max_positions
from skipthink_ray.models.student import load_student, place
from skipthink_ray.rechunk.inputs import check_rows
from skipthink_ray.rows import CHUNK_STEPS
from skipthink_ray.runtime.artifacts import Folder
from skipthink_ray.training.rechunk import rechunk

MOVED = "boundaries_moved"


class SearchChunks:
    """Loads the student once. In: names of row groups. Out: their samples with searched chunks."""

    def __init__(self, config: RechunkConfig, student: Folder, filesystem: fs.FileSystem) -> None:
        self.config, self.filesystem = config, filesystem
        with student.local() as folder:
            self.student = load_student(folder)
        place(self.student, config.cluster)

    def __call__(self, batch: pa.Table) -> Iterator[pa.Table]:
        piece = batch.to_pylist()[0]
        with pyarrow.parquet.ParquetFile(piece["path"], filesystem=self.filesystem) as file:
            if piece["rows"] <= self.config.rows_per_batch:
                yield self.search(file.read_row_groups(piece["groups"]))
            else:  # a single row group that is too large for memory
                for part in file.iter_batches(self.config.rows_per_batch, piece["groups"]):
                    yield self.search(pa.Table.from_batches([part]))

    def search(self, batch: pa.Table) -> pa.Table:
        positions = max_positions(self.student)
        question, rationale = (
            np.array(pc.list_value_length(batch[f"{part}_tokens"])) for part in ("question", "rationale")
        )
        prompt_R = len(self.student.ids.start) + 1 + question + rationale
        batch = mark_too_long(batch, prompt_R, positions, f"the student has {positions} positions")
        if CHUNK_STEPS.name not in batch.column_names:
            batch = Samples(batch).in_average_chunks(len(self.student.ids.stages)).table
        unused = pc.is_valid(batch["reason"])
        used = batch.filter(pc.invert(unused))
        check_rows(used, self.student)
        samples = Samples(used)
        found = rechunk(
            self.student.model,
            self.student.ids,
            samples,
            self.config.search,
            (self.config.seed, 0),
            self.config.precision == "bf16",
        ).samples
        moved_R = (found.ends_RM != samples.ends_RM).sum(1)
        moved = pa.array(moved_R, pa.int32(), mask=~movable(samples.ends_RM))
        searched = found.table.append_column(MOVED, moved)
        rest = batch.filter(unused)
        return pa.concat_tables(
            [searched, rest.append_column(MOVED, pa.nulls(len(rest), pa.int32()))]
        ).sort_by("row")
