"""The parts that belong to one queue, side by side; and the options that its jobs share.

A queue has no behaviour of its own: the stages (`intake`, `dispatch`, `settle`, `control`) use its parts.
"""

from typing import Final

from msgspec import Struct

from flashq.engine.limits import Limits
from flashq.engine.pace import Pace
from flashq.engine.ready import Ready
from flashq.engine.waiters import Waiters
from flashq.errors import LimitReached
from flashq.model import UNKNOWN
from flashq.protocol.limits import MAX_QUEUES

_STATES: Final = 7
_MOST_OPTIONS: Final = 1_000
"""Distinct options kept for sharing a queue. Jobs with ever-changing options are legal, they just share less."""


class Options(Struct, eq=False, gc=False):
    """What the jobs of one kind have in common; one object serves all of them.

    Attributes:
        queue: where they live.
        priority: higher runs first.
        max_attempts: failed attempts until the dead letters; 0 = no bound.
        backoff, ttl, timeout: ms; 0 = none.
    """

    queue: "Queue"
    priority: int
    max_attempts: int
    backoff: int
    ttl: int
    timeout: int


class Queue:
    """One queue: its line, its parked clients, its brakes, its pace, its dead letters, its keys, its counters."""

    __slots__ = (
        "_options",
        "cancelled",
        "counts",
        "dead",
        "expired",
        "failed",
        "keys",
        "limits",
        "name",
        "pace",
        "plain",
        "purged",
        "pushed",
        "ready",
        "refill_at",
        "waiters",
    )

    def __init__(self, name: str) -> None:
        self.name = name
        self.ready = Ready()
        self.waiters = Waiters()
        self.limits = Limits()
        self.pace = Pace()
        self.dead: dict[int, None] = {}
        """Dead letters, oldest first."""
        self.keys: dict[str, int] = {}
        """Unique key -> the live job that holds it."""
        self.counts = [0] * _STATES
        """Jobs by state. Of the completed: those that ever completed."""
        self.plain: Options | None = None
        """The options of a job that says nothing, once there was one."""
        self.pushed = 0
        self.failed = 0
        """How often a job entered the dead letters."""
        self.cancelled = 0
        self.expired = 0
        self.purged = 0
        self.refill_at = 0
        """Steady ms of the refill that is already scheduled; 0 = none."""
        self._options: dict[tuple[int, int, int, int, int], Options] = {}

    def options(self, priority: int, max_attempts: int, backoff: int, ttl: int, timeout: int) -> Options:
        """The shared options object for these values."""
        key = (priority, max_attempts, backoff, ttl, timeout)
        options = self._options.get(key)
        if options is None:
            if len(self._options) >= _MOST_OPTIONS:
                self._options.clear()
            options = self._options[key] = Options(self, *key)
        return options

    def forget_options(self) -> None:
        """Share no options any more.

        They know their queue, and the garbage collector does not know them: a queue that goes has to let go of them.
        """
        self._options.clear()
        self.plain = None

    @property
    def listed(self) -> bool:
        """Whether it holds a job or a setting; a queue that a client only waits on is nobody's business."""
        return self.pushed > 0 or not self.limits.free


class Queues:
    """All queues by name, and how many jobs are in which state over all of them."""

    __slots__ = ("by_name", "counts")

    def __init__(self) -> None:
        self.by_name: dict[str, Queue] = {}
        self.counts = [0] * _STATES

    def make(self, name: str) -> Queue:
        """The queue of that name, made if there is none.

        Raises:
            LimitReached: there are as many queues as there may be.
        """
        queue = self.by_name.get(name)
        if queue is None:
            if len(self.by_name) >= MAX_QUEUES:
                raise LimitReached(f"Too many queues (max {MAX_QUEUES})")
            queue = self.by_name[name] = Queue(name)
        return queue

    def leave(self, queue: Queue) -> None:
        """Forget a queue that holds nothing and on which nobody waits any more."""
        if not queue.listed and not queue.waiters:
            self.by_name.pop(queue.name, None)
            queue.forget_options()

    def move(self, queue: Queue, before: int, after: int, count: int = 1) -> None:
        """``count`` jobs of ``queue`` went from one state to another; UNKNOWN stands for outside."""
        counts, totals = queue.counts, self.counts
        if before != UNKNOWN:
            counts[before] -= count
            totals[before] -= count
        if after != UNKNOWN:
            counts[after] += count
            totals[after] += count
