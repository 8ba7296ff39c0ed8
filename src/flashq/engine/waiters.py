"""Clients parked on empty queues: first come, first served; leaving from the middle costs nothing.

A pull of several queues is one waiter that stands in several lines. Whoever takes it out of one of them calls its
`leave`, which takes it out of the others.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable

from msgspec import Struct

from flashq.engine.leases import Worker
from flashq.engine.records import SERVER, Actor


class Call(Struct, eq=False, kw_only=True):
    """A call that waits for its answer, whatever it waits for.

    Attributes:
        token: what the caller knows it by; comes back with the delivery.
        leave: takes it out of wherever it stands.
        parked: False once it was served, gave up or went away.
    """

    token: Hashable
    leave: Callable[[], object]
    parked: bool = True


class Waiter(Call, eq=False):
    """One parked pull.

    Attributes:
        queues: the names of the queues it waits on.
        count: how many jobs it takes at the most.
        worker: who will hold the jobs, if the client named itself.
        by: on whose behalf it waits.
    """

    queues: tuple[str, ...]
    count: int
    worker: Worker | None
    by: Actor = SERVER


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
