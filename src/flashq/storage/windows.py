"""The journal, window by window: which groups are folded next, when, and in which slices; for any backend with tables.

Folding runs between commits, on their thread and connection. It is cut into slices of a few milliseconds, as long as a
commit can wait. In quiet moments everything is folded; under load only what keeps the bounds.

The journal needs no folding for speed: recovery reads a job from the journal as fast as from the tables. It is folded
so that it does not grow without end, and so that people find their jobs in the tables.
"""

from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from flashq.engine.records import Completed, Record
from flashq.engine.trail import Question, numbered
from flashq.errors import StorageError
from flashq.storage.fold import Fold
from flashq.storage.records import changes, decode
from flashq.storage.tables import Tables

WINDOW_CHANGES: Final = 20_000
WINDOW_BYTES: Final = 8 * 1024 * 1024
WINDOW_GROUPS: Final = 1_000
"""A window takes no further group once it has reached one of these. Settling one of 20,000 changes keeps the
interpreter for about five milliseconds; a larger one would save little, as short-lived jobs end in it anyway."""

UNFOLDED_CHANGES: Final = 250_000
UNFOLDED_BYTES: Final = 64 * 1024 * 1024
"""A longer journal is folded under load too, one slice for every `EASY_PACE` changes that are committed. This is a
burst of a second or two, which a quiet moment folds for nothing."""

HARD: Final = 4
"""A journal this many times longer than that is folded faster than it grows, whatever that costs the commits: a
recovery from it (a million jobs) has to stay within seconds."""
EASY_PACE: Final = 4_000
HARD_PACE: Final = 500
"""Changes committed for each slice, which folds about a thousand."""

FEED_CHANGES: Final = 8_000
"""Changes decoded in one slice: about two milliseconds."""


TRIM_MS: Final = 3_600_000
"""How long after the trail was trimmed it is trimmed again though nothing happened: what is kept for days may stay for
an hour longer."""


class Retention(NamedTuple):
    """How much of the trail is kept.

    Attributes:
        keep_ms: ms for which an entry is kept.
        max_rows: entries of jobs that are kept at the most, the newest.
        wall_ms: the wall clock.
    """

    keep_ms: int
    max_rows: int
    wall_ms: Callable[[], int]


class Windows:
    """The journal of one open database, and what of it is in the tables.

    Attributes:
        newest: number of the newest group.
    """

    def __init__(self, place: str, tables: Tables, retention: Retention | None = None) -> None:
        """Begin with a journal as it was found.

        Args:
            place: what the database is called in sentences.
            tables: of it.
            retention: how much of the trail is kept; None: all of it.
        """
        self._place = place
        self._tables = tables
        self._retention = retention
        self._trimmed_at = 0  # wall ms
        self.newest = tables.newest()
        self._unfolded_changes = self._unfolded_bytes = 0
        self._credit = 0
        self._slices: Iterator[None] | None = None
        self._folding = (0, 0, 0)  # the last group of the window that is being folded, its changes and its bytes

    def fold_tail(self) -> Fold:
        """Read all of the journal, at the start. It stays as it is, to be folded when it is quiet.

        Returns:
            The window of all groups that are not in the tables, settled.

        Raises:
            StorageError: a group is damaged or missing.
        """
        meta = self._tables.meta
        fold, expected = Fold(meta.next_id), meta.folded
        for number, blob in self._tables.groups(meta.folded):
            expected += 1
            if number != expected:
                raise StorageError(f"{self._place}: group {expected} is missing from the journal")
            fold.feed(self._decoded(number, blob))
            self._count(blob)
        if expected != self.newest:
            raise StorageError(f"{self._place}: group {expected + 1} is missing from the journal")
        fold.settle()
        return fold

    def committed(self, number: int, blob: bytes) -> None:
        """A group was appended to the journal."""
        self.newest = number
        self._count(blob)
        self._credit += changes(blob)

    def due(self) -> bool:
        """Whether, under load, a slice has to be folded now to keep the bounds; if so, it is taken for done."""
        over = max(self._unfolded_changes / UNFOLDED_CHANGES, self._unfolded_bytes / UNFOLDED_BYTES)
        if over < 1:
            self._credit = 0
            return False
        pace = HARD_PACE if over >= HARD else EASY_PACE
        if self._credit < pace:
            return False
        self._credit -= pace
        return True

    @property
    def folded(self) -> bool:
        """Whether there is nothing left to do for `fold_slice`."""
        return self._slices is None and self._tables.meta.folded == self.newest and not self._trim_due()

    def fold_slice(self) -> None:
        """One step of the window being folded, or of the next one; when all are, of what is let go of the trail."""
        if self._slices is None:
            self._slices = self._trim() if self._tables.meta.folded == self.newest else self._fold_window()
        if next(self._slices, self) is self:
            self._slices = None

    def restart(self) -> None:
        """The connection was lost, and with it perhaps slices of the window: begin it anew, unless it is folded."""
        self._slices = None
        self._settle()

    def read(self, question: Question) -> Iterator[None]:
        """Feed a question: from the tables, then from the journal. See `flashq.storage.base.Storage`."""
        meta, newest = self._tables.meta, self.newest
        question.feed(self._tables.trail(question))
        number, fed = meta.audited, FEED_CHANGES  # a slice of its own
        for group, blob in self._tables.groups(meta.folded):
            if group > newest:
                break
            if fed >= FEED_CHANGES:
                yield
                fed = 0
            records, number = numbered(self._decoded(group, blob), number)
            question.feed(records)
            fed += changes(blob)

    def _count(self, blob: bytes) -> None:
        self._unfolded_changes += changes(blob)
        self._unfolded_bytes += len(blob)

    def _decoded(self, number: int, blob: bytes) -> list[Record]:
        try:
            return decode(blob)
        except StorageError as error:
            raise StorageError(f"{self._place}: group {number}: {error}") from error

    def _fold_window(self) -> Iterator[None]:
        """Fold the oldest groups of the journal, slice by slice."""
        first = last = self._tables.meta.folded
        fold = Fold(self._tables.meta.next_id)
        count = size = fed = 0
        for number, blob in self._tables.groups(first):
            last = number
            fold.feed(self._decoded(number, blob))
            count += changes(blob)
            size += len(blob)
            if count >= WINDOW_CHANGES or size >= WINDOW_BYTES or last - first >= WINDOW_GROUPS:
                break
            if count - fed >= FEED_CHANGES:
                fed = count
                yield
        fold.settle(*self._forgotten_later(last))
        self._folding = last, count, size
        yield
        yield from self._tables.apply(fold, last)
        self._settle()
        yield from self._trim()

    def _trim_due(self) -> bool:
        """Whether it is long since the trail was trimmed; also when the clock was set."""
        return self._retention is not None and abs(self._retention.wall_ms() - self._trimmed_at) >= TRIM_MS

    def _trim(self) -> Iterator[None]:
        if self._retention is not None:
            keep_ms, max_rows, wall_ms = self._retention
            now = wall_ms()
            yield from self._tables.trim(now - keep_ms, max_rows)
            self._trimmed_at = now

    def _settle(self) -> None:
        """Take the window out of what is not folded, once, if it is."""
        last, count, size = self._folding
        if self._tables.meta.folded >= last:
            self._unfolded_changes -= count
            self._unfolded_bytes -= size
            self._folding = 0, 0, 0

    def _forgotten_later(self, last: int) -> tuple[int, int]:
        """What the newest group says is forgotten: in a long journal that is most of what an older one completed."""
        if last < self.newest:
            for record in reversed(self._decoded(self.newest, self._tables.group(self.newest))):
                if isinstance(record, Completed):
                    return record.forget, record.forget_results
        return 0, 0
