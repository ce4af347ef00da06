"""Stage 5: which chunks of a training sample the CWT student does not need, in a pool of actors.

Artifact: `skips/` (SKIP_SCHEMA), a row for every sample of cwt.
"""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset

from skipthink_ray.config import PipelineConfig
from skipthink_ray.models.ablation import Ablation, perturbed_copies
from skipthink_ray.models.student import load_student
from skipthink_ray.rows import SKIP_SCHEMA, Samples
from skipthink_ray.runtime import actors
from skipthink_ray.runtime.artifacts import Folder
from skipthink_ray.stages.context import Context
from skipthink_ray.tasks import task_of


class Ablate:
    """Loads the student once, with its perturbed copies; a row group of cwt's samples in, SKIP_SCHEMA out."""

    def __init__(self, config: PipelineConfig, cwt: Folder, board: Any) -> None:
        self.config, self.cwt, self.board, self.task = config, cwt, board, task_of(config)
        with cwt.local("student") as folder:
            self.student = load_student(folder)
        actors.place(self.student, config.cluster)
        self.copies = perturbed_copies(self.student, config.skips, config.seed)

    def __call__(self, batch: pa.Table) -> pa.Table:
        samples = Samples(actors.read_piece(batch, self.cwt))
        ablation = Ablation(self.student, self.task, self.config.skips, samples, copies=self.copies)
        kept_RM, right_R = ablation.find()
        self.board.advance.remote(len(samples))
        columns = {
            "row": samples.table["row"], "kept": kept_RM.tolist(), "right": right_R,
            "verified": ablation.verified_R, "decoded": ablation.decoded_R,
        }  # fmt: skip
        return pa.table(columns, schema=SKIP_SCHEMA)


def make(context: Context) -> dict[str, Any]:
    """Write `skips/`. Returns the shares of samples answered and of chunks kept, by position."""
    config, cwt = context.config, context.inputs["cwt"]
    samples = cwt.table("samples")
    with context.line("samples", samples.count_rows()) as line:
        arguments = {"config": config, "cwt": cwt, "board": line.board}
        actors.map_row_groups(cwt, "samples", Ablate, arguments, context.out, "skips", config.cluster)
    summary = _summary(context, samples)
    shares = " ".join(f"{share:.0%}" for share in summary["kept_share_by_chunk"])
    context.say(f"right with all chunks {summary['right_share']:.1%}; kept of c_1..c_M: {shares}")
    return summary


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
