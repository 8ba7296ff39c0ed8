"""Every statement is one that PostgreSQL understands with our tables, and none reads all of a table for a few rows."""

from collections.abc import Iterator

import pytest
from tests.fakes.postgres import Databases

from flashq.storage import postgres_statements as sql
from flashq.storage.postgres_session import Session

GROUPED = {"UPDATES": sql.UPDATES, "DELETE": sql.DELETE, "PUT": sql.PUT, "ALL": sql.ALL}
TEXTS = {
    **{name: text for name, text in vars(sql).items() if name.isupper() and name[0] != "_" and isinstance(text, str)},
    **{f"{name} {key}": text for name, texts in GROUPED.items() for key, text in texts.items()},
}
BY_KEY = [*sql.UPDATES.values(), *sql.DELETE.values()]


@pytest.fixture(scope="module")
def session(databases: Databases) -> Iterator[Session]:
    """A database with the tables."""
    with databases.owned() as session:
        yield session


def plan_of(session: Session, text: str) -> str:
    """How PostgreSQL goes about it, whatever the values are."""
    if not session.connected:
        session.connect()
    values = ", ".join("NULL" for _ in session._run(session._open().prepare(text)).get_parameters())
    given = f"({values})" if values else ""
    session.execute(f"PREPARE it AS {text}; SET plan_cache_mode = force_generic_plan")
    plan = "\n".join(row[0] for row in session.fetch(f"EXPLAIN EXECUTE it{given}"))
    session.execute("DEALLOCATE it")
    return plan


@pytest.mark.parametrize("name", TEXTS)
def test_a_statement_is_understood(session: Session, name: str) -> None:
    """Names, types and numbers of places fit."""
    if not session.connected:
        session.connect()
    session.execute(f"PREPARE it AS {TEXTS[name]}; DEALLOCATE it")


@pytest.mark.parametrize("text", BY_KEY)
def test_rows_are_found_by_key(session: Session, text: str) -> None:
    """In an empty table as in a large one, since plans are made once."""
    plan = plan_of(session, text)
    assert "Seq Scan" not in plan, plan
    assert "Index" in plan


@pytest.mark.parametrize("text", [sql.SELECT_JOBS, sql.GROUPS])
def test_pages_are_read_in_their_order(session: Session, text: str) -> None:
    """No page sorts everything behind it, also while nobody has counted the rows: a start would take for ever."""
    if not session.connected:
        session.connect()
    session.execute(
        "TRUNCATE jobs, journal;"
        "ALTER TABLE jobs SET (autovacuum_enabled = off); ALTER TABLE journal SET (autovacuum_enabled = off);"
        "INSERT INTO jobs (id, queue, state, priority, created_at, run_at, started_at, attempts, max_attempts, backoff,"
        " ttl, timeout, data) SELECT n, 'q', 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, '1' FROM generate_series(1, 20000) AS n;"
        "INSERT INTO journal (number, blob) SELECT n, 'x' FROM generate_series(1, 20000) AS n"
    )
    places = {"$1": "0", "$2": "15000", "$3": "10000", "$4": "8000000"}
    for place, value in places.items():
        text = text.replace(place, f"{value}::bigint")
    plan = "\n".join(row[0] for row in session.fetch(f"EXPLAIN {text}"))
    assert "Sort" not in plan, plan
