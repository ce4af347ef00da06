"""The stages of a run report through one actor."""

import time
from collections.abc import Iterator
from contextlib import suppress

import pytest
import ray
from ray.exceptions import RayActorError

from skipthink_ray.runtime.board import Board, News, start_boards
from skipthink_ray.runtime.cluster import disconnect

LONG_S = 60.0


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    ray.init("local", num_cpus=1, include_dashboard=False, log_to_driver=False)
    yield
    disconnect()


@pytest.mark.ray
def test_stages_do_not_mix_and_a_killed_board_goes_on_empty(cluster):
    boards = start_boards()
    base, cwt = Board(boards, "base"), Board(boards, "cwt")
    base.post(0, 10, "epoch 1")
    base.advance(3)
    base.say("a remark")
    base.log([(1, {"base/loss_nats": 2.0})])
    cwt.reach(5)
    assert base.take(LONG_S) == News(3, 10, "epoch 1", ["a remark"], [(1, {"base/loss_nats": 2.0})])
    assert base.take(LONG_S) == News(3, 10, "epoch 1"), "remarks and metrics are taken once"
    assert cwt.take(LONG_S) == News(5)
    cwt.open()
    assert cwt.take(LONG_S) == News()

    ray.kill(boards, no_restart=False)
    _wait_until_empty(base)
    base.advance(1)
    assert base.take(LONG_S) == News(1)


def _wait_until_empty(board: Board) -> None:
    """Until the actor has started again. The killed one may still answer for a moment."""
    deadline = time.monotonic() + LONG_S
    while time.monotonic() < deadline:
        with suppress(RayActorError):
            if board.take(LONG_S) == News():
                return
        time.sleep(0.2)
    raise AssertionError("the actor did not start again")


@pytest.mark.ray
def test_a_stage_can_be_given_up_until_it_is_opened_again(cluster):
    boards = start_boards()
    base, cwt = Board(boards, "base"), Board(boards, "cwt")
    cwt.give_up("hopeless")
    assert cwt.why_given_up() == "hopeless"
    assert base.why_given_up() == ""
    cwt.open()
    assert cwt.why_given_up() == ""
