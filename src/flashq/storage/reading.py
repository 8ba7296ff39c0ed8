"""A database looked at without a trace: what the doctor examines and an export reads. For any SQL backend.

The storages cannot be used for looking: they take ownership, migrate, count a start and write. Here nothing is
changed; whoever looks at a damaged database must find it again as it was left. How each kind is opened so stands in
`flashq.storage.sqlite_reading` and `flashq.storage.postgres_reading`.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final, Protocol, TypeVar

from flashq.engine.records import Snapshot
from flashq.engine.trail import Audited
from flashq.errors import StorageError
from flashq.storage.fold import Fold
from flashq.storage.highwater import HighWater, Mark
from flashq.storage.tables import Tables
from flashq.storage.windows import Windows

_Found = TypeVar("_Found")

Check = tuple[str, Callable[[], str]]
"""The name of a check, and what does it: it returns what it has found in order, or raises StorageError."""

_SHOWN: Final = 5
"""Ids that are named of many."""


class StorageInUse(StorageError):
    """A server has it: it cannot be looked at now."""


class StorageMissing(StorageError):
    """There is nothing to look at."""


class Source(Protocol):
    """A database that is looked at. Nothing is touched before its first check.

    Attributes:
        place: what it is called in sentences.
        tables: of it, once its first checks have passed.
        no_witness: why nobody can say how much was confirmed, where there is no high-water file.
    """

    place: str
    tables: Tables
    no_witness: str

    def checks(self) -> Sequence[Check]:
        """What is checked before the journal is read."""
        ...

    def high_water(self) -> HighWater | None:
        """Its high-water file, if there is one. Raises StorageError where that cannot be read."""
        ...

    def plainly(self) -> AbstractContextManager[None]:
        """Errors as StorageError, in plain words."""
        ...

    def close(self) -> None:
        """Let go."""
        ...


class Reading:
    """One look at a database: everything in it is that of one moment."""

    _tail: Fold

    def __init__(self, source: Source) -> None:
        """Name the database; nothing is touched before the first check."""
        self._source = source

    def checks(self) -> Sequence[Check]:
        """What can be checked, in order: each check needs those before it. The first one opens the storage."""
        behind = (
            ("journal", self._read_journal),
            ("high water", self._check_high_water),
            ("rows", self._find_orphans),
        )
        return [(name, self._plainly(step)) for name, step in (*self._source.checks(), *behind)]

    def snapshot(self) -> Snapshot:
        """Everything that is remembered, as a server would load it now, but for its epoch: no start is counted.

        Called after all checks, once; the jobs are read before anything else.

        Raises:
            StorageError: it cannot be read; while the jobs are read too.
        """
        with self._source.plainly():
            snapshot = self._tail.over(self._source.tables.snapshot())
        snapshot.jobs = self._read(snapshot.jobs)
        return snapshot

    def trail(self) -> Iterator[Audited]:
        """Everything that is remembered of the past, in its order; after the jobs of the snapshot have been read.

        Raises:
            StorageError: it cannot be read.
        """
        yield from self._read(self._source.tables.whole_trail())
        yield from self._tail.audit

    def close(self) -> None:
        """Let go."""
        self._source.close()

    def _read_journal(self) -> str:
        """Every group is there, whole, and says something that this program understands."""
        tables = self._source.tables
        windows = Windows(self._source.place, tables)
        self._tail = windows.fold_tail()
        folded = tables.meta.folded
        return f"{windows.newest - folded} groups after group {folded}, which is in the tables"

    def _check_high_water(self) -> str:
        """Nothing is missing of what had been confirmed."""
        source, tables = self._source, self._source.tables
        mark, confirmed = Mark(tables.newest(), tables.meta.epoch), source.high_water()
        held = f"{mark.number} groups of {mark.epoch} starts"
        if confirmed is None or confirmed.mark == Mark(0, 0):
            return f"{held}; no witness of how many there were: {source.no_witness}"
        confirmed.check(mark, Path(source.place))
        return f"{held}; {confirmed.mark.number} are known to have been confirmed"

    def _find_orphans(self) -> str:
        """Inputs belong to a job that collects them. What the journal takes away of them yet is none of them."""
        tables, going = self._source.tables, set(self._tail.without_inputs())
        orphans = [child for child in tables.orphans() if child not in going]
        if orphans:
            raise StorageError(
                f"{self._source.place}: {len(orphans)} jobs have collected results, and do not collect or are not "
                f"there: {orphans[:_SHOWN]}"
            )
        jobs, inputs = tables.counts()
        return f"{jobs} jobs and {inputs} collected results in the tables"

    def _plainly(self, step: Callable[[], _Found]) -> Callable[[], _Found]:
        def checked() -> _Found:
            with self._source.plainly():
                return step()

        return checked

    def _read(self, things: Iterable[_Found]) -> Iterator[_Found]:
        with self._source.plainly():
            yield from things
