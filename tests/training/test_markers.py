"""Markers train as separate parameters with their own learning rate; pretrained students distinguish them."""

import copy

import numpy as np
import pytest
import torch

from skipthink_ray.config import CwtConfig, CwtSearchConfig, OptimConfig, StudentConfig, TrainConfig
from skipthink_ray.models.batching import collate
from skipthink_ray.models.decoding import answer_questions
from skipthink_ray.models.student import Student, with_stages
from skipthink_ray.training.batches import build_item, epoch_items
from skipthink_ray.training.engine import DataParallelEngine
from skipthink_ray.training.markers import attach, merge
from tests.toys import ARCHITECTURES, make_samples, make_student, new_student, toy_rows, train_briefly

CPU = torch.device("cpu")


def _pretrained(checkpoints, architecture: str, start: str = "mean") -> Student:
    config = StudentConfig(pretrained=str(checkpoints[architecture]), marker_start=start)
    return new_student(config, 4)


def _marker_ids(student: Student) -> list[int]:
    return [*student.ids.stages, student.ids.answer, student.ids.skip, student.ids.thought]


@torch.no_grad()
def _logits(student: Student) -> torch.Tensor:
    return student.model.eval()(input_ids=torch.tensor([[5, *_marker_ids(student), 7]])).logits


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_model_reads_and_writes_marker_rows_and_merging_keeps_them(checkpoints, architecture):
    student = _pretrained(checkpoints, architecture)
    before, names = _logits(student), list(student.model.state_dict())
    markers = attach(student.model, student.ids, OptimConfig())
    tied = student.model.config.tie_word_embeddings
    assert len(markers.rows) == (1 if tied else 2)
    torch.testing.assert_close(_logits(student), before, rtol=1e-6, atol=2e-6)
    with torch.no_grad():
        for rows in markers.rows:
            rows.add_(torch.randn_like(rows))
    apart = _logits(student)
    assert (apart - before).abs().max() > 0.1
    merge(student.model, markers)
    torch.testing.assert_close(_logits(student), apart, rtol=1e-6, atol=2e-6)
    assert list(student.model.state_dict()) == names


def _update(student: Student, optim: OptimConfig, lr: float):
    """Weights before and after one update on CWT items, with markers merged."""
    samples = make_samples(toy_rows("multiarith", 8), student.tokenizer)
    config = CwtConfig(optim=optim)
    items = epoch_items("cwt", config, samples, np.random.default_rng(0))
    built = [build_item(items, item, samples, student.ids) for item in range(len(items.row_I))]
    before = copy.deepcopy(student.model.state_dict())
    markers = attach(student.model, student.ids, optim)
    engine = DataParallelEngine(student.model.eval(), config, markers)
    engine.update([collate(built, student.pad_id, CPU)], int(items.targets_I.sum()), lr)
    merge(student.model, markers)
    return before, student.model.state_dict(), markers.lr_scale


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_a_first_update_moves_markers_by_their_own_learning_rate_and_other_weights_by_the_common_one(
    checkpoints, architecture
):
    student = _pretrained(checkpoints, architecture)
    optim = OptimConfig(lr=1e-4, weight_decay=0.0, marker_lr_stds=0.1)
    ids, name = (
        _marker_ids(student),
        {"gpt2": "transformer.wte.weight", "llama": "model.embed_tokens.weight"}[architecture],
    )
    before, after, scale = _update(student, optim, lr=1e-4)
    ordinary = torch.ones(len(before[name]), dtype=torch.bool)
    ordinary[ids] = False
    spread = before[name][ordinary].std(0, correction=0).square().mean().sqrt()
    assert scale == pytest.approx(0.1 * float(spread) / 1e-4, rel=1e-5)
    moved = (after[name] - before[name]).abs()
    used = [
        *student.ids.stages,
        student.ids.answer,
    ]  # AdamW's first step is the learning rate, whatever the gradient
    assert float(moved[used].median()) == pytest.approx(0.1 * float(spread), rel=1e-2)
    assert 0.9e-4 < float(moved[ordinary].max()) < 1.1e-4


def test_without_a_rate_of_their_own_markers_move_like_every_other_weight(checkpoints):
    student = _pretrained(checkpoints, "gpt2")
    before, after, scale = _update(student, OptimConfig(lr=1e-4, marker_lr_stds=None), lr=1e-4)
    assert scale == 1.0
    assert float((after["transformer.wte.weight"] - before["transformer.wte.weight"]).abs().max()) < 1.1e-4


@pytest.mark.parametrize("start", ["mean", "noise", "words"])
def test_where_markers_start(checkpoints, start):
    student = _pretrained(checkpoints, "llama", start)
    weight = student.model.get_input_embeddings().weight.detach()
    ids = _marker_ids(student)
    ordinary = weight[: min(ids)]
    if start == "mean":
        torch.testing.assert_close(weight[ids], ordinary.mean(0).expand(len(ids), -1), rtol=0, atol=1e-6)
    if start == "noise":
        assert float(torch.pdist(weight[ids]).min()) > 0.5 * float(torch.pdist(ordinary).median())
        assert torch.equal(
            weight[ids], _pretrained(checkpoints, "llama", start).model.get_input_embeddings().weight[ids]
        )
    if start == "words":
        (second,) = student.tokenizer([" second"], add_special_tokens=False)["input_ids"]
        torch.testing.assert_close(weight[student.ids.stages[1]], ordinary[second].mean(0), rtol=0, atol=1e-6)


@pytest.fixture(scope="module")
def taught() -> Student:
    """A student that has learned full thinking but never saw a marker, like a pretrained one."""
    rows = toy_rows("multiarith", 600)
    student = make_student(rows, num_chunks=None, width=64, heads=4, vocabulary=500)
    samples = make_samples(rows, student.tokenizer)
    optim = OptimConfig(lr=5e-3, schedule="cosine", warmup_share=0.05, beta2=0.98, marker_lr_stds=None)
    train_briefly(student, samples, "base", TrainConfig(batch_size=16, optim=optim), 300)
    return student


def _empty_answers(taught: Student, marker_lr_stds: float | None) -> float:
    """Share of unseen questions without an answer after CWT at a fine-tuning learning rate."""
    student = with_stages(copy.deepcopy(taught), 4, "mean", seed=0)
    rows = toy_rows("multiarith", 660)
    samples, unseen = make_samples(rows[:600], student.tokenizer), make_samples(rows[600:], student.tokenizer)
    optim = OptimConfig(lr=5e-4, schedule="cosine", warmup_share=0.05, marker_lr_stds=marker_lr_stds)
    config = CwtConfig(batch_size=16, optim=optim, search=CwtSearchConfig(method="average"))
    train_briefly(student, samples, "cwt", config, 250)
    answers = answer_questions(student, "staged", unseen.table["question_tokens"].to_pylist(), 64)
    return float(np.mean([answer.answer is None for answer in answers]))


@pytest.mark.slow
def test_at_a_fine_tuning_rate_a_pretrained_student_answers_only_with_markers_of_their_own_rate(taught):
    assert _empty_answers(taught, marker_lr_stds=None) > 0.9
    assert _empty_answers(taught, marker_lr_stds=OptimConfig().marker_lr_stds) < 0.05
