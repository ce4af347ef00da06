"""Asks a teacher on the cluster: actors send every question whose answer is not in the ledger yet.

In: a table of DRAFT_SCHEMA whose training rows lack a rationale. Out: the same table with one row per sample,
with rationale, `concluded`, `finish` and token counts. A question without an answer gets the reason `teacher
failed`. The ledger stores the raw text and thinking, so changing `rationales.teacher.rationale` sends no
question again.
"""

from collections.abc import Callable, Iterable, Iterator
from importlib.util import find_spec
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import ray

from skipthink_ray.config import ClusterConfig, PipelineConfig
from skipthink_ray.models.student import check_causal_lm
from skipthink_ray.models.teacher import Keep, LocalTeacher, Request, Written, make_request, to_record
from skipthink_ray.rows import DRAFT_SCHEMA
from skipthink_ray.runtime import actors, endpoint
from skipthink_ray.runtime.artifacts import Folder
from skipthink_ray.runtime.greeting import probe
from skipthink_ray.runtime.ledger import Ledger, ledger_folder
from skipthink_ray.tasks import task_of
from skipthink_ray.tasks.cleaning import judge_row
from skipthink_ray.tasks.near import with_key
from skipthink_ray.tasks.prompts import messages
from skipthink_ray.tasks.thinking import read_written

Row = dict[str, Any]
PIECE_ROWS = 512
"""Questions per actor call. Far more than are in flight at once, so that little time goes to waiting for the
last."""


def check_teacher(config: PipelineConfig) -> None:
    """Raises ValueError within seconds, before any question is sent, if the teacher cannot be used."""
    teacher = config.rationales.teacher
    if teacher.kind == "endpoint":
        style = "zero_shot" if teacher.prompt == "zero_shot" else "few_shot"
        probe(teacher, config.endpoint, tuple(messages(task_of(config), "Hello", style)))
    if teacher.kind == "vllm" and find_spec("vllm") is None:
        raise ValueError(
            "rationales.teacher.kind: vllm is not installed here; "
            "`pip install vllm`, or choose transformers or endpoint"
        )
    if teacher.kind == "transformers":
        check_causal_lm("rationales.teacher.model", teacher.model)


def pool(config: PipelineConfig) -> ClusterConfig:
    """The teacher's actors: the cluster's for a local model, otherwise one that requests almost no CPU."""
    if config.rationales.teacher.kind == "transformers":
        return config.cluster
    return config.cluster.model_copy(update={"num_actors": 1, "cpus_per_worker": 0.01, "use_gpu": False})


class Ask:
    """Actor that answers a row group of `parsed` and returns judged rows of DRAFT_SCHEMA."""

    def __init__(self, config: PipelineConfig, folder: Folder, board: Any) -> None:
        self.config, self.folder, self.board, self.task = config, folder, board, task_of(config)
        self.ledger = Ledger(ledger_folder(config))
        self.writer = _writer(config, board.say.remote)

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
        self.board.advance.remote(len(expanded) - new)
        judged = [with_key(judge_row(row, self.config, self.task)) for row in filled]
        return pa.Table.from_pylist(judged, schema=DRAFT_SCHEMA)

    def _keep(self, request: Request, written: Written) -> None:
        self.ledger.write(request.key, to_record(written))
        self.board.advance.remote(1)

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


def _writer(
    config: PipelineConfig, say: Callable[[str], Any]
) -> "endpoint.Endpoint | LocalTeacher | _Nobody":
    teacher = config.rationales.teacher
    if teacher.kind == "endpoint":
        return endpoint.Endpoint(teacher, config.endpoint, say)
    if teacher.kind == "transformers":
        return LocalTeacher(teacher, config.endpoint.batch_size, "cuda" if config.cluster.use_gpu else "cpu")
    return _Nobody()


def fill_with_vllm(config: PipelineConfig, parsed: Folder) -> None:
    """Answer missing questions with vLLM (ray.data.llm) and write the answers to the ledger.

    Needs a GPU. This path has not been tested yet.
    """
    from ray.data.llm import build_processor, vLLMEngineProcessorConfig

    teacher = config.rationales.teacher
    ledger = Ledger(ledger_folder(config))
    known = ray.put(set(ledger.places))
    engine = vLLMEngineProcessorConfig(
        model_source=teacher.model,
        batch_size=config.endpoint.batch_size,
        concurrency=config.cluster.num_actors,
    )
    sampling = {"temperature": teacher.temperature, "max_tokens": teacher.max_tokens}

    def requests(batch: pa.Table) -> pa.Table:
        done = ray.get(known)
        rows = [
            {"key": request.key, "sample": request.sample, "messages": list(request.messages)}
            for _, request in expand(batch.to_pylist(), config)
            if request and bytes.fromhex(request.key) not in done
        ]
        return pa.Table.from_pylist(rows, schema=_REQUESTS)

    def write(batch: pa.Table) -> pa.Table:
        mine = Ledger(ledger_folder(config), write_only=True)
        for row in batch.to_pylist():
            finish = "length" if row["num_generated_tokens"] >= teacher.max_tokens else "stop"
            written = Written(
                row["generated_text"].strip(), finish, row["num_input_tokens"], row["num_generated_tokens"]
            )
            mine.write(row["key"], to_record(written))
        mine.merge()
        return batch.select(["key"])

    processor = build_processor(
        engine,
        preprocess=lambda row: {**row, "sampling_params": {**sampling, "seed": row["sample"]}},
        postprocess=lambda row: {
            name: row[name] for name in ("key", "generated_text", "num_input_tokens", "num_generated_tokens")
        },
    )
    source = ray.data.read_parquet(parsed.table("parsed").files, filesystem=parsed.filesystem)
    asked = source.map_batches(requests, batch_format="pyarrow", batch_size=PIECE_ROWS)
    for _ in (
        processor(asked).map_batches(write, batch_format="pyarrow", batch_size=PIECE_ROWS).iter_batches()
    ):
        pass


_REQUESTS = pa.schema(
    {
        "key": pa.string(),
        "sample": pa.int64(),
        "messages": pa.list_(pa.struct({"role": pa.string(), "content": pa.string()})),
    }
)


def tokens_used(drafts: pa.Table) -> dict[str, int]:
    """Prompt and generated tokens of all answers in a table.

    An answer counts once, also if the ledger had it.
    """
    once = drafts.group_by("request").aggregate([("prompt_tokens", "max"), ("tokens", "max")])
    return {name: pc.sum(once[f"{name}_max"]).as_py() or 0 for name in ("prompt_tokens", "tokens")}
