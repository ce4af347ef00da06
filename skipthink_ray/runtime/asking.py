"""Questions through a teacher, on the cluster: actors that ask for what the ledger does not hold yet.

In: a table of DRAFT_SCHEMA whose training rows have no rationale. Out: the same, a row per sample, with rationale,
`concluded`, `finish` and tokens; a question that stayed without an answer has the reason `teacher failed`. The ledger
holds text and thinking as they came, so another `rationales.teacher.rationale` asks nothing again.
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
"""Questions that an actor takes at a time: many times what is in flight, so that few wait for the last."""


def check_teacher(config: PipelineConfig) -> None:
    """ValueError within seconds, before any question is asked, for a teacher that cannot be used."""
    teacher = config.rationales.teacher
    if teacher.kind == "endpoint":
        style = "zero_shot" if teacher.prompt == "zero_shot" else "few_shot"
        probe(teacher, config.endpoint, tuple(messages(task_of(config), "Hello", style)))
    if teacher.kind == "vllm" and find_spec("vllm") is None:
        raise ValueError(
            "rationales.teacher.kind: vllm is not installed here; `pip install vllm`, or choose transformers or endpoint"
        )
    if teacher.kind == "transformers":
        check_causal_lm("rationales.teacher.model", teacher.model)


def pool(config: PipelineConfig) -> ClusterConfig:
    """The actors of a teacher: one without a CPU of its own asks an endpoint, those of the cluster hold a local model."""
    if config.rationales.teacher.kind == "transformers":
        return config.cluster
    return config.cluster.model_copy(update={"num_actors": 1, "cpus_per_worker": 0.01, "use_gpu": False})


class Ask:
    """A row group of `parsed` in, DRAFT_SCHEMA out, judged."""

    def __init__(self, config: PipelineConfig, folder: Folder, board: Any) -> None:
        self.config, self.folder, self.board, self.task = config, folder, board, task_of(config)
        self.ledger = Ledger(ledger_folder(config))
        self.writer = _writer(config, board.say.remote)

    def __call__(self, batch: pa.Table) -> pa.Table:
        rows = actors.read_piece(batch, self.folder).to_pylist()
        asked = list(expand(rows, self.config))
        missing = {request.key: request for _, request in asked if request and request.key not in self.ledger}
        failed = self.writer.answer_all(list(missing.values()), self._keep) if missing else {}
        filled = [self._fill(row, request, failed) if request else row for row, request in asked]
        self.ledger.merge()
        self.board.advance.remote(
            len(asked) - (len(missing) - len(failed))
        )  # the others were counted as they came
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
    """Every row with its request, once per sample; rows that need no rationale have none."""
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
    """Answers nothing: what vLLM wrote is in the ledger already."""

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
    """Let vLLM, through ray.data.llm, answer into the ledger what it does not hold yet. Not run here so far: it needs a GPU."""
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
        asked = [request for _, request in expand(batch.to_pylist(), config) if request]
        rows = [
            {"key": r.key, "sample": r.sample, "messages": list(r.messages)}
            for r in asked
            if bytes.fromhex(r.key) not in done
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
    """Prompt and generated tokens of the answers that a table rests on, each once, whenever they were asked for."""
    once = drafts.group_by("request").aggregate([("prompt_tokens", "max"), ("tokens", "max")])
    return {name: pc.sum(once[f"{name}_max"]).as_py() or 0 for name in ("prompt_tokens", "tokens")}
