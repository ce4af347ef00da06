"""DeepSpeed ZeRO 0-3 on real processes: one update is the same for any split, and checkpoints carry over.

The markers have their own learning rate in all tests.
"""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from safetensors.torch import load_file, save_file

from skipthink_ray.config import ClusterConfig, OptimConfig, TrainConfig
from skipthink_ray.method.markup import Item, MarkerIds
from skipthink_ray.method.samples import Samples
from skipthink_ray.models.batching import collate
from skipthink_ray.training import deepspeed, loss
from skipthink_ray.training.backend import deepspeed_problem, start_engine
from skipthink_ray.training.batches import WHOLE, Split, shares_of
from skipthink_ray.training.checkpoint import (
    Progress,
    adam_step,
    load_checkpoint,
    load_weights,
    save_checkpoint,
)
from skipthink_ray.training.deepspeed import load_communication_op
from skipthink_ray.training.engine import Engine
from skipthink_ray.training.markers import attach
from skipthink_ray.training.removal import reset_optimizer
from tests.conftest import made_once
from tests.toys import tiny_llama, token_samples

BATCH = 8
MARKERS = MarkerIds(stages=(45, 46), answer=47, skip=48, thought=49, eos=0)
"""Token ids among the 50 tokens of the items, so that markers are read and written."""
pytestmark = pytest.mark.skipif(
    deepspeed_problem(use_gpu=False) is not None, reason=f"DeepSpeed: {deepspeed_problem(False)}"
)


def _items(update: int) -> list[Item]:
    """Random items of unequal length, different for every update."""
    rng = np.random.default_rng(update)
    return [
        Item(
            rng.integers(0, 50, rng.integers(1, 9)).tolist(),
            rng.integers(0, 50, rng.integers(1, 20)).tolist(),
        )
        for _ in range(BATCH)
    ]


def _samples() -> Samples:
    """A checkpoint holds chunks; these tests do not look at them."""
    return token_samples([[1]], [[[1]]], [[1]], [[1]], np.ones((1, 1), dtype=int))


def _update(engine: Engine, number: int, rank: int, world: int, split: Split) -> float:
    items = _items(number)
    lengths = np.array([len(item.prompt) + len(item.target) for item in items])
    shares = shares_of(np.arange(BATCH), lengths, world, split)[rank]
    micro_batches = [collate([items[at] for at in share], 0, torch.device("cpu")) for share in shares]
    return float(engine.update(micro_batches, sum(len(item.target) for item in items), lr=0.01))


@dataclass(frozen=True)
class Setup:
    """How updates are made. Setups of one number of processes share the processes: starting them is slow."""

    split: Split = WHOLE
    zero: int = 0
    backend: str = "deepspeed"
    precision: str = "fp32"
    updates: int = 3
    sparing: bool = False
    """Save memory: compute activations twice, and logits in slices."""
    reset: bool = False
    """Reset the optimiser before the last update."""
    resume: str = ""
    """Folder of a checkpoint to go on from."""


Result = tuple[torch.Tensor, dict[str, torch.Tensor]]
"""(losses of the updates, final weights)"""
TWO, FEW_TOKENS = Split(2), Split(most_tokens=40)
"""Two micro-batches, and as many as 40 tokens each allow: two or three of at most four items."""
DDP = Setup(backend="ddp")
DDP_BF16 = replace(DDP, precision="bf16")
DDP_RESET, RESET = replace(DDP, reset=True), Setup(reset=True)
RESETS = [replace(RESET, zero=zero) for zero in (1, 2, 3)]
FULL, HALF = ({zero: Setup(zero=zero, updates=updates) for zero in (0, 2, 3)} for updates in (4, 2))
SPLIT = [
    *(Setup(zero=1), Setup(TWO, zero=1), Setup(zero=2), Setup(TWO, zero=2), Setup(TWO, zero=3)),
    *(Setup(FEW_TOKENS, zero=zero) for zero in (0, 2, 3)),
    *(replace(DDP, sparing=True), Setup(TWO, zero=2, sparing=True), Setup(zero=3, sparing=True)),
]
SPLIT_BF16 = [DDP_BF16, replace(DDP_BF16, split=TWO)]
ZERO_BF16 = [Setup(zero=zero, precision="bf16") for zero in (2, 3)]
SPLIT_ZERO_BF16 = [replace(setup, split=split) for setup in ZERO_BF16 for split in (WHOLE, TWO)]
FULL_BF16, HALF_BF16 = (Setup(zero=3, precision="bf16", updates=updates) for updates in (4, 2))
ON_TWO = [
    *(*HALF.values(), *FULL.values(), *SPLIT, *SPLIT_BF16, *SPLIT_ZERO_BF16, *RESETS),
    *(HALF_BF16, FULL_BF16),
]
ON_ONE = [DDP, Setup(), DDP_BF16, *ZERO_BF16, DDP_RESET, RESET]
RESUMED = {
    1: [(HALF[0], 2), (HALF[3], 1)],
    2: [(HALF[2], 2), (HALF[0], 3), (HALF[3], 3), (HALF_BF16, 3)],
}
"""By number of processes: (the setup of a checkpoint of two processes, ZeRO stage that goes on from it)."""


def _resumed(half: Setup, zero: int, folder: Path) -> Setup:
    return replace(half, zero=zero, resume=str(folder / f"two/{ON_TWO.index(half)}"))


def _rank(rank: int, world: int, folder: str, setups: list[Setup]) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=world)
    for number, setup in enumerate(setups):
        with (
            patch.object(loss, "WHOLE_LOGITS", 0 if setup.sparing else loss.WHOLE_LOGITS),
            patch.object(deepspeed, "gathered_parameters", lambda size: size // 10),  # without its minimum
        ):
            losses = _updates(setup, f"{folder}/{number}", rank, world)
        if rank == 0:
            save_file({"losses": losses}, f"{folder}/{number}/losses.safetensors")
    dist.barrier()
    # Without this, a thread of DeepSpeed or gloo sometimes aborts the process when it ends.
    os._exit(0)


def _updates(setup: Setup, folder: str, rank: int, world: int) -> torch.Tensor:
    """Make the updates and save a checkpoint. Returns their losses."""
    optim = OptimConfig(lr=0.01, marker_lr_stds=2.0)
    train = TrainConfig(batch_size=BATCH, optim=optim, precision=setup.precision)  # type: ignore[arg-type]
    cluster = ClusterConfig(
        zero_stage=setup.zero,  # type: ignore[arg-type]
        gradient_checkpointing=setup.sparing,
    )
    model, progress = tiny_llama(), Progress()
    markers = attach(model, MARKERS, train.optim)
    if setup.resume and (rank == 0 or setup.zero != 3):  # as `worker.work` does
        load_weights(Path(setup.resume), model)
    engine: Any = start_engine(model, train, cluster, setup.backend, markers)
    if setup.zero == 3:
        assert len(engine.engine.optimizer.fp16_partitioned_groups_flat) > 5, "the buffers have no bound"
    if setup.resume:
        engine.update([collate([], 0, torch.device("cpu"))], 1, lr=0.0)
        progress, _ = load_checkpoint(Path(setup.resume), engine, _samples())
    losses = []
    for number in range(progress.update, progress.update + setup.updates):
        if setup.reset and number == setup.updates - 1:
            reset_optimizer(engine)
            assert _largest_moment(engine) == adam_step(engine) == 0.0
        losses.append(_update(engine, number, rank, world, setup.split))
    progress.update += setup.updates
    save_checkpoint(Path(folder), engine, progress, _samples())
    return torch.tensor(losses, dtype=torch.float64)


def _largest_moment(engine: Engine) -> float:
    return max(
        float(engine.state(name, parameter, key).abs().max())
        for key in ("exp_avg", "exp_avg_sq")
        for name, parameter in engine.model.named_parameters()
    )


@dataclass(frozen=True)
class Trained:
    """The results of all setups on one and on two processes."""

    folder: Path
    one: dict[Setup, Result]
    two: dict[Setup, Result]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """All setups, trained once for all tests of this file."""

    def setups(world: int, folder: Path) -> list[Setup]:
        return [*(ON_ONE if world == 1 else ON_TWO), *(_resumed(*zeros, folder) for zeros in RESUMED[world])]

    def train_all(folder: Path) -> None:
        _train(folder / "two", 2, setups(2, folder))
        _train(folder / "one", 1, setups(1, folder))

    folder = made_once(tmp_path_factory, "deepspeed", train_all)
    one, two = _results(folder / "one", setups(1, folder)), _results(folder / "two", setups(2, folder))
    return Trained(folder, one, two)


def _train(folder: Path, world: int, setups: list[Setup]) -> None:
    for number in range(len(setups)):
        (folder / str(number)).mkdir(parents=True)
    mp.start_processes(_rank, (world, str(folder), setups), nprocs=world, start_method="spawn")


def _results(folder: Path, setups: list[Setup]) -> dict[Setup, Result]:
    folders = {setup: folder / str(number) for number, setup in enumerate(setups)}
    return {
        setup: (load_file(files / "losses.safetensors")["losses"], load_file(files / "weights.safetensors"))
        for setup, files in folders.items()
    }


def _assert_same(left, right, tolerance: float, name: object) -> None:
    assert left[1].keys() == right[1].keys()
    pairs = [("losses", left[0], right[0])]
    pairs += [(weight, values, right[1][weight]) for weight, values in left[1].items()]
    for what, one, other in pairs:
        assert torch.allclose(one, other, rtol=0, atol=tolerance), (
            f"{name}: {what} differs by {float((one - other).abs().max()):.1e}"
        )


@pytest.mark.slow
def test_updates_do_not_depend_on_workers_micro_batches_zero_stage_or_ways_to_save_memory(trained):
    """The reference is one process with batch size 8, on torch alone."""
    reference = trained.one[DDP]
    _assert_same(reference, trained.one[Setup()], 2e-6, "one process")
    for setup in SPLIT:
        _assert_same(reference, trained.two[setup], 2e-6, setup)


@pytest.mark.slow
def test_in_bf16_splitting_updates_changes_their_losses_less_than_bf16_does(trained):
    rounding = _apart(trained.one[DDP_BF16], trained.one[DDP])
    for setup in (*SPLIT_BF16, *SPLIT_ZERO_BF16):
        alone = trained.one[replace(setup, split=WHOLE)]
        assert _apart(trained.two[setup], alone) < rounding / 2, setup


@pytest.mark.slow
def test_bf16_rounds_more_with_zero_than_with_ddp(trained):
    """With ZeRO, weights, norms and the residual stream are in bf16. Autocast keeps them in fp32."""
    rounding = _apart(trained.one[DDP_BF16], trained.one[DDP])
    for setup in ZERO_BF16:
        assert rounding < _apart(trained.one[setup], trained.one[DDP]) < 10 * rounding, setup


def _apart(left: Result, right: Result) -> float:
    """The largest difference of their losses."""
    return float((left[0] - right[0]).abs().max())


@pytest.mark.slow
def test_a_checkpoint_resumes_in_any_zero_stage_and_world_size(trained):
    for world, results in ((1, trained.one), (2, trained.two)):
        for half, zero in RESUMED[world]:
            losses, weights = trained.two[replace(half, updates=4)]
            resumed = results[_resumed(half, zero, trained.folder)]
            _assert_same((losses[2:], weights), resumed, 2e-6, f"{half} to {zero} on {world} processes")


@pytest.mark.slow
def test_a_reset_clears_the_optimiser_in_every_zero_stage(trained):
    """The reference is torch alone, where test_removal.py compares a reset with a new optimiser."""
    reference = trained.one[DDP_RESET]
    _assert_same(reference, trained.one[RESET], 2e-6, "one process")
    for setup in RESETS:
        _assert_same(reference, trained.two[setup], 2e-6, setup)


def test_a_killed_build_makes_no_process_wait_and_another_ninja_compiles_nothing_again(tmp_path):
    """torch's lock file of a killed build stays. The compiled op is copied, so that nothing compiles here."""
    load_communication_op()
    built = Path(os.environ["TORCH_EXTENSIONS_DIR"]) / "deepspeed_shm_comm"
    shutil.copytree(built, tmp_path / built.name)
    (tmp_path / built.name / "lock").touch()
    compiled = (tmp_path / built.name / f"{built.name}.so").stat().st_mtime_ns
    foreign = tmp_path / "bin" / "ninja"
    foreign.parent.mkdir()
    foreign.write_text("#!/bin/sh\nexit 1\n")
    foreign.chmod(0o755)
    code = "from skipthink_ray.training.deepspeed import load_communication_op; load_communication_op()"
    path = os.pathsep.join([str(foreign.parent), os.environ["PATH"]])
    environment = {**os.environ, "TORCH_EXTENSIONS_DIR": str(tmp_path), "PATH": path}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, timeout=300)
    assert not (tmp_path / built.name / "lock").exists()
    assert (tmp_path / built.name / f"{built.name}.so").stat().st_mtime_ns == compiled
