"""The number of chunks that `auto` chooses, against its definition."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skipthink_ray.method.choosing import MAX_CHUNKS, MOVABLE_SHARE, choose_num_chunks

STEP_COUNTS = st.lists(st.integers(1, 20), min_size=1, max_size=40).map(np.array)


@given(STEP_COUNTS)
def test_auto_chooses_the_largest_m_with_enough_movable_rationales(num_steps_R):
    chosen = choose_num_chunks(num_steps_R)
    assert 1 <= chosen <= MAX_CHUNKS
    assert chosen == 1 or (num_steps_R > chosen).mean() >= MOVABLE_SHARE
    assert chosen == MAX_CHUNKS or (num_steps_R > chosen + 1).mean() < MOVABLE_SHARE


def test_four_fifths_must_have_more_steps_than_chunks():
    assert choose_num_chunks(np.array([5] * 8 + [2] * 2)) == 4
    assert choose_num_chunks(np.array([5] * 7 + [2] * 3)) == 1
    assert choose_num_chunks(np.array([20] * 10)) == 8


@given(STEP_COUNTS)
def test_longer_rationales_never_get_fewer_chunks(num_steps_R):
    assert choose_num_chunks(num_steps_R + 1) >= choose_num_chunks(num_steps_R)


def test_an_empty_list_of_rationales_is_an_error():
    with pytest.raises(ValueError, match="auto needs rationales"):
        choose_num_chunks(np.zeros(0, dtype=int))
