"""The SQL of a PostgreSQL database, built once from the names of columns; values are always bound.

Many rows go with one statement as one array a column, new rows of one batch as one array of payloads; the statement's
text is always the same, so it is prepared once a connection.
"""
# ruff: noqa: S608

from collections.abc import Sequence
from typing import Final

from flashq.engine.records import CronRow, WebhookRow
from flashq.storage.rows import AUDIT, CHANGED, COUNTERS, FINISHED, JOB, OPERATION, PROGRESSED, QUEUE, SETTINGS, Meta

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


def _arrays(columns: Sequence[str], key: str) -> str:
    """A column of rows for each array."""
    places = ", ".join(
        f"${place}::{'text' if name == key == 'name' else _type(name)}[]" for place, name in enumerate(columns, 1)
    )
    return f"unnest({places}) AS new ({', '.join(columns)})"


def _in(name: str, value: str) -> str:
    return f"convert_from({value}, 'UTF8')" if name in _JSON else value


def _out(name: str) -> str:
    return f"convert_to({name}, 'UTF8') AS {name}" if name in _JSON else name


def _update(table: str, key: str, columns: Sequence[str]) -> str:
    sets = ", ".join(f"{name} = {_in(name, f'new.{name}')}" for name in columns)
    return f"UPDATE {table} SET {sets} FROM {_arrays((key, *columns), key)} WHERE {table}.{key} = new.{key}"


def _upsert(table: str, key: str, columns: Sequence[str]) -> str:
    """One row, replaced if it is there."""
    values = ", ".join(_in(name, f"${place}") for place, name in enumerate(columns, 1))
    sets = ", ".join(f"{name} = excluded.{name}" for name in columns)
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({values}) ON CONFLICT ({key}) DO UPDATE SET {sets}"


def _select(table: str, columns: Sequence[str]) -> str:
    return f"SELECT {', '.join(map(_out, columns))} FROM {table}"


COMMIT: Final = "SELECT commit_group(0, $1, $2, $3)"
SYNCED: Final = "UPDATE meta SET synced = $1 WHERE shard = 0"

SELECT_META: Final = f"SELECT {', '.join(Meta.__struct_fields__)} FROM meta JOIN lease USING (shard) WHERE shard = 0"
_MARKS: Final = tuple(name for name in Meta.__struct_fields__ if name != "epoch")
UPDATE_META: Final = (
    f"UPDATE meta SET {', '.join(f'{name} = ${n}' for n, name in enumerate(_MARKS, 1))} WHERE shard = 0"
)

NEWEST: Final = "SELECT max(number) FROM journal"
GROUP: Final = "SELECT blob FROM journal WHERE number = $1"
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
CHANGE: Final = _update("jobs", "id", CHANGED)
PROGRESS: Final = _update("jobs", "id", PROGRESSED)
FINISH: Final = _update("jobs", "id", FINISHED)
OVERFILL: Final = "UPDATE jobs SET excess = $2 WHERE id = $1"
DELETE_JOBS: Final = "DELETE FROM jobs WHERE id = ANY($1::bigint[])"
FORGET_SOME: Final = (
    "WITH gone AS (DELETE FROM jobs WHERE id IN (SELECT id FROM jobs WHERE done > 0 AND done < $1 LIMIT $2) "
    "RETURNING 1) SELECT count(*) FROM gone"
)
FORGET_RESULTS: Final = (
    "UPDATE jobs SET result = NULL WHERE done > 0 AND done >= $1 AND done < $2 AND result IS NOT NULL"
)

ANY_INPUTS: Final = "SELECT EXISTS (SELECT FROM inputs)"
ADD_INPUT: Final = _upsert("inputs", "child, parent", ("child", "parent", "result"))
DELETE_INPUTS: Final = "DELETE FROM inputs WHERE child = ANY($1::bigint[])"
SELECT_INPUTS: Final = _select("inputs", ("parent", "result")) + " WHERE child = $1 ORDER BY parent"

ADD_DROPPED: Final = (
    "INSERT INTO dropped SELECT $1::bigint + place - 1, id FROM unnest($2::bigint[]) WITH ORDINALITY AS new (id, place)"
)
FORGET_DROPPED: Final = "DELETE FROM dropped WHERE number <= $1"
SELECT_DROPPED: Final = "SELECT id FROM dropped WHERE number <= $1 ORDER BY number"

ADD_TO_QUEUES: Final = (
    f"INSERT INTO queues ({', '.join(QUEUE)}) SELECT * FROM {_arrays(QUEUE, 'name')} ON CONFLICT (name) DO UPDATE SET "
    + ", ".join(f"{name} = queues.{name} + excluded.{name}" for name in COUNTERS)
)
SET_QUEUES: Final = _update("queues", "name", SETTINGS)
SELECT_QUEUES: Final = _select("queues", QUEUE) + ' ORDER BY name COLLATE "C"'

_CRON: Final = CronRow.__struct_fields__
SET_CRON: Final = _upsert("crons", "name", _CRON)
DELETE_CRON: Final = "DELETE FROM crons WHERE name = $1"
SELECT_CRONS: Final = _select("crons", _CRON) + ' ORDER BY name COLLATE "C"'

_WEBHOOK: Final = WebhookRow.__struct_fields__
SET_WEBHOOK: Final = _upsert("webhooks", "id", _WEBHOOK)
DELETE_WEBHOOK: Final = "DELETE FROM webhooks WHERE id = $1"
SELECT_WEBHOOKS: Final = _select("webhooks", _WEBHOOK) + ' ORDER BY id COLLATE "C"'
ADD_CALL: Final = _upsert("webhook_calls", "number", ("number", "webhook", "body"))
DELETE_CALLS: Final = "DELETE FROM webhook_calls WHERE number = ANY($1::bigint[])"
DELETE_CALLS_OF: Final = "DELETE FROM webhook_calls WHERE webhook = $1"
SELECT_CALLS: Final = _select("webhook_calls", ("number", "webhook", "body")) + " ORDER BY number"

FORGET_GROUPS: Final = "DELETE FROM journal WHERE number <= $1"

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

# A run that covers a job begins at its id, or up to a batch before it and is longer than one: an index for each.
_FROM_AUDIT: Final = f"SELECT {', '.join(AUDIT)} FROM audit WHERE number <= $2 AND "
SELECT_HISTORY: Final = (
    f"{_FROM_AUDIT} first = $1 UNION ALL {_FROM_AUDIT} last > first AND first BETWEEN $3 AND $1 - 1 AND last >= $1 "
    "ORDER BY number DESC LIMIT $4"
)
_FROM_OPERATIONS: Final = f"SELECT {', '.join(OPERATION)} FROM operations WHERE "
SELECT_STARTS: Final = f"{_FROM_OPERATIONS} action = 'START' AND number > $1 AND number <= $2 ORDER BY number"
SELECT_OPERATIONS: Final = f"{_FROM_OPERATIONS} number < $1 AND at >= $2 ORDER BY number DESC LIMIT $3"
TRAIL_PAGE: Final = f"SELECT {', '.join(AUDIT)} FROM audit WHERE number > $1 AND number <= $2 ORDER BY number LIMIT $3"
ACTIONS_PAGE: Final = f"{_FROM_OPERATIONS} number > $1 AND number <= $2 ORDER BY number LIMIT $3"
EXCESS_OPERATION: Final = "SELECT number FROM operations ORDER BY number DESC LIMIT 1 OFFSET $1"


def _trim(table: str) -> str:
    oldest = f"SELECT number, at FROM {table} ORDER BY number LIMIT $1"
    return (
        f"WITH gone AS (DELETE FROM {table} WHERE number IN (SELECT number FROM ({oldest}) AS oldest "
        "WHERE number <= $2 OR at < $3) RETURNING 1) SELECT count(*) FROM gone"
    )


TRIM_AUDIT: Final = _trim("audit")
TRIM_OPERATIONS: Final = _trim("operations")

LEFTOVERS: Final = (
    ("DELETE FROM jobs WHERE id >= $1", "next_id"),
    ("DELETE FROM inputs WHERE child >= $1", "next_id"),
    ("DELETE FROM dropped WHERE number > $1", "dropped"),
    ("DELETE FROM audit WHERE number > $1", "audited"),
    ("DELETE FROM operations WHERE number > $1", "audited"),
)
"""What a window that was never finished may have left behind, by the mark of ``meta`` up to which all is whole."""
