"""The SQL that is PostgreSQL's alone, built once from the names of columns; see `flashq.storage.statements`.

Many rows go with one statement as one array a column, new rows of one batch as one array of payloads; the statement's
text is always the same, so it is prepared once a connection.
"""
# ruff: noqa: S608

from collections.abc import Sequence
from typing import Final

from flashq.storage.rows import COLUMNS, COUNTERS, DELETED, JOB, ONE_BY_ONE, QUEUE, READ_WHOLE, UPDATED, Meta

_TEXTS: Final = {
    *("queue", "data", "unique_key", "custom_id", "depends_on", "tags", "message", "token", "result", "name"),
}
_JSON: Final = frozenset({"data", "result", "body"})
"""Bytes in the program, text in the tables."""


def _type(name: str) -> str:
    if name in _JSON:
        return "bytea"
    if name == "paused":
        return "boolean"
    return "text" if name in _TEXTS else "bigint"


def _arrays(columns: Sequence[str]) -> str:
    """A column of rows for each array."""
    places = ", ".join(f"${place}::{_type(name)}[]" for place, name in enumerate(columns, 1))
    return f"unnest({places}) AS new ({', '.join(columns)})"


def _in(name: str, value: str) -> str:
    return f"convert_from({value}, 'UTF8')" if name in _JSON else value


def _out(name: str) -> str:
    return f"convert_to({name}, 'UTF8') AS {name}" if name in _JSON else name


def _update(table: str, key: str, columns: Sequence[str]) -> str:
    sets = ", ".join(f"{name} = {_in(name, f'new.{name}')}" for name in columns)
    return f"UPDATE {table} SET {sets} FROM {_arrays((key, *columns))} WHERE {table}.{key} = new.{key}"


def _put(table: str, columns: Sequence[str]) -> str:
    """One row, replaced if it is there."""
    key = "child, parent" if table == "inputs" else columns[0]
    values = ", ".join(_in(name, f"${place}") for place, name in enumerate(columns, 1))
    sets = ", ".join(f"{name} = excluded.{name}" for name in columns)
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({values}) ON CONFLICT ({key}) DO UPDATE SET {sets}"


def _select(table: str, columns: Sequence[str]) -> str:
    return f"SELECT {', '.join(map(_out, columns))} FROM {table}"


def _all(table: str, columns: Sequence[str]) -> str:
    """Every row, texts in the order of their bytes whatever language the database speaks."""
    order = "" if table == "webhook_calls" else ' COLLATE "C"'
    return f"{_select(table, columns)} ORDER BY {columns[0]}{order}"


COMMIT: Final = "SELECT commit_group(0, $1, $2, $3)"
SYNCED: Final = "UPDATE meta SET synced = $1 WHERE shard = 0"

SELECT_META: Final = f"SELECT {', '.join(Meta.__struct_fields__)} FROM meta JOIN lease USING (shard) WHERE shard = 0"
_MARKS: Final = tuple(name for name in Meta.__struct_fields__ if name != "epoch")
UPDATE_META: Final = (
    f"UPDATE meta SET {', '.join(f'{name} = ${n}' for n, name in enumerate(_MARKS, 1))} WHERE shard = 0"
)

GROUPS: Final = (
    "SELECT number, blob FROM (SELECT number, blob, sum(octet_length(blob)) OVER (ORDER BY number) AS upto "
    "FROM (SELECT number, blob FROM journal WHERE number > $1 ORDER BY number LIMIT $2) AS oldest) AS page "
    "WHERE upto - octet_length(blob) < $3 ORDER BY number"
)
"""So many groups at most, and none behind the one that reaches so many bytes."""

JOB_HEAD: Final = JOB[: JOB.index("data") + 1]
JOB_REST: Final = JOB[len(JOB_HEAD) :]
INSERT_BATCH: Final = (
    "INSERT INTO jobs (id, queue, state, priority, created_at, run_at, max_attempts, backoff, ttl, timeout, data) "
    "SELECT $1::bigint + place - 1, $2::text, $3::bigint, $4::bigint, $5::bigint, $5::bigint, $6::bigint, $7::bigint, "
    "$8::bigint, $9::bigint, convert_from(payload, 'UTF8') "
    "FROM unnest($10::bytea[]) WITH ORDINALITY AS new (payload, place)"
)
UPDATES: Final = {columns: _update(table, key, columns) for columns, (table, key) in UPDATED.items()}
ADD_TO_QUEUES: Final = (
    f"INSERT INTO queues ({', '.join(QUEUE)}) SELECT * FROM {_arrays(QUEUE)} ON CONFLICT (name) DO UPDATE SET "
    + ", ".join(f"{name} = queues.{name} + excluded.{name}" for name in COUNTERS)
)
DELETE: Final = {table: f"DELETE FROM {table} WHERE {key} = ANY($1::bigint[])" for table, key in DELETED.items()}
ADD_DROPPED: Final = (
    "INSERT INTO dropped SELECT $1::bigint + place - 1, id FROM unnest($2::bigint[]) WITH ORDINALITY AS new (id, place)"
)
PUT: Final = {table: _put(table, COLUMNS[table]) for table in ONE_BY_ONE}
ALL: Final = {table: _all(table, COLUMNS[table]) for table in READ_WHOLE}
SELECT_INPUTS: Final = _select("inputs", ("parent", "result")) + " WHERE child = $1 ORDER BY parent"

_plain = " AND ".join(
    f"{name} = 0" if default == "0" else "NOT collect" if name == "collect" else f"{name} IS NULL"
    for name, default in ((name, "0" if _type(name) == "bigint" and name != "collect" else "") for name in JOB_REST)
)
_rest = ", ".join(f"convert_to({name}, 'UTF8')" if name in _JSON else name for name in JOB_REST)
_bytes = "octet_length(data) + coalesce(octet_length(result), 0)"
SELECT_JOBS: Final = (
    f"SELECT {', '.join(map(_out, JOB_HEAD))}, CASE WHEN NOT ({_plain}) THEN ROW({_rest}) END FROM "
    f"(SELECT *, sum({_bytes}) OVER (ORDER BY id) - ({_bytes}) AS before "
    "FROM (SELECT * FROM jobs WHERE id > $1 AND id < $2 ORDER BY id LIMIT $3) AS oldest) AS page "
    "WHERE before < $4 ORDER BY id"
)
"""A page of jobs: so many at most, and none behind the one that reaches so many bytes. What only few jobs have comes in
one column, NULL for plain ones: decoding it for all of them took most of the time of a start."""
