"""Calls that wait for the end of a job: woken when it ends, never asked in between.

The stages tell what ended; whether anybody waits for that job is looked up only while somebody waits for any. Nothing
of this is remembered: after a restart a client asks again, which changes nothing.
"""

from collections.abc import Hashable, Iterable
from functools import partial

from msgspec import Struct

from flashq.engine.effects import Outbox
from flashq.engine.parking import Parking
from flashq.engine.waiters import Call
from flashq.model import COMPLETED, FAILED, STATE_NAMES, UNKNOWN, Instant


class Ending(Struct, gc=False):
    """How a job ended, or the state it is in if it has not.

    Attributes:
        state: as a word of the wire contract.
        result: what it returned, as JSON, if it completed.
        error: why it lies among the dead letters, or how it left: cancelled, expired or purged.
    """

    state: str
    result: bytes | None = None
    error: str | None = None


class Watchers:
    """Who waits for which job."""

    __slots__ = ("_outbox", "_parking", "by_job")

    def __init__(self, parking: Parking, outbox: Outbox) -> None:
        self._parking = parking
        self._outbox = outbox
        self.by_job: dict[int, dict[Hashable, Call]] = {}
        """Read directly where a call would cost more than the answer."""

    def park(self, token: Hashable, id: int, wait_ms: int | None, now: Instant) -> None:
        """Wait for the end of a job that has not ended; the answer comes as a delivery to ``token``.

        Args:
            token: names the waiting call; must be new.
            id: the job.
            wait_ms: ms until it gives up; None = never.
            now: the moment of the call.

        Raises:
            Overloaded: as many calls wait as may.
        """
        call = Call(token=token, leave=partial(self._leave, id, token))
        self._parking.park(call, wait_ms, now)
        self.by_job.setdefault(id, {})[token] = call

    def completed(self, ids: Iterable[int], results: dict[int, bytes]) -> None:
        """Jobs completed, with these results."""
        for id in ids:
            if id in self.by_job:
                self._tell(id, Ending(STATE_NAMES[COMPLETED], results.get(id)))

    def buried(self, id: int, error: str | None) -> None:
        """A job went to the dead letters."""
        if id in self.by_job:
            self._tell(id, Ending(STATE_NAMES[FAILED], error=error))

    def dropped(self, ids: Iterable[int], reason: str) -> None:
        """Jobs left without completing."""
        for id in ids:
            if id in self.by_job:
                self._tell(id, Ending(STATE_NAMES[UNKNOWN], error=reason))

    def _tell(self, id: int, ending: Ending) -> None:
        for token, call in self.by_job.pop(id).items():
            self._parking.forget(call)
            self._outbox.deliver(token, ending)

    def _leave(self, id: int, token: Hashable) -> None:
        calls = self.by_job[id]
        del calls[token]
        if not calls:
            del self.by_job[id]
