"""The backend as a whole: what it refuses, what it survives, and that it says so; the rest is in tests/conformance."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import apsw
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flashq.engine.records import Added, JobRow, Pushed
from flashq.errors import StorageError, StorageFull
from flashq.storage.records import encode
from flashq.storage.sqlite import SqliteStorage


def group(first: int, jobs: int = 1, size: int = 10) -> bytes:
    """A batch of jobs as a group."""
    return encode([Pushed("mail", first, 100, 0, 3, 0, 0, 0, [b'"%s"' % (b"x" * size)] * jobs)])


def storage_at(path: Path) -> SqliteStorage:
    """A storage, not opened."""
    return SqliteStorage(path, steady_ms=lambda: 0)


def kill(storage: SqliteStorage) -> None:
    """As if the process had ended: files are closed, nothing is written."""
    storage._held.close()


def ids(storage: SqliteStorage) -> list[int]:
    """The jobs that are loaded."""
    return [job.id for job in storage.load().rows()]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the database will be."""
    return tmp_path / "data" / "flashq.db"


@pytest.fixture
def storage(path: Path) -> Iterator[SqliteStorage]:
    """An open, empty storage."""
    storage = storage_at(path)
    storage.open()
    list(storage.load().jobs)
    yield storage
    storage.close()


def tidy_all(storage: SqliteStorage) -> None:
    """All upkeep that there is."""
    while storage.tidy(idle=True):
        pass


def content(folder: Path) -> dict[str, bytes]:
    """All files of a folder but the lock."""
    return {file.name: file.read_bytes() for file in folder.iterdir() if not file.name.endswith(".lock")}


def filled(path: Path, *, clean: bool) -> None:
    """A database with folded and unfolded groups, stopped cleanly or not."""
    storage = storage_at(path)
    storage.open()
    list(storage.load().jobs)
    storage.commit(1, group(1, 50))
    tidy_all(storage)
    storage.commit(2, group(51, 50))
    storage.tidy(idle=True)
    storage.close() if clean else kill(storage)


def test_everything_is_private(path: Path) -> None:
    """The folder and every file in it, while it runs and after it was killed."""
    storage = storage_at(path)
    storage.open()
    storage.commit(1, group(1))
    modes = {file.name: file.stat().st_mode & 0o777 for file in path.parent.iterdir()}
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert modes == dict.fromkeys(["flashq.db", "flashq.db-wal", "flashq.db.highwater", "flashq.db.lock"], 0o600)
    storage.close()


def test_a_second_owner_is_refused(storage: SqliteStorage, path: Path) -> None:
    """While the first one goes on undisturbed."""
    second = storage_at(path)
    with pytest.raises(StorageError, match=f"another FlashQ server is using flashq.db in the folder {path.parent}"):
        second.open()
    second.close()
    storage.commit(1, group(1))


def test_a_refused_open_lets_go(path: Path) -> None:
    """The lock of a storage that could not be opened does not stay."""
    path.parent.mkdir()
    path.write_bytes(b"garbage" * 1000)
    for _ in range(2):
        with pytest.raises(StorageError, match="not a FlashQ database"):
            storage_at(path).open()


@pytest.mark.parametrize("clean", [True, False])
def test_garbage_in_its_place_is_refused(path: Path, clean: bool) -> None:
    """A file that is not a database, or one cut short, is named, and nothing is changed."""
    filled(path, clean=clean)
    good = path.read_bytes()
    for bad in (b"garbage" * 1000, good[:50], good[:4096], good[: len(good) // 2], b"x" * 100 + good[100:]):
        path.write_bytes(bad)
        before = content(path.parent)
        with pytest.raises(StorageError, match=str(path)):
            list(opened(path).load().jobs)
        after = content(path.parent)
        assert after["flashq.db"] == before["flashq.db"]
        path.write_bytes(good)
        Path(f"{path}-wal").write_bytes(before["flashq.db-wal"])
        Path(f"{path}.highwater").write_bytes(before["flashq.db.highwater"])


def opened(path: Path) -> SqliteStorage:
    """A storage, opened; the files are let go when the test ends, if not before."""
    storage = storage_at(path)
    storage.open()
    return storage


def test_an_emptied_database_is_noticed(path: Path) -> None:
    """A file of no bytes would pass for a new one."""
    filled(path, clean=True)
    Path(f"{path}-wal").unlink()
    path.write_bytes(b"")
    with pytest.raises(StorageError, match="went back in time"):
        storage_at(path).open()
    assert path.read_bytes() == b""
    path.unlink()
    with pytest.raises(StorageError, match="went back in time"):
        storage_at(path).open()
    assert not path.exists()


def test_another_programs_database_is_refused(path: Path) -> None:
    """Whatever it is, it is not touched."""
    path.parent.mkdir()
    connection = apsw.Connection(str(path))
    connection.execute("CREATE TABLE precious (a); INSERT INTO precious VALUES (1)")
    connection.close()
    before = content(path.parent)
    with pytest.raises(StorageError, match="a database, but of another program"):
        storage_at(path).open()
    assert content(path.parent) == before


def test_a_newer_schema_is_refused(path: Path) -> None:
    """By its number, and nothing is changed."""
    filled(path, clean=True)
    connection = apsw.Connection(str(path))
    connection.pragma("user_version", 99)
    connection.pragma("wal_checkpoint", "TRUNCATE")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(StorageError, match=f"{path}: its schema has number 99, this program knows"):
        storage_at(path).open()
    assert path.read_bytes() == before


def test_an_older_copy_is_noticed(path: Path) -> None:
    """A backup put in place of the database holds less than was confirmed."""
    filled(path, clean=True)
    backup = path.read_bytes()
    storage = opened(path)
    list(storage.load().jobs)
    storage.commit(3, group(101))
    storage.close()
    path.write_bytes(backup)
    with pytest.raises(StorageError, match=r"went back in time.*remove"):
        storage_at(path).open()
    Path(f"{path}.highwater").unlink()
    storage = opened(path)
    assert ids(storage) == list(range(1, 101))
    storage.close()


def test_an_older_copy_with_as_many_groups_is_noticed(path: Path) -> None:
    """Tokens of the starts in between must not be issued again."""
    filled(path, clean=True)
    backup = path.read_bytes()
    opened(path).close()
    path.write_bytes(backup)
    with pytest.raises(StorageError, match="went back in time"):
        storage_at(path).open()


def test_a_lost_log_is_noticed(path: Path) -> None:
    """Its groups had been confirmed."""
    filled(path, clean=False)
    Path(f"{path}-wal").unlink()
    with pytest.raises(StorageError, match=str(path)):
        storage_at(path).open()


def test_a_log_without_its_database_is_not_replayed(path: Path) -> None:
    """Into a new database it would bring pages of the old one."""
    filled(path, clean=False)
    path.unlink()
    Path(f"{path}.highwater").unlink()
    with pytest.raises(StorageError, match="the database is missing, but its log is there"):
        storage_at(path).open()


def test_a_flipped_bit_in_the_log_is_noticed(path: Path) -> None:
    """SQLite would end the log there without a word."""
    filled(path, clean=False)
    log = Path(f"{path}-wal")
    altered = bytearray(log.read_bytes())
    altered[len(altered) // 2] ^= 1
    log.write_bytes(altered)
    with pytest.raises(StorageError, match=str(path)):
        storage_at(path).open()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_damage_anywhere_is_harmless_or_told(tmp_path: Path, data: st.DataObject) -> None:
    """Whatever byte of whatever file changes: the jobs are loaded, all of them, as they were, or a StorageError."""
    source = tmp_path / "source" / "flashq.db"
    if not source.exists():
        filled(source, clean=False)
    folder = tmp_path / "copy"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(source.parent, folder)
    file = folder / data.draw(st.sampled_from(["flashq.db", "flashq.db-wal", "flashq.db.highwater"]))
    altered = bytearray(file.read_bytes())
    place = data.draw(st.integers(0, len(altered) - 1))
    altered[place] ^= data.draw(st.integers(1, 255))
    file.write_bytes(altered)
    storage = storage_at(folder / "flashq.db")
    try:
        storage.open()
        jobs = [(job.id, job.queue, job.data) for job in storage.load().rows()]
    except StorageError as error:
        told = str(error)
    else:
        told = str(folder) if jobs == [(id, "mail", b'"xxxxxxxxxx"') for id in range(1, 101)] else f"{jobs}"
    kill(storage)
    assert str(folder) in told


@pytest.mark.parametrize("column", ["data", "queue", "tags"])
def test_altered_text_is_told(path: Path, column: str) -> None:
    """Bytes that are no text, or no list where one must be, are an error of the storage, whoever reads them."""
    filled(path, clean=True)
    connection = apsw.Connection(str(path))
    connection.execute(f"UPDATE jobs SET {column} = CAST(x'5bff' AS TEXT) WHERE id = 7")
    connection.pragma("wal_checkpoint", "TRUNCATE")
    connection.close()
    storage = opened(path)
    jobs = storage.load().rows()
    if column == "data":
        assert [job.data for job in jobs if job.id == 7] == [b"[\xff"]
    else:
        with pytest.raises(StorageError, match=f"{path}: the database is damaged"):
            list(jobs)
    storage.close()


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        ("UPDATE journal SET blob = CAST(replace(blob, 'x', 'y') AS BLOB) WHERE number = 3", "group 3: the checksum"),
        ("DELETE FROM journal WHERE number = 2", "group 2 is missing from the journal"),
    ],
)
def test_a_damaged_journal_is_refused(path: Path, damage: str, reason: str) -> None:
    """The group is named, and nothing is changed: not even the start is counted."""
    filled(path, clean=True)
    storage = opened(path)
    list(storage.load().jobs)
    storage.commit(3, group(101))
    storage.close()
    connection = apsw.Connection(str(path))
    connection.execute(damage)
    connection.pragma("wal_checkpoint", "TRUNCATE")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(StorageError, match=f"{path}: {reason}"):
        storage_at(path).open()
    assert path.read_bytes() == before


def test_a_full_disk(storage: SqliteStorage, path: Path) -> None:
    """The commit is refused as such, nothing is written after it, and the next start has all that was confirmed."""
    storage.commit(1, group(1))
    storage._connection.pragma("max_page_count", storage._connection.pragma("page_count") + 2)
    with pytest.raises(StorageFull, match=f"{path}: there is no room left on the disk"):
        storage.commit(2, group(2, 1000, 100))
    with pytest.raises(StorageError, match="nothing more is written"):
        storage.commit(2, group(2))
    with pytest.raises(StorageError, match="nothing more is written"):
        storage.tidy(idle=True)
    before = path.read_bytes()
    storage.close()
    assert path.read_bytes() == before
    assert Path(f"{path}.failed").exists()
    again = opened(path)
    assert ids(again) == [1]
    assert not Path(f"{path}.failed").exists()
    again.commit(2, group(2))
    again.close()


def test_a_full_disk_during_upkeep(storage: SqliteStorage) -> None:
    """Upkeep that fails is as final; what was confirmed is in the journal."""
    rows = [Added(JobRow(id, "q", 2, 0, 1, 2, 0, 0, 0, 0, 0, 0, b"1" * 2_000)) for id in range(1, 301)]
    storage.commit(1, encode(rows))
    storage._connection.pragma("max_page_count", storage._connection.pragma("page_count") + 2)
    with pytest.raises(StorageFull):
        tidy_all(storage)


@pytest.mark.parametrize("what", ["commit", "tidy", "close"])
def test_a_failing_disk(path: Path, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    """Errors of the disk are told in plain words wherever they occur, and everything is let go."""
    storage = opened(path)
    list(storage.load().jobs)
    storage.commit(1, group(1))

    def fail(*args: object, **more: object) -> None:
        raise apsw.IOError("disk I/O error")

    monkeypatch.setattr(storage._upkeep, {"commit": "before_commit", "tidy": "tidy", "close": "finish"}[what], fail)
    calls: dict[str, Callable[[], object]] = {
        "commit": lambda: storage.commit(2, group(2)),
        "tidy": lambda: storage.tidy(idle=True),
        "close": storage.close,
    }
    with pytest.raises(StorageError, match=f"{path}: reading or writing the disk failed"):
        calls[what]()
    storage.close()
    again = opened(path)
    assert ids(again) == [1]
    again.close()


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    """A path through a file is told, not raised as it comes."""
    (tmp_path / "file").write_text("mine")
    with pytest.raises(StorageError, match=r"Not a directory|File exists"):
        storage_at(tmp_path / "file" / "data" / "flashq.db").open()


def test_a_folder_in_the_place_of_the_database(path: Path) -> None:
    """Neither is a folder a database."""
    path.mkdir(parents=True)
    with pytest.raises(StorageError, match="Is a directory"):
        storage_at(path).open()


def test_close_comes_at_any_time(path: Path) -> None:
    """Before the opening, twice, and while jobs are still being read."""
    storage = storage_at(path)
    storage.close()
    filled(path, clean=True)
    storage = opened(path)
    next(iter(storage.load().jobs))
    storage.close()
    storage.close()
    again = opened(path)
    assert len(ids(again)) == 100
    again.close()


def test_a_repeated_commit_changes_nothing(storage: SqliteStorage) -> None:
    """Not even when the blob is another one."""
    storage.commit(1, group(1))
    storage.commit(1, b"another")
    tidy_all(storage)
    assert storage._connection.execute("SELECT count(*) FROM jobs").get == 1


def test_a_gap_is_final(storage: SqliteStorage) -> None:
    """Memory and disk disagree; going on would confirm what is not there."""
    with pytest.raises(StorageError, match="group 2 cannot follow group 0"):
        storage.commit(2, group(1))
    with pytest.raises(StorageError, match="nothing more is written"):
        storage.commit(1, group(1))


def test_a_start_needs_no_quiet(path: Path) -> None:
    """A journal that was never folded is loaded over and over, also with a window half done."""
    for start in range(4):
        storage = opened(path)
        assert ids(storage) == list(range(1, 1 + 3_000 * start))
        storage.commit(start + 1, group(1 + 3_000 * start, 3_000))
        for _ in range(start + 1):
            storage.tidy(idle=True)
        kill(storage)
