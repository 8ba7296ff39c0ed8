"""One connection to PostgreSQL, for one thread at a time, which waits for each answer.

asyncpg wants an event loop. Storage is used on the writer thread, one statement after the other; so each session has a
loop of its own that runs just as long as a statement takes, on whichever thread asked. There is no thread between
the writer and its database, and nothing that goes on by itself.

Two kinds of trouble are told apart. `Away`: the database does not answer, or says that it cannot now; it will
come back, and what was asked may have happened or not. Everything else is a `StorageError`: asking again would not
help. A server that hangs is away as one that is dead: every call has a time by which the connection is dropped.
"""

import asyncio
import selectors
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import parse_qs

from flashq.errors import StorageError
from flashq.urls import split_url

if TYPE_CHECKING:
    from asyncpg import Connection

CALL_SECONDS: Final = 6.0
"""A call that takes longer ends with its connection. Above the time that the database itself gives a statement, so that
it is the one to say what was wrong as long as it can."""
CONNECT_SECONDS: Final = 5.0

SETTINGS: Final[Mapping[str, str]] = {
    "application_name": "flashq",
    "search_path": "flashq",
    "timezone": "UTC",
    "statement_timeout": "5000",
    "lock_timeout": "3000",
    # A process that is frozen between two statements must not hold a lock for longer than its lease.
    "idle_in_transaction_session_timeout": "5000",
    # The server notices within five seconds that we are gone without a word, and lets go of our locks.
    "tcp_user_timeout": "5000",
    "tcp_keepalives_idle": "2",
    "tcp_keepalives_interval": "1",
    "tcp_keepalives_count": "3",
    # Every statement finds its rows by key, in its order. A plan made while a table was small, or while nobody has
    # counted its rows, must not read or sort all of it for each page.
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "jit": "off",
}
"""For every connection. Times in ms, except keepalives, in seconds."""

_AWAY: Final = ("08", "40", "53", "57P01", "57P02", "57P03", "57P05", "57014", "55P03", "25006", "25P03")
"""Beginnings of the SQLSTATEs that pass by: lost connections, a shutdown, a start, a statement or lock that took too
long, conflicts, no room or too many connections, a standby that is about to be promoted. A full disk is among them:
the operator makes room and nothing was lost meanwhile. A disk that fails (class 58), a wrong password or a missing
table are not: they need somebody who looks at them."""

_Result = TypeVar("_Result")


class _Patient(selectors.DefaultSelector):
    """Asks the system for news only when the loop has nothing else to do.

    A loop looks before each of its rounds, and a statement takes four rounds, of which one waits for the answer. Each
    look gives the interpreter's lock away, and with a busy event loop on another thread it takes long to get it back.
    """

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Nothing, when the loop would not wait."""
        if timeout is not None and timeout <= 0:
            return []
        found: list[tuple[selectors.SelectorKey, int]] = super().select(timeout)
        return found


class Away(Exception):
    """The database does not answer or cannot now; whether it did what it was asked for is not known.

    Its text is the reason, for people.
    """


class Refused(StorageError):
    """The database refused a statement for good.

    Attributes:
        sqlstate: five characters that say why.
    """

    def __init__(self, message: str, sqlstate: str) -> None:
        super().__init__(message)
        self.sqlstate = sqlstate


class Session:
    """A connection that can be lost and made again.

    Attributes:
        place: what the database is called in sentences: its name and host, never a password.
        connected: whether there is a connection, as far as is known.
    """

    def __init__(self, url: str, settings: Mapping[str, str] | None = None) -> None:
        """Name a database; nothing is touched before `connect`.

        Args:
            url: ``postgres://...`` or ``postgresql://...``, as libpq knows it.
            settings: of the connection, besides `SETTINGS`.

        Raises:
            StorageError: asyncpg is not installed.
        """
        self.place = place_of(url)
        self._asyncpg = _asyncpg()
        self._url = url
        self._settings = {**SETTINGS, **(settings or {})}
        self._loop = asyncio.SelectorEventLoop(_Patient())
        self._connection: Connection[Any] | None = None
        self._in_transaction = False

    @property
    def connected(self) -> bool:
        """See the class."""
        return self._connection is not None and not self._connection.is_closed()

    def connect(self) -> None:
        """Make a new connection, in place of one that there may be.

        Raises:
            Away: it cannot be made now.
            StorageError: it will not be possible.
        """
        self.drop()
        with self._plainly():
            split_url(self._url)  # raises where asyncpg would forget what stands beside the brackets of a host
            self._connection = self._run(
                self._asyncpg.connect(
                    self._url,
                    timeout=CONNECT_SECONDS,
                    server_settings=self._settings,
                    max_cached_statement_lifetime=0,
                )
            )

    def fetch(self, text: str, *values: object) -> list[Any]:
        """Run one statement, prepared when it is new.

        Args:
            text: with places ``$1``, ``$2`` ...
            values: for these.

        Returns:
            Its rows.

        Raises:
            Away, StorageError: as the module says.
        """
        return self._call(self._open().fetch(text, *values))

    def execute(self, text: str) -> None:
        """Run statements, separated by semicolons, without values, in one round trip.

        Raises:
            Away, StorageError: as the module says.
        """
        self._call(self._open().execute(text))

    def copy(self, table: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Append rows to a table.

        Raises:
            Away, StorageError: as the module says.
        """
        self._call(self._open().copy_records_to_table(table, columns=columns, records=rows))

    @contextmanager
    def transaction(self, begin: str = "") -> Iterator[None]:
        """Everything inside happens or nothing does. If it fails the connection is dropped, and with it what was done.

        Args:
            begin: statements to begin with, in the same round trip.

        Raises:
            Away, StorageError: as the module says.
        """
        try:
            self.execute(f"BEGIN; {begin}")
            yield
            self.execute("COMMIT")
        except BaseException:
            self.drop()
            raise

    def drop(self) -> None:
        """Let go of the connection without a word."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()
            self._run(asyncio.sleep(0))  # in which the socket is closed

    def close(self) -> None:
        """Let go of everything; a session that is closed stays so."""
        if self._loop.is_closed():
            return
        self.drop()
        self._loop.close()

    def _open(self) -> "Connection[Any]":
        if self._connection is None or self._connection.is_closed():
            raise Away("there is no connection")
        return self._connection

    def _call(self, work: Coroutine[Any, Any, _Result]) -> _Result:
        connection = self._open()
        overdue = self._loop.call_later(CALL_SECONDS, connection.terminate)
        try:
            with self._plainly():
                return self._run(work)
        finally:
            overdue.cancel()

    def _run(self, work: Coroutine[Any, Any, _Result]) -> _Result:
        """Run the loop on this thread; on another one where this thread runs a loop already, as during the start."""
        if not _runs_a_loop():
            return self._loop.run_until_complete(work)
        with ThreadPoolExecutor(1) as elsewhere:
            return elsewhere.submit(self._loop.run_until_complete, work).result()

    @contextmanager
    def _plainly(self) -> Iterator[None]:
        """Trouble as one of the two kinds; a connection that had it is not used again."""
        try:
            yield
        except self._asyncpg.PostgresError as error:
            self.drop()
            state = error.sqlstate or ""
            if state.startswith(_AWAY):
                raise Away(str(error)) from error
            raise Refused(f"{self.place}: {error}", state) from error
        except ValueError:  # about the URL, which may hold a password: so not its text
            self.drop()
            raise StorageError("DATABASE_URL is not the address of a PostgreSQL database") from None
        except (OSError, EOFError, self._asyncpg.InterfaceError, self._asyncpg.InternalClientError) as error:
            self.drop()
            raise Away(str(error) or "no answer in time") from error


def place_of(url: str) -> str:
    """What a database is called in sentences.

    Args:
        url: of the database; what of it could be a password is left out, also where it is written wrongly.
    """
    try:
        parts = split_url(url)
        if url.count("@") > 1 or "@" in parts.path + parts.query + parts.fragment:
            raise ValueError
        query = parse_qs(parts.query)
        host = parts.hostname or query.get("host", ["localhost"])[0]
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "the PostgreSQL database"
    return f"PostgreSQL database {parts.path.strip('/') or 'of the user'} at {host}{port}"


def _runs_a_loop() -> bool:
    """Whether this thread is inside an event loop, in which no other can be run."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _asyncpg() -> ModuleType:
    try:
        import asyncpg
    except ImportError:
        raise StorageError("PostgreSQL needs asyncpg: install flashq-server[postgres]") from None
    module: ModuleType = asyncpg
    return module
