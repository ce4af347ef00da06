"""Makes stages in the order of their inputs, and side by side if the cluster has room for them."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from queue import Empty, SimpleQueue
from threading import Thread

from skipthink_ray.runtime.cluster import NoRoom

POLL_S = 0.5
PATIENCE_S = 60.0
"""How long to wait for a stopped stage to end."""


@dataclass(frozen=True)
class Work:
    """A stage to make."""

    make: Callable[[], None]
    needs: frozenset[str]
    """The stages that must be finished before it starts."""
    processes: int
    """The workers or actors that it needs at once."""
    in_thread: bool
    """Whether it runs in a thread, so that others can start meanwhile. If not, they wait for its end."""


class Schedule:
    """The stages that wait, those that run, and the room for them, in processes."""

    def __init__(self, stages: dict[str, Work], room: int) -> None:
        self.waiting, self.room = dict(stages), room
        self.running: dict[str, Work] = {}
        self.threads: list[Thread] = []
        self.ended: SimpleQueue[tuple[str, BaseException | None]] = SimpleQueue()

    def run(self, stop: Callable[[], bool]) -> None:
        """Make all stages. If one fails, `stop` must end the others; then its error is raised.

        `stop` returns False if they will not end. A single stage starts even if it needs more than the room.
        """
        try:
            while self.waiting or self.running:
                if self.ended.empty() and (name := self._next()):
                    self._start(name)
                else:
                    self._end_next()
        except BaseException:
            if stop():
                for thread in self.threads:
                    thread.join(PATIENCE_S)
            raise

    def _next(self) -> str | None:
        """The first stage whose inputs are finished and that has room beside the running ones."""
        used = sum(work.processes for work in self.running.values())
        for name, work in self.waiting.items():
            has_room = not self.running or used + work.processes <= self.room
            if has_room and not work.needs & {*self.waiting, *self.running}:
                return name
        return None

    def _start(self, name: str) -> None:
        work = self.running[name] = self.waiting.pop(name)
        if work.in_thread:
            self.threads.append(Thread(target=self._attempt, args=(name, work), name=name, daemon=True))
            self.threads[-1].start()
        else:
            self._attempt(name, work)

    def _attempt(self, name: str, work: Work) -> None:
        try:
            work.make()
        except BaseException as error:  # noqa: BLE001  # `run` raises it
            self.ended.put((name, error))
        else:
            self.ended.put((name, None))

    def _end_next(self) -> None:
        """Wait for a stage to end. A signal that arrives just before a wait is noticed after it."""
        with suppress(Empty):
            self._end(*self.ended.get(timeout=POLL_S))

    def _end(self, name: str, error: BaseException | None) -> None:
        work = self.running.pop(name)
        if isinstance(error, NoRoom):  # others were faster; made again, alone
            self.waiting[name] = replace(work, processes=self.room + 1)
        elif error:
            raise error
