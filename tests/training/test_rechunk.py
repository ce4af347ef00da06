"""Chunk search on several ranks gives the boundaries of one rank, also if ZeRO-3 shards the student."""

import os

import numpy as np
import pytest
import safetensors.numpy
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from skipthink_ray.config import ClusterConfig, SearchConfig, TrainConfig
from skipthink_ray.method.chunking import average_chunks, energy, movable
from skipthink_ray.method.markup import MarkerIds
from skipthink_ray.method.samples import Samples
from skipthink_ray.models.scoring import stage_losses
from skipthink_ray.training import rechunk as module
from skipthink_ray.training.backend import deepspeed_problem, start_engine
from skipthink_ray.training.rechunk import Rechunked, rechunk
from tests.toys import tiny_llama, token_samples

IDS = MarkerIds((40, 41, 42), 43, 44, 45, 49)
BATCH_TOKENS = 100
"""Gives two ranks several batches each, and one rank possibly one more."""


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch):
    monkeypatch.setitem(module.BATCH_TOKENS, "cpu", BATCH_TOKENS)
    monkeypatch.setattr(module, "ENERGY_BATCHES", 3)


def _samples() -> Samples:
    rng = np.random.default_rng(0)
    num_steps = rng.integers(1, 9, 60)
    steps = [[rng.integers(0, 40, rng.integers(1, 5)).tolist() for _ in range(size)] for size in num_steps]
    return token_samples([[1, 2, 3]] * 60, steps, [[7]] * 60, [[8]] * 60, average_chunks(num_steps, 3))


def _found(model: torch.nn.Module, config: SearchConfig) -> Rechunked:
    return rechunk(model, IDS, _samples(), config, (5, 1))


def _rank(rank: int, folder: str, zero: int, config: SearchConfig) -> None:
    torch.set_num_threads(1)
    module.BATCH_TOKENS["cpu"], module.ENERGY_BATCHES = BATCH_TOKENS, 3
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    engine = start_engine(
        tiny_llama(initializer_range=0.3),
        TrainConfig(),
        ClusterConfig(zero_stage=zero),
        "deepspeed" if zero else "ddp",
    )  # type: ignore[arg-type]
    found = _found(engine.model, config)
    arrays = {
        "ends_RM": found.samples.ends_RM.astype(np.int64),
        "numbers": np.array([found.moved, found.movable, found.energy_nats]),
    }
    safetensors.numpy.save_file(arrays, f"{folder}/{rank}.safetensors")
    dist.barrier()
    os._exit(
        0
    )  # skips DeepSpeed's and gloo's own threads, which at times abort a process that ends by itself


@pytest.mark.parametrize(
    ("zero", "method"), [(0, "annealed"), (0, "greedy"), pytest.param(3, "greedy", marks=pytest.mark.slow)]
)
def test_two_ranks_find_what_one_finds(tmp_path, zero, method):
    if zero and (problem := deepspeed_problem(use_gpu=False)):
        pytest.skip(f"DeepSpeed: {problem}")
    config = SearchConfig(method=method, eta_nats=0.0)
    mp.start_processes(_rank, (str(tmp_path), zero, config), nprocs=2, start_method="spawn")
    alone = _found(tiny_llama(initializer_range=0.3), config)
    for rank in range(2):
        both = safetensors.numpy.load_file(tmp_path / f"{rank}.safetensors")
        assert (both["ends_RM"] == alone.samples.ends_RM).all()
        assert both["numbers"] == pytest.approx([alone.moved, alone.movable, alone.energy_nats])
    assert 0 < alone.moved < alone.movable


@pytest.mark.parametrize("method", ["greedy", "annealed", "optimal"])
def test_the_reported_energy_is_that_of_the_final_chunks(monkeypatch, method):
    """Greedy search measures the energy on a sample of the batches; here, on all of them."""
    monkeypatch.setattr(module, "ENERGY_BATCHES", 1000)
    samples, config = _samples(), SearchConfig(method=method, eta_nats=0.0)
    found = _found(tiny_llama(initializer_range=0.3), config)
    rows = np.flatnonzero(movable(samples.ends_RM))
    losses = stage_losses(
        tiny_llama(initializer_range=0.3),
        IDS,
        samples,
        rows,
        np.repeat(samples.ends_RM[rows, -1:], 3, axis=1),
    )
    assert found.energy_nats == pytest.approx(energy(losses, found.samples.ends_RM[rows]).mean(), rel=1e-5)
    assert found.energy_nats != pytest.approx(energy(losses, samples.ends_RM[rows]).mean(), rel=1e-3)


def test_annealing_draws_anew_for_another_seed_and_another_epoch():
    samples, config = _samples(), SearchConfig(method="annealed", proposals=5)
    found = [
        rechunk(tiny_llama(initializer_range=0.3), IDS, samples, config, seed).samples.ends_RM
        for seed in ((5, 1), (6, 1), (5, 2), (5, 1))
    ]
    assert (found[0] == found[3]).all()
    assert (found[0] != found[1]).any()
    assert (found[0] != found[2]).any()


def test_the_number_of_batches_searched_together_does_not_change_the_result(monkeypatch):
    config = SearchConfig(method="annealed")
    whole = _found(tiny_llama(initializer_range=0.3), config)
    monkeypatch.setattr(module, "HELD_LOSSES", 1)
    assert (_found(tiny_llama(initializer_range=0.3), config).samples.ends_RM == whole.samples.ends_RM).all()


def test_the_record_of_a_search_holds_the_distribution_of_chunk_sizes():
    tokens, ends_RM = [[1], [1]], np.array([[1, 2, 4], [0, 0, 9]])
    samples = token_samples(tokens, [[[1]] * 4, [[1]] * 9], tokens, tokens, ends_RM)
    record = Rechunked(samples, moved=1, movable=2, energy_nats=3.0).record()
    assert record["moved_share"] == 0.5
    assert [record[f"chunk_{m}_steps_mean"] for m in (1, 2, 3)] == [0.5, 0.5, 5.5]
    shares = {size: record[f"chunks_of_{size}_steps_share"] for size in ("0", "1", "2", "7_or_more")}
    assert shares == pytest.approx({"0": 2 / 6, "1": 2 / 6, "2": 1 / 6, "7_or_more": 1 / 6})


def test_nothing_to_move_costs_no_forward_pass():
    class NoStudent(torch.nn.Linear):
        def forward(self, *_, **__):
            raise AssertionError("a forward pass")

    short = token_samples(
        [[1, 2]] * 3, [[[3], [4]]] * 3, [[7]] * 3, [[8]] * 3, average_chunks(np.array([2, 2, 2]), 3)
    )
    found = rechunk(NoStudent(1, 1), IDS, short, SearchConfig(), (0, 0))
    assert (found.samples.ends_RM == short.ends_RM).all()
    assert (found.moved, found.movable, found.energy_nats) == (0, 0, 0.0)
