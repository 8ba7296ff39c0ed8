"""Windows get into tables of every kind in small transactions, and what a broken-off one left behind does no harm."""

from collections.abc import Iterator

import apsw
import pytest
from msgspec import structs
from tests.fakes.postgres import Databases

from flashq.engine.records import (
    Actor,
    Added,
    CallRow,
    CallsOver,
    CallsOwed,
    Changed,
    Completed,
    CronDeleted,
    CronRow,
    CronSet,
    Dropped,
    Happened,
    JobRow,
    Operated,
    Progressed,
    Pushed,
    QueueRow,
    QueueSet,
    Record,
    WebhookDeleted,
    WebhookRow,
    WebhookSet,
)
from flashq.errors import StorageError
from flashq.model import COMPLETED, DELAYED, WAITING
from flashq.storage import tables as tables_module
from flashq.storage.fold import Fold, rows_of
from flashq.storage.postgres_dialect import PostgresDialect
from flashq.storage.postgres_session import Session
from flashq.storage.schema import migrate, steps
from flashq.storage.sqlite_dialect import SqliteDialect
from flashq.storage.tables import SLICE_BYTES, SLICE_ROWS, Dialect, Tables

EMPTY = """
TRUNCATE meta, journal, jobs, inputs, queues, crons, dropped, webhooks, webhook_calls, audit, operations;
INSERT INTO meta (shard, folded, next_id, completions, forget, forget_results, dropped, audited, synced)
VALUES (0, 0, 1, 0, 0, 0, 0, 0, 0);
"""
FULL_ROW = JobRow(
    1, "mail", COMPLETED, -5, 100, 200, 150, 2, 3, 1000, 60, 70, '{"ä":"\\u0000"}'.encode(), "kéy\0", "mine",
    [7, 2**53 - 1], ["red", "ä'"], 90, "almost", 3, 2**40, 4, 5, 600, "token", b"[1, 2]",
)  # fmt: skip


@pytest.fixture(scope="module")
def session(databases: Databases) -> Iterator[Session]:
    """The owner of a PostgreSQL database with the schema."""
    with databases.owned() as session:
        yield session


@pytest.fixture(params=["sqlite", "postgres"])
def dialect(request: pytest.FixtureRequest) -> Iterator[Dialect]:
    """An empty database of each kind. That of PostgreSQL is the same one, emptied: making one takes long."""
    if request.param == "sqlite":
        connection = apsw.Connection(":memory:")
        migrate(connection, steps("sqlite"))
        yield SqliteDialect(connection)
        connection.close()
    else:
        session = request.getfixturevalue("session")
        yield PostgresDialect(session)
        session.execute(EMPTY)


@pytest.fixture
def tables(dialect: Dialect) -> Tables:
    """Its tables."""
    return Tables(dialect)


def window(tables: Tables, *records: Record) -> Iterator[None]:
    """The transactions of a window that holds one group."""
    fold = Fold(tables.meta.next_id)
    fold.feed(records)
    fold.settle()
    return tables.apply(fold, tables.meta.folded + 1)


def apply(tables: Tables, *records: Record) -> int:
    """Fold these records; how many transactions it took."""
    return 1 + len(list(window(tables, *records)))


def batch(first: int, jobs: int) -> Pushed:
    """Plain jobs."""
    return Pushed("mail", first, 100, 0, 3, 1000, 0, 0, [b'"%d"' % id for id in range(first, first + jobs)])


def completed(ids: list[int], done: int, forget: int = 0, forget_results: int = 0) -> Completed:
    """A delivery that succeeded, with a result for each."""
    results = [(id, b'"r%d"' % id) for id in ids]
    return Completed("mail", ids, done, 400, 300, "token", results, forget, forget_results)


def jobs(tables: Tables) -> list[JobRow]:
    """All rows."""
    return list(tables.snapshot().rows())


def test_every_column_comes_back(tables: Tables) -> None:
    """Byte for byte, the blank ones blank and empty lists empty."""
    blank = structs.replace(FULL_ROW, id=2, depends_on=None, tags=[], result=None, token=None, message=None)
    apply(tables, Added(FULL_ROW), Added(blank))
    assert jobs(tables) == [FULL_ROW, blank]


@pytest.mark.parametrize("count", [1, 9, 10, 11, 17, 20, 21, 100, 101, 199, 200, 201, 999, 1000, 1001, 2345])
def test_batches_of_any_length(tables: Tables, count: int) -> None:
    """The fixed lengths of the statements show nowhere."""
    apply(tables, batch(1, count))
    assert jobs(tables) == rows_of(batch(1, count))
    apply(tables, *(Progressed(id, 50, f"m{id}") for id in range(1, count + 1)))
    assert [(job.progress, job.message) for job in jobs(tables)] == [(50, f"m{id}") for id in range(1, count + 1)]
    apply(tables, *(batch(id, 1) for id in range(count + 1, 2 * count + 1)))
    assert jobs(tables)[count:] == rows_of(batch(count + 1, count))


def test_plain_neighbours_are_read_as_one_record(tables: Tables) -> None:
    """And nothing else is: a job that differs in anything but its payload stands alone."""
    differing = [
        structs.replace(rows_of(batch(4, 1))[0], **change)
        for change in (
            {"id": 4, "tags": ["t"]},
            {"id": 5, "ttl": 9},
            {"id": 6, "attempts": 1},
            {"id": 7, "priority": 1},
        )
    ]
    apply(tables, batch(1, 3), *map(Added, differing), batch(8, 2), batch(11, 1))
    read = list(tables.snapshot().jobs)
    assert [job.first if isinstance(job, Pushed) else job.id for job in read] == [1, 4, 5, 6, 7, 8, 11]
    assert [len(job.data) for job in read if isinstance(job, Pushed)] == [3, 1, 2, 1]
    assert jobs(tables) == [*rows_of(batch(1, 3)), *differing, *rows_of(batch(8, 2)), *rows_of(batch(11, 1))]


def test_changes_of_older_jobs(tables: Tables) -> None:
    """Only the columns that changed are written."""
    apply(tables, Added(structs.replace(FULL_ROW, state=WAITING, done=0)), batch(2, 4))
    changed = Changed(1, "mail", DELAYED, 500, 300, 4, "boom", 7, 8, 2)
    apply(tables, changed, completed([2, 3], done=1), Dropped("mail", [4], "purged"), Progressed(5, 10, "x"))
    first, second, third, last = jobs(tables)
    members = {name: getattr(changed, name) for name in structs.asdict(changed) if name not in {"id", "queue"}}
    assert first == structs.replace(FULL_ROW, done=0, **members)
    finish = {"state": COMPLETED, "started_at": 300, "done_at": 400, "token": "token"}
    assert second == structs.replace(rows_of(batch(2, 1))[0], done=1, result=b'"r2"', **finish)
    assert third == structs.replace(rows_of(batch(3, 1))[0], done=2, result=b'"r3"', **finish)
    assert last == structs.replace(rows_of(batch(5, 1))[0], progress=10, message="x")


def test_forgetting(tables: Tables, monkeypatch: pytest.MonkeyPatch) -> None:
    """Old completions and old results go, in as many steps as it takes."""
    monkeypatch.setattr(tables_module, "SLICE_ROWS", 7)
    apply(tables, batch(1, 60), completed(list(range(1, 51)), done=1))
    apply(tables, completed([51], done=51, forget=31, forget_results=42))
    assert [job.id for job in jobs(tables) if job.done] == list(range(31, 52))
    assert [job.id for job in jobs(tables) if job.result] == list(range(42, 52))


def test_the_dropped_are_bounded(tables: Tables, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the table as well as in what is loaded; in their order, however many come at once."""
    monkeypatch.setattr(tables_module, "KEEP_DROPPED", 3)
    monkeypatch.setattr(tables_module, "_IDS_AT_ONCE", 1)
    for id in range(1, 8, 2):
        apply(tables, batch(id, 2), Dropped("mail", [id, id + 1], "expired"))
    assert tables.snapshot().dropped == [6, 7, 8]
    assert tables._db.fetch("SELECT count(*) FROM dropped")[0][0] == 3


def test_counters_settings_and_schedules(tables: Tables) -> None:
    """Counters add up, settings and schedules are replaced."""
    cron = CronRow("nightly", "mail", '{"ä":1}'.encode(), "@daily", 0, "UTC", 1000, 0)
    apply(tables, batch(1, 3), QueueSet("mail", True, 1, 2), CronSet(cron), CronSet(structs.replace(cron, name="x")))
    apply(tables, batch(4, 2), Dropped("mail", [1], "expired"), CronDeleted("x"), QueueSet("a", False, 0, 3))
    snapshot = tables.snapshot()
    assert snapshot.queues == [QueueRow("a", False, 0, 3), QueueRow("mail", True, 1, 2, 5, 0, 0, 0, 1, 0)]
    assert snapshot.queues[1].paused is True
    assert snapshot.crons == [cron]
    assert (snapshot.next_id, snapshot.dropped) == (6, [1])
    apply(tables, QueueSet("mail", False, 0, 0), completed([2], done=1))
    assert tables.snapshot().queues[1] == QueueRow("mail", False, 0, 0, 5, 1, 0, 0, 1, 0)


def test_webhooks_and_what_is_owed_to_them(tables: Tables) -> None:
    """They come and go; a call that an unfinished window left behind goes with what ends it."""
    hook = WebhookRow("w", "https://example.org/ä", ["failed"], "mail", "secret", 1)
    plain = WebhookRow("p", "http://example.org/", [], None, None, 2)
    body = '{"ä":1}'.encode()
    apply(tables, WebhookSet(hook), WebhookSet(plain), CallsOwed(1, ["w", "p"], body), CallsOwed(3, ["w"], b"{}"))
    snapshot = tables.snapshot()
    assert snapshot.webhooks == [plain, hook]
    assert snapshot.calls == [CallRow(1, "w", body), CallRow(2, "p", body), CallRow(3, "w", b"{}")]
    tables._db.put("webhook_calls", (4, "w", b"left behind"))
    apply(tables, CallsOwed(4, ["w"], b"{}"), CallsOver([2, 4]))
    assert tables.snapshot().calls == [CallRow(1, "w", body), CallRow(3, "w", b"{}")]
    apply(tables, WebhookDeleted("w"))
    assert (tables.snapshot().webhooks, tables.snapshot().calls) == ([plain], [])


def test_many_queues_in_one_window(tables: Tables) -> None:
    """As many as there may be are counted in few statements."""
    records = [Pushed(f"q{n:04}", n, 1, 0, 0, 0, 0, 0, [b"1"]) for n in range(1, 1_001)]
    apply(tables, *records, *(QueueSet(f"q{n:04}", True, n, 0) for n in range(1, 1_001)))
    assert tables.snapshot().queues == [QueueRow(f"q{n:04}", True, n, 0, 1) for n in range(1, 1_001)]


def test_transactions_are_small(tables: Tables) -> None:
    """A large window is many transactions, a small one is one."""
    assert apply(tables, batch(1, 10), completed([1], done=1), Dropped("mail", [2], "expired")) == 1
    assert apply(tables, batch(11, 10 * SLICE_ROWS)) > 10


@pytest.mark.parametrize("jobs_in_a_batch", [1, 30])
def test_large_payloads_make_transactions_of_fewer_rows(tables: Tables, jobs_in_a_batch: int) -> None:
    """A megabyte of payload fills a transaction like a thousand small jobs do."""
    size = SLICE_BYTES // 10
    records = [
        Pushed("mail", first, 1, 0, 0, 0, 0, 0, [b"1" * size] * jobs_in_a_batch)
        for first in range(1, 61, jobs_in_a_batch)
    ]
    assert 5 <= apply(tables, *records) <= 9
    assert [len(job.data) for job in jobs(tables)] == [size] * 60


def test_a_window_that_broke_off_leaves_nothing_behind(dialect: Dialect, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of jobs that ended before the window was folded at last are no ghosts, and neither is their trail."""
    monkeypatch.setattr(tables_module, "SLICE_ROWS", 5)
    tables = Tables(dialect)
    apply(tables, batch(1, 20))
    before = tables.meta
    both = [batch(21, 20), Dropped("mail", [1, 2], "expired"), completed([3], done=1)]
    happened = Happened(1, "pushed", "mail", [1, 1], Actor("ada"))
    slices = window(tables, *both, *[happened] * 25)
    while not dialect.fetch("SELECT count(*) FROM audit")[0][0]:
        next(slices)
    slices.close()

    tables = Tables(dialect)
    assert tables.meta == before
    assert dialect.fetch("SELECT count(*) FROM jobs WHERE id > 20")[0][0] == 20
    assert [job.id for job in jobs(tables) if job.id > 20] == []
    tables.restart()
    for table in ("jobs WHERE id > 20", "audit", "dropped"):
        assert dialect.fetch(f"SELECT count(*) FROM {table}")[0][0] == 0
    apply(tables, *both, Dropped("mail", list(range(21, 40)), "purged"), completed([40], done=2, forget=3))
    assert [job.id for job in jobs(tables)] == list(range(4, 21))
    assert tables.snapshot().dropped == [1, 2, *range(21, 40)]
    assert tables.snapshot().queues == [QueueRow("mail", False, 0, 0, 40, 2, 0, 0, 2, 19)]


@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
def test_a_start_is_counted(tables: Tables) -> None:
    """In the database, not only in memory; elsewhere than in SQLite by the lease."""
    tables.restart(epoch=7)
    assert tables.meta.epoch == tables._db.meta().epoch == 7
    tables.restart()
    assert tables.meta.epoch == 7


def test_the_whole_trail_comes_in_pages(tables: Tables, monkeypatch: pytest.MonkeyPatch) -> None:
    """In its order, what jobs went through and what operators did; nothing that an unfinished window left."""
    monkeypatch.setattr(tables_module, "PAGE_ROWS", 2)
    trail = [
        Happened(1, "pushed", "mail", [1, 2, 7, 1], Actor("ada"), 1, "w", "why"),
        Operated(2, "PAUSE", Actor("ada", "::1", "tcp"), "mail", "{}"),
        *(Happened(at, "completed", "mail", [at, 1], Actor("bob")) for at in range(3, 8)),
        *(Operated(at, "START", Actor("server"), None, None) for at in range(8, 11)),
    ]
    apply(tables, *trail)
    tables._db.append("audit", [(99, 1, "pushed", "mail", 1, 1, 0, None, "eve", None, None, None)])
    first, *others = trail
    apart = [structs.replace(first, runs=runs) for runs in ([1, 2], [7, 1])]
    assert list(tables.whole_trail()) == [*apart, *others]


def test_the_newest_group(tables: Tables) -> None:
    """From the journal, or what was folded if there is none; one that is missing is named."""
    assert tables.newest() == 0
    apply(tables, batch(1, 1))
    assert tables.newest() == 1
    for number in (2, 3):
        tables._db.fetch("INSERT INTO journal VALUES (?1, ?2)", number, b"%d" % number)
    assert tables.newest() == 3
    assert list(tables.groups(2)) == [(3, b"3")]
    assert tables.group(2) == b"2"
    with pytest.raises(StorageError, match="group 7 is missing from the journal"):
        tables.group(7)


def test_tables_without_a_standing_are_refused(dialect: Dialect) -> None:
    """Someone emptied the table meta: that is damage."""
    dialect.fetch("DELETE FROM meta")
    with pytest.raises(StorageError, match=r"the table meta.* is empty"):
        Tables(dialect)
