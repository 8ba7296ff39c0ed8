"""Every statement is one that PostgreSQL understands with our tables, and none reads all of a table for a few rows."""

from collections.abc import Iterator

import pytest
from tests.fakes.postgres import Databases

from flashq.storage import postgres_statements as sql
from flashq.storage.postgres_schema import migrate
from flashq.storage.postgres_session import Session

TEXTS = {name: text for name, text in vars(sql).items() if name.isupper() and name[0] != "_" and isinstance(text, str)}


@pytest.fixture(scope="module")
def session(databases: Databases) -> Iterator[Session]:
    """A database with the tables."""
    with databases.fresh() as url:
        session = Session(url)
        session.connect()
        migrate(session)
        yield session
        session.close()


@pytest.mark.parametrize("name", TEXTS)
def test_a_statement_is_understood(session: Session, name: str) -> None:
    """Names, types and numbers of places fit."""
    if not session.connected:
        session.connect()
    session.execute(f'PREPARE "{name}" AS {TEXTS[name]}')


@pytest.mark.parametrize("name", ["CHANGE", "PROGRESS", "FINISH", "DELETE_JOBS", "FORGET_RESULTS", "SET_QUEUES"])
def test_rows_are_found_by_key(session: Session, name: str) -> None:
    """In an empty table as in a large one, since plans are made once."""
    if not session.connected:
        session.connect()
    statement = session._run(session._open().prepare(TEXTS[name]))
    values = ", ".join("NULL" for _ in statement.get_parameters())
    session.execute(f"PREPARE plan_{name} AS {TEXTS[name]}; SET plan_cache_mode = force_generic_plan")
    plan = "\n".join(row[0] for row in session.fetch(f"EXPLAIN EXECUTE plan_{name}({values})"))
    assert "Seq Scan" not in plan, plan
    assert "Index" in plan


def test_the_leftovers_name_marks(session: Session) -> None:
    """Each mark is one that `meta` has."""
    for text, mark in sql.LEFTOVERS:
        assert mark in sql.Meta.__struct_fields__
        session.fetch(text, 1)
