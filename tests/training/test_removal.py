"""ICoT-SI in training: the tokens of its items, and its optimiser. test_deepspeed.py resets under ZeRO."""

import copy

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from skipthink_ray.config import IcotConfig, TrainConfig
from skipthink_ray.method.markup import Item, MarkerIds, join
from skipthink_ray.method.samples import Samples
from skipthink_ray.models.batching import collate
from skipthink_ray.training.batches import WHOLE, build_item, epoch_items, padding_share
from skipthink_ray.training.checkpoint import Progress, adam_step
from skipthink_ray.training.engine import DataParallelEngine, MicroBatch
from skipthink_ray.training.loop import Hooks, Job, train
from skipthink_ray.training.removal import plan_with_removal, removal_of, reset_optimizer
from tests.toys import make_samples, make_student, tiny_llama, token_samples, toy_rows

IDS = MarkerIds((2,), answer=3, skip=4, thought=5, eos=1)


@st.composite
def rationales(draw) -> Samples:
    """Samples with rationales of different lengths. No two of their tokens are equal."""
    sizes = draw(st.lists(st.integers(1, 12), min_size=1, max_size=9))
    steps = [[[100 * row + at for at in range(size)]] for row, size in enumerate(sizes, start=1)]
    others = [[[10 * row + part] for row in range(len(sizes))] for part in (7, 8, 9)]
    return token_samples(others[0], steps, others[1], others[2], np.ones((len(sizes), 1), dtype=int))


def _epoch(samples: Samples, config: IcotConfig, epoch: int):
    """(items, updates, number of the first update) as the training loop makes them."""
    removal, rng = removal_of(config, samples), np.random.default_rng((0, epoch))
    assert removal
    items = epoch_items("icot", config, samples, rng)
    first = epoch * removal.updates_per_epoch
    return *plan_with_removal(items, samples, removal, first, rng), first


@given(rationales(), st.integers(1, 9), st.integers(1, 4), st.sampled_from([None, 0.5]), st.booleans())
def test_an_item_lacks_the_scheduled_tokens_and_the_further_ones_of_its_epoch(
    samples, rate, batch, smoothing, bucketed
):
    config = IcotConfig(
        removal="stepwise",
        tokens_per_epoch=rate,
        smoothing=smoothing,
        batch_size=batch,
        bucket_updates=16 if bucketed else 1,
    )
    seen, longest = set(), max(samples.rationale.lengths)
    for epoch in range(3):
        items, updates, first = _epoch(samples, config, epoch)
        assert sorted(np.concatenate(updates).tolist()) == [*range(len(samples))]
        for number, update in enumerate(updates, start=first):
            scheduled = rate * number // len(updates)
            for item in update:
                row = items.row_I[item]
                rationale = join(samples.sample(row).steps)
                built = build_item(items, item, samples, IDS)
                left = built.target[: -len(samples.conclusion[row]) - 1]
                assert built.target == [*left, *samples.conclusion[row], IDS.eos]
                assert left == rationale[len(rationale) - len(left) :], "only tokens from the left are gone"
                further = len(rationale) - len(left) - min(scheduled, len(rationale))
                assert further >= 0 if smoothing else further == 0
                assert not left or scheduled <= longest
                assert items.tokens_I[item] == len(built.prompt) + len(built.target)
                assert items.targets_I[item] == len(built.target)
                seen.add(further)
    assert smoothing or seen == {0}


def test_answer_only_items_are_question_and_conclusion():
    samples = token_samples([[7]], [[[20, 21], [22]]], [[8]], [[9]], np.array([[2]]))
    items, (update,), _ = _epoch(samples, IcotConfig(removal="all"), 0)
    built = build_item(items, update[0], samples, IDS)
    assert (built.prompt, built.target) == ([7], [9, IDS.eos])


def test_sorting_by_length_reduces_padding_while_tokens_are_removed(rows):
    samples = make_samples(rows, make_student(rows).tokenizer)
    for epoch in (0, 3):
        shares = [
            padding_share(
                *_epoch(samples, IcotConfig(removal="stepwise", bucket_updates=pool), epoch)[:2], 1, WHOLE
            )
            for pool in (1, 16)
        ]
        assert shares[1] < 0.5 * shares[0]


class Watched(DataParallelEngine):
    """Notes AdamW's step count and its largest first moment before every update."""

    def __init__(self, *arguments) -> None:
        super().__init__(*arguments)
        self.steps, self.moments = list[float](), list[float]()

    def update(self, micro_batches: list[MicroBatch], num_targets: int, lr: float) -> torch.Tensor:
        states = [*self.optimizer.state.values()]
        self.steps.append(adam_step(self))
        self.moments.append(max((float(state["exp_avg"].abs().max()) for state in states), default=0.0))
        return super().update(micro_batches, num_targets, lr)


def test_the_optimiser_starts_anew_exactly_when_more_tokens_are_removed():
    rows = toy_rows("multiarith", 20)
    student = make_student(rows, layers=1, width=16)
    samples = make_samples(rows, student.tokenizer)
    config = IcotConfig(removal="stepwise", tokens_per_epoch=2, batch_size=4)
    engine, progress = Watched(student.model, config), Progress()
    train(Job("icot", config, 30, seed=0), samples, student, engine, progress, Hooks(*[lambda *_: None] * 2))
    since = 0
    for update in range(30):
        since = 0 if update and 2 * update // 5 > 2 * (update - 1) // 5 else since
        assert engine.steps[update] == since, update
        assert (engine.moments[update] == 0) == (since == 0), update
        since += 1


def test_after_a_reset_an_update_is_the_first_one_of_a_new_optimiser():
    rng = np.random.default_rng(0)
    batches = [
        collate([Item([1, 2], rng.integers(0, 50, 9).tolist())], 0, torch.device("cpu")) for _ in range(3)
    ]
    engine = DataParallelEngine(tiny_llama(), TrainConfig())
    for batch in batches[:2]:
        engine.update([batch], 9, lr=0.01)
    new = DataParallelEngine(copy.deepcopy(engine.model), TrainConfig())
    reset_optimizer(engine)
    for one in (engine, new):
        one.update([batches[2]], 9, lr=0.01)
    weights = new.model.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in engine.model.state_dict().items())
