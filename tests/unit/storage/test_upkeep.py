"""Upkeep does what is due, in pieces, and keeps the bounds under load without doing more than it must."""

from collections.abc import Callable, Iterator
from pathlib import Path

import apsw
import pytest

from flashq.engine.records import Actor, Completed, CronDeleted, Happened, Operated, Pushed, Record
from flashq.engine.trail import JobHistory
from flashq.errors import StorageError
from flashq.storage import checksums, database, tables, upkeep, windows
from flashq.storage.highwater import HighWater, Mark
from flashq.storage.records import encode
from flashq.storage.sqlite_dialect import SqliteDialect
from flashq.storage.tables import Tables
from flashq.storage.upkeep import Upkeep
from flashq.storage.windows import Retention, Windows


class Kept:
    """An open database with its upkeep and a clock that stands still."""

    def __init__(self, path: Path, *, relaxed: bool = False, retention: Retention | None = None) -> None:
        self.path = path
        self.now = 0
        database.create(path)
        self.db = database.connect(path)
        self.tables = Tables(SqliteDialect(self.db))
        self.high_water = HighWater(database.beside(path, ".highwater"))
        self.windows = Windows(str(path), self.tables, retention)
        self.upkeep = Upkeep(
            path,
            self.db,
            self.tables,
            self.windows,
            self.high_water,
            steady_ms=lambda: self.now,
            relaxed=relaxed,
        )
        self.next_id = 1

    def commit(self, *records: Record) -> int:
        """One group, with the number it gets."""
        number, blob = self.windows.newest + 1, encode(records)
        self.upkeep.before_commit()
        self.db.execute("INSERT INTO journal VALUES (?, ?)", (number, blob))
        self.upkeep.committed(number, blob)
        return number

    def push(self, jobs: int, size: int = 1) -> int:
        """A group with a batch."""
        record = Pushed("mail", self.next_id, 100, 0, 3, 0, 0, 0, [b"1" * size] * jobs)
        self.next_id += jobs
        return self.commit(record)

    def journal(self) -> int:
        """How many groups are not folded."""
        return int(self.db.execute("SELECT count(*) FROM journal").get)

    def close(self) -> None:
        """Without finishing."""
        self.db.close()
        self.high_water.close()


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Kept]]:
    """Makes the database."""
    made: list[Kept] = []

    def make(*, relaxed: bool = False) -> Kept:
        made.append(Kept(tmp_path / "flashq.db", relaxed=relaxed))
        return made[-1]

    yield make
    for kept in made:
        kept.close()


@pytest.fixture
def kept(make: Callable[..., Kept]) -> Kept:
    """A database at full durability."""
    return make()


def slices(kept: Kept) -> int:
    """Do all there is to do in quiet; how many slices it was."""
    count = 0
    while kept.upkeep.tidy(idle=True):
        count += 1
    return count


def test_quiet_folds_everything(kept: Kept) -> None:
    """Window by window, until the journal is empty and the tables have it all."""
    for _ in range(5):
        kept.push(9_000)
    assert slices(kept) > 45
    assert kept.journal() == 0
    assert kept.tables.meta.folded == 5
    assert kept.db.execute("SELECT count(*) FROM jobs").get == 45_000
    assert slices(kept) == 0


def test_a_window_has_bounds(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    """By changes, by bytes and by groups; whichever comes first, but one group at least."""
    for name, bound in (("WINDOW_CHANGES", 20), ("WINDOW_BYTES", 3_000), ("WINDOW_GROUPS", 3)):
        with monkeypatch.context() as patch:
            patch.setattr(windows, name, bound)
            before = kept.tables.meta.folded
            for _ in range(4):
                kept.push(10, size=100)
            folded = set()
            while kept.upkeep.tidy(idle=True):
                folded.add(kept.tables.meta.folded - before)
            assert folded == {0, 2, 4} if name == "WINDOW_CHANGES" else folded == {0, 3, 4}


def test_load_below_the_bounds_is_left_alone(kept: Kept) -> None:
    """A short journal is not worth a delayed commit."""
    kept.push(10)
    assert kept.upkeep.tidy(idle=False) is False
    assert kept.journal() == 1


@pytest.mark.parametrize(("bound", "value"), [("UNFOLDED_CHANGES", 100), ("UNFOLDED_BYTES", 1_000)])
def test_a_long_journal_is_folded_under_load(
    kept: Kept, monkeypatch: pytest.MonkeyPatch, bound: str, value: int
) -> None:
    """In step with the commits, so that the journal stops growing."""
    monkeypatch.setattr(windows, bound, value)
    monkeypatch.setattr(windows, "EASY_PACE", 50)
    longest = 0
    for _ in range(400):
        kept.push(10)
        kept.upkeep.tidy(idle=False)
        longest = max(longest, kept.journal())
    assert kept.tables.meta.folded > 300
    assert longest < 60


def test_the_pace_follows_the_length(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    """Past the bound a slice now and then, far past it as many as it takes."""
    done: list[int] = []
    monkeypatch.setattr(Upkeep, "_fold_slice", lambda self: done.append(1) is None)
    monkeypatch.setattr(windows, "UNFOLDED_CHANGES", 1_000)
    monkeypatch.setattr(windows, "EASY_PACE", 500)
    monkeypatch.setattr(windows, "HARD_PACE", 100)
    slices_after = []
    for _ in range(10):
        kept.push(500)
        kept.upkeep.tidy(idle=False)
        slices_after.append(len(done))
    assert slices_after == [0, 1, 2, 3, 4, 5, 6, 11, 16, 21]


def test_nothing_left_to_fold_ends_the_pace(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bound below what a single group has does not make upkeep spin."""
    monkeypatch.setattr(windows, "UNFOLDED_BYTES", 0.001)
    monkeypatch.setattr(windows, "EASY_PACE", 1)
    monkeypatch.setattr(windows, "HARD_PACE", 1)
    kept.push(1_000)
    kept.upkeep.tidy(idle=False)
    assert kept.journal() == 0
    kept.upkeep.tidy(idle=False)


def test_what_is_forgotten_later_is_never_written(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a long journal, short-lived jobs never become rows at all."""
    monkeypatch.setattr(windows, "WINDOW_GROUPS", 1)
    for done in range(1, 50, 10):
        push = Pushed("mail", done, 100, 0, 3, 0, 0, 0, [b"1"] * 10)
        results = [(id, b"1") for id in push_ids(push)]
        kept.commit(push, Completed("mail", push_ids(push), done, 2, 1, "t", results, max(1, done - 5), done + 5))
    rows: set[tuple[int, object]] = set()
    while kept.upkeep.tidy(idle=True):
        rows |= set(kept.db.execute("SELECT id, result FROM jobs"))  # type: ignore[arg-type]
    assert rows == {(id, "1" if id >= 46 else None) for id in range(36, 51)}


def push_ids(push: Pushed) -> list[int]:
    """The ids of a batch."""
    return list(range(push.first, push.first + len(push.data)))


def test_a_newest_group_without_completions_forgets_nothing(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the window's own groups decide."""
    monkeypatch.setattr(windows, "WINDOW_GROUPS", 1)
    kept.commit(Pushed("mail", 1, 1, 0, 3, 0, 0, 0, [b"1"]), Completed("mail", [1], 1, 2, 1, "t", [], 1, 1))
    kept.commit(CronDeleted("x"))
    slices(kept)
    assert kept.db.execute("SELECT id FROM jobs").get == 1


def test_the_log_is_moved_before_it_gets_long(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under load at one length, in quiet at a shorter one; the file of the log stays bounded."""
    monkeypatch.setattr(upkeep, "CHECKPOINT_BYTES", 1_000_000)
    monkeypatch.setattr(upkeep, "QUIET_CHECKPOINT_BYTES", 100_000)
    for _ in range(60):
        kept.push(1, size=50_000)
        kept.upkeep.tidy(idle=False)
    assert kept.path.stat().st_size > 2_000_000
    assert Path(f"{kept.path}-wal").stat().st_size < 1_500_000
    slices(kept)
    assert kept.upkeep._log_bytes < 100_000
    assert Path(f"{kept.path}-wal").stat().st_size < 1_500_000


def test_a_checkpoint_that_moves_only_a_part_is_an_error(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody else may hold the log open; if somebody does, something is very wrong."""
    monkeypatch.setattr(upkeep, "CHECKPOINT_BYTES", 1)
    kept.push(10)
    reader = kept.db.execute("SELECT * FROM meta UNION ALL SELECT * FROM meta")
    next(reader)
    kept.push(10)
    with pytest.raises((StorageError, apsw.LockedError, apsw.BusyError)):
        kept.upkeep.tidy(idle=False)


def test_a_partial_checkpoint_is_named(kept: Kept) -> None:
    """The sentence has both numbers."""
    kept.push(10)
    kept.upkeep._log_bytes = upkeep.CHECKPOINT_BYTES
    kept.upkeep._connection = Moves((9, 4))  # type: ignore[assignment]
    with pytest.raises(StorageError, match="of 9 pages of the log, 4 could be moved"):
        kept.upkeep.tidy(idle=False)


def test_finish_leaves_one_complete_file(kept: Kept) -> None:
    """The log is empty and the database alone has everything; unfolded groups stay in the journal."""
    kept.push(10)
    kept.upkeep.finish()
    assert Path(f"{kept.path}-wal").stat().st_size == 0
    kept.close()
    assert HighWater(database.beside(kept.path, ".highwater")).mark == Mark(1, 0)
    alone = apsw.Connection(str(kept.path))
    assert alone.execute("SELECT number FROM journal").get == 1
    alone.close()


class Moves:
    """A connection whose checkpoints end like this."""

    def __init__(self, result: tuple[int, int]) -> None:
        self.result = result

    def wal_checkpoint(self, mode: int) -> tuple[int, int]:
        """Pretend."""
        return self.result


def test_finish_looks_at_the_result(kept: Kept) -> None:
    """A log that was not moved is said, not passed over."""
    kept.upkeep._connection = Moves((9, 4))  # type: ignore[assignment]
    with pytest.raises(StorageError, match="the log could not be moved"):
        kept.upkeep.finish()


def test_the_high_water_follows_once_a_second(kept: Kept) -> None:
    """Under load by the clock, in quiet at once, and never ahead of the database."""
    kept.push(1)
    kept.now = 999
    kept.upkeep.tidy(idle=False)
    assert kept.high_water.mark == Mark(0, 0)
    kept.now = 1_000
    kept.upkeep.tidy(idle=False)
    assert kept.high_water.mark == Mark(1, 0)
    kept.push(1)
    kept.upkeep.tidy(idle=False)
    assert kept.high_water.mark == Mark(1, 0)
    kept.upkeep.tidy(idle=True)
    assert kept.high_water.mark == Mark(2, 0)


class Syncs:
    """Counts the syncs that SQLite asks for, through a file system of its own."""

    def __init__(self) -> None:
        self.log = 0


@pytest.fixture
def syncs(monkeypatch: pytest.MonkeyPatch) -> Iterator[Syncs]:
    """SQLite's default file system with counted syncs of logs."""
    count = Syncs()

    class File(apsw.VFSFile):
        def __init__(self, name: apsw.URIFilename | str, flags: list[int]) -> None:
            super().__init__("unix", name, flags)
            self.is_log = bool(flags[0] & apsw.SQLITE_OPEN_WAL)

        def xSync(self, flags: int) -> None:  # noqa: N802 - SQLite's name
            count.log += self.is_log
            super().xSync(flags)

    class FileSystem(apsw.VFS):
        def __init__(self) -> None:
            super().__init__("counting", "unix", makedefault=True)

        def xOpen(self, name: apsw.URIFilename | str | None, flags: list[int]) -> File:  # noqa: N802
            return File(name, flags)  # type: ignore[arg-type]

    file_system = FileSystem()
    monkeypatch.setattr(checksums, "vfs", lambda: "counting")
    yield count
    file_system.unregister()


def test_full_durability_syncs_every_commit(syncs: Syncs, make: Callable[..., Kept]) -> None:
    """And upkeep does not sync the log for each of its transactions."""
    kept = make()
    kept.push(1)
    before = syncs.log
    for _ in range(5):
        kept.push(2_000)
    assert syncs.log - before == 5
    assert slices(kept) > 5
    assert syncs.log - before == 5
    kept.push(1)
    assert syncs.log - before == 6
    kept.close()


def test_relaxed_durability_syncs_once_a_second(syncs: Syncs, make: Callable[..., Kept]) -> None:
    """Under load by the clock, in quiet at once; what was synced is not synced again."""
    kept = make(relaxed=True)
    kept.push(1)
    before = syncs.log
    for now in range(0, 3_000, 100):
        kept.now = now
        kept.push(1)
        kept.upkeep.tidy(idle=False)
    assert syncs.log - before == 2
    slices(kept)
    assert syncs.log - before == 3
    slices(kept)
    assert syncs.log - before == 3
    kept.close()


def test_relaxed_high_water_waits_for_the_sync(make: Callable[..., Kept]) -> None:
    """A power cut must not leave a witness to groups that it took away."""
    kept = make(relaxed=True)
    kept.push(1)
    kept.upkeep.tidy(idle=False)
    assert kept.high_water.mark == Mark(0, 0)
    kept.upkeep.tidy(idle=True)
    assert kept.high_water.mark == Mark(1, 0)
    assert kept.db.execute("SELECT synced FROM meta").get == 1


def test_a_damaged_group_is_named(kept: Kept) -> None:
    """Folding stops at it, and the journal stays as it is."""
    kept.push(1)
    kept.push(1)
    kept.db.execute("UPDATE journal SET blob = x'0100' WHERE number = 2")
    with pytest.raises(StorageError, match=r"flashq\.db: group 2: .*cut short"):
        slices(kept)
    assert kept.journal() == 2


def happened(kept: Kept, *events: str, at: int = 0) -> None:
    """A group that says so of a job of its own each, in runs that do not touch."""
    kept.commit(*(Happened(at, event, "q", [2 * place + 1, 1], Actor("ada")) for place, event in enumerate(events)))


def audit_rows(kept: Kept) -> list[tuple[int, str]]:
    """Numbers and events of what is in the table."""
    return list(kept.db.execute("SELECT number, event FROM audit ORDER BY number"))  # type: ignore[arg-type]


def test_the_trail_keeps_its_newest_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as are allowed, slice by slice; numbers go on over windows and are never used again."""
    monkeypatch.setattr(tables, "SLICE_ROWS", 2)
    kept = Kept(tmp_path / "flashq.db", retention=Retention(1_000, 3, lambda: 1_000))
    happened(kept, *"abcde", at=500)
    slices(kept)
    assert audit_rows(kept) == [(3, "c"), (4, "d"), (5, "e")]
    happened(kept, *"fg", at=500)
    slices(kept)
    assert audit_rows(kept) == [(5, "e"), (6, "f"), (7, "g")]
    kept.close()


def test_the_trail_forgets_what_is_old(tmp_path: Path) -> None:
    """Entries and actions from before the days that are kept, once something newer is folded."""
    now = [1_000]
    kept = Kept(tmp_path / "flashq.db", retention=Retention(1_000, 100, lambda: now[0]))
    kept.commit(Operated(900, "PAUSE", Actor("ada"), "q"))
    happened(kept, "a", at=1_000)
    slices(kept)
    now[0] = 2_000
    happened(kept, "b", at=2_000)
    slices(kept)
    assert audit_rows(kept) == [(2, "a"), (3, "b")]
    assert kept.db.execute("SELECT count(*) FROM operations").get == 0
    kept.close()


def test_the_trail_forgets_what_is_old_though_nothing_happens(tmp_path: Path) -> None:
    """The newest entry goes when its days are over: nobody needs to do anything for it."""
    now = [1_000]
    kept = Kept(tmp_path / "flashq.db", retention=Retention(1_000, 100, lambda: now[0]))
    happened(kept, "a", at=1_000)
    slices(kept)
    now[0] += windows.TRIM_MS
    slices(kept)
    assert audit_rows(kept) == []
    kept.close()


def test_actions_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that goes wild as an operator cannot fill the disk."""
    monkeypatch.setattr(tables, "MAX_OPERATIONS", 2)
    kept = Kept(tmp_path / "flashq.db", retention=Retention(1_000, 100, lambda: 1_000))
    kept.commit(*(Operated(900, "PAUSE", Actor("ada"), name) for name in "abc"))
    slices(kept)
    assert [target for (target,) in kept.db.execute("SELECT target FROM operations ORDER BY number")] == ["b", "c"]
    kept.close()


def test_a_long_journal_is_read_in_slices(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    """A question looks at so many changes at a time, and at the tables first."""
    monkeypatch.setattr(windows, "FEED_CHANGES", 2)
    happened(kept, "pushed")
    slices(kept)
    for event in ("active", "failed", "retrying", "active"):
        happened(kept, event)
    question = JobHistory(1)
    assert len(list(kept.windows.read(question))) == 2
    assert [entry.event for entry in question.answer()[0]] == ["pushed", "active", "failed", "retrying", "active"]
