"""Asks a teacher on the cluster: actors send every question whose answer is not in the ledger yet.

In: a table of DRAFT_SCHEMA whose training rows lack a rationale. Out: the same table with one row per sample,
with rationale, `concluded`, `finish` and token counts. A question without an answer gets the reason `teacher
failed`. The ledger stores the raw text and thinking, so changing `rationales.teacher.rationale` sends no
question again.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from skipthink_ray.config import ClusterConfig, PipelineConfig
from skipthink_ray.data.cleaning import judge_row
from skipthink_ray.data.leakage import with_key
from skipthink_ray.rows import DRAFT_SCHEMA
from skipthink_ray.runtime import actors
from skipthink_ray.runtime.artifacts import Folder
from skipthink_ray.runtime.board import Board
from skipthink_ray.tasks import task_of
from skipthink_ray.teacher.ledger import Ledger
from skipthink_ray.teacher.prompts import messages
from skipthink_ray.teacher.requests import Keep, Request, Written, make_request, to_record
from skipthink_ray.teacher.thinking import read_written

if TYPE_CHECKING:
    from skipthink_ray.teacher.endpoint import Endpoint
    from skipthink_ray.teacher.local import LocalTeacher

Row = dict[str, Any]
PIECE_ROWS = 512
"""Questions per actor call. Far more than are in flight at once, so that little time goes to waiting for the
last."""


def check_teacher(config: PipelineConfig) -> None:
    """Raises ValueError within seconds, before any question is sent, if the teacher cannot be used."""
    teacher = config.rationales.teacher
    if teacher.kind == "endpoint":
        from skipthink_ray.teacher.greeting import probe

        style = "zero_shot" if teacher.prompt == "zero_shot" else "few_shot"
        probe(teacher, config.endpoint, tuple(messages(task_of(config), "Hello", style)))
    if teacher.kind == "vllm" and find_spec("vllm") is None:
        raise ValueError(
            "rationales.teacher.kind: vllm is not installed here; "
            "`pip install vllm`, or choose transformers or endpoint"
        )
    if teacher.kind == "transformers":
        from skipthink_ray.models.pretrained import check_causal_lm

        check_causal_lm("rationales.teacher.model", teacher.model)


def pool(config: PipelineConfig) -> ClusterConfig:
    """The teacher's actors: the cluster's for a local model, otherwise one that requests almost no CPU."""
    if config.rationales.teacher.kind == "transformers":
        return config.cluster
    return config.cluster.model_copy(update={"num_actors": 1, "cpus_per_worker": 0.01, "use_gpu": False})


class Ask:
    """Actor that answers a row group of `parsed` and returns judged rows of DRAFT_SCHEMA."""

    def __init__(
        self, config: PipelineConfig, model: str, folder: Folder, ledger: Folder, board: Board
    ) -> None:
        """model: as `model_of` on the driver."""
        self.config, self.folder, self.board, self.task = config, folder, board, task_of(config)
        self.ledger = Ledger(ledger)
        self.writer = _writer(config, model, board.say)

    def __call__(self, batch: pa.Table) -> pa.Table:
        rows = actors.read_piece(batch, self.folder).to_pylist()
        expanded = list(expand(rows, self.config))
        missing = {
            request.key: request for _, request in expanded if request and request.key not in self.ledger
        }
        failed = self.writer.answer_all(list(missing.values()), self._keep) if missing else {}
        filled = [self._fill(row, request, failed) if request else row for row, request in expanded]
        self.ledger.merge()
        new = len(missing) - len(failed)  # `_keep` has counted these already
        self.board.advance(len(expanded) - new)
        judged = [with_key(judge_row(row, self.config, self.task)) for row in filled]
        return pa.Table.from_pylist(judged, schema=DRAFT_SCHEMA)

    def _keep(self, request: Request, written: Written) -> None:
        self.ledger.write(request.key, to_record(written))
        self.board.advance(1)

    def _fill(self, row: Row, request: Request, failed: dict[str, str]) -> Row:
        if request.key not in self.ledger:
            return {**row, "reason": "teacher failed", "detail": failed.get(request.key, "no answer")}
        written = self.ledger.read(request.key)
        counts = {name: written[name] for name in ("finish", "prompt_tokens", "tokens")}
        read = read_written(
            written["text"],
            written.get("thinking", ""),
            written["finish"],
            self.config.rationales,
            self.task,
            row["question"],
        )
        return {**row, **counts, "request": request.key, **read}


def expand(rows: Iterable[Row], config: PipelineConfig) -> Iterator[tuple[Row, Request | None]]:
    """Yield every row with its request, once per sample.

    The request is None for rows that need no rationale.
    """
    teacher, task = config.rationales.teacher, task_of(config)
    for row in rows:
        if row["reason"] or row["split"] != "train":
            yield {**row, "row": row["row"] * teacher.samples}, None
            continue
        for sample in range(teacher.samples):
            named = {
                "row": row["row"] * teacher.samples + sample,
                "id": f"{row['id']}-{sample}" if teacher.samples > 1 else row["id"],
            }
            yield {**row, **named}, make_request(teacher, task, row["question"], row["answer"], sample)


class _Nobody:
    """Answers no question. vLLM has already written its answers to the ledger."""

    def answer_all(self, requests: list[Request], keep: Keep) -> dict[str, str]:
        return dict.fromkeys((request.key for request in requests), "vLLM wrote no answer")


def model_of(config: PipelineConfig) -> str:
    """The teacher's model: a Hub id, or the absolute path of a folder, for processes on other nodes."""
    model = config.rationales.teacher.model
    return os.path.abspath(model) if model and os.path.isdir(model) else model


def _writer(
    config: PipelineConfig, model: str, say: Callable[[str], Any]
) -> "Endpoint | LocalTeacher | _Nobody":
    """The teacher. Its module is imported only if it is used: one needs openai, one needs torch."""
    teacher = config.rationales.teacher
    if teacher.kind == "endpoint":
        from skipthink_ray.teacher.endpoint import Endpoint

        return Endpoint(teacher, config.endpoint, say)
    if teacher.kind == "transformers":
        from skipthink_ray.teacher.local import LocalTeacher

        teacher = teacher.model_copy(update={"model": model})
        return LocalTeacher(teacher, config.endpoint.batch_size, "cuda" if config.cluster.use_gpu else "cpu")
    return _Nobody()


def tokens_used(drafts: pa.Table) -> dict[str, int]:
    """Prompt and generated tokens of all answers in a table.

    An answer counts once, also if the ledger had it.
    """
    once = drafts.group_by("request").aggregate([("prompt_tokens", "max"), ("tokens", "max")])
    return {name: pc.sum(once[f"{name}_max"]).as_py() or 0 for name in ("prompt_tokens", "tokens")}
