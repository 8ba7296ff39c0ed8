"""What one listener has not been sent yet: bounded. Who is further behind is sent what the ring still has.

All listeners share the events themselves, so what a backlog weighs is counted more than once, and never less than it
is.
"""

from collections import deque
from typing import Final

from flashq.observe.ring import PORTION_BYTES, PORTION_EVENTS, Told

MAX_EVENTS: Final = 1_000
"""Events that wait for one listener: a second of what a busy server tells."""

MAX_BYTES: Final = 1024 * 1024
"""What they weigh together; the last may weigh more."""

MAX_ALL_BYTES: Final = 256 * 1024 * 1024
"""What all backlogs weigh together: ten thousand listeners could hold 10 GB between them."""

SMALL_BYTES: Final = 64 * 1024
"""What a listener may hold when all together hold too much."""


class Total:
    """What all backlogs weigh together."""

    __slots__ = ("bytes",)

    def __init__(self) -> None:
        self.bytes = 0


class Backlog:
    """Events that wait for one listener, oldest first."""

    __slots__ = ("_bytes", "_told", "_total")

    def __init__(self, total: Total) -> None:
        """Args: ``total``: shared by all backlogs."""
        self._told: deque[Told] | None = None  # an empty one is as large as all the rest of a listener that is idle
        self._bytes = 0
        self._total = total

    def __len__(self) -> int:
        return len(self._told) if self._told is not None else 0

    @property
    def full(self) -> bool:
        """Whether there is no room for another."""
        most = MAX_BYTES if self._total.bytes <= MAX_ALL_BYTES else SMALL_BYTES
        return self._bytes >= most or len(self) >= MAX_EVENTS

    def add(self, told: Told) -> None:
        """Let an event wait. There must be room."""
        if self._told is None:
            self._told = deque()
        self._told.append(told)
        self._weigh(len(told.json))

    def take(self) -> list[Told]:
        """The oldest, as many as are sent at once: at least one, if there are any."""
        taken: list[Told] = []
        weight = 0
        while self._told and weight < PORTION_BYTES and len(taken) < PORTION_EVENTS:
            told = self._told.popleft()
            weight += len(told.json)
            taken.append(told)
        if not self._told:
            self._told = None
        self._weigh(-weight)
        return taken

    def clear(self) -> None:
        """Forget them all."""
        self._told = None
        self._weigh(-self._bytes)

    def _weigh(self, bytes: int) -> None:
        self._bytes += bytes
        self._total.bytes += bytes
