"""Folders and files are private, appear whole, and have one owner."""

import ctypes
import mmap
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from flashq.errors import StorageError
from flashq.storage import files
from flashq.storage.files import FolderLock, make_file, make_folder, publish, read_ahead, read_head, sync_folder


def mode(path: Path) -> int:
    """The permission bits."""
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture(params=[0o000, 0o022, 0o777])
def umask(request: pytest.FixtureRequest) -> Iterator[None]:
    """Whatever the user's umask is."""
    before = os.umask(request.param)
    yield
    os.umask(before)


def test_a_second_owner_is_refused(tmp_path: Path) -> None:
    """At once, and the sentence names the folder."""
    lock = FolderLock(tmp_path / "flashq.db")
    with pytest.raises(StorageError, match=f"another FlashQ server is using flashq.db in the folder {tmp_path}"):
        FolderLock(tmp_path / "flashq.db")
    lock.release()
    lock.release()
    FolderLock(tmp_path / "flashq.db").release()


def test_two_databases_in_a_folder_have_two_owners(tmp_path: Path) -> None:
    """The lock belongs to the database."""
    FolderLock(tmp_path / "a.db").release()
    first, second = FolderLock(tmp_path / "a.db"), FolderLock(tmp_path / "b.db")
    first.release()
    second.release()


def test_a_new_folder_is_private(tmp_path: Path) -> None:
    """Made with all its parents, for its owner alone."""
    make_folder(tmp_path / "a" / "b")
    assert mode(tmp_path / "a" / "b") == 0o700


def test_the_name_of_each_new_folder_is_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A power cut that took away the one above would take everything."""
    synced: list[Path] = []
    monkeypatch.setattr(files, "sync_folder", synced.append)
    make_folder(tmp_path / "a" / "b" / "c")
    assert sorted(synced) == [tmp_path, tmp_path / "a", tmp_path / "a" / "b"]


def test_a_folder_that_is_there_is_left_alone(tmp_path: Path) -> None:
    """Its mode is the business of whoever made it."""
    tmp_path.chmod(0o750)
    make_folder(tmp_path)
    assert mode(tmp_path) == 0o750


def test_a_file_in_the_way_is_an_error(tmp_path: Path) -> None:
    """Something else with the folder's name is not replaced."""
    (tmp_path / "data").write_text("mine")
    with pytest.raises(FileExistsError):
        make_folder(tmp_path / "data")


@pytest.mark.usefixtures("umask")
def test_a_new_file_is_private(tmp_path: Path) -> None:
    """Whatever the umask; one that was there is replaced."""
    make_file(tmp_path / "f")
    make_file(tmp_path / "f")
    assert mode(tmp_path / "f") == 0o600


def test_publish_gives_a_file_its_name(tmp_path: Path) -> None:
    """The new name has the content, the old one is gone."""
    (tmp_path / "new").write_bytes(b"whole")
    publish(tmp_path / "new", tmp_path / "final")
    assert (tmp_path / "final").read_bytes() == b"whole"
    assert not (tmp_path / "new").exists()


def test_sync_folder_wants_a_folder(tmp_path: Path) -> None:
    """A mistake in the path shows."""
    sync_folder(tmp_path)
    with pytest.raises(NotADirectoryError):
        sync_folder(Path(__file__))


def test_read_head(tmp_path: Path) -> None:
    """The beginning of a file; nothing of one that is empty or missing."""
    path = tmp_path / "f"
    assert read_head(path, 10) == b""
    path.write_bytes(b"")
    assert read_head(path, 10) == b""
    path.write_bytes(b"0123456789abc")
    assert read_head(path, 10) == b"0123456789"


def cached_pages(path: Path) -> list[bool]:
    """For each page of a file whether the system has it in memory."""
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
        first = ctypes.c_char.from_buffer(mapped)
        verdict = (ctypes.c_ubyte * (len(mapped) // mmap.PAGESIZE))()
        failed = ctypes.CDLL(None, use_errno=True).mincore(
            ctypes.c_void_p(ctypes.addressof(first)), ctypes.c_size_t(len(mapped)), verdict
        )
        del first
        assert failed == 0, os.strerror(ctypes.get_errno())
        return [bool(page & 1) for page in verdict]


def test_read_ahead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of a file is cached, as far as the bound goes; what cannot be read is no error."""
    path, piece = tmp_path / "f", 1024**2
    with path.open("wb") as file:
        file.write(b"x" * 8 * piece)
        file.flush()
        os.fsync(file.fileno())
    pages = piece // mmap.PAGESIZE
    if read_head(path, 1) and not all(cached_pages(path)[2 * pages :]):  # there is a disk below
        monkeypatch.setattr("flashq.storage.files.AHEAD_BYTES", 2 * piece)
        read_ahead(path)
        assert all(cached_pages(path)[: 2 * pages])
        assert not all(cached_pages(path))
        monkeypatch.undo()
    read_ahead(path)
    assert all(cached_pages(path))
    read_ahead(tmp_path / "missing")
    read_ahead(tmp_path)
