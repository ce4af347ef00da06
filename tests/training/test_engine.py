"""An update's loss is the mean over its N target tokens. Splitting it changes neither loss nor weights."""

import copy
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from safetensors.torch import load_file, save_file
from torch.nn.functional import cross_entropy

from skipthink_ray.config import OptimConfig, TrainConfig
from skipthink_ray.method.markup import Item
from skipthink_ray.models.batching import collate
from skipthink_ray.training.batches import WHOLE, Split, shares_of
from skipthink_ray.training.engine import DataParallelEngine
from skipthink_ray.training.schedule import learning_rate
from tests.toys import tiny_llama

CPU = torch.device("cpu")
LR = 0.01
UPDATE_SIZES = (8, 8, 3)
"""Items in three consecutive updates. If split in four, the last has a micro-batch without items."""
ROUNDING = 2e-6


def _items(number: int, size: int) -> list[Item]:
    """Items with very unequal lengths."""
    rng = np.random.default_rng(number)
    return [
        Item(rng.integers(0, 50, rng.integers(1, 9)).tolist(), rng.integers(0, 50, 1 + 5 * at).tolist())
        for at in range(size)
    ]


def _run(engine: DataParallelEngine, rank: int = 0, world: int = 1, split: Split = WHOLE) -> list[float]:
    """The losses of three updates with the given split."""
    losses = []
    for number, size in enumerate(UPDATE_SIZES):
        items = _items(number, size)
        lengths = np.array([len(item.prompt) + len(item.target) for item in items])
        shares = shares_of(np.arange(size), lengths, world, split)[rank]
        micro_batches = [collate([items[at] for at in share], 0, CPU) for share in shares]
        losses.append(float(engine.update(micro_batches, sum(len(item.target) for item in items), LR)))
    return losses


def _config(**fields) -> TrainConfig:
    return TrainConfig(optim=OptimConfig(**fields))


def _item_loss(model, item: Item) -> torch.Tensor:
    """Summed token losses of one item, without padding."""
    logits_TV = model(input_ids=torch.tensor([[*item.prompt, *item.target]])).logits[0]
    return cross_entropy(logits_TV[len(item.prompt) - 1 : -1], torch.tensor(item.target), reduction="sum")


def _assert_same_weights(left, right) -> None:
    assert left.keys() == right.keys()
    for name in left:
        torch.testing.assert_close(left[name], right[name], rtol=0, atol=ROUNDING)


@pytest.fixture(scope="module")
def whole():
    """(losses, weights) of one process with batch size 8."""
    engine = DataParallelEngine(tiny_llama(initializer_range=0.2), _config())
    return _run(engine), engine.model.state_dict()


def test_an_update_is_the_sum_over_its_tokens_divided_by_their_number(whole):
    model = tiny_llama(initializer_range=0.2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LR, betas=(0.9, 0.999), weight_decay=0.01)
    for number, size in enumerate(UPDATE_SIZES):
        items = _items(number, size)
        loss = sum(_item_loss(model, item) for item in items) / sum(len(item.target) for item in items)
        loss.backward()
        norm = math.sqrt(sum(float(parameter.grad.square().sum()) for parameter in model.parameters()))
        for parameter in model.parameters():
            parameter.grad *= min(1.0, 1.0 / norm)
        optimizer.step()
        optimizer.zero_grad()
        assert whole[0][number] == pytest.approx(float(loss.detach()), abs=ROUNDING)
    _assert_same_weights(model.state_dict(), whole[1])


@torch.no_grad()
def test_a_mean_of_means_would_be_another_number(whole):
    model, items = tiny_llama(initializer_range=0.2), _items(0, 8)
    mean_of_means = np.mean([float(_item_loss(model, item)) / len(item.target) for item in items])
    assert abs(mean_of_means - whole[0][0]) > 0.01


SPLITS = [*map(Split, (2, 4, 8)), *(Split(most_tokens=tokens) for tokens in (1, 40, 100))]


@pytest.mark.parametrize("split", SPLITS, ids=str)
def test_an_update_does_not_depend_on_its_micro_batches(whole, split):
    engine = DataParallelEngine(tiny_llama(initializer_range=0.2), _config())
    assert _run(engine, split=split) == pytest.approx(whole[0], abs=ROUNDING)
    _assert_same_weights(engine.model.state_dict(), whole[1])


def _rank(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    for number, split in enumerate((WHOLE, *SPLITS)):
        engine = DataParallelEngine(tiny_llama(initializer_range=0.2), _config())
        losses = torch.tensor(_run(engine, rank, 2, split), dtype=torch.float64)
        weights = {name: weight.clone() for name, weight in engine.model.state_dict().items()}
        save_file({"losses": losses, **weights}, f"{folder}/{number}-{rank}.safetensors")
    dist.barrier()
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory) -> Path:
    """Folder with the results of two ranks after the same updates, for every split."""
    folder = tmp_path_factory.mktemp("ranks")
    mp.start_processes(_rank, (str(folder),), nprocs=2, start_method="spawn")
    return folder


@pytest.mark.parametrize("number", range(1 + len(SPLITS)))
def test_an_update_does_not_depend_on_the_number_of_processes(whole, two_processes, number):
    for rank in range(2):
        found = load_file(two_processes / f"{number}-{rank}.safetensors")
        assert found.pop("losses").tolist() == pytest.approx(whole[0], abs=ROUNDING)
        _assert_same_weights(found, whole[1])


def _applied_gradient_norm(clip_norm: float) -> float:
    """The gradient's norm: after one update AdamW's first moment is a tenth of the gradient."""
    engine = DataParallelEngine(tiny_llama(initializer_range=0.2), _config(clip_norm=clip_norm))
    items = _items(0, 8)
    engine.update([collate(items, 0, CPU)], sum(len(item.target) for item in items), LR)
    moments = [
        engine.state(name, parameter, "exp_avg") for name, parameter in engine.model.named_parameters()
    ]
    return 10 * math.sqrt(sum(float(moment.square().sum()) for moment in moments))


def test_gradients_are_clipped_at_their_global_norm_and_0_never_clips():
    norm = _applied_gradient_norm(0.0)
    assert norm > 0.2
    assert _applied_gradient_norm(0.1) == pytest.approx(0.1, rel=1e-4)
    assert _applied_gradient_norm(2 * norm) == pytest.approx(norm, rel=1e-5)


@pytest.mark.parametrize("clip_norm", [0.0, 1.0])
def test_the_loss_is_nan_if_a_gradient_is_not_finite(clip_norm):
    engine = DataParallelEngine(tiny_llama(), _config(clip_norm=clip_norm))
    batch = collate(_items(0, 2), 0, CPU)
    assert math.isfinite(engine.update([batch], 10, LR))
    next(engine.model.parameters()).register_hook(lambda gradient: gradient * math.inf)
    assert math.isnan(engine.update([batch], 10, LR))


def test_an_update_without_learning_rate_changes_no_weight():
    engine = DataParallelEngine(tiny_llama(initializer_range=0.2), _config())
    before = copy.deepcopy(engine.model.state_dict())
    engine.update([collate([], 0, CPU)], 1, lr=0.0)
    assert all(torch.equal(before[name], weight) for name, weight in engine.model.state_dict().items())
    assert engine.optimizer.state, "but makes the optimiser's states"


def test_bf16_keeps_fp32_weights_and_comes_near_fp32(whole):
    engine = DataParallelEngine(tiny_llama(initializer_range=0.2), TrainConfig(precision="bf16"))
    losses = _run(engine)
    assert losses != whole[0]
    assert losses == pytest.approx(whole[0], rel=0.02)
    assert {weight.dtype for weight in engine.model.state_dict().values()} == {torch.float32}


@pytest.mark.parametrize(
    ("schedule", "warmup_share", "expected"),
    [
        ("constant", 0.0, [1.0] * 10),
        ("linear", 0.0, [1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1]),
        ("constant", 0.4, [0.25, 0.5, 0.75, 1, 1, 1, 1, 1, 1, 1]),
        ("linear", 0.5, [0.2, 0.4, 0.6, 0.8, 1.0, 1.0, 0.8, 0.6, 0.4, 0.2]),
        ("cosine", 0.0, [0.5 + 0.5 * math.cos(math.pi * update / 10) for update in range(10)]),
        ("cosine", 0.2, [0.5, 1.0, *(0.5 + 0.5 * math.cos(math.pi * update / 8) for update in range(8))]),
        ("linear", 1.0, [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]),
    ],
)
def test_the_learning_rate_is_a_function_of_the_update(schedule, warmup_share, expected):
    optim = OptimConfig(lr=3e-4, schedule=schedule, warmup_share=warmup_share)
    assert [learning_rate(optim, update, 10) for update in range(10)] == pytest.approx(
        [3e-4 * share for share in expected]
    )


def test_decaying_schedules_end_at_zero():
    assert learning_rate(OptimConfig(schedule="linear"), 10, 10) == 0.0
    assert learning_rate(OptimConfig(schedule="cosine"), 10, 10) == pytest.approx(0.0, abs=1e-18)
