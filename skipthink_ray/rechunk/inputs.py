"""Checks the inputs of a chunk search: schemas on the driver (Parquet footers), rows in the actors."""

import hashlib
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset
import pyarrow.parquet
from transformers import AutoTokenizer

from skipthink_ray.method.markup import STAGE_MARKER
from skipthink_ray.models.pretrained import check_causal_lm
from skipthink_ray.models.student import Student, marker_ids
from skipthink_ray.rows import CHUNK_STEPS, CHUNKED_SCHEMA, SAMPLE_SCHEMA
from skipthink_ray.runtime.artifacts import CONFIG, Folder

TOKEN_COLUMNS = ("question_tokens", "rationale_tokens")
TOKENIZER, DECISIVE = "tokenizer.json", ("normalizer", "pre_tokenizer", "model", "added_tokens")
"""A tokenizer's file, and the keys in it that decide which tokens a text becomes."""


def open_samples(uri: str) -> pyarrow.dataset.Dataset:
    """Open samples lazily, from a folder of Parquet files or an artifact with one. ValueError otherwise."""
    folder = Folder.open(uri)
    if not folder.exists():
        raise ValueError(f"samples: no such folder: {uri}")
    if folder.exists("samples"):
        folder = folder.child("samples")
    try:
        table = folder.parent.table(folder.name)
        rows = table.count_rows() if table.files else 0
    except (OSError, pa.ArrowInvalid) as error:
        raise ValueError(f"samples: {uri} is not a folder of Parquet files: {error}") from error
    if not rows:
        raise ValueError(
            f"samples: no {'row in the Parquet files' if table.files else 'Parquet file'} in {uri}"
        )
    for fragment in table.get_fragments():
        _check_columns(fragment.path, fragment.physical_schema)
    return table


def _check_columns(path: str, schema: pa.Schema) -> None:
    missing = [name for name in SAMPLE_SCHEMA.names if name not in schema.names]
    if missing:
        raise ValueError(
            f"samples: {path} lacks the columns {', '.join(missing)}; the stage samples writes them"
        )
    for field in CHUNKED_SCHEMA:
        if field.name in schema.names and schema.field(field.name).type != field.type:
            found = schema.field(field.name).type
            raise ValueError(f"samples: in {path} the column {field.name} is {found}, not {field.type}")


def check_student_folder(uri: str) -> None:
    """Raises ValueError if the folder does not hold a student."""
    student = Folder.open(uri)
    if not student.exists():
        raise ValueError(f"student: no such folder: {uri}")
    with student.local() as folder:
        check_causal_lm("student", str(folder.absolute()))
        if not any(folder.glob("*.safetensors")):
            raise ValueError(f"student: {uri} contains no weights (*.safetensors)")
        try:
            made = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("skipthink", {})
            ids = marker_ids(AutoTokenizer.from_pretrained(folder), made)
        except (OSError, KeyError) as error:
            raise ValueError(f"student: cannot load a tokenizer from {uri}: {error}") from error
        if not ids.stages:
            raise ValueError(
                f"student: {uri} has no stage markers, so it cannot judge chunks; use that of cwt or stt"
            )
        if ids.chunk_per_step:
            raise ValueError(
                f"student: {uri} writes one chunk per step, so there is nothing to search; "
                "use a student with a fixed number of chunks"
            )


def check_tokenizer(student: str, samples: str) -> None:
    """Raises ValueError if the samples were made with another tokenizer.

    Compares with the tokenizer of the student next to the samples. Bare Parquet files have none and are not
    checked.
    """
    folder = Folder.open(samples)
    if not folder.exists("samples"):
        if folder.name != "samples" or not folder.parent.exists(CONFIG):
            return
        folder = folder.parent
    beside = folder.child("student")
    both = (beside, Folder.open(student))
    if not all(one.exists(TOKENIZER) for one in both):
        return
    theirs, ours = (_deciding(one.read_json(TOKENIZER)) for one in both)
    if theirs != ours:
        raise ValueError(
            f"samples: {samples} was made with another tokenizer ({beside.uri}); "
            "use samples of the student's own run"
        )


def _deciding(tokenizer: dict[str, Any]) -> dict[str, Any]:
    """The parts that decide the tokens of a text, without the stage markers, which only cwt and stt have."""
    parts = {name: tokenizer.get(name) for name in DECISIVE}
    added = [token for token in parts["added_tokens"] or () if not STAGE_MARKER.fullmatch(token["content"])]
    return parts | {"added_tokens": added}


def fingerprints(student: str, samples: pyarrow.dataset.Dataset) -> dict[str, Any]:
    """Identity of a search's inputs: a hash of the student; names, sizes and rows of the sample files."""
    weights = hashlib.sha256()
    with Folder.open(student).local() as folder:
        for file in sorted(path for pattern in ("*.json", "*.safetensors") for path in folder.glob(pattern)):
            with file.open("rb") as stream:
                weights.update(file.name.encode() + hashlib.file_digest(stream, "sha256").digest())
    files = [
        [
            fragment.path.rpartition("/")[2],
            samples.filesystem.get_file_info(fragment.path).size,
            fragment.count_rows(),
        ]
        for fragment in samples.get_fragments()
    ]
    return {
        "student": weights.hexdigest()[:16],
        "samples": {"rows": sum(file[2] for file in files), "files": files},
    }


def check_rows(table: pa.Table, student: Student) -> None:
    """Raises ValueError naming the first row that is inconsistent or does not fit the student."""
    known = student.model.get_input_embeddings().weight.shape[0]
    stages = len(student.ids.stages)
    for name in ("row", CHUNK_STEPS.name, "step_tokens", *TOKEN_COLUMNS):
        if table[name].null_count:
            raise ValueError(f"samples: {table[name].null_count} rows have no {name}")
    sizes = table[CHUNK_STEPS.name].to_pylist()
    _refuse(
        table,
        [len(one) != stages for one in sizes],
        lambda at: f"has {len(sizes[at])} chunks, the student markers for {stages}",
    )
    steps = np.array(pc.list_value_length(table["step_tokens"]))
    wrong_R = [min(one) < 0 or sum(one) != count for one, count in zip(sizes, steps, strict=True)]
    _refuse(table, wrong_R, lambda at: f"has {steps[at]} steps, and chunks of {sizes[at]}")
    tokens = [sum(one) for one in table["step_tokens"].to_pylist()]
    length = np.array(pc.list_value_length(table["rationale_tokens"]))
    _refuse(
        table,
        np.array(tokens) != length,
        lambda at: f"has {length[at]} rationale tokens, and steps of {tokens[at]} together",
    )
    for name in TOKEN_COLUMNS:
        lists = table[name].to_pylist()
        _refuse(
            table,
            [bool(one) and not 0 <= min(one) <= max(one) < known for one in lists],
            lambda at, name=name, lists=lists: (
                f"has the {name} {min(lists[at])} to {max(lists[at])}, the student knows 0 to {known - 1}; "
                "they were made with another tokenizer"
            ),
        )


def _refuse(table: pa.Table, wrong_R: "list[bool] | np.ndarray", why: Callable[[int], str]) -> None:
    wrong = np.flatnonzero(wrong_R)
    if len(wrong):
        first = int(wrong[0])
        raise ValueError(
            f"samples: row {table['row'][first].as_py()} {why(first)} ({len(wrong)} such rows in its batch)"
        )
