"""The last hour in points: what a chart shows before anything else has been set up to remember it.

A ring in memory: it starts empty with the server, and whoever wants more than an hour, or more than one server, lets
Prometheus remember. Rates are those between two points; what was counted is shared out over the time that passed on the
steady clock, so that a late point or a clock that was set makes no peak.
"""

from collections import deque
from typing import Final, NamedTuple

from msgspec import Struct

from flashq.model import Instant, Stats

EVERY_MS: Final = 5_000
LENGTH: Final = 720
"""An hour: as far back as one looks for the cause of what one sees, in some 150 kB."""


class Point(Struct, gc=False):
    """A moment.

    Attributes:
        timestamp: wall ms.
        pushed_per_second, completed_per_second, failed_per_second: since the point before.
        latency_ms: mean time from push to completion, of the minute before.
        queued, processing, delayed, dlq, completed, waiting_children: jobs by state; of the completed, those ever.
        workers: that are alive.
        memory: bytes that jobs take.
    """

    timestamp: int
    pushed_per_second: float
    completed_per_second: float
    failed_per_second: float
    latency_ms: float
    queued: int
    processing: int
    delayed: int
    dlq: int
    completed: int
    waiting_children: int
    workers: int
    memory: int


class Counted(NamedTuple):
    """Jobs that were ever pushed, completed, and buried: entered the dead letters."""

    pushed: int
    completed: int
    failed: int


class History:
    """The newest points."""

    def __init__(self, counted: Counted, now: Instant) -> None:
        """Args: ``counted``: what was counted until ``now``, and falls into no point."""
        self._points: deque[Point] = deque(maxlen=LENGTH)
        self._counted = counted
        self._steady = now.steady

    def add(self, now: Instant, counted: Counted, stats: Stats, latency_ms: float, workers: int, memory: int) -> None:
        """A moment; the arguments are as `Point` has them."""
        seconds = max(1, now.steady - self._steady) / 1_000
        pushed, completed, failed = (
            round((after - before) / seconds, 3) for before, after in zip(self._counted, counted, strict=True)
        )
        self._points.append(
            Point(
                now.wall, pushed, completed, failed, round(latency_ms, 3), stats.queued, stats.processing,
                stats.delayed, stats.dlq, stats.completed, stats.waiting_children, workers, memory,
            )
        )  # fmt: skip
        self._counted, self._steady = counted, now.steady

    def points(self) -> list[Point]:
        """All of them, oldest first."""
        return list(self._points)
