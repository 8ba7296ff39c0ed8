"""A database is looked at before it is trusted, and its schema is brought up to date in one step or not at all."""

import os
from collections.abc import Iterator
from typing import Any

import pytest
from tests.fakes.postgres import Databases
from tools.postgres import of_database, query

from flashq.errors import StorageError
from flashq.storage.postgres_schema import migrate, require_safe, standing
from flashq.storage.postgres_session import Away, Refused, Session
from flashq.storage.schema import steps


class Says:
    """A session whose server says this of itself."""

    place = "the database"

    def __init__(self, **settings: Any) -> None:
        usual = {"version": 150000, "fsync": "on", "pages": "on", "commit": "on", "encoding": "UTF8", "standby": False}
        self.row = tuple((usual | settings).values())

    def fetch(self, text: str, *values: object) -> list[Any]:
        """The only question."""
        return [self.row]


@pytest.fixture
def session(databases: Databases) -> Iterator[Session]:
    """An empty database."""
    with databases.fresh() as url:
        session = Session(url)
        session.connect()
        yield session
        session.close()


@pytest.mark.parametrize("commit", ["on", "local", "remote_write", "remote_apply"])
def test_a_safe_server_is_taken(commit: str) -> None:
    """Stronger than asked for is fine."""
    require_safe(Says(commit=commit), relaxed=False)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"version": 120009}, "version 12 is too old; 13 or newer"),
        ({"standby": True}, "a standby, which is read-only"),
        ({"encoding": "SQL_ASCII"}, "its encoding is SQL_ASCII"),
    ],
)
def test_what_cannot_work_is_refused(settings: dict[str, Any], sentence: str) -> None:
    """However much one may wish to risk."""
    for relaxed in (False, True):
        with pytest.raises(StorageError, match=f"^the database: .*{sentence}"):
            require_safe(Says(**settings), relaxed=relaxed)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"fsync": "off"}, "fsync"),
        ({"pages": "off", "fsync": "off"}, "fsync and full_page_writes"),
        ({"commit": "off"}, "synchronous_commit"),
    ],
)
def test_what_could_lose_jobs_is_refused(settings: dict[str, Any], named: str) -> None:
    """Unless it is asked for in so many words."""
    with pytest.raises(StorageError, match=f"^the database: {named} is off, .* set DURABILITY=relaxed"):
        require_safe(Says(**settings), relaxed=False)  # type: ignore[arg-type]
    require_safe(Says(**settings), relaxed=True)  # type: ignore[arg-type]


def test_the_question_fits_the_server(session: Session) -> None:
    """What is asked is understood and answered in the order in which it is read."""
    require_safe(session, relaxed=False)


def test_a_database_that_does_not_wait_is_refused(databases: Databases) -> None:
    """Also when only this database is set so."""
    with databases.fresh() as url:
        name = query(url, "SELECT current_database()")[0]
        query(url, f"ALTER DATABASE {name} SET synchronous_commit = off")
        session = Session(url)
        session.connect()
        with pytest.raises(StorageError, match="synchronous_commit is off"):
            require_safe(session, relaxed=False)
        session.close()


def test_migrations_are_applied_once(session: Session) -> None:
    """All steps the first time, none the next, and the identity stays."""
    assert migrate(session) == len(steps("postgres"))
    first = standing(session)
    assert migrate(session) == 0
    assert standing(session) == first
    assert (first.epoch, first.newest) == (0, 0)


def test_a_newer_schema_is_refused(session: Session) -> None:
    """And left as it is."""
    migrate(session)
    session.execute("UPDATE schema_version SET version = 99")
    with pytest.raises(StorageError, match="its schema has number 99, this program knows"):
        migrate(session)
    session.connect()
    assert session.fetch("SELECT version FROM schema_version")[0][0] == 99


def test_half_a_migration_is_none(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step that fails takes the ones before it along."""
    known = [*steps("postgres"), steps("postgres")[0]._replace(number=98, sql="SELECT * FROM nowhere")]
    monkeypatch.setattr("flashq.storage.postgres_schema.steps", lambda backend: known)
    with pytest.raises(StorageError, match="nowhere"):
        migrate(session)
    session.connect()
    assert session.fetch("SELECT to_regnamespace('flashq')")[0][0] is None


def test_a_schema_made_beforehand_is_used(session: Session) -> None:
    """A role that may not make schemas needs one of its own, and nothing else."""
    name = f"plain_{session.fetch('SELECT current_database()')[0][0]}"
    url = session._url.replace("flashq@", f"{name}@")
    session.execute(f"CREATE ROLE {name} LOGIN")
    plain = Session(url)
    plain.connect()
    with pytest.raises(Refused, match="permission denied"):
        migrate(plain)
    session.execute(f"CREATE SCHEMA flashq AUTHORIZATION {name}")
    plain.connect()
    assert migrate(plain) > 0
    assert standing(plain).newest == 0
    plain.close()
    session.execute(f"DROP SCHEMA flashq CASCADE; DROP ROLE {name}")


def test_an_emptied_table_is_damage(session: Session) -> None:
    """Without these rows nothing is known."""
    migrate(session)
    session.execute("DELETE FROM lease")
    with pytest.raises(StorageError, match="damaged: the table meta or lease is empty"):
        standing(session)


def test_a_standby_is_waited_for() -> None:
    """Before it is promoted it answers, but cannot be written to."""
    with pytest.raises(Away, match="standby"):
        standing(StandBy())  # type: ignore[arg-type]


class StandBy(Says):
    """A session to a standby with our schema."""

    def __init__(self) -> None:
        super().__init__()
        self.row = (True, 1, "x", 1, 1)


def test_a_database_of_another_encoding_is_refused(databases: Databases) -> None:
    """Payloads are UTF-8, byte for byte."""
    name = f"flashq_test_ascii_{os.getpid()}"
    query(databases.url, f"CREATE DATABASE {name} ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0")
    session = Session(of_database(databases.url, name))
    try:
        session.connect()
        with pytest.raises(StorageError, match="its encoding is SQL_ASCII"):
            require_safe(session, relaxed=False)
    finally:
        session.close()
        query(databases.url, f"DROP DATABASE {name}")
