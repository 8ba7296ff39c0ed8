"""The second witness: survives a torn write, notices a database that went back, never speaks without being sure."""

from pathlib import Path
from zlib import crc32

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flashq.errors import StorageError
from flashq.storage.highwater import HighWater, Mark


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the file will be."""
    return tmp_path / "db.highwater"


def written(path: Path, *marks: Mark) -> None:
    """A file with these marks written in turn."""
    high_water = HighWater(path)
    for mark in marks:
        high_water.write(mark)
    high_water.close()


def test_no_file_says_nothing(path: Path) -> None:
    """A first start is not refused, and reading makes no file."""
    high_water = HighWater(path)
    high_water.check(Mark(0, 0), Path("db"))
    high_water.close()
    assert high_water.mark == Mark(0, 0)
    assert not path.exists()


def test_the_newest_mark_is_read_back(path: Path) -> None:
    """However many were written, by however many processes."""
    for end in range(1, 6):
        written(path, *(Mark(number, end) for number in range(end)), Mark(end, end))
        assert HighWater(path).mark == Mark(end, end)
    assert path.stat().st_size == 64


def test_the_file_is_private(path: Path) -> None:
    """Like everything in the folder."""
    written(path, Mark(1, 1))
    assert path.stat().st_mode & 0o777 == 0o600


@settings(deadline=None)  # a busy disk is no failure
@given(st.data())
def test_a_torn_write_leaves_the_mark_before(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Whatever happens to the slot that is being written, the other one stands."""
    path = tmp_path_factory.mktemp("torn") / "hw"
    written(path, Mark(1, 1), Mark(2, 1))
    content = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, 31))
    newest_slot = 0 if content[23] == 2 else 32
    content[newest_slot + place] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    high_water = HighWater(path)
    assert high_water.mark == Mark(1, 1)
    high_water.write(Mark(3, 1))
    high_water.close()
    assert HighWater(path).mark == Mark(3, 1)
    content = bytearray(path.read_bytes())
    content[newest_slot + place] ^= 1
    path.write_bytes(content)
    assert HighWater(path).mark == Mark(1, 1), "the torn slot was the one to write, not the whole one"


@pytest.mark.parametrize("content", [b"x", b"garbage" * 20, b"\x00" * 63 + b"\x01"])
def test_a_damaged_file_is_refused(path: Path, content: bytes) -> None:
    """Without a whole slot nobody can tell what is missing."""
    path.write_bytes(content)
    with pytest.raises(StorageError, match="high-water file is damaged"):
        HighWater(path)


@pytest.mark.parametrize("content", [b"", b"\x00" * 32])
def test_a_file_that_was_never_written_says_nothing(path: Path, content: bytes) -> None:
    """The machine may stop between making the file and writing it."""
    path.write_bytes(content)
    assert HighWater(path).mark == Mark(0, 0)


def test_a_slot_of_another_kind_of_file_is_not_a_mark(path: Path) -> None:
    """A right checksum alone is not enough."""
    written(path, Mark(1, 1))
    content = path.read_bytes()
    body = b"OTHERFIL" + content[8:28]
    path.write_bytes(body + crc32(body).to_bytes(4, "big"))
    with pytest.raises(StorageError, match="damaged"):
        HighWater(path)


@pytest.mark.parametrize("found", [Mark(4, 9), Mark(9, 1), Mark(0, 0)])
def test_going_back_is_noticed(path: Path, found: Mark) -> None:
    """Fewer groups, or fewer starts: either way something was there that is not there now."""
    written(path, Mark(5, 2))
    with pytest.raises(StorageError, match=r"db: storage went back in time.*remove .*db\.highwater"):
        HighWater(path).check(found, Path("db"))


@pytest.mark.parametrize("found", [Mark(5, 2), Mark(6, 2), Mark(5, 3)])
def test_going_on_is_fine(path: Path, found: Mark) -> None:
    """The file may lag behind."""
    written(path, Mark(5, 2))
    HighWater(path).check(found, Path("db"))
