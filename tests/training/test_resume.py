"""An interrupted and resumed run equals an uninterrupted one bit for bit."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from skipthink_ray.config import (
    CwtConfig,
    CwtSearchConfig,
    IcotConfig,
    OptimConfig,
    StudentConfig,
    TrainConfig,
)
from skipthink_ray.method.samples import Samples
from skipthink_ray.models.batching import collate
from skipthink_ray.training.checkpoint import KEYS, Progress, load_checkpoint, load_weights, save_checkpoint
from skipthink_ray.training.engine import DataParallelEngine
from skipthink_ray.training.loop import CHECK_EVERY_UPDATES, Hooks, Job, NonFiniteLoss, train
from skipthink_ray.training.markers import attach
from tests.toys import make_samples, new_student, toy_rows

PER_EPOCH, UPDATES = 24, 72
"""24 samples with five items each, five items per update, three epochs, greedy search before every epoch."""
OPTIM = OptimConfig(lr=2e-3, schedule="cosine", warmup_share=0.1)
SEARCH = CwtSearchConfig(eta_nats=0.01)


class Killed(Exception):
    """Raised by a test to interrupt a run."""


@dataclass
class Run:
    losses: list[float]
    ends: list[np.ndarray]
    """Chunk ends after every epoch that this run finished."""
    progress: Progress
    weights: dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def tiny(checkpoints):
    """(student factory, samples). A GPT-2 has dropout, so its random numbers must resume too."""
    config = StudentConfig(pretrained=str(checkpoints["gpt2"]))

    def make():
        return new_student(config, 4)

    return make, make_samples(toy_rows("multiarith", 24, seed=9), make().tokenizer)


def _config(optim: OptimConfig = OPTIM, search: CwtSearchConfig = SEARCH) -> CwtConfig:
    return CwtConfig(batch_size=5, answer_chunk_dropout=0.5, optim=optim, search=search)


def _start(make: Callable[[], Any], samples: Samples, config: TrainConfig, checkpoint: Path | None):
    """(student, engine, progress, samples), loaded from a checkpoint as in a restarted worker."""
    student = make()
    markers = attach(student.model, student.ids, config.optim)
    if checkpoint is None:
        return student, DataParallelEngine(student.model, config, markers), Progress(), samples
    load_weights(checkpoint, student.model)
    engine = DataParallelEngine(student.model, config, markers)
    engine.update([collate([], student.pad_id, torch.device("cpu"))], 1, lr=0.0)
    return student, engine, *load_checkpoint(checkpoint, engine, samples)


def _run(
    tiny,
    config: TrainConfig,
    folder: Path,
    resume: bool = False,
    watch: Callable[[str, Progress], None] = lambda *_: None,
    inside: bool = False,
) -> Run:
    """Train to the end, with a checkpoint in `folder` after every epoch. `watch` is called by every hook.

    inside: save checkpoints inside epochs too.
    """
    make, samples = tiny
    student, engine, progress, samples = _start(make, samples, config, folder if resume else None)
    losses, ends = [], []

    def on_updates(progress, rows):
        losses.extend(row["loss_nats"] for row in rows)
        watch("updates", progress)

    def on_epoch(progress, samples):
        ends.append(samples.ends_RM)
        save_checkpoint(folder, engine, progress, samples)
        watch("epoch", progress)

    def in_epoch(progress, samples):
        if inside:
            save_checkpoint(folder, engine, progress, samples)
            watch("inside", progress)

    stage = "icot" if isinstance(config, IcotConfig) else "cwt"
    job, hooks = Job(stage, config, UPDATES, seed=3), Hooks(on_updates, on_epoch, in_epoch=in_epoch)
    train(job, samples, student, engine, progress, hooks)
    return Run(losses, ends, progress, student.model.state_dict())


@pytest.fixture(scope="module")
def undisturbed(tiny, tmp_path_factory):
    return _run(tiny, _config(), tmp_path_factory.mktemp("undisturbed"))


def _kill_at(event: str, update: int) -> Callable[[str, Progress], None]:
    def watch(happened: str, progress: Progress) -> None:
        if happened == event and progress.update >= update:
            raise Killed

    return watch


def _assert_same_end(resumed: Run, undisturbed: Run) -> None:
    assert resumed.losses == undisturbed.losses[-len(resumed.losses) :]
    assert [row["loss_nats"] for row in resumed.progress.history] == undisturbed.losses
    assert [row["update"] for row in resumed.progress.history] == list(range(UPDATES))
    assert all(
        (left == right).all()
        for left, right in zip(resumed.ends, undisturbed.ends[-len(resumed.ends) :], strict=True)
    )
    assert resumed.weights.keys() == undisturbed.weights.keys()
    assert all(torch.equal(weight, undisturbed.weights[name]) for name, weight in resumed.weights.items())
    for field in ("update", "epoch", "position", "target_tokens", "item_tokens"):
        assert getattr(resumed.progress, field) == getattr(undisturbed.progress, field)
    assert len(resumed.progress.epochs) == len(undisturbed.progress.epochs) == 3


def test_the_run_learns_and_moves_boundaries(undisturbed, tiny):
    assert len(undisturbed.losses) == UPDATES
    assert np.mean(undisturbed.losses[-10:]) < 0.8 * np.mean(undisturbed.losses[:10])
    assert all(epoch["boundaries_moved"] > 0 for epoch in undisturbed.progress.epochs)
    assert len({ends.tobytes() for ends in undisturbed.ends}) == 3
    assert all((ends[:, -1] == tiny[1].step_tokens.lengths).all() for ends in undisturbed.ends)


def test_an_undisturbed_run_can_be_repeated(undisturbed, tiny, tmp_path):
    _assert_same_end(_run(tiny, _config(), tmp_path), undisturbed)


@pytest.mark.parametrize(
    ("event", "update", "first"),
    [("updates", 34, 24), ("updates", 58, 48), ("epoch", 24, 24), ("epoch", 48, 48)],
    ids=["in epoch 2", "in epoch 3", "at the end of epoch 1", "at the end of epoch 2"],
)
def test_a_run_killed_at_any_point_resumes_as_if_it_had_never_stopped(
    undisturbed, tiny, tmp_path, event, update, first
):
    with pytest.raises(Killed):
        _run(tiny, _config(), tmp_path, watch=_kill_at(event, update))
    resumed = _run(tiny, _config(), tmp_path, resume=True)
    assert len(resumed.losses) == UPDATES - first, "it goes on from the last checkpoint, not from the start"
    _assert_same_end(resumed, undisturbed)


def test_a_run_may_be_killed_twice(undisturbed, tiny, tmp_path):
    with pytest.raises(Killed):
        _run(tiny, _config(), tmp_path, watch=_kill_at("updates", 34))
    with pytest.raises(Killed):
        _run(tiny, _config(), tmp_path, resume=True, watch=_kill_at("epoch", 48))
    _assert_same_end(_run(tiny, _config(), tmp_path, resume=True), undisturbed)


@pytest.mark.parametrize("epoch", [0, 1, 2])
def test_a_checkpoint_in_the_middle_of_an_epoch_resumes_at_the_next_update(tiny, tmp_path, epoch):
    """Chunks are searched before epochs 1 and 3 only, so epoch 2 uses the chunks saved after epoch 1."""
    config = _config(search=SEARCH.model_copy(update={"refresh_every_epochs": 2}))
    whole = _run(tiny, config, tmp_path)
    first = epoch * PER_EPOCH + 2 * CHECK_EVERY_UPDATES
    with pytest.raises(Killed):
        _run(tiny, config, tmp_path, watch=_kill_at("inside", first), inside=True)
    resumed = _run(tiny, config, tmp_path, resume=True)
    assert len(resumed.losses) == UPDATES - first
    _assert_same_end(resumed, whole)
    records = [{key: one[key] for key in ("items", "updates")} for one in resumed.progress.epochs]
    assert records == [{"items": 120, "updates": PER_EPOCH}] * 3
    assert all(0 < one["search_share"] < 1 for one in resumed.progress.epochs[::2])


def _timeless(epochs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in one.items() if key != "seconds"} for one in epochs]


@pytest.mark.parametrize(
    ("config", "event", "updates"),
    [
        (IcotConfig(removal="stepwise", tokens_per_epoch=20, batch_size=5), "epoch", (5, 40)),
        (IcotConfig(removal="stepwise", tokens_per_epoch=60, batch_size=2), "inside", (1, 40)),
    ],
    ids=["at the end of an epoch", "in an epoch"],
)
def test_a_run_that_removes_rationale_tokens_resumes_with_the_same_items_and_optimiser(
    tiny, tmp_path, config, event, updates
):
    """The first kill is while the optimiser is reset before every update, the second when nothing is left."""
    config = config.model_copy(update={"smoothing": 0.5, "optim": OPTIM})
    whole = _run(tiny, config, tmp_path)
    assert (
        whole.progress.epochs[-1]["last_rationale_tokens"] == 0 < whole.progress.epochs[0]["rationale_tokens"]
    )
    for update in updates:
        with pytest.raises(Killed):
            _run(tiny, config, tmp_path, watch=_kill_at(event, update), inside=event == "inside")
        resumed = _run(tiny, config, tmp_path, resume=True)
        assert 0 < len(resumed.losses) < UPDATES
        assert [row["loss_nats"] for row in resumed.progress.history] == whole.losses
        assert _timeless(resumed.progress.epochs) == _timeless(whole.progress.epochs)
        assert all(torch.equal(weight, whole.weights[name]) for name, weight in resumed.weights.items())


def test_resuming_a_finished_run_does_nothing(undisturbed, tiny, tmp_path):
    _run(tiny, _config(), tmp_path)
    again = _run(tiny, _config(), tmp_path, resume=True)
    assert again.losses == []
    assert all(torch.equal(weight, undisturbed.weights[name]) for name, weight in again.weights.items())


def test_a_nan_loss_stops_the_run_and_leaves_the_checkpoint_good(tiny, tmp_path, undisturbed):
    with pytest.raises(Killed):
        _run(tiny, _config(), tmp_path, watch=_kill_at("epoch", PER_EPOCH))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(
        NonFiniteLoss,
        match=r"the loss or its gradient became (nan|inf) at update \d+ \(epoch 1, lr .*e\+\d+\)",
    ):
        _run(tiny, _config(OptimConfig(lr=1e30)), tmp_path, resume=True)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    for file in KEYS:
        assert all(
            torch.isfinite(tensor).all() for tensor in load_file(tmp_path / f"{file}.safetensors").values()
        )
    _assert_same_end(_run(tiny, _config(), tmp_path, resume=True), undisturbed)
