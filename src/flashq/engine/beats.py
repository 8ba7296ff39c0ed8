"""What a worker has to be told: attempts of its that the server ended, at once if its BEAT waits for that.

What happens between two BEATs is kept with the worker, the newest of it. A worker that misses some of it, because it
was bounded or lost with a connection, learns of it as it always would: by the refusal of its ACK.
"""

from collections.abc import Hashable
from functools import partial

from flashq.engine.effects import Outbox
from flashq.engine.leases import Worker
from flashq.engine.parking import Parking
from flashq.engine.waiters import Call
from flashq.model import EndedAttempt, Instant
from flashq.protocol.limits import MAX_BEAT_WAIT_MS


class Beats:
    """The BEATs that wait, at most one of each worker."""

    __slots__ = ("_longest_ms", "_outbox", "_parking", "waiting")

    def __init__(self, parking: Parking, outbox: Outbox, silence_ms: int) -> None:
        """Args: ``silence_ms``: after so long without a BEAT a worker is lost; one that waits ends well before."""
        self._parking = parking
        self._outbox = outbox
        self._longest_ms = min(MAX_BEAT_WAIT_MS, silence_ms // 3)
        self.waiting: dict[Worker, Call] = {}

    def park(self, token: Hashable, worker: Worker, wait_ms: int, now: Instant) -> None:
        """Wait until something of this worker's is ended; one that waited before is answered with nothing.

        Args:
            token: names the waiting call; must be new.
            worker: whose attempts.
            wait_ms: ms until it gives up; more than a third of the silence that loses a worker is taken as that third.
            now: the moment of the call.

        Raises:
            Overloaded: as many calls wait as may.
        """
        call = Call(token=token, leave=partial(self.waiting.pop, worker))
        self._parking.park(call, min(wait_ms, self._longest_ms), now)
        self.let_go(worker)
        self.waiting[worker] = call

    def let_go(self, worker: Worker) -> None:
        """Whoever waits for this worker is answered with nothing."""
        call = self.waiting.get(worker)
        if call is not None:
            self._parking.give_up(call)

    def ended(self, worker: Worker, attempts: list[EndedAttempt]) -> None:
        """The server ended these attempts of a worker."""
        worker.ended.extend(attempts)
        call = self.waiting.pop(worker, None)
        if call is not None:
            self._parking.forget(call)
            self._outbox.deliver(call.token, self.take(worker))

    def take(self, worker: Worker) -> list[EndedAttempt]:
        """What there is to tell a worker, oldest first; it is told then."""
        ended = list(worker.ended)
        worker.ended.clear()
        return ended
