"""What is SQLite's own about the tables: people can read them, and no statement holds the log up."""

import apsw
import pytest
from msgspec import structs
from tests.unit.storage.test_tables import FULL_ROW, apply, batch

from flashq.engine.records import Added
from flashq.storage.schema import migrate, steps
from flashq.storage.sqlite_dialect import SqliteDialect
from flashq.storage.tables import Tables


@pytest.fixture
def connection() -> apsw.Connection:
    """An empty database."""
    connection = apsw.Connection(":memory:")
    migrate(connection, steps("sqlite"))
    return connection


def test_the_text_is_readable(connection: apsw.Connection) -> None:
    """Payloads, lists and results are text for whoever looks into the database."""
    apply(Tables(SqliteDialect(connection)), Added(FULL_ROW))
    query = "SELECT typeof(data), depends_on, tags, result FROM jobs"
    assert connection.execute(query).get == ("text", "[7,9007199254740991]", '["red","ä\'"]', "[1, 2]")


def test_no_statement_stays_under_way(connection: apsw.Connection) -> None:
    """Between two groups that are read nothing is open that would keep the log from being moved."""
    for number in (1, 2):
        connection.execute("INSERT INTO journal VALUES (?, ?)", (number, b"x"))
    groups = SqliteDialect(connection).groups(0)
    assert next(groups) == (1, b"x")
    connection.execute("DROP TABLE journal")  # refused while a statement reads it


@pytest.mark.parametrize(("jobs", "statements"), [(200, 1), (1_000, 5)])
def test_hundreds_of_rows_go_with_one_statement(connection: apsw.Connection, jobs: int, statements: int) -> None:
    """Each statement gives the interpreter's lock away."""
    texts: list[str] = []
    connection.exec_trace = lambda _, text, __: texts.append(text) is None
    rows = [structs.replace(FULL_ROW, id=id) for id in range(1, jobs + 1)]
    apply(Tables(SqliteDialect(connection)), *map(Added, rows), batch(jobs + 1, 1_000))
    inserts = [text for text in texts if text.startswith("INSERT OR REPLACE INTO jobs")]
    assert len(inserts) == statements + 1
