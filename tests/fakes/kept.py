"""A storage with something in it, made without a server: a queue's life on the engine's bench, committed in groups."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.unit.engine.bench import Bench

from flashq.engine.records import Record
from flashq.errors import StorageError
from flashq.storage.base import Storage
from flashq.storage.reading import Reading
from flashq.storage.records import encode
from flashq.storage.sqlite import SqliteStorage

GROUP = 5
"""Records in a group."""


def busy_life() -> Bench:
    """Jobs in every state and with all that a job can have; schedules, settings, webhooks that are owed calls."""
    bench = Bench()
    bench.engine.webhooks.add("https://example.org/hook", ["failed"], None, "s3cret", bench.now.wall)
    bench.engine.webhooks.add("https://example.org/all", [], "emails", None, bench.now.wall)
    bench.push_batch(*[{}] * 40, data=b'{"n": 1}')
    for job in bench.pull(count=10):
        bench.ack(job.id, job.token, b'{"took": 3}')
    dead = bench.pull_one()
    bench.fail(dead.id, "no such address\x1b[2J", dead.token, dead=True)
    bench.push(delay=3_600_000, priority=7, tags=["red", "blue"], ttl=86_400_000)
    bench.push(unique_key="k1", job_id="mine", data='"ä \\u0000"'.encode(), max_attempts=1, timeout=5_000)
    parents = [bench.push("reports"), bench.push("reports")]
    bench.push("merge", depends_on=parents, collect=True)
    parent = bench.pull_one("reports")
    bench.ack(parent.id, parent.token, b"[1, 2]")
    bench.cancel(13)
    bench.engine.control.set_cron("nightly", "emails", b"{}", "0 3 * * *", 2, "Europe/Berlin", bench.now)
    bench.engine.control.pause(bench.queue("quiet"))
    bench.engine.control.set_rate(bench.queue("slow"), 5, bench.now)
    bench.engine.control.set_concurrency(bench.queue("emails"), 9, bench.now)
    failed = bench.pull_one()
    bench.fail(failed.id, "again", failed.token)
    running = bench.pull_one()
    bench.engine.control.progress(running.id, running.token, 40, "halfway", bench.now)
    bench.take()
    return bench


def groups_of(records: Sequence[Record], size: int = GROUP) -> list[bytes]:
    """The records as blobs of a few."""
    return [encode(records[at : at + size]) for at in range(0, len(records), size)]


def commit(storage: Storage, groups: Sequence[bytes], *, fold: bool = False) -> None:
    """Fill a new storage that nobody has opened, and leave it as a server does that stops."""
    newest = storage.open()
    list(storage.load().rows())
    for number, blob in enumerate(groups, newest + 1):
        storage.commit(number, blob)
    while fold and storage.tidy(idle=True):
        pass
    storage.close()


def keep(path: Path, records: Sequence[Record], *, folded: int = 0) -> None:
    """Make a SQLite database.

    Args:
        path: of the file.
        records: all of them, in their order.
        folded: so many of the oldest are brought into the tables, the others stay in the journal.
    """
    if folded:
        commit(SqliteStorage(path, steady_ms=lambda: 0), groups_of(records[:folded]), fold=True)
    commit(SqliteStorage(path, steady_ms=lambda: 0), groups_of(records[folded:]))


def fails_at(reading: Reading, where: str, sentence: str) -> None:
    """Every check up to ``where`` passes, and that one says a sentence that matches."""
    for name, check in reading.checks():
        if name == where:
            with pytest.raises(StorageError, match=sentence):
                check()
            return
        assert check()
    pytest.fail(f"there is no check of the {where}")
