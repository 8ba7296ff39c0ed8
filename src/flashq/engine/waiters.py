"""Clients parked on an empty queue: first come, first served; leaving from the middle costs nothing."""

from collections import OrderedDict
from collections.abc import Hashable

from msgspec import Struct

from flashq.engine.leases import Worker


class Waiter(Struct, eq=False, gc=False):
    """One parked pull.

    Attributes:
        token: what the caller knows it by; comes back with the delivery.
        queue: the name of the queue it waits on.
        count: how many jobs it takes at the most.
        worker: who will hold the jobs, if the client named itself.
        parked: False once it was served, gave up or went away.
    """

    token: Hashable
    queue: str
    count: int
    worker: Worker | None
    parked: bool = True


class Waiters:
    """The line of parked pulls of one queue."""

    __slots__ = ("line",)

    def __init__(self) -> None:
        # An OrderedDict and not a dict: popping the first of a dict walks over the holes that earlier pops left.
        self.line: OrderedDict[Hashable, Waiter] = OrderedDict()
        """Who waits, by token, first come first. Read directly where a call would cost more than the answer."""

    def __len__(self) -> int:
        return len(self.line)

    def park(self, waiter: Waiter) -> None:
        """Join the end of the line."""
        self.line[waiter.token] = waiter

    def first(self) -> Waiter:
        """Who is served next. The line must not be empty."""
        return next(iter(self.line.values()))

    def pop(self) -> Waiter:
        """Take out who is served next. The line must not be empty."""
        waiter = self.line.popitem(last=False)[1]
        waiter.parked = False
        return waiter

    def leave(self, token: Hashable) -> Waiter | None:
        """Take out one waiter, wherever it stands; None when it is not in the line."""
        waiter = self.line.pop(token, None)
        if waiter is not None:
            waiter.parked = False
        return waiter
