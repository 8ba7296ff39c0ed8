"""Unit tests of `flashq.storage.backup`: what a backup holds, and what is left of one that fails."""

import os
import resource
import shutil
import stat
from collections.abc import Callable, Generator, Iterator
from itertools import pairwise
from pathlib import Path

import apsw
import pytest

from flashq.engine.records import Completed, Pushed
from flashq.errors import StorageError, StorageFull
from flashq.model import Instant
from flashq.server.doctor import examine
from flashq.storage import backup as backup_module
from flashq.storage import checksums
from flashq.storage.backup import PART, Backup, BackupFolder
from flashq.storage.reading import Reading
from flashq.storage.records import encode
from flashq.storage.sqlite import SqliteStorage
from flashq.storage.sqlite_reading import SqliteSource

NOON = 1_700_000_000_000
JOBS = 50
"""In each group."""


def first_of(number: int) -> int:
    """The first job of a group."""
    return 1 + (number - 1) * JOBS


def group(number: int) -> bytes:
    """Fifty jobs of 2 KB, which it takes some pages to hold."""
    payload = b'"%s"' % (b"%d" % number * 1_000)[:2_000]
    return encode([Pushed("mail", first_of(number), 100, 0, 3, 0, 0, 0, [payload] * JOBS)])


def opened(path: Path) -> SqliteStorage:
    """A storage, ready for commits."""
    storage = SqliteStorage(path, steady_ms=lambda: 0)
    storage.open()
    list(storage.load().jobs)
    return storage


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[SqliteStorage]:
    """A storage with forty groups: most of them in the tables, some in the journal, some in the log alone."""
    storage = opened(tmp_path / "data" / "flashq.db")
    for number in range(1, 31):
        storage.commit(number, group(number))
    while storage.tidy(idle=True):
        pass
    storage._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
    for number in range(31, 41):
        storage.commit(number, group(number))
    yield storage
    storage.close()


@pytest.fixture
def folder(storage: SqliteStorage, tmp_path: Path) -> BackupFolder:
    """Where backups are made; all are kept."""
    return BackupFolder(storage.path, tmp_path / "backups", 0, lambda: NOON)


@pytest.fixture
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """A backup of these tests takes dozens of steps, and its cache overflows."""
    monkeypatch.setattr(backup_module, "STEP_PAGES", 8)
    monkeypatch.setattr(backup_module, "CACHE_KIB", 64)


def finish(steps: Generator[None, None, Backup], between: Callable[[int], object] = lambda step: None) -> Backup:
    """Take all steps, with something between each two."""
    taken = 0
    while True:
        try:
            next(steps)
        except StopIteration as end:
            made: Backup = end.value
            return made
        taken += 1
        between(taken)


def restored(backup: Backup, tmp_path: Path) -> tuple[int, set[int]]:
    """What a server finds that starts on a copy of the backup: the newest group, and the jobs."""
    path = tmp_path / "restored" / "flashq.db"
    path.parent.mkdir()
    shutil.copy(backup.path, path)
    storage = SqliteStorage(path, steady_ms=lambda: 0)
    newest = storage.open()
    found = {job.id for job in storage.load().rows()}
    storage.close()
    return newest, found


def left(folder: Path) -> list[str]:
    """The names of what is in a folder."""
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def is_sound(path: Path) -> bool:
    """What the doctor says."""
    reading = Reading(SqliteSource(path))
    try:
        return all(finding.ok for finding in examine(reading, Instant(NOON, 0)))
    finally:
        reading.close()


@pytest.mark.usefixtures("small_steps")
def test_it_is_the_state_at_its_end(storage: SqliteStorage, folder: BackupFolder, tmp_path: Path) -> None:
    """Commits, folding and checkpoints between the steps are in it, each wholly: on pages copied before and after."""
    committed = 40
    done = 0

    def between(step: int) -> None:
        nonlocal committed, done
        if step % 3 == 0:
            committed += 1
            done += 1
            completed = Completed("mail", [done * 7], done, 200, 150, "t", [(done * 7, b"true")], 0, 0)
            storage.commit(committed, encode([completed]) if step % 2 else group(done + 40))
        if step % 7 == 0:
            storage.tidy(idle=True)
        if step % 20 == 0:
            storage._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)

    backup = finish(storage.back_up(folder), between)
    assert committed > 50
    assert backup.group == committed
    assert backup.size == backup.path.stat().st_size
    assert is_sound(backup.path)
    storage.commit(committed + 1, group(100))  # which is not in it
    found = restored(backup, tmp_path)
    groups = [*range(1, 41), *(40 + number for number in range(1, done + 1) if number % 2 == 0)]
    assert found == (committed, {job for number in groups for job in range(first_of(number), first_of(number + 1))})


@pytest.mark.usefixtures("small_steps")
def test_a_step_is_short(storage: SqliteStorage, folder: BackupFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """None copies more pages than the bound, and what it has written is synced before a commit has its turn."""
    synced: list[int] = []
    fsync = os.fsync

    def noted(descriptor: int) -> None:
        if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            synced.append(os.fstat(descriptor).st_size)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    steps: list[int] = []

    def between(step: int) -> None:
        steps.append(step)
        assert len(synced) == step

    finish(storage.back_up(folder), between)
    pages = storage._connection.pragma("page_count")
    assert len(steps) == (pages - 1) // 8
    assert max(after - before for before, after in pairwise(synced)) <= (8 + 16) * 4096  # and the cache once


@pytest.mark.usefixtures("small_steps")
def test_it_comes_to_an_end(storage: SqliteStorage, folder: BackupFolder) -> None:
    """Also when each commit adds more than a step copies."""
    taken: list[int] = []

    def between(step: int) -> None:
        assert step < 1_000
        storage.commit(40 + step, group(40 + step))
        taken.append(step)

    assert finish(storage.back_up(folder), between).group == 40 + len(taken)


@pytest.mark.usefixtures("small_steps")
@pytest.mark.parametrize("sums", [True, False], ids=["with checksums", "without"])
def test_pages_keep_their_checksums(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sums: bool) -> None:
    """Every page has its own, also those that were written before the header was; a database without has none."""
    path = tmp_path / "data" / "flashq.db"
    if not sums:
        monkeypatch.setattr(checksums, "vfs", lambda: None)
    storage = opened(path)
    for number in range(1, 21):
        storage.commit(number, group(number))
    while storage.tidy(idle=True):
        pass
    backup = finish(storage.back_up(BackupFolder(path, tmp_path, 0, lambda: NOON)))
    storage.close()
    monkeypatch.undo()
    assert is_sound(backup.path)
    content = bytearray(backup.path.read_bytes())
    assert checksums.in_header(content) is sums
    content[content.rindex(b"20202020")] ^= 1  # within a payload
    backup.path.write_bytes(content)
    assert is_sound(backup.path) is not sums


def test_it_is_private(storage: SqliteStorage, folder: BackupFolder) -> None:
    """The folder is made for its owner, and so are the files; the name tells when."""
    backup = finish(storage.back_up(folder))
    assert backup.path.name == "flashq-20231114T221320.000Z.db"
    assert stat.S_IMODE(backup.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(backup.path.parent.stat().st_mode) == 0o700
    assert left(backup.path.parent) == [backup.path.name]  # no log or journal beside it


def test_no_backup_takes_the_place_of_another(storage: SqliteStorage, folder: BackupFolder) -> None:
    """Not of one of the same millisecond either, as when the clock was set back."""
    made = [finish(storage.back_up(folder)).path.name for _ in range(3)]
    assert made == [f"flashq-20231114T221320.00{number}Z.db" for number in range(3)]


def test_so_many_are_kept(storage: SqliteStorage, tmp_path: Path) -> None:
    """The youngest, and always the one just made; files of other names and other databases stay."""
    times = [NOON, NOON + 1_000, NOON + 2_000, NOON - 9_000]
    place = tmp_path / "backups"
    place.mkdir()
    strangers = ["flashq-mine.db", "other-20200101T000000.000Z.db", f"flashq-20200101T000000.000Z.db{PART}"]
    for name in strangers:
        (place / name).touch()
    folder = BackupFolder(storage.path, place, 2, lambda: times.pop(0))
    names = [finish(storage.back_up(folder)).path.name for _ in range(4)]
    assert left(place) == sorted([*strangers, names[2], names[3]])


def test_a_large_one_is_removed_in_steps(
    storage: SqliteStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It looks like no backup from the first of them on, and the new one is there before."""
    times = [NOON, NOON + 1_000]
    folder = BackupFolder(storage.path, tmp_path / "backups", 1, lambda: times.pop(0))
    first = finish(storage.back_up(folder))
    monkeypatch.setattr(backup_module, "DROP_BYTES", first.size // 3)
    sizes: list[int] = []

    def between(_: int) -> None:
        if not first.path.exists():
            assert len(left(first.path.parent)) == 2
            sizes.append(first.path.with_name(first.path.name + PART).stat().st_size)

    second = finish(storage.back_up(folder), between)
    assert [size // backup_module.DROP_BYTES for size in sizes] in ([3, 2, 1, 0], [2, 1, 0])
    assert left(second.path.parent) == [second.path.name]


@pytest.mark.usefixtures("small_steps")
def test_one_that_is_given_up_leaves_nothing(storage: SqliteStorage, folder: BackupFolder, tmp_path: Path) -> None:
    """As when the server leaves; the storage goes on."""
    steps = storage.back_up(folder)
    next(steps)
    assert left(tmp_path / "backups") == [f"flashq-20231114T221320.000Z.db{PART}"]
    steps.close()
    assert left(tmp_path / "backups") == []
    storage.commit(41, group(41))


@pytest.mark.usefixtures("small_steps")
def test_what_a_killed_process_left_is_removed(storage: SqliteStorage, tmp_path: Path) -> None:
    """And nothing else: no backup, and no half one of another database."""
    place = tmp_path / "backups"
    folder = BackupFolder(storage.path, place, 0, lambda: NOON)
    folder.clear()  # there is no folder yet
    whole = finish(storage.back_up(folder)).path.name
    kept = [whole, f"other-20200101T000000.000Z.db{PART}", f"notes.db{PART}"]
    for name in (*kept[1:], f"flashq-20200101T000000.000Z.db{PART}"):
        (place / name).touch()
    folder.clear()
    assert left(place) == sorted(kept)


def refused(storage: SqliteStorage, folder: BackupFolder, kind: type[StorageError], place: Path) -> str:
    """Why a backup fails. Nothing is left of it, and the storage goes on."""
    before = left(place)
    with pytest.raises(kind) as raised:
        finish(storage.back_up(folder))
    assert left(place) == before
    storage.commit(41, group(41))
    assert storage.tidy(idle=True)
    return str(raised.value)


@pytest.mark.usefixtures("small_steps")
def test_a_disk_without_room(storage: SqliteStorage, folder: BackupFolder, tmp_path: Path) -> None:
    """The file cannot grow: the backup fails in the middle, and only that."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    steps = storage.back_up(folder)
    next(steps)
    resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, hard))
    try:
        with pytest.raises(StorageError, match=rf"db{PART}: "):
            finish(steps)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert left(tmp_path / "backups") == []
    storage.commit(41, group(41))


def test_the_database_keeps_some_room(
    storage: SqliteStorage, folder: BackupFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On its own disk a backup ends before there is no room for the next commits, at the start or in the middle."""
    real = os.statvfs(tmp_path)
    free = storage._connection.pragma("page_count") * 4096 + backup_module.SPARE_BYTES

    def disk(bytes_free: int) -> Callable[[object], os.statvfs_result]:
        members = list(real)
        members[1], members[4] = 1, bytes_free  # f_frsize, f_bavail
        return lambda _: os.statvfs_result(members)

    monkeypatch.setattr(os, "statvfs", disk(free - 1))
    said = refused(storage, folder, StorageFull, tmp_path / "backups")
    assert f"{backup_module.SPARE_BYTES} of them to be left for the database" in said
    monkeypatch.setattr(os, "statvfs", disk(2 * free))
    steps = storage.back_up(folder)
    next(steps)
    monkeypatch.setattr(os, "statvfs", disk(backup_module.SPARE_BYTES))
    with pytest.raises(StorageFull, match="a backup needs"):
        finish(steps)
    assert left(tmp_path / "backups") == []


def test_a_folder_that_cannot_be(storage: SqliteStorage, tmp_path: Path) -> None:
    """The sentence names it."""
    (tmp_path / "file").touch()
    folder = BackupFolder(storage.path, tmp_path / "file" / "backups", 0, lambda: NOON)
    assert str(tmp_path / "file") in refused(storage, folder, StorageError, tmp_path / "none")


def test_a_damaged_database_is_not_backed_up(tmp_path: Path) -> None:
    """A page that does not fit its checksum is not copied; the sentence names the database."""
    path = tmp_path / "data" / "flashq.db"
    storage = opened(path)
    for number in range(1, 31):
        storage.commit(number, group(number))
    while storage.tidy(idle=True):
        pass
    storage.close()
    storage = opened(path)
    storage._connection.pragma("shrink_memory")
    with path.open("r+b") as file:
        file.seek(-3_000, os.SEEK_END)
        file.write(b"!")
    with pytest.raises(StorageError, match=rf"{path.name}: the database is damaged"):
        finish(storage.back_up(BackupFolder(path, tmp_path / "backups", 0, lambda: NOON)))
    assert left(tmp_path / "backups") == []
    storage._held.close()


def test_an_old_one_that_cannot_be_removed(
    storage: SqliteStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Is told in the log: the new backup is there all the same."""
    times = [NOON, NOON + 1_000]
    folder = BackupFolder(storage.path, tmp_path / "backups", 1, lambda: times.pop(0))
    finish(storage.back_up(folder))

    def unlink(path: Path, missing_ok: bool = False) -> None:
        if not missing_ok:
            raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "unlink", unlink)
    assert finish(storage.back_up(folder)).path.exists()
    assert "an old backup could not be removed" in caplog.text
