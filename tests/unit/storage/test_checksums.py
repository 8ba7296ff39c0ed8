"""Every page has a checksum, in databases that were made with them, and only there."""

from pathlib import Path

import apsw
import apsw.sqlite_extra
import pytest

from flashq.errors import StorageError
from flashq.storage import checksums, database

MARK = b"what a worker would be given"


def made(path: Path) -> bytearray:
    """The bytes of a database with something in it."""
    database.create(path)
    connection = database.connect(path)
    connection.execute("INSERT INTO journal VALUES (1, ?)", (MARK,))
    connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    connection.close()
    return bytearray(path.read_bytes())


def test_a_new_database_has_them(tmp_path: Path) -> None:
    """Its header says so, and the extension is there."""
    assert checksums.vfs() == "cksmvfs"
    assert checksums.in_header(made(tmp_path / "flashq.db"))


def test_one_altered_bit_of_a_row_is_told(tmp_path: Path) -> None:
    """SQLite itself would find everything in order. Told by the check at the start, and by any later reading."""
    path = tmp_path / "flashq.db"
    content = made(path)
    content[content.index(MARK) + 5] ^= 1
    path.write_bytes(content)
    sentence = f"{path}: the database is damaged: what is in a page does not fit its checksum"
    connection = database.connect(path)
    with pytest.raises(StorageError) as at_start:
        database.check_pages(connection, path)
    with pytest.raises(apsw.IOError) as later:
        connection.execute("SELECT * FROM journal").fetchall()
    connection.close()
    assert [str(at_start.value), str(database.in_plain_words(later.value, path))] == [sentence, sentence]


def test_a_database_without_them_stays_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is opened, written and checked, with the extension or without it."""
    path = tmp_path / "flashq.db"
    with monkeypatch.context() as without:
        without.setattr(checksums, "vfs", lambda: None)
        database.create(path)
    assert not checksums.in_header(path.read_bytes())
    for _ in range(2):
        assert database.is_there(path)
        connection = database.connect(path)
        database.check_pages(connection, path)
        connection.execute("INSERT INTO journal (blob) VALUES (x'00')")
        connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        connection.close()
        monkeypatch.setattr(checksums, "vfs", lambda: None)
    assert not checksums.in_header(path.read_bytes())


def test_one_that_has_them_is_not_written_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Checksums that do not fit any more would look like damage ever after."""
    path = tmp_path / "flashq.db"
    before = made(path)
    monkeypatch.setattr(apsw.sqlite_extra, "has", lambda name: None)
    monkeypatch.setattr(checksums, "vfs", checksums.vfs.__wrapped__)
    with pytest.raises(StorageError, match="its pages have checksums, and this apsw has no cksumvfs"):
        database.is_there(path)
    assert path.read_bytes() == before
