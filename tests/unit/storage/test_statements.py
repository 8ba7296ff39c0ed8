"""The statements say what they take, fit into the statement cache, and look rows up instead of searching for them."""

import apsw
import pytest

from flashq.storage import statements as sql
from flashq.storage.schema import migrate, steps

BY_ROWS = {
    "BATCH_INSERTS": lambda rows: 10 + rows,
    "ROW_INSERTS": lambda rows: rows * len(sql.JOB),
    "CHANGE_UPDATES": lambda rows: rows * 9,
    "PROGRESS_UPDATES": lambda rows: rows * 3,
    "FINISH_UPDATES": lambda rows: rows * 7,
    "QUEUE_COUNTS": lambda rows: rows * 10,
    "QUEUE_SETTINGS": lambda rows: rows * 4,
}
SIZED = [(name, rows, text) for name in BY_ROWS for rows, text in getattr(sql, name).items()]
SEARCHING = [
    sql.DELETE_JOBS, sql.FORGET_SOME, sql.FORGET_RESULTS, sql.SELECT_JOBS, sql.OVERFILL, sql.SELECT_INPUTS,
    sql.DELETE_INPUTS,
]  # fmt: skip


@pytest.fixture(scope="module")
def db() -> apsw.Connection:
    """A database with the tables."""
    connection = apsw.Connection(":memory:")
    migrate(connection, steps("sqlite"))
    return connection


def plan(db: apsw.Connection, text: str, places: int) -> str:
    """How SQLite goes about it."""
    return " / ".join(str(line[3]) for line in db.execute("EXPLAIN QUERY PLAN " + text, [None] * places))


@pytest.mark.parametrize(("name", "rows", "text"), SIZED)
def test_a_statement_takes_its_rows(db: apsw.Connection, name: str, rows: int, text: str) -> None:
    """All values are bound, as many as the rows have."""
    assert len(text.encode()) < 16_384, "longer ones are compiled again at every use"
    plan(db, text, BY_ROWS[name](rows))


@pytest.mark.parametrize("text", [*(text for name, _, text in SIZED if "UPDATES" in name), *SEARCHING])
def test_no_statement_reads_the_whole_table(db: apsw.Connection, text: str) -> None:
    """A full scan of a million jobs for each slice of upkeep would be minutes."""
    steps = plan(db, text, text.count("?"))
    assert "SCAN jobs" not in steps
    assert "SCAN inputs" not in steps


def test_blank_rows_do_nothing(db: apsw.Connection) -> None:
    """Places that are left over are filled with NULL and touch no row."""
    for name, rows, text in SIZED:
        places = BY_ROWS[name](rows)
        db.execute(text, [None] * places)
    assert db.execute("SELECT count(*) FROM jobs").get == 0
    assert db.execute("SELECT count(*) FROM queues").get == 0
