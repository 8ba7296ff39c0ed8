"""A database is read whole, log included, and nothing of it or beside it changes."""

import shutil
from pathlib import Path

import apsw
import pytest

from flashq.storage import checksums
from flashq.storage.schema import migrate, steps
from flashq.storage.traceless import brought_up, looked_at


def folder_of(path: Path) -> dict[str, tuple[bytes, int]]:
    """All files beside a database: what is in them, and when they were changed."""
    return {file.name: (file.read_bytes(), file.stat().st_mtime_ns) for file in path.parent.iterdir()}


def writer(path: Path) -> apsw.Connection:
    """A connection as a server has it."""
    connection = apsw.Connection(str(path), vfs=checksums.vfs())
    connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
    connection.pragma("locking_mode", "EXCLUSIVE")
    connection.pragma("journal_mode", "WAL")
    connection.pragma("wal_autocheckpoint", 0)
    return connection


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A database of which a part is in the log only."""
    path = tmp_path / "kept" / "flashq.db"
    path.parent.mkdir()
    connection = writer(path)
    connection.execute("CREATE TABLE t (n)")
    connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    connection.execute("INSERT INTO t VALUES (1), (2)")
    connection.close()
    assert (path.parent / "flashq.db-wal").stat().st_size > 0
    return path


def test_what_is_in_the_log_is_seen(path: Path) -> None:
    """A copy that ignores the log would lack what was confirmed last."""
    before = folder_of(path)
    with looked_at(path) as connection:
        assert connection.execute("SELECT count(*) FROM t").get == 2
        assert connection.pragma("integrity_check") == "ok"
    assert folder_of(path) == before


@pytest.mark.parametrize("what", ["folder", "file"])
def test_a_name_that_leads_elsewhere(path: Path, tmp_path: Path, what: str) -> None:
    """The database is found where a symbolic link leads to, and so is its log, as a server finds them."""
    link = tmp_path / "link"
    link.symlink_to(path.parent if what == "folder" else path)
    with looked_at(link / path.name if what == "folder" else link) as connection:
        assert connection.execute("SELECT count(*) FROM t").get == 2


@pytest.mark.parametrize("log", ["missing", "empty"])
def test_a_database_without_a_log(path: Path, log: str) -> None:
    """Neither a missing log nor an empty one is made or touched."""
    wal = path.parent / "flashq.db-wal"
    wal.unlink()
    if log == "empty":
        wal.touch()
    before = folder_of(path)
    with looked_at(path) as connection:
        assert connection.execute("SELECT count(*) FROM t").get == 0
    assert folder_of(path) == before


def test_a_folder_that_nobody_may_write_to(path: Path) -> None:
    """A mounted snapshot of a disk can be looked at as well."""
    path.chmod(0o400)
    path.parent.chmod(0o500)
    try:
        with looked_at(path) as connection:
            assert connection.execute("SELECT count(*) FROM t").get == 2
    finally:
        path.parent.chmod(0o700)


def test_nothing_can_be_written(path: Path) -> None:
    """A mistake in what looks does no harm."""
    before = folder_of(path)
    with looked_at(path) as connection:
        for statement in ("INSERT INTO t VALUES (3)", "CREATE TABLE u (n)", "PRAGMA user_version = 7", "VACUUM"):
            with pytest.raises((apsw.ReadOnlyError, apsw.SQLError, apsw.CantOpenError)):
                connection.execute(statement)
    assert folder_of(path) == before


def test_who_has_it_keeps_others_out(path: Path) -> None:
    """While somebody writes nobody looks, and while somebody looks nobody writes."""
    writing = writer(path)
    writing.execute("INSERT INTO t VALUES (3)")
    with looked_at(path) as connection, pytest.raises(apsw.BusyError):
        connection.pragma("application_id")
    writing.close()
    with looked_at(path) as connection, looked_at(path) as other:
        assert connection.execute("SELECT count(*) FROM t").get == other.execute("SELECT count(*) FROM t").get == 3
        with pytest.raises(apsw.BusyError):
            writer(path)
    writer(path).close()


def test_an_older_database_is_brought_up_elsewhere(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is looked at has the newest schema and all rows; the original and the temporary folder stay as they were."""
    shutil.rmtree(path.parent)
    path.parent.mkdir()
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    known = steps("sqlite")
    connection = writer(path)
    migrate(connection, known[:1])
    connection.execute("INSERT INTO dropped VALUES (1, 17)")
    connection.close()
    before = folder_of(path)
    with looked_at(path) as old, brought_up(old) as new:
        assert new.pragma("user_version") == known[-1].number
        assert new.execute("SELECT id FROM dropped").get == 17
        assert list(temporary.iterdir()) != []
    assert folder_of(path) == before
    assert list(temporary.iterdir()) == []
