"""Stage 5: which chunks of a training sample the CWT student does not need, in a pool of actors.

With `gate: cross_fitted` a sample is judged by a student that never saw it (folds.py).

Artifact: `skips/` (SKIP_SCHEMA), a row for every sample of cwt.
"""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset

from skipthink_ray.config import PipelineConfig
from skipthink_ray.method.skipping import Fold, check_search
from skipthink_ray.models.ablation import Ablation, judges_of
from skipthink_ray.models.student import Student, load_student
from skipthink_ray.reporting.findings import skips_findings
from skipthink_ray.rows import SKIP_SCHEMA, Samples
from skipthink_ray.runtime import actors
from skipthink_ray.runtime.artifacts import Folder
from skipthink_ray.stages.context import Context
from skipthink_ray.stages.folds import fold_students
from skipthink_ray.tasks import task_of


class Ablate:
    """Loads the students once, with their perturbed copies; a row group of cwt's samples in, SKIP_SCHEMA out."""

    def __init__(self, config: PipelineConfig, cwt: Folder, students: dict[Fold, Folder], board: Any) -> None:
        self.config, self.cwt, self.board, self.task = config, cwt, board, task_of(config)
        folders: dict[Fold | None, Folder] = {**students} or {None: cwt}
        self.judges = {fold: self._load(folder) for fold, folder in folders.items()}

    def _load(self, folder: Folder) -> list[Student]:
        with folder.local("student") as local:
            student = load_student(local)
        actors.place(student, self.config.cluster)
        return judges_of(student, self.config.skips, self.config.seed)

    def __call__(self, batch: pa.Table) -> pa.Table:
        table = actors.read_piece(batch, self.cwt)
        questions = table["question"].to_pylist()
        parts = [table.filter(fold.holds(questions)) if fold else table for fold in self.judges]
        found = [self._ablate(part, judges) for part, judges in zip(parts, self.judges.values(), strict=True)]
        self.board.advance.remote(len(table))
        return pa.concat_tables(found).sort_by("row")

    def _ablate(self, table: pa.Table, judges: list[Student]) -> pa.Table:
        samples = Samples(table)
        ablation = Ablation(judges, self.task, self.config.skips, samples)
        kept_RM, right_R = ablation.find()
        columns = {
            "row": samples.table["row"], "kept": kept_RM.tolist(), "right": right_R,
            "verified": ablation.verified_R, "decoded": ablation.decoded_R,
        }  # fmt: skip
        return pa.table(columns, schema=SKIP_SCHEMA)


def make(context: Context) -> dict[str, Any]:
    """Write `skips/`. Returns the shares of samples answered and of chunks kept, by position."""
    config, cwt = context.config, context.inputs["cwt"]
    check_search(config.skips, context.inputs["chunks"].read_json("summary.json")["num_chunks"])
    samples = cwt.table("samples")
    students = fold_students(context) if config.skips.gate == "cross_fitted" else {}
    with context.line("samples", samples.count_rows()) as line:
        arguments = {"config": config, "cwt": cwt, "students": students, "board": line.board}
        actors.map_row_groups(cwt, "samples", Ablate, arguments, context.out, "skips", config.cluster)
    summary = _summary(context, samples)
    shares = " ".join(f"{share:.0%}" for share in summary["kept_share_by_chunk"])
    context.say(f"right with all chunks {summary['right_share']:.1%}; kept of c_1..c_M: {shares}")
    return {**summary, "warnings": context.warn(skips_findings(config, summary))}


def _summary(context: Context, samples: pa.dataset.Dataset) -> dict[str, Any]:
    skips = context.out.table("skips").to_table().sort_by("row")
    sizes = np.array(samples.to_table(columns=["row", "chunk_steps"]).sort_by("row")["chunk_steps"].to_pylist())
    kept_RM, present_RM = np.array(skips["kept"].to_pylist(), dtype=bool), sizes > 0
    if len(kept_RM) != len(present_RM):
        raise RuntimeError(f"skips: {len(present_RM)} samples went in, {len(kept_RM)} came out")
    return {
        "samples": len(kept_RM),
        "right_share": pc.mean(skips["right"]).as_py(),
        "kept_share": float(kept_RM.sum() / present_RM.sum()),
        "kept_share_by_chunk": (kept_RM.sum(0) / np.maximum(present_RM.sum(0), 1)).tolist(),
        "verified": pc.sum(skips["verified"]).as_py(),
        "decoded": pc.sum(skips["decoded"]).as_py(),
    }
