"""The worked example of docs/method.md: real functions build it, and the page must show the same.

`python -m tests.test_method_example` prints the blocks, to update the page if the example changes.
Shape suffixes: M chunks, K steps.
"""

from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from skipthink_ray.config import CwtConfig, SearchConfig, SkipsConfig
from skipthink_ray.method import chunking, markup
from skipthink_ray.method.chunking import ChunkLosses, StageLosses
from skipthink_ray.method.samples import Samples
from skipthink_ray.method.skipping import find_kept
from skipthink_ray.models.student import marker_ids, train_tokenizer
from skipthink_ray.tasks import ToyRow
from skipthink_ray.training.batches import epoch_items
from tests.toys import make_samples, written

PAGE = (Path(__file__).parents[1] / "docs" / "method.md").read_text(encoding="utf-8")
ROW = ToyRow(
    question="Tom has 3 boxes of 4 pens. He finds 2 more. How many pens now?",
    rationale="We count the pens. There are 3 boxes. 3 * 4 = 12. He finds 2 more. So 12 + 2 = 14.",
    answer="14",
)
M, K, WIDTH = 3, 5, 92
JUDGES: tuple[Literal["reading", "writing"], ...] = ("reading", "writing")
NLL_MK = np.array([[2.4, 3.0, 7.0, 0, 0], [0, 2.0, 2.1, 3.9, 0], [0, 0, 3.0, 3.3, 2.5]])
EOS_MK = np.array([[0.9, 1.2, 1.2, 0, 0], [0, 2.2, 0.7, 1.2, 0], [0, 0, 0, 0, 0.7]])
"""Losses of a student, chosen to divide well. 0: not needed, as no chunk may be empty."""
ANSWERS = {
    (3, (0, 1, 2)): "14",
    (3, (1, 2)): "14",
    (3, (2,)): "14",
    (3, ()): "5",
    (1, ()): "14",
    (2, ()): "5",
    (3, (1,)): "12",
}
"""The same student's answers, by w and its chunks among the first w (from 0). It writes the others."""


@cache
def prepared() -> tuple[Any, markup.MarkerIds, Samples]:
    tokenizer = train_tokenizer([*written([ROW]), ROW.answer], 1024)
    tokenizer.add_tokens([*markup.stage_markers(M), *markup.COMMON_MARKERS], special_tokens=True)
    return tokenizer, marker_ids(tokenizer, {}), make_samples([ROW], tokenizer, M)


def losses() -> StageLosses:
    return StageLosses(NLL_MK[None], EOS_MK[None], prepared()[2].step_tokens.values[None].astype(float))


def searched(**search: Any) -> np.ndarray:
    return chunking.search(losses(), prepared()[2].ends_RM, SearchConfig(**search), np.zeros(1, int), (0, 0))


def skips(judge: Literal["reading", "writing"]) -> np.ndarray:
    """The greedy chunks that a sequential search keeps."""

    def answers_right(rows: np.ndarray, kept_AM: np.ndarray, given: int) -> np.ndarray:
        contexts = [tuple(np.flatnonzero(kept).tolist()) for kept in kept_AM]
        return np.array([ANSWERS[given, context] == ROW.answer for context in contexts])

    return find_kept(np.ones((1, M), bool), np.ones((1, M), int), answers_right, SkipsConfig(judge=judge))[0]


def _shown(ids: markup.Ids) -> str:
    """Tokens separated by bars, with the question as q, in lines of at most WIDTH columns."""
    tokenizer, _, samples = prepared()
    ids, question = list(ids), samples.question[0].tolist()
    strings = [tokenizer.decode([token]) for token in ids]
    for at in range(len(ids) - len(question) + 1):
        if ids[at : at + len(question)] == question:
            strings[at : at + len(question)] = [" q "]
    lines = [""]
    for string in strings:
        if len(lines[-1]) + len(string) > WIDTH:
            lines.append("")
        lines[-1] += f"{string}|"
    return f"\n{'':18}".join(lines)


def _item(name: str, item: markup.Item) -> str:
    return f"{name:9}prompt   {_shown(item.prompt)}\n{'':9}target   {_shown(item.target)}\n"


def _chunks(ends_M: np.ndarray) -> str:
    bounds = [0, *ends_M.tolist()]
    runs = ((start + 1, end) for start, end in pairwise(bounds))
    return ", ".join(f"s_{first}..s_{last}" if last > first else f"s_{last}" for first, last in runs)


def steps_block() -> str:
    samples = prepared()[2]
    sample = samples.sample(0)
    steps = [f"s_{at}      {len(step):2}  {_shown(step)}" for at, step in enumerate(sample.steps, 1)]
    parts = (("y", samples.answer), (" --> y", samples.conclusion))
    rest = [f"{name:8} {len(part[0]):2}  {_shown(part[0])}" for name, part in parts]
    question = samples.question[0].tolist()
    text = "".join(f"{prepared()[0].decode([token])}|" for token in question)
    return "\n".join([f"q        {len(question)}  {text}", *steps, *rest])


def items_block() -> str:
    _, ids, samples = prepared()
    sample, every = samples.with_ends(searched()).sample(0), [True] * M
    stages = [_item(f"stage {m + 1}", markup.stage_item(sample, ids, m)) for m in range(M)]
    answer = _item("answer", markup.answer_item(sample, ids, every))
    return "".join([_item("full", markup.full_item(sample, ids)), *stages, answer])


def matrix_block() -> str:
    def row(name: str, cells: list[str]) -> str:
        return f"{name:10}" + "".join(f"{cell:>7}" for cell in cells)

    def asked(matrix_MK: np.ndarray, m: int) -> list[str]:
        return [f"{value:.1f}" if value else "-" for value in matrix_MK[m]]

    head = row("", [f"k = {k + 1}" for k in range(K)])
    counts = row("COUNT[k]", [str(int(count)) for count in losses().count_RK[0]])
    pairs = (("NLL", NLL_MK), ("EOS", EOS_MK))
    stages = [row(f"{name}[{m + 1},k]", asked(matrix_MK, m)) for m in range(M) for name, matrix_MK in pairs]
    return "\n".join([head, counts, *stages])


def chunkings_block() -> str:
    loss, row = ChunkLosses(losses()), np.zeros(1, int)
    average_M = prepared()[2].ends_RM[0]
    names: dict[tuple[int, ...], list[str]] = {tuple(average_M.tolist()): ["average"]}
    searches = {"greedy": {}, "greedy, pair": {"objective": "pair"}, "optimal": {"method": "optimal"}}
    for name, search in searches.items():
        names.setdefault(tuple(searched(**search)[0].tolist()), []).append(name)
    lines = [f"{'chunks':28}{'loss(c_1)':>10}{'loss(c_2)':>11}{'loss(c_3)':>11}{'energy':>9}   chosen by"]
    for ends_M in (np.array([a, b, K]) for a in range(1, K - 1) for b in range(a + 1, K)):
        starts_M = [0, *ends_M[:-1]]
        each = [float(loss(row, m, np.array([starts_M[m]]), ends_M[m : m + 1])[0]) for m in range(M)]
        total = float(chunking.energy(losses(), ends_M[None])[0])
        chosen = ", ".join(names.get(tuple(ends_M.tolist()), []))
        cells = f"{_chunks(ends_M):28}{each[0]:10.3f}{each[1]:11.3f}{each[2]:11.3f}{total:9.3f}"
        lines.append(f"{cells}   {chosen}".rstrip())
    return "\n".join(lines)


def skip_block() -> str:
    _, ids, samples = prepared()
    sample = samples.with_ends(searched()).sample(0)
    return "".join(_item(judge, markup.skip_item(sample, ids, skips(judge)[0])) for judge in JUDGES)


BLOCKS = {
    "steps": steps_block,
    "items": items_block,
    "matrix": matrix_block,
    "chunkings": chunkings_block,
    "skips": skip_block,
}


@pytest.mark.parametrize("name", BLOCKS)
def test_the_document_shows_the_example_as_it_is_built(name):
    assert f"```\n{BLOCKS[name]().rstrip()}\n```" in PAGE


def test_chunks_and_skips_are_those_that_the_text_names():
    assert prepared()[2].sizes_RM[0].tolist() == [2, 2, 1]
    assert searched()[0].tolist() == [2, 3, 5]
    assert searched(objective="pair")[0].tolist() == [1, 4, 5]
    assert searched(method="optimal")[0].tolist() == [1, 3, 5]
    assert skips("reading")[0].tolist() == [False, False, True]
    assert skips("writing")[0].tolist() == [False, True, True]


def test_target_tokens_are_those_that_the_text_counts():
    samples = prepared()[2].with_ends(searched())
    random = np.random.default_rng(0)
    items = epoch_items("cwt", CwtConfig(), samples, random)
    assert items.targets_I.tolist() == [11, 7, 13, 2]
    assert f"N = {items.targets_I.sum()}" in PAGE
    base = epoch_items("base", CwtConfig(), samples, random)
    assert f"N = {base.targets_I.sum()}" in PAGE


if __name__ == "__main__":
    print("\n\n".join(f"{name}\n{block()}" for name, block in BLOCKS.items()))
