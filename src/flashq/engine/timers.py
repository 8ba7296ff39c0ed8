"""What happens later: a heap of (due, item), one instance for each kind of thing that falls due.

Nothing is ever taken out of the middle. An entry whose reason has gone is *stale*: the owner counts it with
`stale` and ignores it when it comes out. Once stale entries are most of the heap they are swept in one pass, so
that a million leases that ended early do not stay for their half hour.
"""

from collections.abc import Callable
from heapq import heapify, heappop, heappush
from typing import Generic, TypeVar

T = TypeVar("T")


class Alarm:
    """Shared by all timers: whether something falls due earlier than whoever sleeps on them may know."""

    __slots__ = ("rung",)

    def __init__(self) -> None:
        self.rung = False


class Timers(Generic[T]):
    """Items by the millisecond at which they fall due. Which clock that is, is the owner's business."""

    __slots__ = ("_alarm", "_alive", "_heap", "_serial", "_stale")

    def __init__(self, alive: Callable[[int, T], bool], alarm: Alarm | None = None) -> None:
        """Build an empty one.

        Args:
            alive: whether the entry (due, item) still means anything; asked only by the sweep.
            alarm: rung when an entry becomes the first to fall due.
        """
        self._heap: list[tuple[int, int, T]] = []
        self._serial = 0
        self._stale = 0
        self._alive = alive
        self._alarm = alarm or Alarm()

    def __len__(self) -> int:
        return len(self._heap)

    def at(self, due: int, item: T) -> None:
        """``item`` falls due at ``due`` ms. Equal times come out in the order in which they went in."""
        self._serial += 1
        heap = self._heap
        if not heap or due < heap[0][0]:
            self._alarm.rung = True
        heappush(heap, (due, self._serial, item))

    def next_due(self) -> int | None:
        """When the first entry falls due, stale or not; None when there is none."""
        return self._heap[0][0] if self._heap else None

    def due(self, now: int, most: int) -> list[tuple[int, T]]:
        """Take out up to ``most`` entries that fell due at ``now`` or before, oldest first, as (due, item)."""
        heap = self._heap
        out: list[tuple[int, T]] = []
        while heap and heap[0][0] <= now and len(out) < most:
            due, _, item = heappop(heap)
            out.append((due, item))
        return out

    def entries(self) -> list[tuple[int, int, T]]:
        """Everything in the heap as (due, serial, item), in no order; for checks."""
        return self._heap

    def stale(self) -> None:
        """One entry has lost its meaning. Sweeps when such entries are most of the heap."""
        self._stale += 1
        if self._stale > 1_000 and self._stale * 2 > len(self._heap):
            self._stale = 0
            self._heap = [entry for entry in self._heap if self._alive(entry[0], entry[2])]
            heapify(self._heap)
