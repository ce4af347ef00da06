"""The plan of an epoch: each item once, correct lengths, little padding, shares that partition updates."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from skipthink_ray.config import CwtConfig, SttConfig, TrainConfig
from skipthink_ray.method.markup import MarkerIds, join
from skipthink_ray.models.batching import IGNORE, collate
from skipthink_ray.models.student import train_tokenizer
from skipthink_ray.training.batches import (
    WHOLE,
    Split,
    build_item,
    epoch_items,
    length_batches,
    padding_share,
    plan_updates,
    shares_of,
    updates_per_epoch,
)
from tests.toys import make_samples, read_rows, token_samples, written

STAGES = ("base", "cwt", "stt")
EOS = 1
START = (93, 94)
"""Number of tokens in front of every prompt."""


def _ids(num_chunks: int) -> MarkerIds:
    return MarkerIds(tuple(range(2, 2 + num_chunks)), answer=90, skip=91, thought=92, eos=EOS, start=START)


def _config(stage: str, **fields) -> TrainConfig:
    return {"base": TrainConfig, "cwt": CwtConfig, "stt": SttConfig}[stage](**fields)


def _tokens(rng: np.random.Generator, low: int, high: int) -> list[int]:
    return rng.integers(100, 500, rng.integers(low, high)).tolist()


@st.composite
def epochs(draw, max_rows=6):
    """(samples, chunks kept in skip items): any contiguous chunks, also empty ones."""
    num_chunks = draw(st.integers(1, 5))
    sizes_RM = np.array(
        draw(
            st.lists(
                st.lists(st.integers(0, 3), min_size=num_chunks, max_size=num_chunks).filter(any),
                min_size=1,
                max_size=max_rows,
            )
        )
    )
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    questions, answers, conclusions = ([_tokens(rng, 1, 9) for _ in sizes_RM] for _ in range(3))
    steps = [[_tokens(rng, 1, 7) for _ in range(sizes.sum())] for sizes in sizes_RM]
    samples = token_samples(questions, steps, answers, conclusions, sizes_RM.cumsum(1))
    return samples, rng.random(sizes_RM.shape) < 0.5


def _items(stage, config, epoch, seed=0):
    samples, kept_RM = epoch
    return epoch_items(stage, config, samples, np.random.default_rng(seed), kept_RM, _ids(samples.num_chunks))


@pytest.mark.parametrize("stage", STAGES)
@given(epoch=epochs(), dropout=st.sampled_from([0.0, 0.5, 1.0]))
def test_the_planned_lengths_are_those_of_the_built_items(stage, epoch, dropout):
    samples, _ = epoch
    items = _items(stage, _config(stage, answer_chunk_dropout=dropout), epoch)
    for number in range(len(items.row_I)):
        item = build_item(items, number, samples, _ids(samples.num_chunks))
        assert items.tokens_I[number] == len(item.prompt) + len(item.target)
        assert items.targets_I[number] == len(item.target)


@given(epochs())
def test_a_stage_has_the_parts_of_the_method_once_per_sample(epoch):
    samples, _ = epoch
    num_chunks = samples.num_chunks
    parts = {"base": [num_chunks + 2], "cwt": range(num_chunks + 1), "stt": range(num_chunks + 2)}
    for stage, expected in parts.items():
        items = _items(stage, _config(stage), epoch)
        found = sorted(zip(items.row_I.tolist(), items.part_I.tolist(), strict=True))
        assert found == sorted((row, part) for row in range(len(samples)) for part in expected)


@given(epochs())
def test_skip_items_show_the_kept_chunks(epoch):
    samples, kept_RM = epoch
    items, ids = _items("stt", SttConfig(), epoch), _ids(samples.num_chunks)
    for number in np.nonzero(items.part_I == samples.num_chunks + 1)[0]:
        row = items.row_I[number]
        target = build_item(items, number, samples, ids).target
        chunks = samples.sample(row).chunks
        shown = join(
            chunk if keep else [ids.thought]
            for chunk, keep in zip(chunks, kept_RM[row], strict=True)
            if chunk
        )
        assert target == [*shown, *samples.conclusion[row].tolist(), EOS]


def test_answer_items_see_all_chunks_unless_told_to_drop_some():
    rng = np.random.default_rng(0)
    ends_RM = np.tile([1, 2, 3, 4], (400, 1))
    steps = [[[100], [101], [102], [103]] for _ in ends_RM]
    other = [[7]] * 400
    samples = token_samples(other, steps, other, other, ends_RM)
    kept = {
        share: epoch_items("cwt", CwtConfig(answer_chunk_dropout=share), samples, rng).answer_kept_RM
        for share in (0, 0.4, 1)
    }
    assert kept[0].all()
    assert 0.15 < (~kept[0.4]).mean() < 0.25, "half of the chunks in two fifths of the items"
    assert 0.5 < kept[0.4].all(1).mean() < 0.7, "the others see everything"
    assert 0.45 < (~kept[1]).mean() < 0.55


@given(
    epochs(), st.sampled_from(["grouped", "mixed"]), st.integers(1, 9), st.integers(1, 4), st.integers(0, 99)
)
def test_a_plan_holds_every_item_once_in_updates_of_the_batch_size(
    epoch, stage_updates, batch_size, bucket, seed
):
    config = SttConfig(stage_updates=stage_updates, batch_size=batch_size, bucket_updates=bucket)
    items = _items("stt", config, epoch)
    updates = plan_updates(items, config, np.random.default_rng(seed))
    assert sorted(np.concatenate(updates).tolist()) == list(range(len(items.row_I)))
    assert max(map(len, updates)) <= batch_size
    if stage_updates == "grouped":
        assert all(len(set(items.part_I[update].tolist())) == 1 for update in updates)
        expected = sum(
            -(-int((items.part_I == part).sum()) // batch_size) for part in np.unique(items.part_I)
        )
    else:
        expected = -(-len(items.row_I) // batch_size)
    assert len(updates) == expected, "only the last update of a group may be smaller"


def test_mixed_updates_mix_parts_and_order_depends_on_the_seed(rows):
    tokenizer = train_tokenizer(written(rows[:80]), 400)
    samples = make_samples(rows[:80], tokenizer)
    config = CwtConfig()
    items = epoch_items("cwt", config, samples, np.random.default_rng(0))
    plans = [plan_updates(items, config, np.random.default_rng(seed)) for seed in (0, 0, 1)]
    assert np.mean([len(set(items.part_I[update])) for update in plans[0]]) > 2
    assert all((left == right).all() for left, right in zip(plans[0], plans[1], strict=True))
    assert any((left != right).any() for left, right in zip(plans[0], plans[2], strict=True))
    lengths = [items.tokens_I[update].mean() for update in plans[0]]
    assert lengths != sorted(lengths), "updates are sorted inside, not among each other"


@given(st.integers(0, 40), st.integers(1, 5), st.integers(1, 4))
def test_the_shares_of_ranks_and_micro_batches_partition_an_update(size, world, parts):
    update = np.random.default_rng(size).permutation(size)
    shares = shares_of(update, np.ones(size, dtype=int), world, Split(parts))
    assert all(len(share) == parts for share in shares)
    flat = [micro for share in shares for micro in share]
    assert sorted(np.concatenate(flat).tolist()) == sorted(update.tolist())
    assert max(map(len, flat)) - min(map(len, flat)) <= 1


@given(st.lists(st.integers(1, 60), min_size=1, max_size=40), st.integers(1, 5), st.integers(1, 200))
def test_micro_batches_hold_at_most_their_tokens_and_all_ranks_have_as_many(lengths, world, most_tokens):
    update, tokens = np.arange(len(lengths))[::-1], np.array(lengths)
    shares = shares_of(update, tokens, world, Split(most_tokens=most_tokens))
    flat = [micro for share in shares for micro in share]
    assert sorted(np.concatenate(flat).tolist()) == sorted(update.tolist())
    assert len({len(share) for share in shares}) == 1, "ZeRO communicates in every micro-batch"
    assert any(len(share[-1]) for share in shares), "no rank needs the last micro-batch"
    for micro in flat:
        assert len(micro) <= 1 or len(micro) * tokens[micro].max() <= most_tokens
    for rank, share in enumerate(shares):  # the same items as without a bound
        assert sorted(np.concatenate(share).tolist()) == sorted(update[rank::world].tolist())


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_skip_items_have_their_share(share, rows):
    tokenizer = train_tokenizer(written(rows[:50]), 400)
    samples = make_samples(rows[:50], tokenizer)
    items = epoch_items("stt", SttConfig(skip_share=share), samples, np.random.default_rng(0))
    skips = items.part_I == 5
    assert skips.mean() == pytest.approx(share, abs=0.5 / len(skips))
    times = np.bincount(items.row_I[skips], minlength=50)
    assert np.ptp(times) <= 1, "no rationale is shown much more often than another"
    if share < 1:
        others = sorted(zip(items.row_I[~skips].tolist(), items.part_I[~skips].tolist(), strict=True))
        assert others == [(row, part) for row in range(50) for part in range(5)]


@given(epochs(), st.sampled_from([0, EOS]))
@settings(max_examples=40)
def test_every_item_has_its_eos_label_even_where_pad_is_eos(epoch, pad_id):
    samples, _ = epoch
    items = _items("stt", SttConfig(), epoch)
    built = [
        build_item(items, number, samples, _ids(samples.num_chunks)) for number in range(len(items.row_I))
    ]
    batch = collate(built, pad_id, torch.device("cpu"))
    for item, ids, labels in zip(built, batch["input_ids"].tolist(), batch["labels"].tolist(), strict=True):
        end, start = len(item.prompt) + len(item.target), len(item.prompt)
        assert [label for label in labels if label != IGNORE] == item.target == labels[start:end]
        assert item.target[-1] == EOS
        assert item.target.count(EOS) == 1
        assert ids == [*item.prompt, *item.target, *[pad_id] * (len(ids) - end)]


def test_a_batch_of_no_items_has_no_labels():
    batch = collate([], 0, torch.device("cpu"))
    assert batch["input_ids"].shape == (1, 1)
    assert (batch["labels"] == IGNORE).all()


@given(st.lists(st.integers(1, 60), max_size=40), st.integers(1, 200))
def test_length_batches_hold_every_row_once_within_their_tokens(lengths, batch_tokens):
    rows, tokens = np.arange(len(lengths)) + 7, np.array(lengths, dtype=int)
    batches = length_batches(rows, tokens, batch_tokens)
    assert sorted(row for batch in batches for row in batch) == rows.tolist()
    for batch in batches:
        assert len(batch) == 1 or len(batch) * tokens[batch - 7].max() <= batch_tokens


@pytest.mark.parametrize("task", ["multiarith", "strategy_qa"])
@pytest.mark.parametrize("stage_updates", ["mixed", "grouped"])
def test_padding_is_at_most_a_tenth_on_real_rationales(real_data, task, stage_updates):
    rows = read_rows(real_data / "teacher" / f"{task}.jsonl")
    samples = make_samples(rows, train_tokenizer(written(rows[:300]), 1024))
    for stage in STAGES:
        config, rng = _config(stage, stage_updates=stage_updates), np.random.default_rng(0)
        items = epoch_items(stage, config, samples, rng)
        bucketed = padding_share(items, plan_updates(items, config, rng), world=2, split=WHOLE)
        unsorted = config.model_copy(update={"bucket_updates": 1})
        assert bucketed <= 0.1
        assert padding_share(items, plan_updates(items, unsorted, rng), world=2, split=WHOLE) > 0.12, (
            "sorting is what helps"
        )


@given(
    epochs(),
    st.sampled_from(STAGES),
    st.booleans(),
    st.sampled_from([None, 0.0, 0.3, 0.5, 0.9, 1.0]),
    st.integers(1, 40),
)
def test_updates_are_counted_as_they_are_planned(epoch, stage, grouped, share, batch):
    samples, kept_RM = epoch
    fields = {"batch_size": batch, "stage_updates": "grouped" if grouped else "mixed"}
    config = _config(stage, **fields, **({"skip_share": share} if stage == "stt" else {}))
    items = epoch_items(stage, config, samples, np.random.default_rng(0), kept_RM)
    planned = plan_updates(items, config, np.random.default_rng(0))
    cwt_items = [len(samples)] * (samples.num_chunks + 1)
    assert len(planned) == updates_per_epoch(stage, config, len(samples), cwt_items)
