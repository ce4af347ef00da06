"""examples/one_process.py is the method of the pipeline, in one short file."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from skipthink_ray.presets import toy
from skipthink_ray.settings import load_config
from skipthink_ray.training.checkpoint import Progress
from skipthink_ray.training.engine import DataParallelEngine
from skipthink_ray.training.loop import Hooks, Job, train
from skipthink_ray.training.markers import attach, merge
from tests.toys import make_samples, make_student, toy_rows

FILE = Path(__file__).parents[2] / "examples" / "one_process.py"
UPDATES = 30


def _example():
    spec = importlib.util.spec_from_file_location("one_process", FILE)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SMALL = [
    "--rationales.train-questions",
    "60",
    "--rationales.test-questions",
    "8",
    "--cwt.epochs",
    "2",
    "--evaluation.max-new-tokens",
    "16",
    "--evaluation.latency-questions",
    "2",
]


def test_it_fits_on_a_few_screens():
    assert len(FILE.read_text().splitlines()) <= 180


def test_it_needs_neither_ray_nor_deepspeed():
    code = (
        "import runpy, sys; runpy.run_path(sys.argv[1]); print(*(one.split('.')[0] for one in sys.modules))"
    )
    command = [sys.executable, "-c", code, FILE]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, cwd=FILE.parents[1])
    imported = set(shown.stdout.split())
    assert "torch" in imported
    assert not imported & {"ray", "deepspeed"}


@pytest.mark.parametrize("stage", ["base", "cwt", "stt"])
def test_its_training_loop_is_that_of_the_pipeline(stage):
    rows, config = toy_rows("multiarith", 24), toy()
    here, there = make_student(rows), make_student(rows)
    samples = make_samples(rows, here.tokenizer)
    kept_RM = np.tile([True, False, True, True], (len(rows), 1))
    here, found = _example().train(stage, config, here, samples, kept_RM, UPDATES)
    settings = getattr(config, stage)
    markers = attach(there.model, there.ids, settings.optim)
    engine = DataParallelEngine(there.model, settings, markers)
    hooks = Hooks(lambda *_: None, lambda *_: None)
    job = Job(stage, settings, UPDATES, config.seed, kept_RM=kept_RM)
    same = train(job, samples, there, engine, Progress(), hooks)
    merge(there.model, markers)
    assert (found.ends_RM == same.ends_RM).all()
    for name, weight in there.model.state_dict().items():
        assert torch.equal(weight, here.model.state_dict()[name]), name


@pytest.mark.slow
def test_it_ends_with_the_table_of_the_demo(capsys):
    modes = _example().main(load_config("toy", None, SMALL))
    shown = capsys.readouterr().out
    assert list(modes) == ["full", "staged", "skip"]
    assert all(0 <= numbers["accuracy_pct"]["value"] <= 100 for numbers in modes.values())
    for line in ("full (base)", "staged (cwt)", "skip (stt)", "accuracy %", "speed-up", "kept of c_1..c_M"):
        assert line in shown


def test_it_says_what_is_not_part_of_it():
    with pytest.raises(ValueError, match=r"skips\.gate"):
        _example().main(load_config("toy", None, ["--skips.gate", "cross_fitted"]))
