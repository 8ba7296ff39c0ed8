"""Remembering in a PostgreSQL database.

As with SQLite a commit appends one row to a journal, and upkeep folds old rows into tables. What differs is that the
database is somebody else's process: it can be gone for a while and come back, and another server can reach it too.

- A commit is one call of a function, in one round trip, which checks that we are the owner and no group is missing.
- When the connection breaks in a commit, nobody knows whether it happened. The same call is made again on a new
  connection, as often as it takes; the group's number tells the database whether it has it. Nothing is guessed.
- A new connection may lead to another database: to a standby that was promoted and lacks the newest commits, or to a
  restored copy. What answers is compared with what was confirmed before anything goes on.
- Only the owner of a lease writes (`flashq.storage.postgres_lease`).
- The data folder keeps a witness of how far the database was, as for SQLite: a database that was replaced by an older
  copy while no server ran is refused.

While the database is away `commit` waits; whoever waits for it is told by the server that storage does not answer.
"""

import logging
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from random import uniform
from typing import Final, Literal, TypeVar

from flashq.engine.records import JobRow, Pushed, Snapshot
from flashq.engine.trail import Question
from flashq.errors import StorageError
from flashq.storage import postgres_lease as lease
from flashq.storage import postgres_statements as sql
from flashq.storage.files import FolderLock, make_folder
from flashq.storage.fold import Fold
from flashq.storage.highwater import HighWater, Mark
from flashq.storage.postgres_dialect import PostgresDialect
from flashq.storage.postgres_schema import Standing, files_of, migrate, require_safe, standing, version_of
from flashq.storage.postgres_session import Away, Refused, Session
from flashq.storage.tables import Tables
from flashq.storage.windows import Retention, Windows

log = logging.getLogger("flashq")

TRY_AGAIN_S: Final = (0.2, 1.0)
"""Pause between two tries to reach a database that is away, drawn anew each time: soon enough to go on within a second
of its return, apart enough that many servers do not come at once."""

START_SECONDS: Final = 10
"""How long a start waits for a database that is away: as long as one takes to start beside us."""

CONFIRM_MS: Final = 1_000
"""How often, under load, the high-water file is written and a relaxed database asked to sync."""

_FENCED: Final = "FQ001"
_Result = TypeVar("_Result")


class PostgresStorage:
    """The backend on a PostgreSQL database."""

    _tables: Tables
    _windows: Windows
    _keeper: lease.Keeper
    _high_water: HighWater
    _known: Standing
    """What answered at the start, and how far it was confirmed to be since."""
    _tail: Fold
    """What was found in the journal; until it is loaded."""

    def __init__(
        self,
        url: str,
        folder: Path,
        *,
        steady_ms: Callable[[], int],
        durability: Literal["full", "relaxed"] = "full",
        retention: Retention | None = None,
        address: str = "",
        lost: Callable[[StorageError], None] | None = None,
    ) -> None:
        """Name the database; nothing is touched before `open`.

        Args:
            url: of the database.
            folder: of this server's own data; made if it is missing.
            steady_ms: milliseconds of a clock that never jumps.
            durability: ``full`` = a commit waits until the database has it on its disk, ``relaxed`` = it does not.
            retention: how much of the trail is kept; None: all of it.
            address: where this server listens, for the sentence that a second one ends with.
            lost: called on another thread when another server has taken over: the process must end.

        Raises:
            StorageError: asyncpg is not installed.
        """
        self._url = url
        self._folder = folder.absolute()
        self._steady_ms = steady_ms
        self._relaxed = durability == "relaxed"
        self._settings = {"synchronous_commit": "off"} if self._relaxed else {}
        self._retention = retention
        self._address = address
        self._lost = lost or (lambda _: None)
        self._given_up = threading.Event()
        self._writable = False
        self._confirmed_at = steady_ms()
        self._held = ExitStack()
        self._db = Session(url, self._settings)

    def open(self, above: int = 0) -> int:
        """Take ownership, migrate and verify. See `flashq.storage.base.Storage`."""
        try:
            with self._plainly():
                return self._open(above)
        except BaseException:
            self._let_go()
            raise

    def load(self) -> Snapshot:
        """The tables with the rest of the journal laid over them. See `flashq.storage.base.Storage`."""
        with self._plainly():
            snapshot = self._tail.over(self._tables.snapshot())
            del self._tail
        snapshot.jobs = self._reading(snapshot.jobs)
        return snapshot

    def commit(self, number: int, blob: bytes) -> None:
        """Append a row to the journal, however long the database is away. See `flashq.storage.base.Storage`."""
        newest = self._windows.newest
        if number <= newest:
            return
        with self._plainly():
            self._require_writable()
            if number != newest + 1:
                raise StorageError(f"{self._db.place}: group {number} cannot follow group {newest}")
            self._steadily(lambda: self._db.fetch(sql.COMMIT, self._known.epoch, number, blob))
            self._windows.committed(number, blob)

    def tidy(self, *, idle: bool) -> bool:
        """A slice of upkeep. See `flashq.storage.base.Storage`."""
        with self._plainly():
            self._require_writable()
            self._confirm(now=idle)
            if idle:
                return self._fold_slice()
            while self._windows.due() and self._fold_slice():
                pass
            return False

    def read(self, question: Question) -> Iterator[None]:
        """Feed a question about the past. See `flashq.storage.base.Storage`."""
        with self._plainly():
            self._require_writable()
            yield from self._windows.read(question)

    def give_up(self) -> None:
        """Stop waiting for a database that is away. See `flashq.storage.base.Storage`."""
        self._given_up.set()

    def close(self) -> None:
        """Release the lease, so that the next server need not wait. See `flashq.storage.base.Storage`."""
        try:
            if self._writable:
                self._given_up.set()
                self._keeper.stop()
                with suppress(Away, StorageError):  # it runs out by itself, and all that was committed is there
                    self._confirm(now=True)
                    lease.release(self._db, self._known.epoch)
        finally:
            self._let_go()

    @property
    def held_until_ms(self) -> int:
        """Until when the lease holds at least. See `flashq.storage.base.Storage`."""
        return self._keeper.held_until_ms

    def _let_go(self) -> None:
        self._writable = False
        self._held.close()
        self._db.close()

    def _open(self, above: int) -> int:
        db, held = self._db, self._held
        self._reach()
        require_safe(db, relaxed=self._relaxed)
        if self._relaxed:  # the schema and the epoch are for good: a token must never be given out twice
            db.execute("SET synchronous_commit = on")
        if not version_of(db):
            migrate(db)  # nobody can be using what is not there
        found = standing(db)
        files = self._files(found.identity)
        high_water = self._high_water = HighWater(files.with_suffix(".highwater"))
        held.callback(high_water.close)
        self._check_high_water(found)
        epoch = lease.take(
            db,
            lease.owner_name(self._address),
            lease.instance_of(files.with_suffix(".instance")),
            self._given_up.wait,
            above,
        )
        migrate(db)  # an older schema is changed by its owner, and not under the hands of another
        if self._relaxed:
            db.execute("SET synchronous_commit = off")
        self._known = standing(db)  # the owner before may have gone on until now
        self._keeper = lease.Keeper(Session(self._url, self._settings), epoch, self._steady_ms, self._lost)
        held.callback(self._keeper.stop)
        tables = self._tables = Tables(PostgresDialect(db))
        windows = self._windows = Windows(db.place, tables, self._retention)
        self._check_high_water(self._known)
        self._tail = windows.fold_tail()
        tables.restart()
        high_water.write(Mark(windows.newest, epoch))
        self._writable = True
        return windows.newest

    def _reach(self) -> None:
        """Connect, to a database that may be starting just now."""
        until = self._steady_ms() + START_SECONDS * 1_000
        while True:
            try:
                self._db.connect()
                return
            except Away as away:
                if self._steady_ms() >= until or self._given_up.wait(uniform(*TRY_AGAIN_S)):  # noqa: S311
                    raise StorageError(f"{self._db.place}: cannot be reached: {away}") from away

    def _files(self, identity: str) -> Path:
        """Lock this database in the data folder. Returns the name that its files there have, without a suffix."""
        make_folder(self._folder)
        path = files_of(self._folder, identity)
        try:
            self._held.callback(FolderLock(path).release)
        except StorageError as error:
            raise StorageError(
                f"{self._db.place}: another FlashQ server with the data folder {self._folder} is using it"
            ) from error
        return path

    def _check_high_water(self, found: Standing) -> None:
        self._high_water.check(Mark(found.newest, found.epoch), Path(self._db.place))

    def _require_writable(self) -> None:
        if not self._writable:
            raise StorageError(f"{self._db.place}: closed, or failed before; nothing more is written")

    def _steadily(self, work: Callable[[], _Result]) -> _Result:
        """Do something that may be done twice until it is known to be done."""
        while True:
            try:
                return work()
            except Away as away:
                self._come_back(away)

    def _come_back(self, away: Away) -> None:
        """Wait for the database, see that it is ours and has all that was confirmed, and begin upkeep anew."""
        log.warning("%s does not answer: %s", self._db.place, away)
        began, pause = self._steady_ms(), 0.0
        while not self._given_up.wait(pause):
            pause = uniform(*TRY_AGAIN_S)  # noqa: S311 - not for secrets
            try:
                self._db.connect()
                self._require_ours(standing(self._db))
                self._tables.restart()
                self._windows.restart()
            except Away:
                continue
            log.warning("%s answers again, after %d ms", self._db.place, self._steady_ms() - began)
            return
        raise StorageError(f"{self._db.place}: it did not answer ({away}) until this server was stopped") from away

    def _require_ours(self, found: Standing) -> None:
        known, place = self._known, self._db.place
        if (found.system, found.identity) != (known.system, known.identity):
            raise StorageError(
                f"{place}: another database answers at its address; this server ends, nothing is written"
            )
        if found.epoch > known.epoch:
            raise lease.fenced(place)
        if found.newest < self._windows.newest or found.epoch < known.epoch:
            if not self._relaxed:  # with which this may be no more than a crash of the database
                self._high_water.write(Mark(self._windows.newest, known.epoch))  # for the next start to refuse as well
            raise StorageError(
                f"{place}: storage went back in time: it holds {found.newest} groups of {found.epoch} starts, but "
                f"{self._windows.newest} groups of {known.epoch} starts had been confirmed. It was restored from an "
                "older copy, or a standby was promoted that had not received everything"
            )

    def _fold_slice(self) -> bool:
        if self._windows.folded:
            return False
        try:
            self._windows.fold_slice()
        except Away as away:
            self._come_back(away)
        return True

    def _confirm(self, *, now: bool) -> None:
        """Write down how far the database has come, once that is on its disk."""
        moment, newest = self._steady_ms(), self._windows.newest
        if self._high_water.mark.number >= newest or (not now and moment - self._confirmed_at < CONFIRM_MS):
            return
        self._confirmed_at = moment
        if self._relaxed:
            self._steadily(lambda: self._sync(newest))
        self._high_water.write(Mark(newest, self._known.epoch))

    def _sync(self, newest: int) -> None:
        fence = f"SET LOCAL synchronous_commit = on; SELECT fence(0, {self._known.epoch:d})"
        with self._db.transaction(fence):
            self._db.fetch(sql.SYNCED, newest)

    def _reading(self, jobs: Iterable[JobRow | Pushed]) -> Iterator[JobRow | Pushed]:
        with self._plainly():
            yield from jobs

    @contextmanager
    def _plainly(self) -> Iterator[None]:
        """Errors in plain words. Whatever it was, nothing is written after it."""
        try:
            yield
        except Away as away:
            self._writable = False
            raise StorageError(f"{self._db.place}: does not answer: {away}") from away
        except StorageError as error:
            self._writable = False
            if isinstance(error, Refused) and error.sqlstate == _FENCED:
                raise lease.fenced(self._db.place) from error
            raise
        except OSError as error:
            self._writable = False
            raise StorageError(f"{error.filename or self._folder}: {error.strerror or error}") from error
