"""Verification by one forward pass gives what plain greedy generation gives, on every sample."""

import numpy as np
import pytest

from skipthink_ray.config import SkipsConfig
from skipthink_ray.method import markup
from skipthink_ray.models.ablation import Ablation
from skipthink_ray.models.decoding import generate
from skipthink_ray.models.verifying import emits_target
from skipthink_ray.tasks import get_task
from tests.toys import make_samples

TASK = get_task("multiarith")


def _both(student, samples, config):
    """The ablation with verification and by generation alone."""
    ablations = [Ablation(student, TASK, config, samples, verify=verify) for verify in (True, False)]
    return [(ablation, *ablation.find()) for ablation in ablations]


def _assert_same(student, samples, config):
    (fast, fast_kept_RM, fast_right_R), (slow, slow_kept_RM, slow_right_R) = _both(student, samples, config)
    assert (fast_right_R == slow_right_R).all()
    assert (fast_kept_RM == slow_kept_RM).all()
    assert (fast.verified_R + fast.decoded_R == slow.decoded_R).all(), "as many answers, whichever way"
    assert not slow.verified_R.any()
    return fast, fast_kept_RM, fast_right_R


@pytest.mark.parametrize("config", [SkipsConfig(batch_size=7), SkipsConfig(skippable="interior"), SkipsConfig(search="all")])
def test_verifying_is_plain_greedy_generation(trained, config):
    student, samples = trained
    fast, kept_RM, right_R = _assert_same(student, samples, config)
    assert 0 < right_R.sum() < len(samples), "the student must be right on some samples and wrong on others"
    assert fast.verified_R.sum() > 0
    assert fast.decoded_R.sum() > 0
    assert (kept_RM[right_R].any() and not kept_RM[right_R].all()) or config.search == "all"


def test_an_ablation_does_not_depend_on_its_batch_size(trained):
    student, samples = trained
    kept = [Ablation(student, TASK, SkipsConfig(batch_size=size), samples).find()[0] for size in (1, 64)]
    assert (kept[0] == kept[1]).all()


def test_an_answer_is_verified_exactly_where_decoding_emits_it(trained):
    student, samples = trained
    items = [markup.answer_item(samples.sample(row, samples.ends_RM[row]), student.ids, [True] * 4) for row in range(len(samples))]
    emitted = emits_target(student, items)
    assert emitted == [generate(student, [item.prompt], 32)[0] == item.target for item in items]
    assert 0 < sum(emitted) < len(items)


def test_another_surface_form_is_right_too(trained, rows):
    """The gold answer reads "12.00": never emitted as such, so only decoding can find "12" right."""
    student, samples = trained
    other = make_samples([row._replace(answer=f"{row.answer}.00") for row in rows[:48]], student.tokenizer)
    fast, _, right_R = _assert_same(student, other, SkipsConfig())
    assert not fast.verified_R.any()
    assert (right_R == Ablation(student, TASK, SkipsConfig(), samples).find()[1]).all()


def test_verifying_respects_the_length_limit_of_decoding(trained):
    """With a limit of one token, plain generation writes `1` where the answer is 12: wrong, however sure the student is."""
    student, samples = trained
    assert {1, 2} <= set(samples.answer.lengths)
    _assert_same(student, samples, SkipsConfig(max_new_tokens=1))


def test_one_wrong_token_is_not_emitted(trained):
    student, samples = trained
    prompts = [[student.ids.skip, *samples.question[row].tolist()] for row in range(8)]
    targets = generate(student, prompts, 64)
    assert all(target[-1] == student.ids.eos and len(target) > 10 for target in targets)
    assert all(emits_target(student, [markup.Item(*pair) for pair in zip(prompts, targets, strict=True)]))
    for at in (0, 5, -2, -1):
        changed = [list(target) for target in targets]
        for target in changed:
            target[at] ^= 1
        assert not any(emits_target(student, [markup.Item(*pair) for pair in zip(prompts, changed, strict=True)]))


def test_every_question_about_a_sample_is_settled_one_way(trained):
    student, samples = trained
    ablation = Ablation(student, TASK, SkipsConfig(), samples)
    rows, kept_RM = np.array([5, 2, 9]), np.array([[True] * 4, [False, True, True, True], [False] * 4])
    ablation.answers_right(rows, kept_RM)
    assert (ablation.verified_R + ablation.decoded_R)[rows].tolist() == [1, 1, 1]
    assert (ablation.verified_R + ablation.decoded_R).sum() == 3
