"""A session tells what will pass from what will not, says neither a password nor nothing, and can begin anew."""

import asyncio
import selectors
import sys
from collections.abc import Iterator

import pytest
from tests.fakes.postgres import Databases
from tools.postgres import query

from flashq.errors import StorageError
from flashq.storage import postgres_session
from flashq.storage.postgres_session import Away, Refused, Session, place_of


@pytest.fixture
def session(databases: Databases) -> Iterator[Session]:
    """Connected to a database that is there already."""
    session = Session(databases.url)
    session.connect()
    yield session
    session.close()


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("postgres://me:secret@db.example:6000/jobs", "PostgreSQL database jobs at db.example:6000"),
        ("postgresql://me:secret@db.example/jobs?sslmode=require", "PostgreSQL database jobs at db.example"),
        ("postgresql://flashq@/jobs?host=/run/postgresql", "PostgreSQL database jobs at /run/postgresql"),
        ("postgres://", "PostgreSQL database of the user at localhost"),
        ("postgres://me:se@cret@db.example/jobs", "the PostgreSQL database"),
        ("postgres://me:se/cret@db.example/jobs", "the PostgreSQL database"),
        ("postgres://me:se?cret@db.example/jobs", "the PostgreSQL database"),
        ("postgres://me:se#cret@db.example/jobs", "the PostgreSQL database"),
        ("postgres://me:12?cret@db.example/jobs", "the PostgreSQL database"),
        ("postgres://one:5432,two:5432/jobs", "the PostgreSQL database"),
        ("postgres://[::1]:6000/jobs", "PostgreSQL database jobs at ::1:6000"),
        ("postgres://[::1]db.example/jobs", "the PostgreSQL database"),
        ("postgres://db.example/jobs?password=secret", "PostgreSQL database jobs at db.example"),
    ],
)
def test_a_place_names_no_password(url: str, place: str) -> None:
    """Also where the URL is not what its author meant."""
    assert place_of(url) == place


def test_without_asyncpg_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library is in an extra, and most people have not asked for it."""
    monkeypatch.setitem(sys.modules, "asyncpg", None)
    with pytest.raises(StorageError, match=r"install flashq-server\[postgres\]"):
        Session("postgres://x/y")


def test_nobody_there_is_away() -> None:
    """It may come; and the sentence says what was tried."""
    session = Session("postgres://me:secret@127.0.0.1:1/db")
    with pytest.raises(Away, match="1") as trouble:
        session.connect()
    assert "secret" not in str(trouble.value)
    assert not session.connected
    session.close()


@pytest.mark.parametrize(
    "url",
    [
        "postgres://me:secret@host:port/db",
        "postgres://me:secret@host/db?sslmode=secret",
        "postgres://me:secret@[::1]host:1/db",  # which is not this machine
    ],
)
def test_a_wrong_url_is_not_repeated(url: str) -> None:
    """It holds a password, and will never be right."""
    session = Session(url)
    with pytest.raises(StorageError, match="DATABASE_URL is not the address") as trouble:
        session.connect()
    assert "secret" not in str(trouble.value)
    session.close()


def test_a_refused_statement_will_not_pass(session: Session) -> None:
    """It says why, with the database's own code, and the session can begin anew."""
    with pytest.raises(Refused, match=r"PostgreSQL database .*missing") as trouble:
        session.fetch("SELECT * FROM missing")
    assert trouble.value.sqlstate == "42P01"
    assert not session.connected
    session.connect()
    assert [tuple(row) for row in session.fetch("SELECT $1::int", 7)] == [(7,)]


@pytest.mark.parametrize("why", ["57014", "55P03", "53100", "57P01", "25006", "40001", "08006"])
def test_what_passes_is_away(session: Session, why: str) -> None:
    """A full disk, a lock, a shutdown, a standby: somebody or time will see to it."""
    with pytest.raises(Away, match="because"):
        session.execute(f"DO $$ BEGIN RAISE EXCEPTION 'because' USING ERRCODE = '{why}'; END $$")


@pytest.mark.parametrize("why", ["58030", "42501", "28000", "XX001", "FQ001"])
def test_what_stays_is_an_error(session: Session, why: str) -> None:
    """A failing disk, a missing right, damage: asking again would hide it."""
    with pytest.raises(StorageError, match="because"):
        session.execute(f"DO $$ BEGIN RAISE EXCEPTION 'because' USING ERRCODE = '{why}'; END $$")


def test_a_lost_connection_is_away(session: Session, databases: Databases) -> None:
    """In the middle of a call and between two; a new one can be made."""
    ((pid,),) = session.fetch("SELECT pg_backend_pid()")
    query(databases.url, f"SELECT pg_terminate_backend({pid})")
    with pytest.raises(Away):
        session.fetch("SELECT 1")
    with pytest.raises(Away, match="no connection"):
        session.fetch("SELECT 1")
    session.connect()
    with pytest.raises(Away):
        session.fetch("SELECT pg_terminate_backend(pg_backend_pid())")


def test_a_database_that_hangs_is_away(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call has an end, also when the other side never says a word."""
    session.fetch("SELECT 1")
    monkeypatch.setattr(postgres_session, "CALL_SECONDS", 0.05)
    with pytest.raises(Away):
        session.fetch("SELECT pg_sleep(4)")  # which would be answered before the database itself gives it up


def test_a_failed_transaction_leaves_nothing(session: Session) -> None:
    """Neither what it did nor its locks."""
    with pytest.raises(StorageError), session.transaction("CREATE TABLE public.left_behind (n int)"):
        session.execute("SELECT 1 / 0")
    session.connect()
    assert session.fetch("SELECT to_regclass('public.left_behind')")[0][0] is None


def test_it_works_inside_a_running_loop(session: Session) -> None:
    """A server opens its storage while its own loop runs."""

    async def within() -> int:
        return int(session.fetch("SELECT 7")[0][0])

    assert asyncio.run(within()) == 7
    assert session.fetch("SELECT 8")[0][0] == 8


def test_a_statement_asks_the_system_once(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """For its answer; each further look would hand the interpreter over to a busy event loop beside it."""
    looks: list[float | None] = []
    looking = selectors.DefaultSelector.select

    def select(self: selectors.DefaultSelector, timeout: float | None = None) -> object:
        looks.append(timeout)
        return looking(self, timeout)

    session.fetch("SELECT 1")
    monkeypatch.setattr(selectors.DefaultSelector, "select", select)
    session.fetch("SELECT 1")
    assert 1 <= len(looks) <= 2  # an answer may come in two pieces


def test_rows_are_copied(session: Session) -> None:
    """In binary, many at once."""
    session.execute("CREATE TEMP TABLE numbers (n bigint, word text)")
    session.copy("numbers", ("n", "word"), [(1, "one"), (2, None)])
    assert [tuple(row) for row in session.fetch("SELECT * FROM numbers ORDER BY n")] == [(1, "one"), (2, None)]
