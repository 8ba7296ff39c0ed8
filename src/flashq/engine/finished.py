"""Bounded memory of what is over: which jobs completed, what they returned, which left without completing.

Completions are numbered over the whole server (1, 2, 3 ...), so "forgotten" is one number: everything below it.
That number is what the journal carries, and storage forgets by the same rule.
"""

from collections import deque
from collections.abc import Iterable
from typing import Final

from msgspec import Struct

from flashq.engine.records import KEEP_DROPPED

_BATCH: Final = 1_024
"""Jobs that are kept together, so that most of them come and go by slices."""


class _Batch(Struct, gc=False):
    """Completed jobs and the sizes of their payloads; those before ``start`` are forgotten."""

    ids: list[int]
    sizes: list[int]
    start: int = 0


class Finished:
    """The newest completed jobs, their results, and the ids of the dropped."""

    __slots__ = (
        "_batches",
        "_bytes",
        "_dropped",
        "_length",
        "_result_order",
        "completions",
        "dropped",
        "keep",
        "keep_bytes",
        "keep_results",
        "results",
    )

    def __init__(self, keep: int, keep_results: int, keep_bytes: int) -> None:
        """Bounds: ``keep`` jobs, ``keep_results`` results, ``keep_bytes`` of payloads and results."""
        self.keep = keep
        self.keep_results = keep_results
        self.keep_bytes = keep_bytes
        self.completions = 0
        """How many jobs ever completed; the number of the newest completion."""
        self.results: dict[int, bytes] = {}
        self.dropped: dict[int, None] = {}
        self._batches: deque[_Batch] = deque()  # remembered jobs, oldest first
        self._length = 0
        self._result_order: deque[tuple[int, int]] = deque()  # (number, id), oldest first
        self._dropped: deque[int] = deque()
        self._bytes = 0

    def __len__(self) -> int:
        return self._length

    @property
    def forget(self) -> int:
        """Completions with smaller numbers are forgotten."""
        return self.completions - self._length + 1

    @property
    def forget_results(self) -> int:
        """Results of completions with smaller numbers are forgotten."""
        return self._result_order[0][0] if self._result_order else self.completions + 1

    def add(self, ids: list[int], sizes: list[int]) -> int:
        """Jobs completed, in this order; ``sizes``: bytes of their payloads. Returns the first one's number."""
        first = self.completions + 1
        self.completions += len(ids)
        batches = self._batches
        if batches and len(batches[-1].ids) + len(ids) <= _BATCH:
            batches[-1].ids.extend(ids)
            batches[-1].sizes.extend(sizes)
        else:
            batches.append(_Batch(list(ids), list(sizes)))
        self._length += len(ids)
        self._bytes += sum(sizes)
        return first

    def restore(self, completions: int, jobs: list[tuple[int, int, int, bytes | None]]) -> None:
        """Take what is remembered: ``completions`` ever, and (number, id, bytes, result) of the newest, in order."""
        self.completions = completions - len(jobs)
        self.add([id for _, id, _, _ in jobs], [size for _, _, size, _ in jobs])
        for number, id, _, result in jobs:
            if result is not None:
                self.remember_result(number, id, result)

    def remember_result(self, number: int, id: int, result: bytes) -> None:
        """What completion ``number``, of job ``id``, returned."""
        self.results[id] = result
        self._result_order.append((number, id))
        self._bytes += len(result)

    def trim(self) -> list[int]:
        """Forget what is over the bounds. Returns the ids of the jobs that are forgotten."""
        results = self._result_order
        while results and (len(results) > self.keep_results or self._bytes > self.keep_bytes):
            self._bytes -= len(self.results.pop(results.popleft()[1]))
        gone: list[int] = []
        while self._length > self.keep:
            gone += self._pop(self._length - self.keep)
        while self._length and self._bytes > self.keep_bytes:
            gone += self._pop(1)
        if not gone:
            return gone
        oldest = self.forget
        while results and results[0][0] < oldest:
            self._bytes -= len(self.results.pop(results.popleft()[1]))
        return gone

    def drop(self, ids: Iterable[int]) -> None:
        """Jobs left without completing."""
        for id in ids:
            self.dropped[id] = None
            self._dropped.append(id)
        while len(self._dropped) > KEEP_DROPPED:
            del self.dropped[self._dropped.popleft()]

    def ids(self) -> list[int]:
        """The remembered completed jobs, oldest first; for checks."""
        return [id for batch in self._batches for id in batch.ids[batch.start :]]

    def _pop(self, count: int) -> list[int]:
        """Up to ``count`` of the oldest, from one batch."""
        batch = self._batches[0]
        start, stop = batch.start, min(batch.start + count, len(batch.ids))
        ids = batch.ids[start:stop]
        self._bytes -= sum(batch.sizes[start:stop])
        self._length -= len(ids)
        batch.start = stop
        if stop == len(batch.ids):
            self._batches.popleft()
        return ids
