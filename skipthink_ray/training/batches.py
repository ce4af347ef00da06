"""Samples -> items -> updates -> micro-batches, as a pure function of (samples, seed, epoch).

The plan of an epoch does not depend on the number of workers: rank r of W takes every W-th item of the same
update. So every rank knows N, the denominator of an update's loss (method §2), without communication. Any
number of workers and micro-batches computes the same update.
Shape suffixes: R samples, M chunks, I items, B micro-batch, T tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from skipthink_ray.config import SttConfig, TrainConfig
from skipthink_ray.method import markup
from skipthink_ray.method.modes import UNMARKED
from skipthink_ray.method.samples import Samples

Stage = Literal["base", "cwt", "stt", "icot"]


@dataclass(frozen=True)
class Items:
    """The items of an epoch.

    `part` is 0..M-1 for a CWT stage, M for a CWT answer, M+1 for a skip item and M+2 for a full item.
    """

    row_I: np.ndarray
    part_I: np.ndarray
    tokens_I: np.ndarray
    """Tokens of prompt and target, EOS included."""
    targets_I: np.ndarray
    """Target tokens, EOS included."""
    answer_kept_RM: np.ndarray
    """Chunks that a CWT answer item sees."""
    skip_kept_RM: np.ndarray
    """Chunks that a skip item shows."""
    removed_I: np.ndarray
    """Rationale tokens that a full item lacks, from the left (icot; see removal.py)."""


def epoch_items(
    stage: Stage,
    config: TrainConfig,
    samples: Samples,
    rng: np.random.Generator,
    kept_RM: np.ndarray | None = None,
    ids: markup.MarkerIds | None = None,
) -> Items:
    """All items of one epoch: full items for base and icot; CWT items for cwt; CWT and skip items for stt.

    kept_RM: the chunks that skip items show; None: all.
    ids: the student's markers; None: `[1]` to `[M]` and `[answer]`, with nothing in front of a prompt.
    """
    start_tokens = len(ids.start) if ids else 0
    per_step, concludes = (ids.chunk_per_step, ids.answer_in_last_chunk) if ids else (False, False)
    num_rows, num_chunks = samples.ends_RM.shape
    shown_RM = samples.present_RM if kept_RM is None else kept_RM & samples.present_RM
    if stage in UNMARKED:
        parts = np.full((1, num_rows), num_chunks + 2)
    else:
        last = num_chunks + (2 if stage == "stt" else 1)
        parts = np.repeat(np.arange(last)[:, None], num_rows, axis=1)
    rows, parts = np.tile(np.arange(num_rows), len(parts)), parts.ravel()
    if per_step:  # of a rationale's empty chunks, only the first has an item: it ends the rationale
        wanted = (parts >= num_chunks) | (parts <= samples.present_RM.sum(1)[rows])
        rows, parts = rows[wanted], parts[wanted]
    if concludes:
        rows, parts = rows[parts != num_chunks], parts[parts != num_chunks]
    if isinstance(config, SttConfig) and config.skip_share is not None:
        rows, parts = _weigh_skips(rows, parts, num_chunks + 1, config.skip_share, rng)
    answer_kept_RM = _drop_chunks(samples.present_RM, config.answer_chunk_dropout, rng)
    tokens, targets = _lengths(samples, answer_kept_RM, shown_RM, concludes)
    lengths = tokens[rows, parts] + start_tokens, targets[rows, parts]
    return Items(rows, parts, *lengths, answer_kept_RM, shown_RM, np.zeros_like(rows))


def plan_updates(items: Items, config: TrainConfig, rng: np.random.Generator) -> list[np.ndarray]:
    """Item numbers of every update of an epoch, in order. The last update of a group may be smaller."""
    groups = np.unique(items.part_I) if config.stage_updates == "grouped" else [None]
    updates: list[np.ndarray] = []
    for part in groups:
        order = rng.permutation(len(items.row_I) if part is None else np.nonzero(items.part_I == part)[0])
        pool = config.batch_size * config.bucket_updates
        for start in range(0, len(order), pool):
            shuffled = order[start : start + pool]
            by_length = (
                shuffled[np.argsort(items.tokens_I[shuffled], kind="stable")]
                if config.bucket_updates > 1
                else shuffled
            )
            updates.extend(
                by_length[at : at + config.batch_size] for at in range(0, len(by_length), config.batch_size)
            )
    return [updates[at] for at in rng.permutation(len(updates))]


def updates_per_epoch(stage: Stage, config: TrainConfig, num_rows: int, cwt_items: Sequence[int]) -> int:
    """Number of updates that `plan_updates` makes from `epoch_items`, computed without listing the items.

    cwt_items: number of CWT items of each kind. base and icot do not read it.
    """
    groups = [num_rows] if stage in UNMARKED else [*cwt_items]
    if stage == "stt":
        share = config.skip_share if isinstance(config, SttConfig) else None
        skips = num_rows if share is None else _wanted_skips(share, num_rows, sum(groups))
        groups = [*(groups if share != 1 else ()), skips]
    items = groups if config.stage_updates == "grouped" else [sum(groups)]
    return sum(-(-count // config.batch_size) for count in items)


@dataclass(frozen=True)
class Split:
    """How each rank's share of an update is split into micro-batches."""

    micro_batches: int = 1
    """How many (`cluster.accumulation`)."""
    most_tokens: int | None = None
    """The most tokens of each, in place of their number (`cluster.micro_batch_tokens`)."""


WHOLE = Split()
"""One micro-batch per rank."""


def shares_of(update: np.ndarray, tokens_I: np.ndarray, world: int, split: Split) -> list[list[np.ndarray]]:
    """The micro-batches of an update, as item numbers, by rank.

    All ranks have the same number of them, because ZeRO 2 and 3 communicate in each one. A micro-batch is
    empty if a rank has too few items, or fewer micro-batches than another rank.
    """
    if split.most_tokens is None:
        step = world * split.micro_batches
        starts = range(0, step, world)
        return [[update[start + rank :: step] for start in starts] for rank in range(world)]
    of_ranks = [update[rank::world] for rank in range(world)]
    shares = [length_batches(items, tokens_I[items], split.most_tokens) for items in of_ranks]
    longest = max(map(len, shares))
    return [[*share, *[update[:0]] * (longest - len(share))] for share in shares]


def length_batches(rows: np.ndarray, tokens: np.ndarray, batch_tokens: int) -> list[np.ndarray]:
    """Sort rows (or items) by length and cut them into batches of at most `batch_tokens`, or of one row.

    tokens: the length of each row. Padding counts.
    """
    order = np.argsort(tokens, kind="stable")
    by_length, lengths = rows[order], tokens[order]
    batches, start = [], 0
    for end in range(1, len(by_length) + 1):
        if end == len(by_length) or (end + 1 - start) * lengths[end] > batch_tokens:
            batches.append(by_length[start:end])
            start = end
    return batches


def build_item(items: Items, number: int, samples: Samples, ids: markup.MarkerIds) -> markup.Item:
    row, part, num_chunks = items.row_I[number], items.part_I[number], samples.num_chunks
    sample = samples.sample(row)
    if part < num_chunks:
        return markup.stage_item(sample, ids, part)
    if part == num_chunks:
        return markup.answer_item(sample, ids, items.answer_kept_RM[row])
    if part == num_chunks + 1:
        return markup.skip_item(sample, ids, items.skip_kept_RM[row])
    return markup.full_item(sample, ids, items.removed_I[number])


def padding_share(items: Items, updates: list[np.ndarray], world: int, split: Split) -> float:
    """Share of padding among all token positions of an epoch's micro-batches."""
    used = padded = 0
    for update in updates:
        for micro_batches in shares_of(update, items.tokens_I, world, split):
            for micro_batch in micro_batches:
                used += int(items.tokens_I[micro_batch].sum())
                padded += int(items.tokens_I[micro_batch].max(initial=0)) * len(micro_batch)
    return 1 - used / max(padded, 1)


def _drop_chunks(present_RM: np.ndarray, probability: float, rng: np.random.Generator) -> np.ndarray:
    dropped_R1 = rng.random((len(present_RM), 1)) < probability
    subset_RM = rng.random(present_RM.shape) < 0.5
    return present_RM & (subset_RM | ~dropped_R1)


def _weigh_skips(
    rows: np.ndarray, parts: np.ndarray, skip_part: int, share: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Repeat or drop skip items until they make up `share` of all items."""
    skips, others = np.nonzero(parts == skip_part)[0], np.nonzero(parts != skip_part)[0]
    wanted = _wanted_skips(share, len(skips), len(others))
    whole, rest = divmod(wanted, max(len(skips), 1))
    chosen = np.concatenate(
        [np.tile(skips, whole), rng.permutation(skips)[:rest], others if share < 1 else others[:0]]
    )
    return rows[chosen], parts[chosen]


def _wanted_skips(share: float, num_skips: int, num_others: int) -> int:
    return round(share * num_others / (1 - share)) if share < 1 else num_skips


def _lengths(
    samples: Samples, answer_kept_RM: np.ndarray, skip_kept_RM: np.ndarray, concludes: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Tokens and target tokens of every part of every sample, [R, M + 3] each, as in `build_item`.

    concludes: stage M ends with the conclusion.
    """
    token_ends_RM, chunk_RM = samples.chunk_token_ends_RM, samples.chunk_tokens_RM
    question_R, answer_R, conclusion_R = (
        part.lengths for part in (samples.question, samples.answer, samples.conclusion)
    )
    thoughts_R = (samples.present_RM & ~skip_kept_RM).sum(1)
    targets = np.column_stack(
        [
            chunk_RM,
            answer_R,
            (chunk_RM * skip_kept_RM).sum(1) + thoughts_R + conclusion_R,
            token_ends_RM[:, -1] + conclusion_R,
        ]
    )
    if concludes:
        targets[:, samples.num_chunks - 1] += conclusion_R
    context = np.column_stack(
        [
            1 + token_ends_RM - chunk_RM,
            1 + (chunk_RM * answer_kept_RM).sum(1),
            np.ones_like(question_R),
            np.zeros_like(question_R),
        ]
    )
    return context + question_R[:, None] + targets + 1, targets + 1
