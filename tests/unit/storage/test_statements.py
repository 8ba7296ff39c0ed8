"""Every statement is one that SQLite and PostgreSQL understand, and those for a few jobs do not read all of them."""

from collections.abc import Iterator

import apsw
import pytest
from tests.fakes.postgres import Databases
from tests.unit.storage.test_postgres_statements import plan_of
from tests.unit.storage.test_sqlite_statements import plan

from flashq.storage import statements as sql
from flashq.storage.postgres_session import Session
from flashq.storage.rows import Meta
from flashq.storage.schema import migrate, steps

ONLY_SQLITE = {sql.START}
"""PostgreSQL has the number of the newest start in the lease."""
TEXTS = [text for name, text in vars(sql).items() if name.isupper() and name[0] != "_" and isinstance(text, str)]
SEARCHING = [sql.OVERFILL, sql.FORGET_SOME, sql.FORGET_RESULTS, sql.SELECT_HISTORY, sql.SELECT_STARTS, sql.TRAIL_PAGE]


@pytest.fixture(scope="module")
def db() -> apsw.Connection:
    """A SQLite database with the tables."""
    connection = apsw.Connection(":memory:")
    migrate(connection, steps("sqlite"))
    return connection


@pytest.fixture(scope="module")
def session(databases: Databases) -> Iterator[Session]:
    """A PostgreSQL database with the tables."""
    with databases.owned() as session:
        yield session


@pytest.mark.parametrize("text", TEXTS)
def test_a_statement_is_understood(db: apsw.Connection, session: Session, text: str) -> None:
    """Names and numbers of places fit; and of those that look for something, none looks at everything."""
    places = max((int(text[at + 1]) for at in range(len(text)) if text[at] == "?"), default=0)
    ways = [plan(db, text, places)]
    if text not in ONLY_SQLITE:
        ways.append(plan_of(session, text.replace("?", "$")))
    if text in SEARCHING:
        assert "SCAN" not in ways[0], ways[0]
        assert "Seq Scan" not in ways[1], ways[1]


def test_the_leftovers_name_marks(db: apsw.Connection, session: Session) -> None:
    """Each mark is one that `meta` has."""
    for text, mark in sql.LEFTOVERS:
        assert mark in Meta.__struct_fields__
        plan(db, text, 1)
        plan_of(session, text.replace("?", "$"))
