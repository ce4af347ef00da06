"""The removal of rationale tokens, compared with a literal reading of its rule."""

from fractions import Fraction
from math import exp, floor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skipthink_ray.config import IcotConfig
from skipthink_ray.method.removal import Removal


def _removal(updates_per_epoch: int = 10, longest: int = 50, **fields) -> Removal:
    return Removal(IcotConfig(removal="stepwise").model_copy(update=fields), updates_per_epoch, longest)


@given(rate=st.integers(1, 40), per_epoch=st.integers(1, 30), longest=st.integers(0, 120))
def test_an_update_removes_its_share_of_the_tokens_of_all_epochs_so_far(rate, per_epoch, longest):
    removal = _removal(per_epoch, longest, tokens_per_epoch=rate)
    for epoch in range(6):
        for position in range(per_epoch):
            epochs = epoch + Fraction(position, per_epoch)
            wanted = floor(rate * epochs)  # s(t)
            found = removal.scheduled(epoch * per_epoch + position)
            for tokens in {longest, longest // 2}:  # of two rationales
                rationale = [*range(tokens)]
                assert rationale[found:] == ([] if wanted > longest else rationale[wanted:])


@given(rate=st.integers(1, 40), per_epoch=st.integers(1, 30), longest=st.integers(0, 120))
def test_the_optimiser_is_reset_once_for_every_growth_until_nothing_is_left(rate, per_epoch, longest):
    removal = _removal(per_epoch, longest, tokens_per_epoch=rate)
    updates = range(per_epoch * (2 + longest // rate) + 1)
    values = [removal.scheduled(update) for update in updates]
    assert values[-1] == longest
    assert not removal.grows(0)
    grown = sum(removal.grows(update) for update in updates)
    assert grown == len({*values}) - 1


@pytest.mark.parametrize("smoothing", [0.5, 1.0, 4.0])
def test_further_tokens_have_probabilities_proportional_to_exp_minus_lambda_o(smoothing):
    number = 200_000
    drawn = _removal(smoothing=smoothing).offsets(number, np.random.default_rng(0))
    weights = np.array([exp(-smoothing * o) for o in range(50)])
    expected = weights / weights.sum()
    found = np.bincount(drawn, minlength=50)[:50] / number
    assert np.abs(found - expected).max() < 4 * np.sqrt(0.25 / number)
    assert found[0] == pytest.approx(1 - exp(-smoothing), abs=0.005)


def test_without_smoothing_no_further_token_is_removed():
    assert not _removal(smoothing=None).offsets(1000, np.random.default_rng(0)).any()


def test_answer_only_removes_everything_from_the_first_update_on_and_resets_nothing():
    removal = _removal(removal="all")
    assert {removal.scheduled(update) for update in range(100)} == {removal.longest}
    assert not any(removal.grows(update) for update in range(100))
