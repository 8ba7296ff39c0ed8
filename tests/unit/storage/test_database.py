"""A file is looked at before it is touched, and whatever is wrong with it is said in plain words."""

import errno
import os
import shutil
from pathlib import Path

import apsw
import msgspec
import pytest

from flashq.errors import StorageError, StorageFull
from flashq.storage import database
from flashq.storage.schema import APPLICATION_ID, steps


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A database of ours."""
    database.create(tmp_path / "flashq.db")
    return tmp_path / "flashq.db"


def test_a_new_database_is_whole(path: Path) -> None:
    """It has its name, our mark, the newest schema, and no leftovers beside it."""
    assert database.is_there(path)
    connection = apsw.Connection(str(path))
    assert connection.pragma("application_id") == APPLICATION_ID
    assert connection.pragma("user_version") == steps("sqlite")[-1].number
    connection.close()
    assert [file.name for file in path.parent.iterdir()] == ["flashq.db"]


def test_leftovers_of_a_crash_do_not_matter(tmp_path: Path) -> None:
    """A database that was never finished is made again."""
    (tmp_path / "flashq.db.new").write_bytes(b"half")
    (tmp_path / "flashq.db.new-journal").write_bytes(b"half")
    database.create(tmp_path / "flashq.db")
    database.connect(tmp_path / "flashq.db").close()


def test_a_database_that_cannot_be_made(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that is there stays."""
    monkeypatch.setattr(database, "migrate", lambda connection, known: connection.execute("nonsense"))
    before = path.read_bytes()
    with pytest.raises(apsw.SQLError):
        database.create(path)
    assert path.read_bytes() == before


def test_nothing_there(tmp_path: Path) -> None:
    """A missing file and an empty one are no database; a log without one is a loss."""
    path = tmp_path / "flashq.db"
    assert not database.is_there(path)
    path.touch()
    assert not database.is_there(path)
    (tmp_path / "flashq.db-wal").write_bytes(b"log")
    with pytest.raises(StorageError, match=r"the database is missing, but its log is there: flashq\.db-wal"):
        database.is_there(path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"short", "not a FlashQ database"),
        (b"x" * 5000, "not a FlashQ database"),
        (b"SQLite format 3\x00" + b"\x00" * 50, "not a FlashQ database"),
        (b"SQLite format 3\x00" + b"\x00" * 5000, "of another program"),
    ],
)
def test_something_else_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    """By its first bytes, and without changing them."""
    path = tmp_path / "flashq.db"
    path.write_bytes(content)
    with pytest.raises(StorageError, match=reason):
        database.is_there(path)
    assert path.read_bytes() == content


def test_the_connection_is_set_up(path: Path) -> None:
    """Every setting that safety rests on, as SQLite itself reports it; and no shared-memory file."""
    connection = database.connect(path)
    expected = {"journal_mode": "wal", "locking_mode": "exclusive", "synchronous": 2, "wal_autocheckpoint": 0,
                "trusted_schema": 0, "cell_size_check": 1, "mmap_size": 0}  # fmt: skip
    assert {name: connection.pragma(name) for name in expected} == expected
    connection.execute("UPDATE meta SET epoch = 5")
    assert sorted(file.name for file in path.parent.iterdir()) == ["flashq.db", "flashq.db-wal"]
    assert (path.stat().st_mode | Path(f"{path}-wal").stat().st_mode) & 0o777 == 0o600
    connection.close()


def test_closing_writes_nothing(path: Path) -> None:
    """The log stays as it is: whether it is moved is our decision alone."""
    connection = database.connect(path)
    connection.execute("UPDATE meta SET epoch = 5")
    before = path.read_bytes()
    connection.close()
    assert path.read_bytes() == before
    assert Path(f"{path}-wal").stat().st_size > 0


def test_no_second_connection(path: Path) -> None:
    """Even a program that does not know our lock file is kept out."""
    connection = database.connect(path)
    connection.execute("UPDATE meta SET epoch = 5")
    with pytest.raises(apsw.BusyError):
        apsw.Connection(str(path)).execute("SELECT * FROM meta")
    connection.close()


def test_a_disk_without_a_log_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite would go on in another mode without a word."""

    class Stubborn(apsw.Connection):
        def pragma(self, name: str, *args: object) -> object:
            return "delete" if name == "journal_mode" else super().pragma(name, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(apsw, "Connection", Stubborn)
    with pytest.raises(StorageError, match="a write-ahead log is not possible here"):
        database.connect(path)


def test_a_sound_database_passes(path: Path) -> None:
    """And the wish for a thorough check is fulfilled once."""
    connection = database.connect(path)
    database.check_pages(connection, path)
    database.note_failure(path)
    assert Path(f"{path}.failed").exists()
    database.check_pages(connection, path)
    assert not Path(f"{path}.failed").exists()
    connection.close()


def test_a_damaged_structure_does_not_pass(path: Path) -> None:
    """Pages that hang together wrongly are found before they are used."""
    connection = apsw.Connection(str(path))
    connection.execute("INSERT INTO journal VALUES (1, zeroblob(100000))")
    root = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'journal'").get
    connection.close()
    content = bytearray(path.read_bytes())
    content[(root - 1) * 4096 + 3 : (root - 1) * 4096 + 8] = b"\xff\xff\x00\x01\x00"
    path.write_bytes(content)
    connection = database.connect(path)
    with pytest.raises((StorageError, apsw.CorruptError)):
        database.check_pages(connection, path)
    connection.close()


def long_row(path: Path) -> int:
    """Write a row that takes the last pages of the file.

    Returns:
        How long the file is.
    """
    connection = database.connect(path)
    connection.execute("INSERT INTO journal VALUES (1, ?)", (b"j" * 100_000,))
    connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    connection.close()
    return path.stat().st_size


@pytest.mark.parametrize(("gone", "log"), [(1, 0), (12, 0), (4_095, 0), (12, 1), (4_096, 1), (4_097, 1)])
def test_a_file_without_its_end_does_not_pass(path: Path, gone: int, log: int) -> None:
    """SQLite takes zeros for it, and a row that ends in zeros is sound. Whole pages it misses only without a log."""
    size = long_row(path)
    if log:
        connection = database.connect(path)
        connection.execute("UPDATE meta SET epoch = 2")
        connection.close()
    os.truncate(path, size - gone)
    connection = database.connect(path)
    with pytest.raises(StorageError, match=r"the database is damaged \(its end is missing\)"):
        database.check_pages(connection, path)
    connection.close()


@pytest.mark.parametrize("gone", [1, 4_096, 40_000])
def test_a_file_whose_end_is_in_the_log_passes(path: Path, gone: int) -> None:
    """A crash while the log is moved into the database leaves it so, and nothing is lost by it."""
    size = long_row(path)
    connection = database.connect(path)
    connection.execute("UPDATE journal SET blob = ?", (b"k" * 100_000,))
    connection.close()
    os.truncate(path, size - gone)
    connection = database.connect(path)
    database.check_pages(connection, path)
    assert connection.execute("SELECT blob FROM journal").get == b"k" * 100_000
    connection.close()


def test_a_thorough_check_sees_more(path: Path) -> None:
    """After a failure an index that does not fit its table is noticed as well."""
    connection = apsw.Connection(str(path))
    names = "id, queue, state, priority, created_at, run_at, max_attempts, backoff, ttl, timeout, data, done"
    connection.execute(f"INSERT INTO jobs ({names}) VALUES (1, 'q', 4, 0, 1, 1, 0, 0, 0, 0, '1', 1)")
    connection.pragma("writable_schema", 1)
    wrong = "CREATE INDEX jobs_by_completion ON jobs (done_at) WHERE done > 0"
    connection.execute("UPDATE sqlite_schema SET sql = ? WHERE name = 'jobs_by_completion'", (wrong,))
    connection.close()
    connection = database.connect(path)
    database.check_pages(connection, path)
    database.note_failure(path)
    with pytest.raises(StorageError, match="the database is damaged: row 1 missing from index"):
        database.check_pages(connection, path)
    connection.close()
    assert Path(f"{path}.failed").exists()


def test_an_old_sqlite_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Versions that can corrupt a database are not used; the one that is here is."""
    database.require_sound_sqlite()
    monkeypatch.setattr(apsw, "sqlite_lib_version", lambda: "3.51.2")
    with pytest.raises(StorageError, match=r"SQLite 3\.51\.2 can corrupt a database"):
        database.require_sound_sqlite()
    monkeypatch.setattr(apsw, "sqlite_lib_version", lambda: "3.100.0")
    database.require_sound_sqlite()


@pytest.mark.parametrize(
    ("error", "kind", "sentence"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/d/f"), StorageFull, "/d/f: there is no room left"),
        (OSError(errno.EDQUOT, "Quota exceeded"), StorageFull, "/d/db: there is no room left"),
        (PermissionError(errno.EACCES, "Permission denied", "/d/f"), StorageError, "/d/f: Permission denied"),
        (OSError("odd"), StorageError, "/d/db: odd"),
        (apsw.FullError("full"), StorageFull, "/d/db: there is no room left on the disk"),
        (apsw.CorruptError("malformed"), StorageError, r"/d/db: the database is damaged \(malformed\)"),
        (apsw.NotADBError("x"), StorageError, "/d/db: the database is damaged"),
        (msgspec.ValidationError("x"), StorageError, "/d/db: the database is damaged"),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "x"), StorageError, "/d/db: the database is damaged"),
        (apsw.BusyError("x"), StorageError, "/d/db: another program has the database open"),
        (apsw.CantOpenError("x"), StorageError, "/d/db: the database cannot be opened"),
        (apsw.ReadOnlyError("x"), StorageError, "/d/db: the database cannot be written to"),
        (apsw.IOError("x"), StorageError, "/d/db: reading or writing the disk failed"),
        (apsw.ConstraintError("x"), StorageError, r"/d/db: SQLite failed \(x\)"),
    ],
)
def test_plain_words(error: Exception, kind: type[StorageError], sentence: str) -> None:
    """Each kind of trouble, with the file it is about."""
    assert isinstance(error, database.TROUBLE)
    told = database.in_plain_words(error, Path("/d/db"))
    assert type(told) is kind
    with pytest.raises(kind, match=sentence):
        raise told


def test_beside() -> None:
    """The files around a database bear its name."""
    assert database.beside(Path("/d/flashq.db"), "-wal") == Path("/d/flashq.db-wal")


def test_note_failure_of_a_disk_that_is_gone(tmp_path: Path) -> None:
    """Then there is nobody to note it for."""
    shutil.rmtree(tmp_path)
    with pytest.raises(FileNotFoundError):
        database.note_failure(tmp_path / "flashq.db")
