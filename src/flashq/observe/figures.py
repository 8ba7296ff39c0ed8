"""The numbers that a server shows to those who watch it, taken at one moment; plain, and nobody's to change.

They are taken on the event loop, where they are true, and turned into text elsewhere, where it may take its time. So
this is all that the two sides share.
"""

from typing import NamedTuple

from msgspec import Struct

from flashq.model import Distribution, Stats


class QueueFigures(NamedTuple):
    """One queue.

    Attributes:
        name: of the queue.
        waiting, delayed, active, failed, waiting_children: its jobs by state.
        waiting_since: when the job that waits for the longest time became ready, wall ms; 0 = none waits.
    """

    name: str
    waiting: int
    delayed: int
    active: int
    failed: int
    waiting_children: int
    waiting_since: int

    @property
    def jobs(self) -> int:
        """All of them."""
        return self.waiting + self.delayed + self.active + self.failed + self.waiting_children


class Totals(NamedTuple):
    """Jobs that ever came and went, over all queues, since the data folder was made.

    Attributes:
        pushed, completed: so many.
        failed: entered the dead letters so often.
        cancelled, expired, purged: left without completing.
    """

    pushed: int
    completed: int
    failed: int
    cancelled: int
    expired: int
    purged: int


class Figures(Struct, frozen=True, kw_only=True):
    """A server.

    Attributes:
        wall: when they were taken, wall ms.
        version, storage, durability: words about the server.
        totals: jobs that came and went.
        stats: jobs by state.
        queues: of each queue.
        retried, timed_out: attempts of this boot that failed and were followed by another one; that ended for want of
            a sign of life.
        per_second, latency_ms: completions a second, and their mean time from push on, over the last minute.
        waits, runs: how long jobs waited for a worker, and attempts ran.
        commits, lags: how long commits took, and by how much the event loop was late.
        workers, crons, connections, calls_waiting: so many are there.
        memory, memory_bound: bytes that jobs take, and may take.
        unsynced_bytes: on their way to the disk.
        clock_jumps: how often the wall clock was set.
        storage_away: whether the storage does not answer.
    """

    wall: int
    version: str
    storage: str
    durability: str
    totals: Totals
    stats: Stats
    queues: list[QueueFigures]
    retried: int
    timed_out: int
    per_second: float
    latency_ms: float
    waits: Distribution
    runs: Distribution
    commits: Distribution
    lags: Distribution
    workers: int
    crons: int
    connections: int
    calls_waiting: int
    memory: int
    memory_bound: int
    unsynced_bytes: int
    clock_jumps: int
    storage_away: bool
