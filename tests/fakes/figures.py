"""Figures to show: every number another one, so that one taken for another is seen."""

from flashq.model import Distribution, Stats
from flashq.observe.figures import Figures, QueueFigures, Totals

NOW = 1_700_000_000_000


def times(*counts: int) -> Distribution:
    """Observations in ms, in buckets up to 1 and 10 ms, and above."""
    return Distribution((1, 10), counts, 1_000 + sum(counts), 1_000)


def queue(name: str, waiting: int = 0, since: int = 0) -> QueueFigures:
    """A queue with so many waiting jobs, the oldest ready since then."""
    return QueueFigures(name, waiting, 0, 0, 0, 0, since)


def figures(*queues: QueueFigures) -> Figures:
    """A server with these queues."""
    return Figures(
        wall=NOW, version="1.2.3", storage="sqlite", durability="full",
        totals=Totals(pushed=101, completed=102, failed=103, cancelled=104, expired=105, purged=106),
        stats=Stats(queued=11, processing=12, delayed=13, dlq=14, completed=102, waiting_children=16),
        queues=list(queues), retried=21, timed_out=22, per_second=23.5, latency_ms=24.5,
        waits=times(1, 2, 3), runs=times(4, 5, 6), commits=times(7, 8, 9), lags=times(10, 11, 12),
        workers=31, crons=32, connections=33, calls_waiting=34, memory=35, memory_bound=36, unsynced_bytes=37,
        clock_jumps=38, storage_away=True,
    )  # fmt: skip
