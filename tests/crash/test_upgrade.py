"""Folders that former versions left, with something in every table: all of it is there after the upgrade.

Whatever moment of the upgrade the server is killed at; and what a later version left is not touched.
"""

import shutil
import signal
import subprocess
import sys
from itertools import count
from pathlib import Path
from typing import Final

import apsw
import pytest
from tests.conformance.storage import seen
from tests.fakes.tools import needs

from flashq.engine.records import Actor, Added, CallRow, CronRow, Happened, JobRow, Operated, QueueRow, WebhookRow
from flashq.engine.trail import JobHistory, Operations
from flashq.errors import StorageError
from flashq.model import COMPLETED, WAITING, WAITING_CHILDREN
from flashq.storage.records import encode
from flashq.storage.schema import APPLICATION_ID, migrate, steps
from flashq.storage.sqlite import SqliteStorage

NEWEST: Final = steps("sqlite")[-1].number
CALLS: Final = "pwrite64,write,fdatasync,fsync,ftruncate,unlink,rename"
OPEN: Final = """
import sys
from pathlib import Path
from flashq.storage.sqlite import SqliteStorage
storage = SqliteStorage(Path(sys.argv[1]), steady_ms=lambda: 0)
storage.open()
list(storage.load().jobs)
storage.close()
"""

ROWS: Final[dict[int, tuple[str, ...]]] = {
    1: (
        "INSERT INTO jobs (id, queue, state, priority, created_at, run_at, max_attempts, backoff, ttl, timeout, data) "
        "VALUES (1, 'mail', 1, 5, 10, 10, 3, 7, 0, 0, '{\"a\":1}'), (2, 'mail', 6, 5, 10, 10, 3, 7, 0, 0, '[1]')",
        "UPDATE jobs SET depends_on = '[1]', tags = '[\"red\"]', unique_key = 'k', custom_id = 'c' WHERE id = 2",
        "INSERT INTO jobs (id, queue, state, priority, created_at, run_at, max_attempts, backoff, ttl, timeout, data, "
        "started_at, done, done_at, token, result) "
        "VALUES (3, 'mail', 4, 0, 10, 10, 3, 7, 0, 0, '3', 11, 1, 12, '1.1.x', '\"ok\"')",
        "INSERT INTO queues VALUES ('mail', 1, 4, 5, 3, 1, 0, 0, 0, 0)",
        "INSERT INTO crons (name, queue, data, schedule, priority, timezone, next_run, last_run) "
        "VALUES ('nightly', 'mail', '{}', '0 3 * * *', 2, 'UTC', 1000, 900)",
        "INSERT INTO dropped VALUES (1, 4)",
        "UPDATE meta SET next_id = 5, folded = 7, epoch = 3, completions = 1, dropped = 1, forget = 1",
        "UPDATE meta SET forget_results = 1",
    ),
    2: ("UPDATE jobs SET collect = 1 WHERE id = 2", "INSERT INTO inputs VALUES (2, 1, '[7]')"),
    3: ("UPDATE crons SET timeout = 1, ttl = 2, backoff = 3, max_attempts = 4, unique_key = 'u', tags = '[\"t\"]'",),
    4: (
        "INSERT INTO webhooks VALUES ('w', 'https://example.org/', '[\"failed\"]', NULL, 's', 1)",
        "INSERT INTO webhook_calls VALUES (9, 'w', '{}')",
    ),
    5: (
        "INSERT INTO audit VALUES (1, 10, 'pushed', 'mail', 1, 3, 0, NULL, 'anonymous', NULL, 'lines', NULL)",
        "INSERT INTO operations VALUES (2, 11, 'PAUSE', 'mail', 'anonymous', NULL, 'lines', NULL)",
        "UPDATE meta SET audited = 2",
    ),
    6: ("UPDATE meta SET importing = ''",),
}
"""What each schema brought, filled."""

UNFOLDED: Final = Added(JobRow(5, "mail", WAITING, 0, 20, 20, 0, 0, 3, 0, 0, 0, b"5", "key"))


def left_by(schema: int, path: Path) -> None:
    """A folder as a killed server of that version left it: half of it in the log, and a group that is not folded."""
    path.parent.mkdir(parents=True, exist_ok=True)
    db = apsw.Connection(str(path), vfs="unix")
    db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
    db.pragma("application_id", APPLICATION_ID)
    migrate(db, [step for step in steps("sqlite") if step.number <= schema])
    db.pragma("journal_mode", "WAL")
    db.pragma("wal_autocheckpoint", 0)
    for number in range(1, schema + 1):
        for text in ROWS[number]:
            db.execute(text)
        if number == 1:
            db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
    db.execute("INSERT INTO journal VALUES (8, ?)", (encode([UNFOLDED]),))
    empty = [
        name
        for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall()
        if not db.execute(f"SELECT EXISTS (SELECT 1 FROM {name})").get
    ]
    db.close()
    assert not empty, f"nothing was put into {empty}"


def check(path: Path, schema: int) -> None:
    """Everything is there, and what that version did not know says nothing."""
    storage = SqliteStorage(path, steady_ms=lambda: 0)
    assert storage.open() == 8
    snapshot = storage.load()
    assert snapshot.epoch > 3
    found = seen(snapshot)
    options = (1, 2, 3, 4, "u", ["t"]) if schema >= 3 else ()
    completed = JobRow(3, "mail", COMPLETED, 0, 10, 10, 11, 0, 3, 7, 0, 0, b"3")
    completed.done, completed.done_at, completed.token, completed.result = 1, 12, "1.1.x", b'"ok"'
    jobs = [
        JobRow(1, "mail", WAITING, 5, 10, 10, 0, 0, 3, 7, 0, 0, b'{"a":1}'),
        JobRow(2, "mail", WAITING_CHILDREN, 5, 10, 10, 0, 0, 3, 7, 0, 0, b"[1]", "k", "c", [1], ["red"]),
        completed,
        UNFOLDED.row,
    ]
    if schema >= 2:
        jobs[1].collect, jobs[1].inputs = True, [(1, b"[7]")]
    hooked = schema >= 4
    expected = seen(
        type(snapshot)(
            6,
            0,
            1,
            jobs,
            [QueueRow("mail", True, 4, 5, 4, 1, 0, 0, 0, 0)],
            [CronRow("nightly", "mail", b"{}", "0 3 * * *", 2, "UTC", 1000, 900, *options)],
            [4],
            [WebhookRow("w", "https://example.org/", ["failed"], None, "s", 1)] if hooked else [],
            [CallRow(9, "w", b"{}")] if hooked else [],
        )
    )
    assert found == expected
    by = Actor("anonymous", None, "lines")
    storage.commit(9, encode([Happened(30, "cancelled", "mail", [1, 1], by), Operated(31, "RESUME", by, "mail", None)]))
    job, operators = JobHistory(1), Operations(0, 10, 0)
    for question in (job, operators):
        for _ in storage.read(question):
            pass
    told = ["pushed", "cancelled"] if schema >= 5 else ["cancelled"]
    assert [entry.event for entry in job.answer()[0]] == told
    assert [each.action for each in operators.answer()[0]] == (["RESUME", "PAUSE"] if schema >= 5 else ["RESUME"])
    storage._held.close()


@pytest.mark.parametrize("schema", range(1, NEWEST + 1))
def test_a_former_folder_is_kept_whole(schema: int, tmp_path: Path) -> None:
    """Each schema that there was, with rows in every table of it."""
    assert set(ROWS) == {step.number for step in steps("sqlite")}, "a new schema wants rows here"
    path = tmp_path / "flashq.db"
    left_by(schema, path)
    check(path, schema)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_killed_at_every_step(tmp_path: Path) -> None:
    """An upgrade over all schemas, killed as it is about to write, sync or cut, has happened wholly or not at all."""
    needs(shutil.which("strace") is not None, "strace")
    schema, source, folder = 1, tmp_path / "source", tmp_path / "data"
    left_by(schema, source / "flashq.db")
    versions = set()
    for number in count(1):
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(source, folder)
        path = folder / "flashq.db"
        inject = f"-einject={CALLS}:signal=SIGKILL:when={number}"
        words = ["strace", "-f", "-qq", "-o/dev/null", f"-etrace={CALLS}", inject]
        done = subprocess.run(
            [*words, sys.executable, "-c", OPEN, str(path)], capture_output=True, text=True, timeout=60
        )
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL, done.stderr
        versions.add(version(folder, tmp_path / "copy"))
        check(path, schema)
    assert number > 10, "hardly anything was tried"
    assert versions == {schema, NEWEST}, "killed before the upgrade and after it, and never seen in between"


def version(folder: Path, copy: Path) -> int:
    """The schema of a database, read from a copy, since reading may change the log."""
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(folder, copy)
    db = apsw.Connection(str(copy / "flashq.db"))
    found = db.pragma("user_version")
    columns = {name for _, name, *_ in db.execute("PRAGMA table_info(meta)").fetchall()}
    db.close()
    assert ("audited" in columns) == (found >= 5), "a schema in between"
    return int(found)


def test_a_later_folder_is_not_touched(tmp_path: Path) -> None:
    """It is refused by its number, the log of a killed server included, and every byte stays."""
    path = tmp_path / "flashq.db"
    left_by(NEWEST, path)
    db = apsw.Connection(str(path))
    db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
    db.pragma("user_version", NEWEST + 1)
    db.close()
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir() if not file.name.endswith("-shm")}
    storage = SqliteStorage(path, steady_ms=lambda: 0)
    with pytest.raises(StorageError, match=f"its schema has number {NEWEST + 1}, this program knows {NEWEST}"):
        storage.open()
    after = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    assert {name: after[name] for name in before} == before
