"""Jobs that are ready to run: higher priority first, then first in, first out.

A lane per priority; a heap says which lane is served. A lane holds *runs* where ids came in one after the other
(a pushed batch is one run, however long) and plain ids elsewhere, so a million waiting jobs of a uniform batch
cost a few objects.

Nothing is removed from the middle: whoever takes a job out of its line says `discard`, or `leave` if it may wait
again, and the taker of the ids skips those that are no longer waiting or have `left`. When such tombstones
outnumber the jobs, `rebuild` drops them.
"""

from collections import deque
from collections.abc import Callable, Iterable
from heapq import heappop, heappush
from itertools import chain, islice

# An id, or [first, stop) as a two-element list that is shortened from the front as jobs are taken.
_Entry = int | list[int]


class Ready:
    """The line of one queue. Knows ids and priorities, not jobs."""

    __slots__ = ("_heap", "_lanes", "left", "length", "tombstones")

    def __init__(self) -> None:
        self._lanes: dict[int, deque[_Entry]] = {}
        self._heap: list[int] = []  # negated priorities of the lanes that exist
        self.length = 0
        """Ids in the line, tombstones included."""
        self.tombstones = 0
        """Ids in the line that somebody said are no longer waiting."""
        self.left: dict[int, int] = {}
        """How many of an id's entries, the foremost ones, are tombstones although it may be waiting again."""

    def put(self, priority: int, id: int) -> None:
        """Add one id at the end of its priority's lane."""
        lane = self._lanes.get(priority)
        if lane is None:
            lane = self._open(priority)
        if lane:
            last = lane[-1]
            if type(last) is list:
                if last[1] == id:
                    last[1] = id + 1
                else:
                    lane.append(id)
            elif last + 1 == id:  # type: ignore[operator]  # the exact type test is faster than isinstance
                lane[-1] = [id - 1, id + 1]
            else:
                lane.append(id)
        else:
            lane.append(id)
        self.length += 1

    def put_run(self, priority: int, first: int, stop: int) -> None:
        """Add the ids ``first`` to ``stop - 1`` at the end of their priority's lane."""
        lane = self._lanes.get(priority)
        if lane is None:
            lane = self._open(priority)
        last = lane[-1] if lane else None
        if type(last) is list and last[1] == first:
            last[1] = stop
        else:
            lane.append([first, stop])
        self.length += stop - first

    def put_front(self, priority: int, ids: list[int]) -> None:
        """Put ids back at the head of their lane, in the order given."""
        lane = self._lanes.get(priority)
        if lane is None:
            lane = self._open(priority)
        lane.extendleft(reversed(ids))
        self.length += len(ids)

    def take(self, count: int) -> list[int]:
        """Take up to ``count`` ids from the head. They may include tombstones."""
        ids: list[int] = []
        heap = self._heap
        while count and heap:
            priority = -heap[0]
            lane = self._lanes[priority]
            while lane and count:
                entry = lane[0]
                if type(entry) is int:
                    lane.popleft()
                    ids.append(entry)
                    count -= 1
                    continue
                first, stop = entry  # type: ignore[misc]
                end = min(stop, first + count)
                ids.extend(range(first, end))
                count -= end - first
                if end == stop:
                    lane.popleft()
                else:
                    entry[0] = end  # type: ignore[index]
            if not lane:
                heappop(heap)
                del self._lanes[priority]
        self.length -= len(ids)
        return ids

    def foremost(self, lanes: int, places: int) -> list[list[int]]:
        """The first ids of some lanes, tombstones included; nothing is taken.

        Args:
            lanes: look at so many at most, and at those first that have held something for the longest time.
            places: of each lane, so many ids at most.
        """
        return [
            list(islice(chain.from_iterable(map(_ids_of, lane)), places))
            for lane in islice(self._lanes.values(), lanes)
        ]

    def ahead(self, priority: int, id: int, waiting: Callable[[int, int], int], effort: int) -> tuple[int, bool]:
        """How many jobs go before one that waits.

        Looked for from both ends of the line, since most who ask are near one of them.

        Args:
            priority: its own.
            id: of the job; it must be in the line.
            waiting: how many of the ids from the first to before the second are waiting.
            effort: entries, and priorities, that may be looked at from each end.

        Returns:
            The number, and whether it is that; else there are at least so many.
        """
        if len(self._lanes) > effort:
            return 0, False
        here = self._lanes[priority]
        before = chain.from_iterable(lane for other, lane in self._lanes.items() if other > priority)
        count, found = self._count(chain(before, here), id, waiting, effort)
        if found or self.left:
            return count, found
        after = chain.from_iterable(lane for other, lane in self._lanes.items() if other < priority)
        behind, found = self._count(chain(after, reversed(here)), id, waiting, effort, backwards=True)
        return (self.length - self.tombstones - behind - 1 if found else count), found

    def _count(
        self,
        entries: Iterable[_Entry],
        id: int,
        waiting: Callable[[int, int], int],
        effort: int,
        *,
        backwards: bool = False,
    ) -> tuple[int, bool]:
        """How many wait in these entries until the one that holds ``id``, and whether that was met."""
        count = 0
        left = dict(self.left)
        if left:  # an entry may be one job's tombstone and another's place: each id is looked at
            entries = chain.from_iterable(map(_ids_of, entries))
        for entry in islice(entries, effort):
            first, stop = (entry, entry + 1) if isinstance(entry, int) else entry
            if left.get(first):
                left[first] -= 1
                continue
            if first <= id < stop:
                return count + (waiting(id + 1, stop) if backwards else waiting(first, id)), True
            count += waiting(first, stop)
        return count, False

    def discard(self, count: int = 1) -> None:
        """``count`` ids of the line are no longer waiting; whoever takes them will skip them."""
        self.tombstones += count

    def leave(self, id: int) -> None:
        """``id`` is no longer waiting, but may wait again before its entry is met: that one will be skipped."""
        self.tombstones += 1
        self.left[id] = self.left.get(id, 0) + 1

    def skipped(self, id: int) -> None:
        """``id`` was taken and turned out to be a tombstone."""
        self.tombstones -= 1
        entries = self.left.pop(id, 0)
        if entries > 1:
            self.left[id] = entries - 1

    @property
    def crowded(self) -> bool:
        """Whether tombstones are most of the line, and enough of them for `rebuild` to be worth it."""
        return self.tombstones > 1_000 and self.tombstones * 2 > self.length

    def rebuild(self, waiting: Callable[[int], bool]) -> None:
        """Drop every tombstone; ``waiting`` tells which ids stay."""
        lanes, left = self._lanes, self.left
        self.__init__()  # type: ignore[misc]
        for priority, lane in lanes.items():
            for id in _ids(lane):
                if left.get(id):
                    left[id] -= 1
                elif waiting(id):
                    self.put(priority, id)

    def ids(self) -> list[int]:
        """Every id in the order in which it would be taken, tombstones included; for checks and tests."""
        return [id for priority in sorted(self._lanes, reverse=True) for id in _ids(self._lanes[priority])]

    def _open(self, priority: int) -> deque[_Entry]:
        lane: deque[_Entry] = deque()
        self._lanes[priority] = lane
        heappush(self._heap, -priority)
        return lane


def _ids(lane: deque[_Entry]) -> list[int]:
    return list(chain.from_iterable(map(_ids_of, lane)))


def _ids_of(entry: _Entry) -> Iterable[int]:
    return (entry,) if isinstance(entry, int) else range(entry[0], entry[1])
