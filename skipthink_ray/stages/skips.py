"""Stage 5: find the chunks of each training sample that the CWT student does not need, in a pool of actors.

With `gate: cross_fitted` a student that never saw a sample judges it (folds.py). With `shuffled` the skips
are assigned to other samples.

Artifact: `skips/` (SKIP_SCHEMA), one row per sample of cwt; with `shuffled` also `found/`, the skips before
shuffling.
"""

import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from skipthink_ray.config import PipelineConfig, SkipsConfig
from skipthink_ray.method.samples import Samples
from skipthink_ray.method.skipping import Fold, shuffle_skips, skippable
from skipthink_ray.reporting.findings import skips_findings
from skipthink_ray.rows import SKIP_SCHEMA
from skipthink_ray.runtime import actors
from skipthink_ray.runtime.artifacts import Folder, refuse_lost_rows
from skipthink_ray.runtime.board import Board
from skipthink_ray.stages.context import Context
from skipthink_ray.stages.folds import fold_students
from skipthink_ray.tasks import task_of

if TYPE_CHECKING:
    from skipthink_ray.models.student import Student


class Ablate:
    """Loads the students and their noisy copies once. In: a row group of cwt's samples. Out: SKIP_SCHEMA.

    Its methods import transformers, which takes seconds, so that the driver does not.
    """

    def __init__(
        self, config: PipelineConfig, cwt: Folder, students: dict[Fold, Folder], board: Board
    ) -> None:
        self.config, self.cwt, self.board, self.task = config, cwt, board, task_of(config)
        folders: dict[Fold | None, Folder] = {**students} or {None: cwt}
        self.judges = {fold: self._load(folder) for fold, folder in folders.items()}

    def _load(self, folder: Folder) -> "list[Student]":
        from skipthink_ray.models.ablation import judges_of
        from skipthink_ray.models.student import load_student, place

        with folder.local("student") as local:
            student = load_student(local)
        place(student, self.config.cluster)
        return judges_of(student, self.config.skips, self.config.seed)

    def __call__(self, batch: pa.Table) -> pa.Table:
        table = actors.read_piece(batch, self.cwt)
        questions = table["question"].to_pylist()
        parts = [table.filter(fold.holds(questions)) if fold else table for fold in self.judges]
        tables = [
            self._ablate(part, judges) for part, judges in zip(parts, self.judges.values(), strict=True)
        ]
        self.board.advance(len(table))
        return pa.concat_tables(tables).sort_by("row")

    def _ablate(self, table: pa.Table, judges: "list[Student]") -> pa.Table:
        from skipthink_ray.models.ablation import Ablation

        samples = Samples(table)
        ablation = Ablation(judges, self.task, self.config.skips, samples)
        kept_RM, right_R = ablation.find()
        columns = {
            "row": samples.table["row"],
            "kept": kept_RM.tolist(),
            "right": right_R,
            "verified": ablation.verified_R,
            "decoded": ablation.decoded_R,
            "chunks_verified": ablation.chunks_verified_R,
            "chunks_decoded": ablation.chunks_decoded_R,
        }
        return pa.table(columns, schema=SKIP_SCHEMA)


def make(context: Context) -> dict[str, Any]:
    """Write `skips/`. Returns the judge, its cost, and the shares of right answers and of chunks kept."""
    config, cwt = context.config, context.inputs["cwt"]
    present_RM = Samples(cwt.table("samples").to_table(columns=["row", "chunk_steps"])).present_RM
    students = fold_students(context) if config.skips.gate == "cross_fitted" else {}
    with context.line("samples", len(present_RM)) as line:
        arguments = {"config": config, "cwt": cwt, "students": students, "board": line.board}
        name, started = "found" if config.skips.shuffled else "skips", time.perf_counter()
        actors.map_row_groups(cwt, "samples", Ablate, arguments, context.out.child(name), config.cluster)
        seconds = time.perf_counter() - started
    found = context.out.table(name).to_table().sort_by("row")
    refuse_lost_rows("skips", len(present_RM), len(found))
    if config.skips.shuffled:
        _write_shuffled(context, found, present_RM)
    summary = {**_summary(config.skips, found, present_RM), "seconds": seconds}
    shares = " ".join(f"{share:.0%}" for share in summary["kept_share_by_chunk"])
    context.say(
        f"right with all chunks {summary['right_share']:.1%}; "
        f"kept of c_1..c_M by {config.skips.judge}: {shares}"
        + ("; skips shuffled over the samples" if config.skips.shuffled else "")
    )
    return {**summary, "warnings": context.warn(skips_findings(config, summary))}


def _write_shuffled(context: Context, found: pa.Table, present_RM: np.ndarray) -> None:
    """Write `skips/` from `found/`: each chunk index keeps its number of skips, on other samples."""
    config = context.config
    may_skip_RM = present_RM & skippable(present_RM, config.skips.skippable)
    kept_RM = shuffle_skips(np.array(found["kept"].to_pylist(), dtype=bool), may_skip_RM, config.seed)
    kept = pa.array(kept_RM.tolist(), SKIP_SCHEMA.field("kept").type)
    context.out.write_table("skips", found.set_column(found.schema.get_field_index("kept"), "kept", kept))


def _summary(config: SkipsConfig, found: pa.Table, present_RM: np.ndarray) -> dict[str, Any]:
    """Counts and shares. Shuffling does not change them."""
    kept_RM = np.array(found["kept"].to_pylist(), dtype=bool)
    counts = ("verified", "decoded", "chunks_verified", "chunks_decoded")
    return {
        **config.model_dump(include={"judge", "search", "skippable", "gate", "shuffled"}),
        "samples": len(kept_RM),
        "right_share": pc.mean(found["right"]).as_py(),
        "kept_share": float(kept_RM.sum() / present_RM.sum()),
        "kept_share_by_chunk": (kept_RM.sum(0) / np.maximum(present_RM.sum(0), 1)).tolist(),
        **{name: pc.sum(found[name]).as_py() for name in counts},
    }
