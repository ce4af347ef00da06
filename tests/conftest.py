"""Fixtures shared by all tests. Slow fixtures are made once per session."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from filelock import FileLock
from hypothesis import settings

from skipthink_ray.config import OptimConfig, SttConfig
from skipthink_ray.method.samples import Samples
from skipthink_ray.models.student import Student
from skipthink_ray.tasks import ToyRow
from tests.toys import ARCHITECTURES, make_samples, make_student, save_tiny, toy_rows, train_briefly, written

ROOT = Path(__file__).parents[1]

settings.register_profile("project", deadline=None, derandomize=True)
settings.load_profile("project")
torch.set_num_threads(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run long tests first, so that no process is left alone with one of them at the end.

    Slow tests are longer than others, and a test with a longer timeout is probably a longer one.
    """

    def seconds(item: pytest.Item) -> float:
        slow, limit = item.get_closest_marker("slow"), item.get_closest_marker("timeout")
        return (limit.args[0] if limit else 1.0) if slow else 0.0

    items.sort(key=seconds, reverse=True)


LONG = [pytest.mark.ray, pytest.mark.slow, pytest.mark.long]
"""Marks of a file whose tests all start clusters and take minutes."""


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """A folder that `make` fills once for all processes of a test run, for files that take long to make."""
    base = factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    made = folder.with_name(f"{name}.made")
    with FileLock(f"{folder}.lock"):
        if not made.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            make(folder)
            made.touch()
    return folder


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with real questions and rationales. Tests that use it are skipped if it is missing."""
    folder = Path(os.environ.get("SKIPTHINK_REAL_DATA") or ROOT / ".." / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}; SKIPTHINK_REAL_DATA names its folder")
    return folder


@pytest.fixture(scope="session")
def rows() -> list[ToyRow]:
    return toy_rows("multiarith", 400)


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory, rows: list[ToyRow]) -> dict[str, Path]:
    """Folders of tiny random checkpoints by architecture."""
    folders = {name: tmp_path_factory.mktemp(name) for name in ARCHITECTURES}
    for name, folder in folders.items():
        torch.manual_seed(0)
        save_tiny(name, folder, written(rows[:100]))
    return folders


@pytest.fixture(scope="session")
def trained(rows: list[ToyRow]) -> tuple[Student, Samples]:
    """A student that memorised 24 questions in all modes except full, and samples of these and 24 other
    questions.

    With all chunks it answers some of them correctly and some wrongly.
    """
    student = make_student(rows[:24], width=48, vocabulary=500, prompt_start="\n")
    known = make_samples(rows[:24], student.tokenizer)
    kept_RM = np.tile([True, False, True, True], (len(known), 1))
    config = SttConfig(batch_size=16, answer_chunk_dropout=0.5, optim=OptimConfig(lr=4e-3))
    train_briefly(student, known, "stt", config, 400, kept_RM)
    return student, make_samples(rows[:48], student.tokenizer)
