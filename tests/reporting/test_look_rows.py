"""The description of a finished stage rationales, and how it is printed."""

import io
import json

import pyarrow as pa
import pytest
from rich.console import Console

from skipthink_ray.config import PipelineConfig
from skipthink_ray.reporting.look_rows import EXAMPLES, describe_rows
from skipthink_ray.reporting.look_tables import print_rows
from skipthink_ray.rows import ROW_SCHEMA
from skipthink_ray.runtime.artifacts import Folder

LONG = 300


def _row(number, steps=2, split="train", reason=None, detail=None):
    rationale = " ".join(f"Tom counts {at}." for at in range(steps))
    names = {"row": number, "id": f"row-{number + 1}", "split": split, "question": "How many [bold]?"}
    return {**names, "answer": "5", "rationale": rationale, "reason": reason, "detail": detail}


@pytest.fixture
def described(tmp_path):
    rows = [_row(0, LONG), *(_row(number) for number in range(1, 6)), _row(6, split="test")]
    wrong = "the teacher concluded '7', but the right answer is '5'"
    rows += [_row(number, reason="wrong answer", detail=wrong) for number in range(7, 12)]
    folder = Folder.open(str(tmp_path))
    folder.write_table("rows", pa.Table.from_pylist(rows, schema=ROW_SCHEMA))
    config = PipelineConfig.model_validate({"task": "gsm8k", "cwt": {"num_chunks": 3}})
    return describe_rows(config, folder, lambda texts: (len(text.split()) for text in texts), "words")


def test_each_fate_is_counted_with_its_first_rows(described):
    assert described["rows"] == {"train": {"kept": 6, "wrong answer": 5}, "test": {"kept": 1}}
    assert [row["row"] for row in described["examples"]["wrong answer"]] == list(range(8, 8 + EXAMPLES))
    assert described["teacher"] == {"right": 6, "judged": 11, "right_without_column": None}


def test_the_description_is_json(described):
    again = json.loads(json.dumps(described))
    assert again["steps"]["max"] == LONG
    assert again["chunks"]["3"]["empty_share"] == pytest.approx(5 / 18)
    assert again["num_chunks"] == {
        "planned": 3,
        "auto": 1,
        "why": "as configured",
        "decided": False,
    }
    (_, long) = again["samples"]
    assert len(long["steps"]) == len(long["chunk_of_step"]) == LONG
    assert [long["chunk_of_step"].count(chunk) for chunk in (1, 2, 3)] == [100, 100, 100]


def test_a_disagreement_is_printed_with_the_end_of_its_rationale(described):
    text = _printed(described)
    assert "row 8 (train, row-8): the teacher concluded '7', but the right answer is '5'" in text
    assert "its rationale ends: Tom counts 0. Tom counts 1." in text
    assert text.index("Kept, for example") < text.index("Dropped: wrong answer, for example")


def test_the_middle_of_a_long_chunk_is_left_out(described):
    text = _printed(described)
    assert "   1  Tom counts 2.\n   1  ... 94 more steps ...\n   1  Tom counts 97.\n" in text
    assert "How many [bold]?" in text


def _printed(described) -> str:
    screen = io.StringIO()
    print_rows(described, Console(file=screen, width=300))
    return screen.getvalue()
