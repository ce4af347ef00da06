"""The token layout of each kind of item, and the answer parsed from a student's text."""

import pytest

from skipthink_ray.method.markup import (
    MarkerIds,
    Sample,
    answer_item,
    full_item,
    parse_conclusion,
    skip_item,
    stage_item,
    stage_markers,
)

IDS = MarkerIds(stages=(101, 102, 103, 104), answer=105, skip=106, thought=107, eos=0)
QUESTION, ANSWER, CONCLUSION = [1, 2], [90], [80, 81]
FULL = Sample(QUESTION, [[10, 11], [20], [30], [40, 41], [50]], [2, 1, 1, 1], ANSWER, CONCLUSION)
"""c_1 = 10 11 20, c_2 = 30, c_3 = 40 41, c_4 = 50"""
SHORT = Sample(QUESTION, [[10, 11], [20]], [1, 1, 0, 0], ANSWER, CONCLUSION)
"""Fewer steps than chunks: c_3 and c_4 are empty."""


def test_there_is_one_marker_per_stage():
    assert stage_markers(3) == ["[1]", "[2]", "[3]"]


@pytest.mark.parametrize(
    ("sample", "rationale"), [(FULL, [10, 11, 20, 30, 40, 41, 50]), (SHORT, [10, 11, 20])]
)
def test_a_full_item_is_question_then_rationale_and_conclusion(sample, rationale):
    item = full_item(sample, IDS)
    assert (item.prompt, item.target) == ([1, 2], [*rationale, 80, 81, 0])


@pytest.mark.parametrize(
    ("sample", "stage", "prompt", "target"),
    [
        (FULL, 0, [101, 1, 2], [10, 11, 20, 0]),
        (FULL, 1, [102, 1, 2, 10, 11, 20], [30, 0]),
        (FULL, 2, [103, 1, 2, 10, 11, 20, 30], [40, 41, 0]),
        (FULL, 3, [104, 1, 2, 10, 11, 20, 30, 40, 41], [50, 0]),
        (SHORT, 0, [101, 1, 2], [10, 11, 0]),
        (SHORT, 1, [102, 1, 2, 10, 11], [20, 0]),
        (SHORT, 2, [103, 1, 2, 10, 11, 20], [0]),
        (SHORT, 3, [104, 1, 2, 10, 11, 20], [0]),
    ],
)
def test_a_stage_item_is_marker_question_and_earlier_chunks_then_its_chunk(sample, stage, prompt, target):
    item = stage_item(sample, IDS, stage)
    assert (item.prompt, item.target) == (prompt, target)


@pytest.mark.parametrize(
    ("sample", "kept", "context"),
    [
        (FULL, [True] * 4, [10, 11, 20, 30, 40, 41, 50]),
        (FULL, [False, True, False, True], [30, 50]),
        (FULL, [False] * 4, []),
        (SHORT, [False, True, True, True], [20]),
    ],
)
def test_an_answer_item_is_marker_question_and_kept_chunks_then_the_answer(sample, kept, context):
    item = answer_item(sample, IDS, kept)
    assert (item.prompt, item.target) == ([105, 1, 2, *context], [90, 0])


@pytest.mark.parametrize(
    ("sample", "kept", "shown"),
    [
        (FULL, [True] * 4, [10, 11, 20, 30, 40, 41, 50]),
        (FULL, [True, False, False, True], [10, 11, 20, 107, 107, 50]),
        (FULL, [False] * 4, [107, 107, 107, 107]),
        (SHORT, [True, False, False, False], [10, 11, 107]),
        (SHORT, [True, True, True, True], [10, 11, 20]),
    ],
)
def test_a_skip_item_shows_a_thought_for_a_skipped_chunk_and_nothing_for_an_empty_one(sample, kept, shown):
    item = skip_item(sample, IDS, kept)
    assert (item.prompt, item.target) == ([106, 1, 2], [*shown, 80, 81, 0])


def test_items_of_a_sample_without_steps():
    empty = Sample(QUESTION, [], [0, 0], ANSWER, CONCLUSION)
    assert [stage_item(empty, IDS, stage).target for stage in (0, 1)] == [[0], [0]]
    assert answer_item(empty, IDS, [True, True]).prompt == [105, 1, 2]
    assert skip_item(empty, IDS, [False, False]).target == full_item(empty, IDS).target == [80, 81, 0]


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("So there are 12. --> 12", "12"),
        ("a --> 1 and then --> 2", "2"),
        ("[thought] --> (B) ", "(B)"),
        ("-->7", "7"),
        ("So there are 12.", None),
        ("So there are 12. -->", None),
        ("So there are 12. -->  \n", None),
        ("", None),
        ("- -> 12", None),
    ],
)
def test_the_answer_is_the_text_after_the_last_arrow(text, answer):
    assert parse_conclusion(text) == answer
