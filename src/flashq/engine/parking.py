"""Every call that waits, whatever for: one bound over all of them, one clock, one way to leave.

What it waits for stands elsewhere (a queue's line, a job's watchers, a worker); `Call.leave` takes it out of there. So
those who end a wait from outside, a closing connection or the clock, need not know what kind of wait it is.
"""

from collections.abc import Hashable

from flashq.engine.effects import Outbox
from flashq.engine.timers import Timers
from flashq.engine.waiters import Call
from flashq.errors import Overloaded
from flashq.model import Instant
from flashq.protocol.limits import MAX_WAITS


class Parking:
    """The calls that wait, by their tokens."""

    __slots__ = ("_outbox", "_timers", "calls")

    def __init__(self, timers: Timers[Call], outbox: Outbox) -> None:
        self._timers = timers
        self._outbox = outbox
        self.calls: dict[Hashable, Call] = {}
        """Read directly where a call would cost more than the answer."""

    def __len__(self) -> int:
        return len(self.calls)

    def park(self, call: Call, wait_ms: int | None, now: Instant) -> None:
        """It waits from now on; its token must be new. Where it stands is its owner's next step.

        Args:
            call: who waits.
            wait_ms: ms until it gives up; None = never.
            now: the moment of the call.

        Raises:
            Overloaded: as many calls wait as may.
        """
        if len(self.calls) >= MAX_WAITS:
            raise Overloaded(f"Too many waiting calls (max {MAX_WAITS})")
        self.calls[call.token] = call
        if wait_ms is not None:
            self._timers.at(now.steady + wait_ms, call)

    def forget(self, call: Call) -> None:
        """It is served: it waits no more, wherever it still stands."""
        del self.calls[call.token]
        call.parked = False
        self._timers.stale()

    def unpark(self, token: Hashable) -> bool:
        """The client no longer waits. Tells whether it did: if not, its answer is on the way."""
        call = self.calls.get(token)
        if call is None:
            return False
        self.forget(call)
        call.leave()
        return True

    def end_overdue(self, now: Instant, most: int) -> None:
        """Whose time is over gives up, ``most`` calls of them."""
        for _, call in self._timers.due(now.steady, most):
            self.give_up(call)

    def wait(self, now: Instant) -> int | None:
        """Ms until the next call gives up, 0 when one should have, None when none ever will."""
        due = self._timers.next_due()
        return None if due is None else max(0, due - now.steady)

    def give_up(self, call: Call) -> None:
        """A parked client's time is over (its timer has come out already): nothing is delivered to it."""
        if call.parked:
            del self.calls[call.token]
            call.parked = False
            call.leave()
            self._outbox.deliver(call.token, [])
