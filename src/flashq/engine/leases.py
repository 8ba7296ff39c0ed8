"""Who holds which attempt, and until when.

A *lease* is one delivery: the jobs of one pull that share a deadline share one lease and one token. The token names
the attempt: ``epoch.serial.nonce``, where the epoch is the number of the server's boot and the serial counts the
deliveries of that boot. So two tokens can be put in order (which attempt came later?) without remembering either.

A *worker* is a client that named itself by HELLO. Its leases end with its silence and not by the clock.
"""

from collections import deque
from collections.abc import Hashable
from functools import partial

from msgspec import Struct, field

from flashq.model import EndedAttempt
from flashq.protocol.limits import MAX_ENDED_ATTEMPTS


class Lease(Struct, eq=False, gc=False):
    """One delivery of jobs to one client.

    Attributes:
        token: names the attempt; every job of the delivery has it.
        started_at: wall ms of the delivery.
        deadline: steady ms at which the attempts end as failed; 0 = bound by the worker's heartbeat alone.
        renewable: whether HEARTBEAT and PROGRESS move the deadline (a job's own timeout does not move).
        worker: who holds it, if the client named itself.
        ids: the jobs; emptied when the last of them is settled.
        open: how many of them are still active.
    """

    token: str
    started_at: int
    deadline: int
    renewable: bool
    worker: "Worker | None"
    ids: list[int]
    open: int

    def settled(self, count: int = 1) -> bool:
        """``count`` of its jobs are no longer active under it. Tells whether that was the last."""
        self.open -= count
        if self.open:
            return False
        self.ids = []
        if self.worker is not None:
            self.worker.leases.pop(self, None)
        return True


class Worker(Struct, eq=False):
    """A client that named itself.

    Attributes:
        name: what it calls itself; unique.
        queues, concurrency, host, pid: what it said about itself, for people.
        last_beat: wall ms of its last sign of life.
        deadline: steady ms at which its silence has lasted too long.
        leases: what it holds, in the order in which it got it.
        processed, failed: attempts it has ended.
        gone: it left or was lost.
        owner: who may speak for it, as far as the commands care.
        ended: attempts of its that the server ended, until it is told; the newest.
    """

    name: str
    queues: list[str]
    concurrency: int
    host: str | None
    pid: int | None
    last_beat: int
    deadline: int
    leases: dict[Lease, None]
    processed: int = 0
    failed: int = 0
    gone: bool = False
    owner: Hashable = None
    ended: deque[EndedAttempt] = field(default_factory=partial(deque, maxlen=MAX_ENDED_ATTEMPTS))

    @property
    def active(self) -> int:
        """How many attempts it holds."""
        return sum(lease.open for lease in self.leases)


def parse_token(token: str) -> tuple[int, int] | None:
    """The (epoch, serial) of a token, None when it is none of ours."""
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        return int(parts[0], 16), int(parts[1], 16)
    except ValueError:
        return None
