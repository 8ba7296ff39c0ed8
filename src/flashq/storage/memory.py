"""The backend that keeps groups in a list: the reference that the others are measured against, and what tests use.

It has no tables and no upkeep; `load` folds the whole list. So it holds no state that could disagree with the
journal, and is too slow and too large for anything but tests: a server without a disk runs without a journal.
"""

from collections.abc import Iterator
from itertools import islice
from math import inf

from flashq.engine.records import Snapshot
from flashq.engine.trail import Question, numbered
from flashq.errors import StorageError
from flashq.storage.fold import Fold
from flashq.storage.records import decode


class MemoryStorage:
    """Groups in a list that outlives the storage, as a disk outlives a process.

    Attributes:
        groups: the blobs, group 1 first. May be cut from outside, to see what a disk that lost its end leads to.
        epoch: how often it was opened.
    """

    def __init__(self, groups: list[bytes] | None = None, epoch: int = 0) -> None:
        """Keep groups.

        Args:
            groups: the list to go on with; shared, not copied.
            epoch: how often these groups were opened before.
        """
        self.groups = [] if groups is None else groups
        self.epoch = epoch

    def reopened(self, keep: int | None = None) -> "MemoryStorage":
        """The same groups as another process would find them after a crash.

        Args:
            keep: only so many of the oldest groups survived; None = all.
        """
        return MemoryStorage(list(islice(self.groups, keep)), self.epoch)

    def open(self, above: int = 0) -> int:
        """Start a new epoch."""
        self.epoch = max(self.epoch, above) + 1
        return len(self.groups)

    def load(self) -> Snapshot:
        """Fold all groups."""
        fold = Fold()
        for blob in self.groups:
            fold.feed(decode(blob))
        fold.settle()
        return fold.over(Snapshot(1, self.epoch, 0, jobs=[], queues=[], crons=[], dropped=[]))

    def commit(self, number: int, blob: bytes) -> None:
        """Append a group, unless it is there."""
        newest = len(self.groups)
        if number > newest + 1:
            raise StorageError(f"group {number} cannot follow group {newest}")
        if number == newest + 1:
            self.groups.append(blob)

    def tidy(self, *, idle: bool) -> bool:
        """There is nothing to keep tidy."""
        del idle
        return False

    def read(self, question: Question) -> Iterator[None]:
        """Go through all groups."""
        newest = 0
        for blob in self.groups:
            records, newest = numbered(decode(blob), newest)
            yield
            question.feed(records)

    @property
    def held_until_ms(self) -> float:
        """Always ours. See `flashq.storage.base.Storage`."""
        return inf

    def give_up(self) -> None:
        """Nothing waits here for what may come back."""

    def close(self) -> None:
        """There is nothing to let go of."""
