"""vLLM as the teacher (`rationales.teacher.kind: vllm`), through Ray Data's LLM processor.

It needs a GPU. This path has not been tested yet.
"""

import pyarrow as pa
import ray

from skipthink_ray.config import PipelineConfig
from skipthink_ray.runtime.artifacts import Folder
from skipthink_ray.teacher.asking import PIECE_ROWS, expand, model_of
from skipthink_ray.teacher.ledger import Ledger
from skipthink_ray.teacher.requests import Written, to_record


def fill_with_vllm(config: PipelineConfig, parsed: Folder, answers: Folder) -> None:
    """Answer missing questions with vLLM (ray.data.llm) and write the answers to the ledger."""
    from ray.data.llm import build_processor, vLLMEngineProcessorConfig

    teacher = config.rationales.teacher
    ledger = Ledger(answers)
    known = ray.put(set(ledger.places))
    engine = vLLMEngineProcessorConfig(
        model_source=model_of(config),
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
        mine = Ledger(answers, write_only=True)
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
