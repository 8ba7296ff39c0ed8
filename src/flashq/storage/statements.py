"""The SQL of the tables, by how many rows a statement takes.

Built once from names and numbers that stand in this program; values are always bound, never put into a text. The
texts stay under 16 KB each, or the statement cache of apsw would not take them and compile them again every time.
"""
# ruff: noqa: S608

from collections.abc import Sequence
from typing import Final

from flashq.engine.records import CronRow, WebhookRow
from flashq.storage.rows import AUDIT, CHANGED, COUNTERS, FINISHED, JOB, OPERATION, PROGRESSED, QUEUE, SETTINGS, Meta

_JSON: Final = ("data", "result")
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


# By how many rows they take.
BATCH_INSERTS: Final = {size: _insert_batch(size) for size in (20, 100, 1_000)}
ROW_INSERTS: Final = {size: _insert_rows(size) for size in (10, 200)}
CHANGE_UPDATES: Final = {size: _update("jobs", "id", CHANGED, size) for size in (10, 200)}
PROGRESS_UPDATES: Final = {size: _update("jobs", "id", PROGRESSED, size) for size in (10, 200)}
FINISH_UPDATES: Final = {size: _update("jobs", "id", FINISHED, size) for size in (10, 200)}
QUEUE_COUNTS: Final = {size: _add_to_queues(size) for size in (10, 200)}
AUDIT_INSERTS: Final = {size: _insert("audit", AUDIT, size) for size in (10, 200)}
OPERATION_INSERTS: Final = {size: _insert("operations", OPERATION, size) for size in (10, 200)}
QUEUE_SETTINGS: Final = {size: _update("queues", "name", SETTINGS, size) for size in (10, 200)}

SELECT_META: Final = f"SELECT {', '.join(Meta.__struct_fields__)} FROM meta"
UPDATE_META: Final = f"UPDATE meta SET {', '.join(f'{name} = ?' for name in Meta.__struct_fields__)}"


def _select(table: str, columns: Sequence[str]) -> str:
    names = ", ".join(f"CAST({name} AS BLOB)" if name in _JSON else name for name in columns)
    return f"SELECT {names} FROM {table}"


SELECT_JOBS: Final = _select("jobs", JOB) + " WHERE id < ? ORDER BY id"
SELECT_QUEUES: Final = _select("queues", QUEUE) + " ORDER BY name"
SELECT_CRONS: Final = _select("crons", CronRow.__struct_fields__) + " ORDER BY name"
SELECT_DROPPED: Final = "SELECT id FROM dropped WHERE number <= ? ORDER BY number"
SELECT_INPUTS: Final = "SELECT parent, CAST(result AS BLOB) FROM inputs WHERE child = ? ORDER BY parent"
ANY_INPUTS: Final = "SELECT EXISTS (SELECT 1 FROM inputs)"
ADD_INPUT: Final = "INSERT OR REPLACE INTO inputs VALUES (?, ?, CAST(? AS TEXT))"
OVERFILL: Final = "UPDATE jobs SET excess = ? WHERE id = ?"
DELETE_INPUTS: Final = "DELETE FROM inputs WHERE child IN (SELECT value FROM json_each(?))"
DELETE_JOBS: Final = "DELETE FROM jobs WHERE id IN (SELECT value FROM json_each(?))"
ADD_DROPPED: Final = "INSERT OR REPLACE INTO dropped SELECT ? + key, value FROM json_each(?)"
SET_CRON: Final = "INSERT OR REPLACE INTO crons VALUES (?, ?, CAST(? AS TEXT), ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
SELECT_WEBHOOKS: Final = _select("webhooks", WebhookRow.__struct_fields__) + " ORDER BY id"
SELECT_CALLS: Final = "SELECT number, webhook, CAST(body AS BLOB) FROM webhook_calls ORDER BY number"
SET_WEBHOOK: Final = "INSERT OR REPLACE INTO webhooks VALUES (?, ?, ?, ?, ?, ?)"
ADD_CALL: Final = "INSERT OR REPLACE INTO webhook_calls VALUES (?, ?, CAST(? AS TEXT))"
DELETE_CALLS: Final = "DELETE FROM webhook_calls WHERE number IN (SELECT value FROM json_each(?))"
# `done > 0` is what lets SQLite use the index of completed jobs.
FORGET_SOME: Final = "DELETE FROM jobs WHERE id IN (SELECT id FROM jobs WHERE done > 0 AND done < ? LIMIT ?)"
FORGET_RESULTS: Final = "UPDATE jobs SET result = NULL WHERE done > 0 AND done >= ? AND done < ? AND result IS NOT NULL"

# A run that covers a job begins at its id, or up to a batch before it and is longer than one: an index for each.
_FROM_AUDIT: Final = f"SELECT {', '.join(AUDIT)} FROM audit WHERE number <= ?2 AND "
SELECT_HISTORY: Final = (
    f"{_FROM_AUDIT} first = ?1 UNION ALL {_FROM_AUDIT} last > first AND first BETWEEN ?3 AND ?1 - 1 AND last >= ?1 "
    "ORDER BY number DESC LIMIT ?4"
)
_FROM_OPERATIONS: Final = f"SELECT {', '.join(OPERATION)} FROM operations WHERE "
SELECT_STARTS: Final = f"{_FROM_OPERATIONS} action = 'START' AND number > ? AND number <= ? ORDER BY number"
SELECT_OPERATIONS: Final = f"{_FROM_OPERATIONS} number < ? AND at >= ? ORDER BY number DESC LIMIT ?"
SELECT_TRAIL: Final = f"{_FROM_AUDIT.removesuffix('?2 AND ')}? ORDER BY number"
SELECT_ACTIONS: Final = f"{_FROM_OPERATIONS} number <= ? ORDER BY number"
EXCESS_OPERATION: Final = "SELECT number FROM operations ORDER BY number DESC LIMIT 1 OFFSET ?"


def _trim(table: str) -> str:
    oldest = f"SELECT number, at FROM {table} ORDER BY number LIMIT ?"
    return f"DELETE FROM {table} WHERE number IN (SELECT number FROM ({oldest}) WHERE number <= ? OR at < ?)"


TRIM_AUDIT: Final = _trim("audit")
TRIM_OPERATIONS: Final = _trim("operations")
