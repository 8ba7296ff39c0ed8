"""A SQLite database is looked at without a trace, and damage that only it can have is found and named."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest
from tests.conformance.storage import seen
from tests.fakes.kept import busy_life, fails_at, keep
from tests.unit.storage.test_traceless import folder_of, writer

from flashq.engine.records import Record
from flashq.errors import StorageError
from flashq.storage import checksums
from flashq.storage.reading import Reading, StorageInUse, StorageMissing
from flashq.storage.schema import APPLICATION_ID, migrate, steps
from flashq.storage.sqlite import SqliteStorage
from flashq.storage.sqlite_reading import SqliteSource


@pytest.fixture(scope="module")
def records() -> list[Record]:
    """What happened."""
    return busy_life().memory.log


@pytest.fixture
def path(tmp_path: Path, records: list[Record]) -> Path:
    """A database of it, one half folded and the other in the journal."""
    path = tmp_path / "kept" / "flashq.db"
    keep(path, records, folded=len(records) // 2)
    return path


def checked(path: Path) -> Reading:
    """A reading that has passed all its checks."""
    reading = Reading(SqliteSource(path))
    for _, check in reading.checks():
        assert check()
    return reading


def test_it_reads_what_a_killed_server_left(path: Path) -> None:
    """A log that was never moved into the database belongs to it."""
    storage = SqliteStorage(path, steady_ms=lambda: 0)
    storage.open()
    expected = seen(storage.load())
    while storage.tidy(idle=True):
        pass
    storage._held.close()
    before = folder_of(path)
    assert before["flashq.db-wal"][0] != b""
    reading = checked(path)
    assert seen(reading.snapshot()) == expected
    reading.close()
    assert folder_of(path) == before


def test_a_server_keeps_it_out(path: Path) -> None:
    """It is told apart from damage."""
    connection = writer(path)
    connection.execute("UPDATE meta SET epoch = epoch + 1")
    reading = Reading(SqliteSource(path))
    with pytest.raises(StorageInUse, match="is using the database"):
        reading.checks()[0][1]()
    reading.close()
    connection.close()


def test_there_is_nothing(tmp_path: Path) -> None:
    """Neither a folder nor a file is made."""
    reading = Reading(SqliteSource(tmp_path / "none" / "flashq.db"))
    with pytest.raises(StorageMissing, match="there is no database"):
        reading.checks()[0][1]()
    assert not (tmp_path / "none").exists()


def test_an_older_schema_is_read(tmp_path: Path) -> None:
    """A database of an earlier version is looked at without being changed."""
    path = tmp_path / "kept" / "flashq.db"
    keep(path, [])
    before_newest = steps("sqlite")[:1]
    path.unlink()
    connection = apsw.Connection(str(path), vfs=checksums.vfs())
    connection.pragma("application_id", APPLICATION_ID)
    migrate(connection, before_newest)
    connection.execute("UPDATE meta SET epoch = 4, next_id = 18")
    connection.execute(
        "INSERT INTO jobs (id, queue, state, priority, created_at, run_at, max_attempts, backoff, ttl, timeout, data) "
        "VALUES (17, 'q', 1, 0, 5, 5, 3, 0, 0, 0, '{}')"
    )
    connection.close()
    before = folder_of(path)
    reading = Reading(SqliteSource(path))
    told = {name: check() for name, check in reading.checks()}
    assert "number 1, which the next start brings to" in told["schema"]
    assert [row.id for row in reading.snapshot().rows()] == [17]
    reading.close()
    assert folder_of(path) == before


def _sql(statement: str) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        connection = apsw.Connection(str(path), vfs=checksums.vfs())
        connection.execute(statement)
        connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        connection.close()

    return damage


def _flip_a_page(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[4096 * 2 : 4096 * 2 + 64] = b"\xff" * 64
    path.write_bytes(data)


def _flip_a_bit_of_a_payload(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[data.index(b'{"n": 1}') + 6] ^= 3  # still JSON
    path.write_bytes(data)


def _cut_off_the_end(path: Path) -> None:
    """In the midst of the last page, which belongs to a row that is longer than a page."""
    _sql("INSERT INTO journal VALUES ((SELECT max(number) + 1 FROM journal), zeroblob(100000))")(path)
    os.truncate(path, path.stat().st_size - 12)


def _older_copy(path: Path) -> None:
    """What was confirmed later is gone."""
    copy = path.read_bytes()
    keep_more = SqliteStorage(path, steady_ms=lambda: 0)
    keep_more.open()
    list(keep_more.load().rows())
    keep_more.close()
    path.write_bytes(copy)


def _lose_the_database(path: Path) -> None:
    path.with_name("flashq.db-wal").write_bytes(b"x")
    path.unlink()


DAMAGES: dict[str, tuple[Callable[[Path], None], str, str]] = {
    "another program's": (_sql("PRAGMA application_id = 5"), "file", "of another program"),
    "not a database": (lambda path: path.write_bytes(b"hello" * 100), "file", "not a FlashQ database"),
    "no database but its log": (_lose_the_database, "file", "its log is there"),
    "a page": (_flip_a_page, "pages", "damaged"),
    "a bit of a payload": (_flip_a_bit_of_a_payload, "pages", "damaged"),
    "no end": (_cut_off_the_end, "pages", r"damaged \(its end is missing\)"),
    "newer": (_sql("PRAGMA user_version = 999"), "schema", "use a newer FlashQ"),
    "no table": (_sql("DROP TABLE journal"), "journal", "no such table"),
    "the last group is missing": (
        _sql("DELETE FROM journal WHERE number = (SELECT max(number) FROM journal)"),
        "high water",
        "went back in time",
    ),
    "an older copy": (_older_copy, "high water", "went back in time"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_found(tmp_path: Path, records: list[Record], damage: str) -> None:
    """By the check whose matter it is, in a sentence that names it; what comes before it passes."""
    spoil, where, sentence = DAMAGES[damage]
    path = tmp_path / "kept" / "flashq.db"
    keep(path, records, folded=len(records) // 2)
    spoil(path)
    before = folder_of(path)
    reading = Reading(SqliteSource(path))
    fails_at(reading, where, sentence)
    reading.close()
    assert folder_of(path) == before


def test_damage_that_is_met_while_jobs_are_read(path: Path) -> None:
    """A row that makes no sense is told in plain words too."""
    _sql("UPDATE jobs SET tags = 'red' WHERE id = (SELECT max(id) FROM jobs)")(path)
    reading = checked(path)
    with pytest.raises(StorageError, match="damaged"):
        list(reading.snapshot().rows())
    reading.close()


def test_a_copy_elsewhere_has_no_witness(path: Path, tmp_path: Path) -> None:
    """Without its high-water file nobody can say whether the end is missing, and the check says so."""
    shutil.copy(path, tmp_path / "copy.db")
    reading = Reading(SqliteSource(tmp_path / "copy.db"))
    told = {name: check() for name, check in reading.checks()}
    assert "no witness" in told["high water"]
    reading.close()
