"""The SQL that is SQLite's alone, by how many rows a statement takes; see `flashq.storage.statements`.

Built once from names and numbers that stand in this program; values are always bound, never put into a text. The
texts stay under 16 KB each, or the statement cache of apsw would not take them and compile them again every time.
"""
# ruff: noqa: S608

from collections.abc import Sequence
from typing import Final

from flashq.storage.rows import APPENDED, COLUMNS, COUNTERS, DELETED, JOB, ONE_BY_ONE, QUEUE, READ_WHOLE, UPDATED, Meta

_JSON: Final = ("data", "result", "body")
"""Bytes in the program, text in the tables, where people read them."""


def _values(rows: int, columns: int) -> str:
    place = f"({','.join('?' * columns)})"
    return ",".join([place] * rows)


def _insert_batch(rows: int) -> str:
    places = ",".join(f"({place},?{place + 11})" for place in range(rows))
    return (
        "INSERT OR REPLACE INTO jobs "
        "(id, queue, state, priority, created_at, run_at, max_attempts, backoff, ttl, timeout, data) "
        "SELECT ?1 + column1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, CAST(column2 AS TEXT) "
        f"FROM (VALUES {places}) WHERE column2 IS NOT NULL"
    )


def _insert_rows(rows: int) -> str:
    places = ",".join(
        f"CAST(column{place} AS TEXT)" if name in _JSON else f"column{place}" for place, name in enumerate(JOB, 1)
    )
    names, values = ", ".join(JOB), _values(rows, len(JOB))
    return f"INSERT OR REPLACE INTO jobs ({names}) SELECT {places} FROM (VALUES {values}) WHERE column1 IS NOT NULL"


def _update(table: str, key: str, columns: Sequence[str], rows: int) -> str:
    sets = ", ".join(
        f"{name} = CAST(new.column{place} AS TEXT)" if name in _JSON else f"{name} = new.column{place}"
        for place, name in enumerate(columns, 2)
    )
    values = _values(rows, len(columns) + 1)
    return f"UPDATE {table} SET {sets} FROM (VALUES {values}) AS new WHERE {table}.{key} = new.column1"


def _add_to_queues(rows: int) -> str:
    sums = ", ".join(f"{name} = {name} + excluded.{name}" for name in COUNTERS)
    values = _values(rows, len(QUEUE))
    return (
        f"INSERT INTO queues ({', '.join(QUEUE)}) SELECT * FROM (VALUES {values}) WHERE column1 IS NOT NULL "
        f"ON CONFLICT (name) DO UPDATE SET {sums}"
    )


def _insert(table: str, columns: Sequence[str], rows: int) -> str:
    values = _values(rows, len(columns))
    return (
        f"INSERT OR REPLACE INTO {table} ({', '.join(columns)}) "
        f"SELECT * FROM (VALUES {values}) WHERE column1 IS NOT NULL"
    )


_SIZES: Final = (10, 200)
"""How many rows a statement takes."""

BATCH_INSERTS: Final = {size: _insert_batch(size) for size in (20, 100, 1_000)}
ROW_INSERTS: Final = {size: _insert_rows(size) for size in _SIZES}
UPDATES: Final = {
    columns: {size: _update(table, key, columns, size) for size in _SIZES} for columns, (table, key) in UPDATED.items()
}
QUEUE_COUNTS: Final = {size: _add_to_queues(size) for size in _SIZES}
APPENDS: Final = {table: {size: _insert(table, COLUMNS[table], size) for size in _SIZES} for table in APPENDED}

SELECT_META: Final = f"SELECT {', '.join(Meta.__struct_fields__)} FROM meta"
UPDATE_META: Final = f"UPDATE meta SET {', '.join(f'{name} = ?' for name in Meta.__struct_fields__)}"


def _select(table: str, columns: Sequence[str]) -> str:
    names = ", ".join(f"CAST({name} AS BLOB)" if name in _JSON else name for name in columns)
    return f"SELECT {names} FROM {table}"


def _put(table: str, columns: Sequence[str]) -> str:
    places = ", ".join("CAST(? AS TEXT)" if name in _JSON else "?" for name in columns)
    return f"INSERT OR REPLACE INTO {table} ({', '.join(columns)}) VALUES ({places})"


ALL: Final = {table: f"{_select(table, COLUMNS[table])} ORDER BY {COLUMNS[table][0]}" for table in READ_WHOLE}
PUT: Final = {table: _put(table, COLUMNS[table]) for table in ONE_BY_ONE}
SELECT_JOBS: Final = _select("jobs", JOB) + " WHERE id < ? ORDER BY id"
SELECT_INPUTS: Final = _select("inputs", ("parent", "result")) + " WHERE child = ? ORDER BY parent"
DELETE: Final = {
    table: f"DELETE FROM {table} WHERE {key} IN (SELECT value FROM json_each(?))" for table, key in DELETED.items()
}
ADD_DROPPED: Final = "INSERT OR REPLACE INTO dropped SELECT ? + key, value FROM json_each(?)"
