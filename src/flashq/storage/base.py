"""The seam between the queue and whatever remembers it.

The engine runs in memory, storage only remembers; so the seam is narrow: open, load, commit, close, `tidy`
for upkeep in idle moments, and `read` for what only storage knows: the past. Every backend passes the same
conformance suite (`tests/conformance`).

A *group* is the records of one commit, encoded by `flashq.storage.records` into one blob. Groups are numbered
1, 2, 3 ... without gaps. A group is applied wholly or not at all.
"""

from collections.abc import Iterator
from typing import Protocol

from flashq.engine.records import Snapshot
from flashq.engine.trail import Question


class Storage(Protocol):
    """Where groups of records are kept.

    `open` and `load` come first, in this order, once each, and the jobs of the snapshot are read to their end before
    anything else. From then on only the writer thread calls `commit`, `tidy` and `read`; `close` comes after it
    has ended.
    """

    def open(self, above: int = 0) -> int:
        """Take ownership, migrate and verify; start a new epoch, durably.

        Args:
            above: the number of the new epoch is above this one as well. An import needs it, so that tokens of the
                storage that it comes from are never given out again.

        Returns:
            The number of the newest group that is remembered.

        Raises:
            StorageError: it belongs to another server, is damaged, too new, or went back in time. The sentence
                names the file and the reason; nothing was changed.
        """
        ...

    def load(self) -> Snapshot:
        """Everything that is remembered, for `flashq.engine.restore`. Called once, after `open`."""
        ...

    def commit(self, number: int, blob: bytes) -> None:
        """Remember a group; on return it is as safe as the durability mode promises.

        A group that is remembered already (``number`` not above the newest) changes nothing. It takes as long as what
        keeps the groups is away: the runtime lives with that, and calls `give_up` when the server leaves.

        Raises:
            StorageError: it failed, or a group is missing before this one. The process must end: what is in
                memory is ahead of what is remembered.
        """
        ...

    def tidy(self, *, idle: bool) -> bool:
        """Do one short slice of upkeep.

        Called after every commit with ``idle`` False, and again and again while nothing happens with ``idle`` True.

        Args:
            idle: nothing has been committed for a while and nothing waits. A backend may put upkeep off while this
                is False, as long as its bounds hold.

        Returns:
            Whether there is more to do now.

        Raises:
            StorageError: as for `commit`.
        """
        ...

    def read(self, question: Question) -> Iterator[None]:
        """Feed a question about the past with all that is remembered of it, in short slices.

        Neither `tidy` nor another reading may come between two slices; commits may, and are not seen.

        Args:
            question: fed in the order in which things happened.

        Yields:
            After each slice but the last.

        Raises:
            StorageError: as for `commit`.
        """
        ...

    @property
    def held_until_ms(self) -> float:
        """Until when, on the steady clock, no other server can have taken over; infinite: none can while we live.

        A commit that succeeds later proves that none has. Asked on any thread, from `open` on.
        """
        ...

    def give_up(self) -> None:
        """A commit that waits for something that may come back shall fail instead, and so shall every later one.

        Called on any thread, at any time after `open`; returns at once. Nothing, where a commit is the disk's alone.
        """
        ...

    def close(self) -> None:
        """Let go cleanly. What was committed stays. After a failure it lets go without writing anything.

        Raises:
            StorageError: the last writes failed; what was committed is in the journal nevertheless.
        """
        ...
