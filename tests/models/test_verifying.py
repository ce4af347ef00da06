"""Verification with shared keys and values equals plain greedy generation, for every sample and gate."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks.literal_skips import Generator
from skipthink_ray.config import SkipsConfig, StudentConfig
from skipthink_ray.method import markup
from skipthink_ray.models.ablation import Ablation, judges_of
from skipthink_ray.models.contexts import Contexts
from skipthink_ray.models.decoding import generate, max_positions
from skipthink_ray.models.perturbing import perturbed
from skipthink_ray.tasks import get_task
from tests.toys import ARCHITECTURES, make_samples, new_student

TASK = get_task("multiarith")
ALL = np.ones(4, dtype=bool)


def _ablation(student, config, samples):
    return Ablation(judges_of(student, config, 0), TASK, config, samples)


def _assert_same(student, samples, config):
    """Assert that the ablations with and without verification have the same result."""
    fast, slow = (
        Ablation(judges_of(student, config, 0), TASK, config, samples, writer)
        for writer in (Contexts, Generator)
    )
    (kept_RM, right_R), (slow_kept_RM, slow_right_R) = fast.find(), slow.find()
    assert (right_R == slow_right_R).all()
    assert (kept_RM == slow_kept_RM).all()
    assert (fast.verified_R + fast.decoded_R == slow.decoded_R).all(), "answers are counted alike"
    assert (fast.chunks_verified_R + fast.chunks_decoded_R == slow.chunks_decoded_R).all(), (
        "chunks are counted alike"
    )
    return fast, kept_RM, right_R


@pytest.mark.parametrize(
    "config",
    [
        SkipsConfig(batch_size=7),
        SkipsConfig(skippable="interior"),
        SkipsConfig(search="all"),
        SkipsConfig(search="exhaustive"),
        SkipsConfig(margin_nats=1.0),
        SkipsConfig(agreement_passes=2, agreement_noise=0.1),
        SkipsConfig(judge="writing"),
        SkipsConfig(judge="writing", batch_size=7, skippable="interior"),
        SkipsConfig(judge="writing", max_chunk_tokens=12),
        SkipsConfig(judge="writing", margin_nats=1.0),
        SkipsConfig(judge="writing", agreement_passes=2, agreement_noise=0.1),
    ],
)
def test_verifying_is_plain_greedy_generation(trained, config):
    student, samples = trained
    fast, kept_RM, right_R = _assert_same(student, samples, config)
    assert 0 < right_R.sum() < len(samples), "the student must be right on some samples and wrong on others"
    assert fast.verified_R.sum() > 0
    assert fast.decoded_R.sum() > 0
    assert (kept_RM[right_R].any() and not kept_RM[right_R].all()) or config.search == "all"
    assert config.judge == "reading" or (fast.chunks_verified_R.any() and fast.chunks_decoded_R.any())


def test_an_ablation_does_not_depend_on_its_batch_size(trained):
    student, samples = trained
    for judge in ("reading", "writing"):
        configs = [SkipsConfig(judge=judge, batch_size=size) for size in (1, 64)]
        kept = [_ablation(student, config, samples).find()[0] for config in configs]
        assert (kept[0] == kept[1]).all()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_random_asks_in_any_order_give_what_generate_writes(architecture, checkpoints, rows):
    """With random weights, texts reach the limit. Long questions leave gpt2 fewer positions, or none."""
    config = StudentConfig(pretrained=str(checkpoints[architecture]))
    student = new_student(config, 4)
    student.model.eval()
    longer = [row._replace(question=row.question * (1 + 24 * at // 11)) for at, row in enumerate(rows[:12])]
    samples = make_samples(longer, student.tokenizer)
    rendered, random = list(samples), np.random.default_rng(0)
    config = SkipsConfig(judge="writing", max_new_tokens=20, max_chunk_tokens=15, batch_size=5)
    contexts, literal = Contexts(student, rendered, config), Generator(student, rendered, config)
    longest, lengths = 0, set[int]()
    for written_from in (4, 1, 0, 2, 3, 4, 1):
        asked, kept_AM = random.permutation(12)[:8], random.random((8, 4)) < 0.5
        kept_AM[:, written_from:] = False
        written, expected = (writer.write(asked, kept_AM, written_from) for writer in (contexts, literal))
        assert [one.ids for one in written] == [one.ids for one in expected]
        assert all(one.chunks_verified + one.chunks_decoded == 4 - written_from for one in written)
        prompts = [
            markup.answer_item(rendered[row], student.ids, kept).prompt
            for row, kept in zip(asked, kept_AM, strict=True)
        ]
        longest = max(longest, *map(len, prompts))
        lengths |= {len(one.ids) for one in written}
    assert longest > max_positions(student) - 20, "some questions must leave less room than the limit"
    assert {0, 20} <= lengths, "some prompts fill all positions, and some answers reach the limit"


def test_a_gold_answer_is_verified_exactly_if_the_student_writes_it(trained):
    """Gold answers that differ from the student's own at each possible token, and its own answer."""
    student, samples = trained
    rendered = list(samples)[:8]
    prompts = [markup.answer_item(sample, student.ids, ALL).prompt for sample in rendered]
    own = generate(student, prompts, 32)
    for at in (None, 0, 1):
        golds = [ids[:-1] for ids in own]
        for gold in golds:
            if at is not None and at < len(gold):
                gold[at] ^= 1
        golds = [gold[: at + 1] if at is not None else gold for gold in golds]
        changed = [replace(sample, answer=gold) for sample, gold in zip(rendered, golds, strict=True)]
        written = Contexts(student, changed, SkipsConfig()).write(np.arange(8), np.tile(ALL, (8, 1)))
        assert [one.ids for one in written] == own
        assert [one.verified for one in written] == [
            gold == ids[:-1] for gold, ids in zip(golds, own, strict=True)
        ]


@pytest.mark.parametrize("written_from", range(5))
def test_chunks_that_the_student_would_write_itself_take_one_forward_pass_each(trained, written_from):
    """The samples have the student's own chunks and answers, so nothing is decoded."""
    student, samples = trained
    rendered = list(samples)[:8]
    own = [_written_by_itself(student, sample.question) for sample in rendered]
    changed = [
        replace(sample, steps=chunks, sizes=[1] * 4, answer=answer)
        for sample, (chunks, answer) in zip(rendered, own, strict=True)
    ]
    calls: list[int] = []
    handle = student.model.register_forward_pre_hook(lambda *_: calls.append(1))
    shown_AM = np.tile(np.arange(4) < written_from, (8, 1))
    written = Contexts(student, changed, SkipsConfig()).write(np.arange(8), shown_AM, written_from)
    handle.remove()
    assert all(
        one.verified and one.chunks_verified == 4 - written_from and not one.chunks_decoded for one in written
    )
    assert [one.ids[:-1] for one in written] == [answer for _, answer in own]
    assert len(calls) == 4 - written_from + 1


def _written_by_itself(student, question):
    """(chunks, answer) that the student writes stage by stage, each without its final EOS."""
    chunks = []
    for marker in (*student.ids.stages, student.ids.answer):
        ids = generate(student, [markup.prompt(student.ids, marker, question, markup.join(chunks))], 128)[0]
        assert ids[-1] == student.ids.eos
        chunks.append(ids[:-1])
    return chunks[:-1], chunks[-1]


def test_a_chunk_is_cut_at_its_limit(trained):
    student, samples = trained
    rendered, rows = list(samples)[:8], np.arange(8)
    config = SkipsConfig(judge="writing", max_chunk_tokens=2)
    written = Contexts(student, rendered, config).write(rows, np.zeros((8, 4), dtype=bool), 3)
    prompts = [markup.prompt(student.ids, student.ids.stages[3], sample.question, []) for sample in rendered]
    cut = [[token for token in ids if token != student.ids.eos] for ids in generate(student, prompts, 2)]
    assert any(len(ids) == 2 for ids in cut)
    prompts = [
        markup.prompt(student.ids, student.ids.answer, sample.question, ids)
        for sample, ids in zip(rendered, cut, strict=True)
    ]
    assert [one.ids for one in written] == generate(student, prompts, config.max_new_tokens)


def test_the_margin_is_the_smallest_lead_in_log_probability_over_the_text(trained):
    student, samples = trained
    rendered = list(samples)
    written = Contexts(student, rendered, SkipsConfig()).write(
        np.arange(len(samples)), np.tile(ALL, (len(samples), 1))
    )
    assert {one.verified for one in written} == {True, False}
    for one, sample in zip(written, rendered, strict=True):
        prompt = markup.answer_item(sample, student.ids, ALL).prompt
        with torch.no_grad():
            logits_TV = student.model(torch.tensor([[*prompt, *one.ids]])).logits[0, len(prompt) - 1 : -1]
        log_probs_TV = logits_TV.log_softmax(-1)
        leads = []
        for step, token in enumerate(one.ids):
            others = torch.cat([log_probs_TV[step, :token], log_probs_TV[step, token + 1 :]])
            leads.append(float(log_probs_TV[step, token] - others.max()))
        assert one.margin_nats == pytest.approx(min(leads), abs=1e-4)


def test_fewer_answers_pass_a_larger_margin_and_none_a_huge_one(trained):
    student, samples = trained
    right = [
        _ablation(student, SkipsConfig(margin_nats=margin), samples).find()[1]
        for margin in (0.0, 3.0, 1000.0)
    ]
    assert (right[1] <= right[0]).all()
    assert 0 < right[1].sum() < right[0].sum()
    assert not right[2].any()


def test_the_noisy_copies_depend_only_on_the_seed(trained):
    student, samples = trained
    before = {name: weights.clone() for name, weights in student.model.state_dict().items()}
    copies = [perturbed(student, 0.1, seed) for seed in (0, 0, 1)]
    assert all(weights.equal(before[name]) for name, weights in student.model.state_dict().items()), (
        "the student itself does not change"
    )
    weights = [copy.model.get_input_embeddings().weight for copy in copies]
    assert weights[0].equal(weights[1])
    assert not weights[0].equal(weights[2])
    change = weights[0] - student.model.get_input_embeddings().weight
    assert float(change.detach().std()) == pytest.approx(
        0.1 * float(student.model.get_input_embeddings().weight.detach().std()), rel=0.05
    )
    config = SkipsConfig(agreement_passes=2, agreement_noise=0.3)
    found = [_ablation(student, config, samples).find() for _ in range(2)]
    assert (found[0][0] == found[1][0]).all()
    plain_R = _ablation(student, SkipsConfig(), samples).find()[1]
    assert (found[0][1] <= plain_R).all()
    assert found[0][1].sum() < plain_R.sum()


def test_another_surface_form_is_right_too(trained, rows):
    """The gold answer is "12.00", which the student never writes, so only decoding can accept "12"."""
    student, samples = trained
    other = make_samples([row._replace(answer=f"{row.answer}.00") for row in rows[:48]], student.tokenizer)
    for config in (SkipsConfig(), SkipsConfig(margin_nats=1.0)):
        fast, _, right_R = _assert_same(student, other, config)
        assert not fast.verified_R.any()
        assert (right_R == _ablation(student, config, samples).find()[1]).all(), (
            "the margin is that of the text that was written"
        )


def test_verifying_respects_the_length_limit_of_decoding(trained):
    """With a limit of one token, plain generation writes `1` for 12, which is always wrong."""
    student, samples = trained
    assert {1, 2} <= set(samples.answer.lengths)
    _assert_same(student, samples, SkipsConfig(max_new_tokens=1))
