"""Bounded memory of what is over: which jobs completed, what they returned, which left without completing.

Completions are numbered over the whole server (1, 2, 3 ...), so "forgotten" is one number: everything below it.
That number is what the journal carries, and storage forgets by the same rule.
"""

from collections import deque
from collections.abc import Iterable
from typing import Final

KEEP_DROPPED: Final = 50_000
"""Ids remembered as cancelled, expired or purged, so that a child pushed later does not take them for completed."""


class Finished:
    """The newest completed jobs, their results, and the ids of the dropped."""

    __slots__ = (
        "_bytes",
        "_dropped",
        "_order",
        "_result_order",
        "_sizes",
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
        self._order: deque[int] = deque()  # remembered ids, oldest first
        self._sizes: deque[int] = deque()  # their payload sizes
        self._result_order: deque[tuple[int, int]] = deque()  # (number, id), oldest first
        self._dropped: deque[int] = deque()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._order)

    @property
    def forget(self) -> int:
        """Completions with smaller numbers are forgotten."""
        return self.completions - len(self._order) + 1

    @property
    def forget_results(self) -> int:
        """Results of completions with smaller numbers are forgotten."""
        return self._result_order[0][0] if self._result_order else self.completions + 1

    def add(self, ids: list[int], sizes: list[int]) -> int:
        """Jobs completed, in this order; ``sizes``: bytes of their payloads. Returns the first one's number."""
        first = self.completions + 1
        self.completions += len(ids)
        self._order.extend(ids)
        self._sizes.extend(sizes)
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
        results, order = self._result_order, self._order
        while results and (len(results) > self.keep_results or self._bytes > self.keep_bytes):
            self._bytes -= len(self.results.pop(results.popleft()[1]))
        surplus = len(order) - self.keep
        if surplus <= 0 and self._bytes <= self.keep_bytes:
            return []
        gone: list[int] = []
        while order and (surplus > 0 or self._bytes > self.keep_bytes):
            surplus -= 1
            self._bytes -= self._sizes.popleft()
            gone.append(order.popleft())
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
        return list(self._order)
