"""The newest events, for listeners that come back: what they missed is told again, or they learn that it is gone.

Events are numbered without gaps from the first that the ring could hold. So it knows exactly whether it still has all
that came after a number, and never tells a story with a hole in it.
"""

from collections import Counter, deque
from collections.abc import Iterator
from itertools import islice
from operator import attrgetter
from typing import Final

from msgspec import UNSET, Struct
from msgspec.json import Encoder

from flashq.model import Event

MAX_KEPT: Final = 10_000
"""Events that are kept: at a thousand a second a client may be away for ten seconds."""

MAX_KEPT_BYTES: Final = 64 * 1024 * 1024
"""Payloads among them: ten thousand of the largest jobs would be 10 GB."""

PORTION_BYTES: Final = 64 * 1024
PORTION_EVENTS: Final = 100
"""How much of many events is taken at once: about what a connection's buffer takes before it says stop, and half a
millisecond of the event loop. Between two portions everybody else has a turn."""

topic: Final = attrgetter("queue", "event_type")
"""Queue and type of an event."""

_encode: Final = Encoder().encode

_NO_BREAKS: Final = bytes.maketrans(b"\r\n", b"  ")


class Told(Struct, gc=False):
    """An event and its place among all that were told.

    Attributes:
        number: one more than that of the event before it.
        event: what happened.
    """

    number: int
    event: Event
    _encoded: bytes | None = None

    @property
    def json(self) -> bytes:
        """The event as one line of JSON: encoded when the first listener needs it, once however many listen."""
        if self._encoded is None:
            line = _encode(self.event)
            # Payloads go out as they came. Between the values of JSON there may be line breaks, inside of them not.
            self._encoded = line.translate(_NO_BREAKS) if b"\n" in line or b"\r" in line else line
        return self._encoded

    @property
    def payload_bytes(self) -> int:
        """How much the job's data weighs, the only member of an event that may be large."""
        data = self.event.data
        return 0 if data is UNSET else memoryview(data).nbytes


class Ring:
    """The newest events, oldest first.

    Attributes:
        counts: how many of each queue and type are kept, so that nobody has to go through all of them to know.
    """

    def __init__(self, first: int) -> None:
        """Args: ``first``: the number that the next event will have."""
        self.counts: Counter[tuple[str, str]] = Counter()
        self._first = first
        self._told: deque[Told] = deque()
        self._bytes = 0

    def extend(self, run: list[Told]) -> None:
        """Keep events, all of one type and one queue, and let go of the oldest when there are too many."""
        self._told.extend(run)
        self._bytes += sum(told.payload_bytes for told in run)
        self.counts[topic(run[0].event)] += len(run)
        while len(self._told) > MAX_KEPT or self._bytes > MAX_KEPT_BYTES:
            self._let_go(self._told.popleft())

    def _let_go(self, oldest: Told) -> None:
        self._bytes -= oldest.payload_bytes
        self._first += 1
        name = topic(oldest.event)
        self.counts[name] -= 1
        if not self.counts[name]:
            del self.counts[name]  # queues come and go

    @property
    def start(self) -> int:
        """The number behind which all events are there."""
        return self._first - 1

    def since(self, number: int) -> Iterator[Told] | None:
        """The events behind ``number``; None when not all of them are there, or no event had that number yet.

        To be used before the next event is kept.
        """
        behind = number - self.start
        if not 0 <= behind <= len(self._told):
            return None
        return islice(self._told, behind, None)
