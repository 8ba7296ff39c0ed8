"""How fast a queue delivers, for whoever wants to know when his job's turn comes.

A delivery pays one comparison and two additions: it counts its jobs, and every five seconds the count is noted. What
was delivered in a span is the count now less the count noted at its beginning; nobody pays for it until somebody asks.
"""

from collections import deque
from typing import Final

EVERY_MS: Final = 5_000
KEPT: Final = 13
"""Notes that are kept: those of a minute, and its beginning."""

SHORTEST_MS: Final = 1_000
"""Nothing is said of a shorter span: one batch in a millisecond is no pace."""


class Pace:
    """The deliveries of one queue. Times are steady ms. The count is written directly where they are made."""

    __slots__ = ("_notes", "delivered", "last", "note_at")

    def __init__(self) -> None:
        self.delivered = 0
        """Jobs that were ever delivered."""
        self.last: int | None = None
        """The newest delivery; None = none yet."""
        self.note_at = 0
        """A delivery at this time or later notes the count first."""
        self._notes: deque[tuple[int, int]] = deque(maxlen=KEPT)

    def note(self, now: int) -> None:
        """A delivery is about to be counted, and the newest note is old."""
        self._notes.append((now, self.delivered))
        self.note_at = now + EVERY_MS

    def since(self, start: int, now: int) -> tuple[int, int] | None:
        """How many jobs were delivered since about ``start``, and over how many ms.

        Returns:
            The count from the first note in that span to now; None: there is none, or it is too young to mean anything.
        """
        for at, before in self._notes:
            if at >= start:
                over = now - at
                return (self.delivered - before, over) if over >= SHORTEST_MS else None
        return None
