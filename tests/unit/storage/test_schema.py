"""Migrations are applied once, in order, together or not at all."""

from pathlib import Path

import apsw
import pytest

from flashq.engine.records import (
    Added,
    CallRow,
    CallsOwed,
    Collected,
    CronRow,
    JobRow,
    QueueRow,
    WebhookRow,
    WebhookSet,
)
from flashq.errors import StorageError
from flashq.storage.records import encode
from flashq.storage.rows import AUDIT, JOB, OPERATION, Meta
from flashq.storage.schema import APPLICATION_ID, Step, migrate, steps
from flashq.storage.sqlite import SqliteStorage

ONE = Step(1, "0001_one.sqlite.sql", "CREATE TABLE one (a); INSERT INTO one VALUES (1);")
TWO = Step(2, "0002_two.sqlite.sql", "ALTER TABLE one ADD COLUMN b; UPDATE one SET b = 2;")


@pytest.fixture
def db() -> apsw.Connection:
    """An empty database."""
    return apsw.Connection(":memory:")


def columns(db: apsw.Connection, table: str) -> list[str]:
    """The names of a table's columns."""
    return [str(name) for _, name, *_ in db.execute(f"PRAGMA table_info({table})")]


def test_the_steps_of_the_product_are_dense() -> None:
    """Numbered from 1 without a gap: a missing file would be skipped silently."""
    assert [step.number for step in steps("sqlite")] == list(range(1, len(steps("sqlite")) + 1))
    assert steps("nonsense") == []


def test_the_tables_have_the_members_of_the_rows(db: apsw.Connection) -> None:
    """Statements are built from the rows' members, so both must agree, order included."""
    migrate(db, steps("sqlite"))
    assert columns(db, "jobs") == list(JOB)
    assert [name for name in JobRow.__struct_fields__ if name not in JOB] == ["inputs"]
    assert columns(db, "queues") == list(QueueRow.__struct_fields__)
    assert columns(db, "crons") == list(CronRow.__struct_fields__)
    assert columns(db, "webhooks") == list(WebhookRow.__struct_fields__)
    assert columns(db, "webhook_calls") == list(CallRow.__struct_fields__)
    assert sorted(columns(db, "meta")) == sorted(["only", *Meta.__struct_fields__, "synced"])
    assert columns(db, "audit") == list(AUDIT)
    assert columns(db, "operations") == list(OPERATION)


def test_the_view_for_people_has_words(db: apsw.Connection) -> None:
    """A state is a word there and a time is a date."""
    migrate(db, steps("sqlite"))
    insert = (
        "INSERT INTO jobs (id, queue, state, priority, created_at, run_at, max_attempts, backoff, ttl, timeout, data)"
    )
    db.execute(f"{insert} VALUES (1, 'mail', 5, 0, 1700000000000, 1700000000000, 3, 0, 0, 0, '{{}}')")
    assert db.execute("SELECT state, created, completed FROM job_list").get == ("failed", "2023-11-14 22:13:20", None)


def test_missing_steps_are_applied_once(db: apsw.Connection) -> None:
    """A second start has nothing to do, a newer program does the rest."""
    assert migrate(db, [ONE]) == 1
    assert migrate(db, [ONE]) == 0
    assert migrate(db, [ONE, TWO]) == 1
    assert db.execute("SELECT * FROM one").get == (1, 2)
    assert db.pragma("user_version") == 2


def test_a_failing_step_leaves_the_old_version(db: apsw.Connection) -> None:
    """Steps are one transaction, so there is no version in between."""
    migrate(db, [ONE])
    with pytest.raises(apsw.SQLError):
        migrate(db, [ONE, TWO, Step(3, "0003_bad.sqlite.sql", "CREATE NONSENSE")])
    db.execute("ROLLBACK")
    assert db.pragma("user_version") == 1
    assert columns(db, "one") == ["a"]


def test_a_newer_database_is_refused(db: apsw.Connection) -> None:
    """An older program must not touch what it does not know."""
    migrate(db, [ONE, TWO])
    with pytest.raises(StorageError, match="its schema has number 2, this program knows 1"):
        migrate(db, [ONE])


def made_by(newest: int, db: apsw.Connection) -> None:
    """A database as a program of that schema left it: a job with parents, a schedule, and a group not yet folded."""
    migrate(db, [step for step in steps("sqlite") if step.number <= newest])
    db.execute(
        "INSERT INTO jobs (id, queue, state, priority, created_at, run_at, max_attempts, backoff, ttl, timeout, data, "
        "depends_on) VALUES (1, 'mail', 1, 5, 10, 10, 3, 0, 0, 0, '{}', NULL), "
        "(2, 'mail', 6, 5, 10, 10, 3, 0, 0, 0, '[1]', '[1]')"
    )
    db.execute("INSERT INTO queues VALUES ('mail', 0, 0, 0, 2, 0, 0, 0, 0, 0)")
    db.execute(
        "INSERT INTO crons (name, queue, data, schedule, priority, timezone, next_run, last_run) "
        "VALUES ('nightly', 'mail', '{}', '0 3 * * *', 0, 'UTC', 1000, 0)"
    )
    db.execute("UPDATE meta SET next_id = 3, folded = 7, epoch = 1")
    db.execute("INSERT INTO journal VALUES (8, ?)", (OLD_GROUP,))


OLD_GROUP = encode([Added(JobRow(3, "mail", 1, 0, 20, 20, 0, 0, 3, 0, 0, 0, b"3", "key"))])
"""Its row ends where the first schema's ended, or is longer: both are read, see the tests of the records."""


@pytest.mark.parametrize("newest", range(1, len(steps("sqlite"))))
def test_a_database_of_a_former_schema_keeps_everything(newest: int, tmp_path: Path) -> None:
    """It opens, is upgraded, and holds what it held; the new columns say nothing, and can be used at once."""
    path = tmp_path / "flashq.db"
    old = apsw.Connection(str(path))
    old.pragma("application_id", APPLICATION_ID)
    made_by(newest, old)
    old.close()
    storage = SqliteStorage(path, steady_ms=lambda: 0)
    assert storage.open() == 8
    snapshot = storage.load()
    one, two, three = snapshot.rows()
    assert (one.id, one.queue, one.priority, one.data) == (1, "mail", 5, b"{}")
    assert (two.state, two.depends_on, two.collect, two.excess, two.inputs) == (6, [1], False, 0, None)
    assert (three.data, three.unique_key) == (b"3", "key")
    assert snapshot.crons == [CronRow("nightly", "mail", b"{}", "0 3 * * *", 0, "UTC", 1000, 0)]
    assert snapshot.queues[0].pushed == 3
    storage.commit(
        9, encode([Added(JobRow(4, "mail", 6, 0, 20, 20, 0, 0, 3, 0, 0, 0, b"4", depends_on=[1], collect=True))])
    )
    webhook = WebhookRow("w", "https://example.org/", ["failed"], None, "s", 1)
    storage.commit(10, encode([Collected(1, b"[7]", [4]), WebhookSet(webhook), CallsOwed(9, ["w"], b"{}")]))
    while storage.tidy(idle=True):
        pass
    storage.close()
    storage = SqliteStorage(path, steady_ms=lambda: 0)
    storage.open()
    snapshot = storage.load()
    *_, four = snapshot.rows()
    assert (four.id, four.collect, four.inputs) == (4, True, [(1, b"[7]")])
    assert (snapshot.webhooks, snapshot.calls) == ([webhook], [CallRow(9, "w", b"{}")])
    storage.close()
