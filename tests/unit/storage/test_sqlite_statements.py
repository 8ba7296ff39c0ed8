"""The statements say what they take, fit into the statement cache, and look rows up instead of searching for them."""

import apsw
import pytest

from flashq.storage import sqlite_statements as sql
from flashq.storage.rows import APPENDED, COLUMNS, JOB, QUEUE, UPDATED
from flashq.storage.schema import migrate, steps

SIZED = [
    *((10 + rows, text) for rows, text in sql.BATCH_INSERTS.items()),
    *((rows * len(JOB), text) for rows, text in sql.ROW_INSERTS.items()),
    *((rows * len(QUEUE), text) for rows, text in sql.QUEUE_COUNTS.items()),
    *((rows * (1 + len(columns)), text) for columns in UPDATED for rows, text in sql.UPDATES[columns].items()),
    *((rows * len(COLUMNS[table]), text) for table in APPENDED for rows, text in sql.APPENDS[table].items()),
]
"""Statements that take rows, with how many places they have for so many."""
SEARCHING = [sql.DELETE["jobs"], sql.DELETE["inputs"], sql.SELECT_JOBS, sql.SELECT_INPUTS]


@pytest.fixture(scope="module")
def db() -> apsw.Connection:
    """A database with the tables."""
    connection = apsw.Connection(":memory:")
    migrate(connection, steps("sqlite"))
    return connection


def plan(db: apsw.Connection, text: str, places: int) -> str:
    """How SQLite goes about it."""
    return " / ".join(str(line[3]) for line in db.execute("EXPLAIN QUERY PLAN " + text, [None] * places))


@pytest.mark.parametrize(("places", "text"), SIZED)
def test_a_statement_takes_its_rows(db: apsw.Connection, places: int, text: str) -> None:
    """All values are bound, as many as the rows have."""
    assert len(text.encode()) < 16_384, "longer ones are compiled again at every use"
    plan(db, text, places)


@pytest.mark.parametrize("text", [*(text for _, text in SIZED if text.startswith("UPDATE")), *SEARCHING])
def test_no_statement_reads_the_whole_table(db: apsw.Connection, text: str) -> None:
    """A full scan of a million jobs for each slice of upkeep would be minutes."""
    steps = plan(db, text, text.count("?"))
    assert "SCAN jobs" not in steps
    assert "SCAN inputs" not in steps


def test_blank_rows_do_nothing(db: apsw.Connection) -> None:
    """Places that are left over are filled with NULL and touch no row."""
    for places, text in SIZED:
        db.execute(text, [None] * places)
    assert db.execute("SELECT count(*) FROM jobs").get == 0
    assert db.execute("SELECT count(*) FROM queues").get == 0
