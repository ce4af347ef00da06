"""The stage-loss matrix, compared with single items scored by plain forward passes."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    GraniteConfig,
    GraniteForCausalLM,
    PhiConfig,
    PhiForCausalLM,
)

from skipthink_ray.config import SearchConfig, StudentConfig
from skipthink_ray.method.chunking import ChunkLosses, average_chunks, greedy_chunks, movable, reach
from skipthink_ray.method.markup import MarkerIds, stage_item
from skipthink_ray.models import heads
from skipthink_ray.models.scoring import stage_losses
from skipthink_ray.models.student import Student
from tests.toys import ARCHITECTURES, make_samples, make_student, new_student, token_samples, toy_rows

NUM_CHUNKS = 3
TOLERANCE_NATS = 1e-4


@pytest.fixture(scope="module", params=["scratch", *ARCHITECTURES])
def scored(request, rows, checkpoints):
    """(student in training mode, samples of different lengths)"""
    if request.param == "scratch":
        student = make_student(rows[:50], NUM_CHUNKS)
        torch.manual_seed(0)
        for parameter in student.model.parameters():
            parameter.data += 0.2 * torch.randn_like(parameter)
    else:
        config = StudentConfig(pretrained=str(checkpoints[request.param]))
        student = new_student(config, NUM_CHUNKS)
        for layer in (student.model.get_input_embeddings(), student.model.get_output_embeddings()):
            torch.manual_seed(1)  # make the markers differ, as after training
            layer.weight.data[list(student.ids.stages)] += 0.2 * torch.randn(
                NUM_CHUNKS, layer.weight.shape[1]
            )
    student.model.train()  # scoring must switch off the dropout of GPT-2
    return student, make_samples(toy_rows("multiarith", 40, seed=5), student.tokenizer, NUM_CHUNKS)


@torch.no_grad()
def _item_loss(student, samples, row, ends, stage):
    """Mean loss of the target tokens of one CWT item, from its own forward pass."""
    sizes = np.diff(ends, prepend=0).tolist()
    item = stage_item(replace(samples.sample(row), sizes=sizes), student.ids, stage)
    student.model.eval()
    logits_TV = student.model(input_ids=torch.tensor([[*item.prompt, *item.target]])).logits[0]
    return float(cross_entropy(logits_TV[len(item.prompt) - 1 : -1], torch.tensor(item.target)))


def _reachable(num_steps: int) -> Iterator[tuple[int, int, int]]:
    """(stage, start, end) of every possible chunk in chunkings into non-empty chunks."""
    for stage in range(NUM_CHUNKS):
        for start in range(stage, num_steps if stage else 1):
            yield from ((stage, start, end) for end in range(start + 1, num_steps - NUM_CHUNKS + stage + 2))


def _all(samples) -> np.ndarray:
    """The reach of all entries that any search can read."""
    return reach(samples.ends_RM, SearchConfig(method="optimal"))


def _assert_entries_are_losses(student, samples, rows) -> None:
    student.model.train()
    losses = stage_losses(student.model, student.ids, samples, rows, _all(samples)[rows])
    loss, spread = ChunkLosses(losses), []
    for at, row in enumerate(rows):
        num_steps = int(samples.step_tokens.lengths[row])
        assert losses.count_RK[at, :num_steps].tolist() == samples.step_tokens[row].tolist()
        for stage, start, end in _reachable(num_steps):
            ends = [start] * stage + [end] + [num_steps] * (NUM_CHUNKS - stage - 1)
            expected = _item_loss(student, samples, row, ends, stage)
            assert loss(np.array([at]), stage, np.array([start]), np.array([end]))[0] == pytest.approx(
                expected, abs=TOLERANCE_NATS
            )
            spread.append(expected)
    assert np.std(spread) > 100 * TOLERANCE_NATS, "the losses differ too little for this test"


def test_every_entry_of_the_matrix_is_the_loss_of_an_item(scored):
    student, samples = scored
    longest = np.argsort(-samples.step_tokens.lengths, kind="stable")[:2]
    _assert_entries_are_losses(student, samples, np.array([3, *longest, 0, 7]))


def test_rationales_with_too_few_steps_give_finite_entries(scored):
    student, _ = scored
    few = token_samples(
        [[5, 6]] * 3,
        [[], [[7]], [[7], [8, 9]]],
        [[5]] * 3,
        [[5]] * 3,
        average_chunks(np.array([0, 1, 2]), NUM_CHUNKS),
    )
    losses = stage_losses(student.model, student.ids, few, np.arange(3), _all(few))
    assert all(np.isfinite(array).all() for array in (losses.nll_RMK, losses.eos_RMK, losses.count_RK))


@pytest.mark.parametrize(
    "architecture", ["gemma2, logits capped", "granite, logits scaled", "phi, head with bias"]
)
def test_heads_that_do_more_than_multiply_are_scored_correctly(architecture):
    torch.manual_seed(0)
    shape = {
        "vocab_size": 40,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    }
    shape |= {"num_key_value_heads": 2, "initializer_range": 0.3, "pad_token_id": 0}
    model = {
        "gemma2": lambda: Gemma2ForCausalLM(Gemma2Config(**shape, head_dim=16, final_logit_softcapping=2.0)),
        "granite": lambda: GraniteForCausalLM(GraniteConfig(**shape, logits_scaling=3.0)),
        "phi": lambda: PhiForCausalLM(PhiConfig(**shape)),
    }[architecture.split(",")[0]]()
    student = Student(model, None, MarkerIds((30, 31, 32), 33, 34, 35, 39), 0)
    rng = np.random.default_rng(0)
    steps = [[rng.integers(1, 30, rng.integers(1, 5)).tolist() for _ in range(size)] for size in (4, 7)]
    ends_RM = average_chunks(np.array([4, 7]), NUM_CHUNKS)
    samples = token_samples([[3, 4, 5], [6]], steps, [[7]] * 2, [[8]] * 2, ends_RM)
    _assert_entries_are_losses(student, samples, np.array([0, 1]))


def test_logits_in_slices_give_the_same_matrix(scored, monkeypatch):
    student, samples = scored
    whole = stage_losses(student.model, student.ids, samples, np.arange(10), _all(samples)[:10])
    monkeypatch.setattr(heads, "SLICE_LOGITS", 7 * student.model.get_output_embeddings().weight.shape[0])
    sliced = stage_losses(student.model, student.ids, samples, np.arange(10), _all(samples)[:10])
    np.testing.assert_allclose(sliced.nll_RMK, whole.nll_RMK, rtol=0, atol=TOLERANCE_NATS)
    np.testing.assert_allclose(sliced.eos_RMK, whole.eos_RMK, rtol=0, atol=TOLERANCE_NATS)


def _greedy_by_forward_passes(student, samples, row, ends, eta):
    """The paper's search with one forward pass per candidate; None if two of them are too close to call."""
    ends = list(ends)
    for m in range(NUM_CHUNKS - 1):
        candidates = range((ends[m - 1] if m else 0) + 1, ends[m + 1])
        tried = {
            cut: _item_loss(student, samples, row, [*ends[:m], cut, *ends[m + 1 :]], m) for cut in candidates
        }
        best, *others = sorted(tried, key=lambda cut: tried[cut])
        gain = tried[ends[m]] - tried[best]
        if (others and tried[others[0]] - tried[best] < TOLERANCE_NATS) or (
            best != ends[m] and abs(gain - eta) < TOLERANCE_NATS
        ):
            return None
        if gain > eta:
            ends[m] = best
    return ends


@pytest.mark.parametrize("eta", [0.0, 0.1])
def test_search_on_the_matrix_equals_search_by_single_forward_passes(scored, eta):
    student, samples = scored
    ends_RM = average_chunks(samples.step_tokens.lengths, NUM_CHUNKS)
    rows = np.nonzero(movable(ends_RM))[0]
    losses = stage_losses(
        student.model, student.ids, samples, rows, reach(ends_RM[rows], SearchConfig(method="greedy"))
    )
    found_RM = greedy_chunks(losses, ends_RM[rows], eta, pair=False)
    expected = [_greedy_by_forward_passes(student, samples, row, ends_RM[row].tolist(), eta) for row in rows]
    clear = [
        (found, ends) for found, ends in zip(found_RM.tolist(), expected, strict=True) if ends is not None
    ]
    assert all(found == ends for found, ends in clear)
    assert len(clear) >= 20
    assert (
        sum(ends != before for before, ends in zip(ends_RM[rows].tolist(), expected, strict=True) if ends)
        >= 5
    )
