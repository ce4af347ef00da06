"""Progress in plain lines: how fast the work goes, and how long it will take. No Ray and no screen here."""

import math
from collections import deque

PLAIN_EVERY_S = 10.0
RECENT_S = 60.0
"""The rate is taken over the last half of the time so far, but over at least this many seconds."""
SMOOTH_S = 60.0
"""No update ends during a chunk search, so the time left would jump up after it. A later end is therefore
approached gradually, with this time constant, or with the time left if that is shorter. An earlier end is
taken at once."""


class Pace:
    """The recent rate of some work, from the times at which its count grew, and its expected end.

    It starts at the first count, so it excludes start-up.
    """

    def __init__(self) -> None:
        self.counts: deque[tuple[float, int]] = deque()
        self.started = 0.0
        self.expected: tuple[float, float] | None = None
        """When the end was last estimated, and the end."""

    def note(self, now: float, done: int) -> None:
        """Take note of a count. A smaller one than before means that the work resumed from a checkpoint."""
        if self.counts and done < self.counts[-1][1]:
            self.counts.clear()
            self.expected = None
        if not self.counts:
            self.started = now
        if not self.counts or done > self.counts[-1][1]:
            self.counts.append((now, done))
        recent = now - max(RECENT_S, (now - self.started) / 2)
        while len(self.counts) > 2 and self.counts[1][0] <= recent:
            self.counts.popleft()

    @property
    def rate(self) -> float:
        """Count per second; 0 as long as it is unknown."""
        if len(self.counts) < 2:
            return 0.0
        (since, before), (until, after) = self.counts[0], self.counts[-1]
        return (after - before) / max(until - since, 1e-9)

    def estimate_left_s(self, now: float, total: int) -> float:
        """Seconds until the count is `total`. The rate must be known. Each call moves the expected end."""
        last, done = self.counts[-1]
        end = last + (total - done) / self.rate
        if self.expected and end > self.expected[1]:
            asked, before = self.expected
            smooth_s = min(SMOOTH_S, max(end - now, 1e-9))
            end = before + (end - before) * -math.expm1((asked - now) / smooth_s)
        self.expected = now, end
        return max(0.0, end - now)


class PlainLines:
    """Decides when a stage's progress is worth a line, and what the line says."""

    def __init__(self, name: str, unit: str, now: float) -> None:
        self.name, self.unit, self.pace = name, unit, Pace()
        self.printed, self.printed_done = now, 0

    def line(self, now: float, done: int, total: int, note: str) -> str | None:
        """A line every PLAIN_EVERY_S seconds, if there is progress since the last one."""
        if done:
            self.pace.note(now, done)
        if done == self.printed_done or now - self.printed < PLAIN_EVERY_S:
            return None
        self.printed, self.printed_done = now, done
        text = f"{self.name:<11} {done}/{total or '?'} {self.unit}{f' {note}' if note else ''}"
        if not self.pace.rate:
            return text
        text += f", {self.pace.rate:.{1 if self.pace.rate >= 1 else 3}f}/s"
        return f"{text}, {_span(self.pace.estimate_left_s(now, total))} left" if total else text


def _span(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
