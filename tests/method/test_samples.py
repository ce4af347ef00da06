"""Samples: the arrays agree with the table, whatever its order and pieces; new chunks share the rest."""

import numpy as np
import pyarrow as pa
import pytest

from skipthink_ray.method.samples import COLUMNS, Ragged, Samples
from tests.toys import token_samples

ENDS_RM = np.array([[1, 2, 3], [2, 2, 4], [1, 1, 1], [3, 5, 6]])
STEPS = [[[10 * row + at] * (at + 1) for at in range(ends[-1])] for row, ends in enumerate(ENDS_RM.tolist())]
QUESTIONS = [[1] * (row + 1) for row in range(4)]


@pytest.fixture
def samples() -> Samples:
    return token_samples(QUESTIONS, STEPS, [[7]] * 4, [[8, 7]] * 4, ENDS_RM)


def _assert_rows(samples: Samples, rows: list[int]) -> None:
    assert len(samples) == len(rows)
    assert samples.ends_RM.tolist() == ENDS_RM[rows].tolist()
    assert [sample.question for sample in samples] == [QUESTIONS[row] for row in rows]
    assert [sample.steps for sample in samples] == [STEPS[row] for row in rows]


def test_sizes_ends_presence_and_tokens_of_chunks_agree(samples):
    assert samples.num_chunks == 3
    assert samples.sizes_RM.tolist() == [[1, 1, 1], [2, 0, 2], [1, 0, 0], [3, 2, 1]]
    assert samples.sizes_RM.cumsum(1).tolist() == samples.ends_RM.tolist() == ENDS_RM.tolist()
    empty = [[chunk for chunk in range(3) if not present[chunk]] for present in samples.present_RM.tolist()]
    assert empty == [[], [1], [1, 2], []]
    chunks = [sample.chunks for sample in samples]
    assert samples.chunk_tokens_RM.tolist() == [[len(chunk) for chunk in each] for each in chunks]
    assert [row[-1] for row in samples.chunk_token_ends_RM.tolist()] == [
        sum(len(step) for step in sample.steps) for sample in samples
    ]


def test_samples_without_chunks_are_cut_into_average_chunks(samples):
    bare = Samples(samples.table.drop_columns("chunk_steps"))
    with pytest.raises(KeyError, match="chunk_steps"):
        _ = bare.ends_RM
    assert [sample.chunks for sample in bare.in_average_chunks(1)] == [
        [[*np.concatenate(steps)]] for steps in STEPS
    ]
    cut = bare.in_average_chunks(2)
    assert cut.sizes_RM.tolist() == [[2, 1], [2, 2], [1, 0], [3, 3]]
    assert cut.table["chunk_steps"].to_pylist() == cut.sizes_RM.tolist()
    assert cut.table.schema == samples.table.schema


def test_the_order_and_the_pieces_of_the_table_do_not_matter(samples):
    _assert_rows(samples, [0, 1, 2, 3])
    table = samples.table
    _assert_rows(Samples(table.take([2, 0, 3, 1])), [0, 1, 2, 3])
    _assert_rows(Samples(pa.concat_tables([table.slice(2), table.slice(0, 2)])), [0, 1, 2, 3])
    _assert_rows(Samples(table.slice(1, 2)), [1, 2])
    _assert_rows(Samples(table.filter(pa.array([True, False, False, True]))), [0, 3])
    _assert_rows(Samples(table.slice(0, 0)), [])


def test_new_chunks_are_in_the_arrays_and_in_the_table_and_share_the_tokens(samples):
    ends_RM = np.array([[1, 1, 3], [1, 3, 4], [0, 0, 1], [2, 4, 6]])
    other = samples.with_ends(ends_RM)
    assert other.ends_RM.tolist() == ends_RM.tolist()
    assert other.table["chunk_steps"].to_pylist() == np.diff(ends_RM, axis=1, prepend=0).tolist()
    assert other.table.schema == samples.table.schema
    assert other.table.drop_columns("chunk_steps").equals(samples.table.drop_columns("chunk_steps"))
    assert np.shares_memory(other.rationale.values, samples.rationale.values)
    assert samples.ends_RM.tolist() == ENDS_RM.tolist(), "the old samples keep their chunks"
    assert samples.table["chunk_steps"].to_pylist() == samples.sizes_RM.tolist()


def test_the_columns_of_the_arrays_suffice(samples):
    few = Samples(samples.table.select(COLUMNS)).with_ends(ENDS_RM)
    assert list(few) == list(samples)
    assert few.table.schema.names == [*COLUMNS, "chunk_steps"]


def test_a_view_of_a_slice_holds_its_own_rows_only():
    table = pa.table({"lists": pa.array([[1], [2, 3], [4, 5, 6]])})
    ragged = Ragged.from_column(table.slice(1), "lists")
    assert [ragged[0].tolist(), ragged[1].tolist()] == [[2, 3], [4, 5, 6]]
    assert ragged.values.tolist() == [2, 3, 4, 5, 6]
    assert ragged.lengths.tolist() == [2, 3]
