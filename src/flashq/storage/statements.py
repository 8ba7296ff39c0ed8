"""The SQL that every backend understands. Places are ``?1``, ``?2`` ...; each dialect has its own way of writing them.

Built once from names that stand in this program; values are always bound. What differs between the backends (lists of
ids, many rows at once, JSON that is text in the tables) stands in `flashq.storage.sqlite_statements` and
`flashq.storage.postgres_statements`.
"""
# ruff: noqa: S608

from typing import Final

from flashq.storage.rows import AUDIT, OPERATION

START: Final = "UPDATE meta SET epoch = ?1"
NEWEST: Final = "SELECT max(number) FROM journal"
GROUP: Final = "SELECT blob FROM journal WHERE number = ?1"
FORGET_GROUPS: Final = "DELETE FROM journal WHERE number <= ?1"

OVERFILL: Final = "UPDATE jobs SET excess = ?2 WHERE id = ?1"
# `done > 0` is what lets a database use the index of completed jobs.
FORGET_SOME: Final = "DELETE FROM jobs WHERE id IN (SELECT id FROM jobs WHERE done > 0 AND done < ?1 LIMIT ?2)"
FORGET_RESULTS: Final = (
    "UPDATE jobs SET result = NULL WHERE done > 0 AND done >= ?1 AND done < ?2 AND result IS NOT NULL"
)
ANY_INPUTS: Final = "SELECT EXISTS (SELECT 1 FROM inputs)"
ORPHANS: Final = (
    "SELECT DISTINCT child FROM inputs WHERE child < ?1 "
    "AND child NOT IN (SELECT id FROM jobs WHERE collect) ORDER BY child"
)
COUNTS: Final = "SELECT (SELECT count(*) FROM jobs), (SELECT count(*) FROM inputs)"

SELECT_DROPPED: Final = "SELECT id FROM dropped WHERE number <= ?1 ORDER BY number"
FORGET_DROPPED: Final = "DELETE FROM dropped WHERE number <= ?1"
DELETE_CRON: Final = "DELETE FROM crons WHERE name = ?1"
DELETE_WEBHOOK: Final = "DELETE FROM webhooks WHERE id = ?1"
DELETE_CALLS_OF: Final = "DELETE FROM webhook_calls WHERE webhook = ?1"

# A run that covers a job begins at its id, or up to a batch before it and is longer than one: an index for each.
_FROM_AUDIT: Final = f"SELECT {', '.join(AUDIT)} FROM audit WHERE "
SELECT_HISTORY: Final = (
    f"{_FROM_AUDIT} number <= ?2 AND first = ?1 UNION ALL "
    f"{_FROM_AUDIT} number <= ?2 AND last > first AND first BETWEEN ?3 AND ?1 - 1 AND last >= ?1 "
    "ORDER BY number DESC LIMIT ?4"
)
_FROM_OPERATIONS: Final = f"SELECT {', '.join(OPERATION)} FROM operations WHERE "
SELECT_STARTS: Final = f"{_FROM_OPERATIONS} action = 'START' AND number > ?1 AND number <= ?2 ORDER BY number"
SELECT_OPERATIONS: Final = f"{_FROM_OPERATIONS} number < ?1 AND at >= ?2 ORDER BY number DESC LIMIT ?3"
_PAGE: Final = "number > ?1 AND number <= ?2 ORDER BY number LIMIT ?3"
TRAIL_PAGE: Final = _FROM_AUDIT + _PAGE
ACTIONS_PAGE: Final = _FROM_OPERATIONS + _PAGE
EXCESS_OPERATION: Final = "SELECT number FROM operations ORDER BY number DESC LIMIT 1 OFFSET ?1"


def _trim(table: str) -> str:
    oldest = f"SELECT number, at FROM {table} ORDER BY number LIMIT ?1"
    return (
        f"DELETE FROM {table} WHERE number IN (SELECT number FROM ({oldest}) AS oldest WHERE number <= ?2 OR at < ?3)"
    )


TRIM_AUDIT: Final = _trim("audit")
TRIM_OPERATIONS: Final = _trim("operations")

LEFTOVERS: Final = (
    ("DELETE FROM jobs WHERE id >= ?1", "next_id"),
    ("DELETE FROM inputs WHERE child >= ?1", "next_id"),
    ("DELETE FROM dropped WHERE number > ?1", "dropped"),
    ("DELETE FROM audit WHERE number > ?1", "audited"),
    ("DELETE FROM operations WHERE number > ?1", "audited"),
)
"""What a window that was never finished may have left behind, by the mark of ``meta`` up to which all is whole."""
