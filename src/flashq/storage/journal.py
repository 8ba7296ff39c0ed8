"""Group commit: gathers the records of many turns into groups and says which of them are safe. Pure, no threads.

While one group is being written the next one fills, and it starts the moment the other is done. So the size of a
group follows the load by itself: one record when nobody else is there, thousands when the disk is the narrow place,
and no timer to tune.

A turn's records never fall into two groups, since together they are one change (a cron that fired and the job that
it made). Numbers are given when a turn is appended, so a reply knows at once which group it has to wait for.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from flashq.engine.records import Added, CallsOwed, Collected, Completed, CronSet, Happened, Pushed, Record
from flashq.storage.records import encode, weight

GROUP_CHANGES: Final = 10_000
GROUP_BYTES: Final = 4 * 1024 * 1024
"""A group that has reached either takes no further turn. A group is written and synced as one, so a larger one
would only make its first reply wait for its last record; from here on the cost of the sync is spread thin enough."""

_RECORD_BYTES: Final = 64
"""What a record is taken to weigh besides its payloads. An estimate for back-pressure, not an account."""


@dataclass(slots=True)
class _Group:
    """Turns that will be written together."""

    number: int
    records: list[Record] = field(default_factory=list)
    changes: int = 0
    bytes: int = 0

    def full(self) -> bool:
        return self.changes >= GROUP_CHANGES or self.bytes >= GROUP_BYTES


class Journal:
    """Groups of records on their way to storage.

    Attributes:
        durable: number of the newest group that is safe; a reply may leave when it depends on none above.
        unsynced_bytes: estimated payload bytes that are not safe yet; what back-pressure looks at.
    """

    def __init__(self, newest: int) -> None:
        """Start behind what is remembered.

        Args:
            newest: number of the newest group in storage, as `Storage.open` returned it.
        """
        self.durable = newest
        self.unsynced_bytes = 0
        self._tail = newest
        self._groups: deque[_Group] = deque()
        self._in_flight: _Group | None = None

    @property
    def tail(self) -> int:
        """Number of the group that holds the newest record: what a reply made now depends on."""
        return self._tail

    def append(self, records: Sequence[Record]) -> None:
        """Gather the records of one turn.

        Args:
            records: in the order in which they happened; must not be changed afterwards. None is fine.
        """
        if not records:
            return
        group = self._gathering()
        size = sum(map(payload_bytes, records))
        group.records.extend(records)
        group.changes += sum(map(weight, records))
        group.bytes += size
        self.unsynced_bytes += size

    def begin_group(self) -> None:
        """Write a group next even if nothing comes into it: a reply made now waits for a commit that begins later."""
        self._gathering()

    def next_group(self) -> tuple[int, bytes] | None:
        """The next group to write.

        Returns:
            Its number and its blob, or None while another is being written or nothing has gathered.
        """
        if self._in_flight is not None or not self._groups:
            return None
        group = self._in_flight = self._groups.popleft()
        return group.number, encode(group.records)

    def committed(self, number: int) -> None:
        """The group that `next_group` gave is safe.

        Args:
            number: which one; told by the writer, so that a mix-up cannot pass unseen.

        Raises:
            ValueError: that group is not the one being written.
        """
        group = self._in_flight
        if group is None or group.number != number:
            raise ValueError(f"group {number} was not being written")
        self._in_flight = None
        self.durable = number
        self.unsynced_bytes -= group.bytes

    def _gathering(self) -> _Group:
        if not self._groups or self._groups[-1].full():
            self._tail += 1
            self._groups.append(_Group(self._tail))
        return self._groups[-1]


def payload_bytes(record: Record) -> int:
    """About how many bytes a record will take, without encoding it."""
    if isinstance(record, Pushed):
        return _RECORD_BYTES + sum(map(len, record.data))
    if isinstance(record, Completed):
        return _RECORD_BYTES + 5 * len(record.ids) + sum(len(result) for _, result in record.results)
    if isinstance(record, Added):
        inputs = sum(len(result) for _, result in record.row.inputs or ())
        return 2 * _RECORD_BYTES + len(record.row.data) + inputs
    if isinstance(record, CronSet):
        return 2 * _RECORD_BYTES + len(record.row.data)
    if isinstance(record, Collected):
        return _RECORD_BYTES + 5 * len(record.children) + len(record.result)
    if isinstance(record, CallsOwed):
        return _RECORD_BYTES + 20 * len(record.webhooks) + len(record.body)
    if isinstance(record, Happened):
        return _RECORD_BYTES + 5 * len(record.runs) + len(record.detail or "")
    return _RECORD_BYTES
