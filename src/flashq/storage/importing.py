"""Filling an empty storage from an export, in pieces that each are durable.

What was imported last stands in the storage itself, in the same commit: so an import that was broken off goes on where
it was when it is run again with the same export, and nothing is there twice. Until it has come to its end, which is one
commit as well, the storage says that it is not whole, and no server serves it.

Only so much is held in memory at a time as goes into a commit, and what is small: queues, and the ids of those that
were dropped.
"""

from collections.abc import Callable, Iterator
from typing import Final

from msgspec import Struct

from flashq.engine.records import (
    CallRow,
    CallsOwed,
    CronRow,
    CronSet,
    Happened,
    Imported,
    ImportEnded,
    JobRow,
    Operated,
    QueueRow,
    Record,
    Snapshot,
    WebhookRow,
    WebhookSet,
)
from flashq.errors import StorageError
from flashq.model import COMPLETED, DELAYED, FAILED, WAITING, WAITING_CHILDREN
from flashq.storage.base import Storage
from flashq.storage.dump import BadDump, Dropped, Reader, Thing
from flashq.storage.records import encode

PIECE_LINES: Final = 1_000
PIECE_BYTES: Final = 1024 * 1024
"""Lines, or bytes of lines, after which a piece is committed: the sync is spread over many, and few are held."""

TIDY_EVERY: Final = 20
"""Pieces after which they are brought into the tables: about a window of the journal."""

_STORED: Final = frozenset({WAITING, DELAYED, COMPLETED, FAILED, WAITING_CHILDREN})


class NotEmpty(StorageError):
    """The storage holds something already."""


class Counted(Struct):
    """What an import has brought, in lines of each kind; those of earlier runs included."""

    jobs: int = 0
    queues: int = 0
    crons: int = 0
    webhooks: int = 0
    calls: int = 0
    history: int = 0


def lines_there(snapshot: Snapshot, reader: Reader) -> int:
    """How many lines of an export a storage has already.

    Args:
        snapshot: what the storage holds; its jobs are not read.
        reader: the export, of which the header has been read.

    Raises:
        NotEmpty: what it holds does not come from this export.
    """
    if snapshot.importing:
        name, _, lines = snapshot.importing.partition(" ")
        if name != reader.name:
            raise NotEmpty(
                "an import of another export was broken off there: go on with that one, or remove what is there"
            )
        return int(lines)
    held = snapshot.queues or snapshot.crons or snapshot.webhooks or snapshot.dropped or snapshot.completions
    if snapshot.next_id != 1 or held:
        raise NotEmpty("it holds jobs or settings already; an import needs an empty place")
    return 0


class Import:
    """One run of an import.

    Attributes:
        counted: what has been read so far.
    """

    def __init__(self, reader: Reader, storage: Storage) -> None:
        """Make it ready.

        Args:
            reader: the export, of which the header has been read.
            storage: where to; not opened yet.
        """
        self.counted = Counted()
        self._reader = reader
        self._storage = storage
        self._queues: dict[str, QueueRow] = {}
        self._dropped: list[int] = []
        self._webhooks: set[str] = set()
        self._last_id = 0
        self._records: list[Record] = []
        self._rows: list[JobRow] = []
        self._pieces = 0

    def run(self, progress: Callable[[int], None]) -> None:
        """Do it all: open the storage, fill it, close it.

        Args:
            progress: called with how many more bytes of the export are done, once they are durable.

        Raises:
            NotEmpty: the storage holds something else.
            BadDump: the export is no good. What came before that stays, and is not served.
            StorageError: the storage failed.
        """
        storage, reader = self._storage, self._reader
        newest = storage.open(above=reader.header.epoch - 1)
        try:
            snapshot = storage.load()
            for _ in snapshot.jobs:  # as every storage wants it
                pass
            there = lines_there(snapshot, reader)
            self._number = newest
            self._fill(there, progress)
        finally:
            storage.close()

    def _fill(self, there: int, progress: Callable[[int], None]) -> None:
        reader = self._reader
        told, lines = 0, there
        self._there = there
        if not there:
            self._commit()  # from here on it is an import
        for thing in reader.things():
            self._take(thing, new=reader.lines > there)
            if reader.lines - lines >= PIECE_LINES or (reader.lines > there and reader.bytes - told >= PIECE_BYTES):
                self._commit()
                progress(reader.bytes - told)
                told, lines = reader.bytes, reader.lines
        self._commit()
        self._end()
        progress(reader.bytes - told)
        while self._storage.tidy(idle=True):
            pass

    def _take(self, thing: Thing, *, new: bool) -> None:
        """One line; what is ``new`` goes into the next piece, what is needed at the end is kept."""
        match thing:
            case QueueRow(name):
                self._queues[name] = thing
                self.counted.queues += 1
            case Dropped(ids):
                self._dropped += ids
            case JobRow():
                self._judge(thing)
                self.counted.jobs += 1
                if new:
                    self._rows.append(thing)
            case _:
                records = list(self._records_of(thing))
                if new:
                    self._records += records

    def _records_of(self, thing: Thing) -> Iterator[Record]:
        counted = self.counted
        match thing:
            case CronRow():
                counted.crons += 1
                yield CronSet(thing)
            case WebhookRow(id):
                counted.webhooks += 1
                self._webhooks.add(id)
                yield WebhookSet(thing)
            case CallRow(number, webhook, body):
                if webhook not in self._webhooks:
                    raise BadDump(f"line {self._reader.lines}: a call that is owed to nobody")
                counted.calls += 1
                yield CallsOwed(number, [webhook], body)
            case Happened() | Operated():
                counted.history += 1
                yield thing

    def _judge(self, row: JobRow) -> None:
        where = f"line {self._reader.lines}: job {row.id}"
        if not self._last_id < row.id < self._reader.header.next_id:
            raise BadDump(f"{where} comes after job {self._last_id}, and the next id is {self._reader.header.next_id}")
        if row.state not in _STORED:
            raise BadDump(f"{where} is in state {row.state}, which none can be stored in")
        if row.queue not in self._queues:
            raise BadDump(f"{where} is in a queue that is not there")
        self._last_id = row.id

    def _commit(self) -> None:
        """What has been taken is durable when this returns."""
        place = f"{self._reader.name} {max(self._there, self._reader.lines)}"
        self._write([*self._records, Imported(place, self._rows)])
        self._records, self._rows = [], []
        self._pieces += 1
        if self._pieces % TIDY_EVERY == 0:
            while self._storage.tidy(idle=True):
                pass

    def _end(self) -> None:
        header = self._reader.header
        queues = list(self._queues.values())
        self._write([ImportEnded(header.next_id, header.completions, queues, self._dropped)])

    def _write(self, records: list[Record]) -> None:
        self._number += 1
        self._storage.commit(self._number, encode(records))
