"""DeepSpeed ZeRO 0-3 on real processes: one update is the same for any split, and checkpoints carry over.

The markers have their own learning rate in all tests.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

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
from skipthink_ray.training.backend import deepspeed_problem, start_engine
from skipthink_ray.training.batches import share_of
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


def _update(engine: Engine, number: int, rank: int, world: int, accumulation: int) -> float:
    items = _items(number)
    shares = share_of(np.arange(BATCH), rank, world, accumulation)
    micro_batches = [collate([items[at] for at in share], 0, torch.device("cpu")) for share in shares]
    return float(engine.update(micro_batches, sum(len(item.target) for item in items), lr=0.01))


def _rank(
    rank: int,
    world: int,
    accumulation: int,
    zero: int,
    backend: str,
    folder: str,
    resume: str | None,
    updates: int,
    precision: str,
) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=world)
    optim = OptimConfig(lr=0.01, marker_lr_stds=2.0)
    train = TrainConfig(batch_size=BATCH, optim=optim, precision=precision)  # type: ignore[arg-type]
    cluster = ClusterConfig(zero_stage=zero, accumulation=accumulation)  # type: ignore[arg-type]
    model, progress = tiny_llama(), Progress()
    markers = attach(model, MARKERS, train.optim)
    if resume:
        load_weights(Path(resume), model)
    engine = start_engine(model, train, cluster, backend, markers)
    if resume:
        engine.update([collate([], 0, torch.device("cpu"))] * accumulation, 1, lr=0.0)
        progress, _ = load_checkpoint(Path(resume), engine, _samples())
    first = progress.update
    losses = [_update(engine, number, rank, world, accumulation) for number in range(first, first + updates)]
    progress.update += updates
    save_checkpoint(Path(folder), engine, progress, _samples())
    if rank == 0:
        save_file({"losses": torch.tensor(losses, dtype=torch.float64)}, f"{folder}/losses.safetensors")
    dist.barrier()
    os._exit(
        0
    )  # skips DeepSpeed's and gloo's own threads, which at times abort a process that ends by itself


def _train(
    folder: Path,
    world: int,
    accumulation: int,
    zero: int,
    backend="deepspeed",
    resume: Path | None = None,
    updates=3,
    precision="fp32",
):
    """(losses of the updates, final weights)"""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    checkpoint = str(resume) if resume else None
    arguments = (world, accumulation, zero, backend, str(folder), checkpoint, updates, precision)
    mp.start_processes(_rank, arguments, nprocs=world, start_method="spawn")
    return load_file(folder / "losses.safetensors")["losses"], load_file(folder / "weights.safetensors")


def _assert_same(left, right, tolerance: float) -> None:
    torch.testing.assert_close(left[0], right[0], rtol=0, atol=tolerance)
    assert left[1].keys() == right[1].keys()
    for name, weights in left[1].items():
        torch.testing.assert_close(weights, right[1][name], rtol=0, atol=tolerance)


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """One process with batch size 8, on torch alone."""
    return _train(
        tmp_path_factory.mktemp("reference") / "run", world=1, accumulation=1, zero=0, backend="ddp"
    )


@pytest.mark.parametrize(
    ("world", "accumulation", "zero"), [(1, 1, 0), (2, 1, 1), (2, 1, 2), (2, 2, 2), (2, 2, 3)]
)
def test_updates_do_not_depend_on_workers_accumulation_or_zero_stage(
    reference, tmp_path, world, accumulation, zero
):
    _assert_same(reference, _train(tmp_path / "run", world, accumulation, zero), tolerance=2e-6)


def test_in_bf16_ddp_stays_within_the_rounding_of_a_forward_pass_and_deepspeed_does_not(reference, tmp_path):
    """DeepSpeed adds up gradients in bf16. The backend auto therefore prefers DistributedDataParallel."""
    alone = _train(tmp_path / "run", 1, 1, 0, "ddp", precision="bf16")[0]
    rounding = float((alone - reference[0]).abs().max())
    for accumulation in (1, 2):
        split = _train(tmp_path / "run", 2, accumulation, 0, "ddp", precision="bf16")[0]
        assert float((split - alone).abs().max()) < rounding / 2
    split = _train(tmp_path / "run", 2, 1, 2, precision="bf16")[0]
    assert float((split - alone).abs().max()) > rounding


@pytest.mark.parametrize(("zero_before", "zero_after"), [(0, 2), (2, 2), (3, 1)])
@pytest.mark.slow
def test_a_checkpoint_resumes_in_any_zero_stage_and_world_size(tmp_path, zero_before, zero_after):
    whole = _train(tmp_path / "whole", 2, 1, zero_before, updates=4)
    _train(tmp_path / "half", 2, 1, zero_before, updates=2)
    world = 1 if zero_before != zero_after else 2
    resumed = _train(tmp_path / "rest", world, 1, zero_after, resume=tmp_path / "half", updates=2)
    _assert_same((whole[0][2:], whole[1]), resumed, tolerance=2e-6)


def _reset_rank(rank: int, world: int, zero: int, backend: str, folder: str) -> None:
    """Two updates, a reset, one update. Notes the largest moment and the step count after the reset."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=world)
    train = TrainConfig(batch_size=BATCH, optim=OptimConfig(lr=0.01, marker_lr_stds=2.0))
    cluster, model = ClusterConfig(zero_stage=zero), tiny_llama()  # type: ignore[arg-type]
    engine = start_engine(model, train, cluster, backend, attach(model, MARKERS, train.optim))
    for number in range(2):
        _update(engine, number, rank, world, 1)
    reset_optimizer(engine)
    moments = [
        float(engine.state(name, parameter, key).abs().max())
        for key in ("exp_avg", "exp_avg_sq")
        for name, parameter in engine.model.named_parameters()
    ]
    after = torch.tensor([max(moments), adam_step(engine)])
    losses = [_update(engine, 2, rank, world, 1)]
    progress = Progress(update=3)
    save_checkpoint(Path(folder), engine, progress, _samples())
    if rank == 0:
        save_file({"after": after, "losses": torch.tensor(losses)}, f"{folder}/reset.safetensors")
    dist.barrier()
    os._exit(0)  # as in _rank


def _reset(folder: Path, world: int, zero: int, backend: str = "deepspeed"):
    """(loss of the update after the reset, final weights), after a reset that left nothing."""
    folder.mkdir()
    mp.start_processes(_reset_rank, (world, zero, backend, str(folder)), nprocs=world, start_method="spawn")
    found = load_file(folder / "reset.safetensors")
    assert found["after"].tolist() == [0.0, 0.0]
    return found["losses"], load_file(folder / "weights.safetensors")


@pytest.fixture(scope="module")
def reset_reference(tmp_path_factory):
    """On torch alone, where test_removal.py compares a reset with a new optimiser."""
    return _reset(tmp_path_factory.mktemp("reset") / "run", world=1, zero=0, backend="ddp")


@pytest.mark.parametrize(("world", "zero"), [(1, 0), (2, 1), (2, 2), (2, 3)])
def test_a_reset_clears_the_optimiser_in_every_zero_stage(reset_reference, tmp_path, world, zero):
    _assert_same(reset_reference, _reset(tmp_path / "run", world, zero), tolerance=2e-6)


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
