"""An import brings all, once, whatever happens on the way; and nothing is served before it is whole."""

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fakes.kept import busy_life, keep
from tests.unit.engine.bench import START, Bench, nonces
from tests.unit.engine.stories import SMALL, STORIES, TELL, Step, Teller
from tests.unit.storage.test_dump import TRAIL, export, life

from flashq.engine.check import check
from flashq.engine.records import JobRow, Operated, QueueRow, Snapshot
from flashq.engine.restore import restore
from flashq.engine.settings import Settings
from flashq.engine.trail import Operations
from flashq.errors import StorageError
from flashq.model import ACTIVE, WAITING
from flashq.storage import importing
from flashq.storage.dump import BadDump, Reader
from flashq.storage.importing import Import, NotEmpty, lines_there
from flashq.storage.memory import MemoryStorage
from flashq.storage.reading import Reading
from flashq.storage.sqlite import SqliteStorage
from flashq.storage.sqlite_reading import SqliteSource


def sqlite(path: Path) -> SqliteStorage:
    """A storage on a file."""
    return SqliteStorage(path, steady_ms=lambda: 0)


def bring(text: bytes, storage: SqliteStorage | MemoryStorage) -> Import:
    """Import all of it."""
    run = Import(Reader(io.BytesIO(text)), storage)
    run.run(lambda _: None)
    return run


def exported(path: Path) -> bytes:
    """What is in a database now."""
    reading = Reading(SqliteSource(path))
    for _, step in reading.checks():
        step()
    text = export(reading.snapshot(), reading.trail())
    reading.close()
    return text


def loaded(storage: MemoryStorage) -> Snapshot:
    """What a memory storage holds, at its present epoch."""
    return storage.reopened().load()


@TELL
@given(STORIES)
def test_an_import_of_an_export_exports_the_same(story: list[Step]) -> None:
    """Whatever clients have done; and an engine made of it goes on."""
    bench = Bench(**SMALL)
    teller = Teller(bench)
    for step in story:
        teller.tell(step)
    text = export(bench.memory.snapshot(3))
    storage = MemoryStorage()
    bring(text, storage)
    assert export(loaded(storage)) == text
    engine = restore(loaded(storage), Settings(**SMALL), nonce=nonces(), now=bench.now)
    assert check(engine) == []
    engine.tick(bench.now)
    assert check(engine) == []


def test_from_a_database_into_another(tmp_path: Path) -> None:
    """With everything that there can be, history included; and again into a third one."""
    keep(tmp_path / "a.db", [*busy_life().memory.log, *TRAIL], folded=60)
    text = exported(tmp_path / "a.db")
    counted = bring(text, sqlite(tmp_path / "b.db")).counted
    assert (counted.jobs, counted.queues, counted.crons, counted.webhooks, counted.history) == (44, 5, 1, 2, 3)
    assert counted.calls > 0
    assert exported(tmp_path / "b.db").splitlines()[1:] == text.splitlines()[1:]
    bring(exported(tmp_path / "b.db"), sqlite(tmp_path / "c.db"))
    assert exported(tmp_path / "c.db") == exported(tmp_path / "b.db")


def test_the_past_can_be_asked_for(tmp_path: Path) -> None:
    """What operators did is told by the new storage as by the old one."""
    bring(export(life(), TRAIL), sqlite(tmp_path / "b.db"))
    storage = sqlite(tmp_path / "b.db")
    storage.open()
    list(storage.load().rows())
    question = Operations(0, 10, 0)
    for _ in storage.read(question):
        pass
    (action,) = question.answer()[0]
    assert isinstance(TRAIL[1], Operated)
    assert (action.action, action.target) == ("PAUSE", TRAIL[1].target)
    storage.close()


def test_attempts_that_run_may_still_end(tmp_path: Path) -> None:
    """A move is like a restart: who has a job may complete it with his token, unless it was given to somebody else."""
    bench = Bench()
    ids = bench.push_batch({}, {}).ids
    first, second = bench.pull(count=2)
    storage = MemoryStorage()
    bring(export(bench.memory.snapshot(bench.engine.epoch)), storage)
    again = storage.reopened()
    again.open()
    engine = restore(again.load(), Settings(), nonce=nonces(), now=START)
    assert engine.epoch == bench.engine.epoch + 1
    assert [engine.jobs.state(id) for id in ids] == [WAITING, WAITING]
    engine.settle.ack(first.id, str(first.token), None, START)
    (given_out,) = engine.dispatch.pull(engine.queues.make("emails"), 9, START)
    assert given_out.id == second.id
    assert given_out.token != second.token


class Killed(Exception):
    """The process ends here."""


class Mortal(MemoryStorage):
    """A storage under a process that is killed at a commit, before or after it."""

    def __init__(self, groups: list[bytes], epoch: int, commits: int) -> None:
        super().__init__(groups, epoch)
        self._left = commits

    def commit(self, number: int, blob: bytes) -> None:
        """As before, so many times."""
        if self._left == 0:
            raise Killed
        self._left -= 1
        super().commit(number, blob)


@settings(deadline=None)
@given(st.lists(st.integers(0, 9), max_size=20), st.integers(1, 30))
def test_a_killed_import_goes_on(lives: list[int], lines: int) -> None:
    """However often and wherever it was killed: in the end all is there, and nothing twice."""
    text = export(life(), TRAIL)
    storage = MemoryStorage()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(importing, "PIECE_LINES", lines)
        for commits in lives:
            mortal = Mortal(storage.groups, storage.epoch, commits)
            try:
                bring(text, mortal)
            except Killed:
                storage = MemoryStorage(mortal.groups, mortal.epoch)
                continue
            storage = MemoryStorage(mortal.groups, mortal.epoch)
            break
        else:
            bring(text, storage)
    assert export(loaded(storage)).splitlines()[1:-1] == export(life()).splitlines()[1:-1]
    assert loaded(storage).importing == ""


def test_a_killed_import_into_a_file_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was folded and what was not stays; half of an import says that it is one."""
    monkeypatch.setattr(importing, "PIECE_LINES", 7)
    monkeypatch.setattr(importing, "TIDY_EVERY", 2)
    path = tmp_path / "b.db"
    text = export(life(), TRAIL)
    for commits in (0, 1, 4, 9, 2):
        storage = sqlite(path)
        _die_after(storage, commits, monkeypatch)
        with pytest.raises(Killed):
            bring(text, storage)
        reading = Reading(SqliteSource(path))
        for _, step in reading.checks():
            step()
        snapshot = reading.snapshot()
        assert bool(snapshot.importing) or commits == 0
        reading.close()
    bring(text, sqlite(path))
    assert exported(path).splitlines()[1:-1] == export(life(), TRAIL).splitlines()[1:-1]


def _die_after(storage: SqliteStorage, commits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    left = [commits]
    commit = storage.commit

    def mortal(number: int, blob: bytes) -> None:
        if left[0] == 0:
            storage._held.close()  # without a word to anybody
            storage._writable = False
            raise Killed
        left[0] -= 1
        commit(number, blob)

    monkeypatch.setattr(storage, "commit", mortal)


def test_another_export_does_not_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of one and half of another would be a storage of nobody."""
    mortal = Mortal([], 0, 3)
    monkeypatch.setattr(importing, "PIECE_LINES", 5)
    with pytest.raises(Killed):
        bring(export(life()), mortal)
    other = export(Snapshot(1, 9, 0, [], [], [], []))
    with pytest.raises(NotEmpty, match="another export"):
        bring(other, MemoryStorage(mortal.groups, mortal.epoch))


@pytest.mark.parametrize(
    "held",
    [
        Snapshot(2, 1, 0, [], [], [], []),
        Snapshot(1, 1, 0, [], [QueueRow("q")], [], []),
        Snapshot(1, 1, 0, [], [], [], [3]),
        Snapshot(1, 1, 4, [], [], [], []),
    ],
)
def test_a_place_that_is_not_empty_is_refused(held: Snapshot) -> None:
    """Two storages cannot become one: their ids mean different jobs."""
    with pytest.raises(NotEmpty, match="needs an empty place"):
        lines_there(held, Reader(io.BytesIO(export(life()))))


def test_a_whole_import_is_not_empty() -> None:
    """Running it again changes nothing."""
    storage = MemoryStorage()
    bring(export(life()), storage)
    groups = list(storage.groups)
    with pytest.raises(NotEmpty):
        bring(export(life()), storage)
    assert storage.groups == groups


def test_an_export_that_is_cut_short_is_never_whole() -> None:
    """What was read stays, and says that it is not all."""
    text = export(life())
    storage = MemoryStorage()
    with pytest.raises(BadDump):
        bring(text[: len(text) // 2], storage)
    assert loaded(storage).importing != ""


def _row(**changes: object) -> Callable[[JobRow], None]:
    def change(row: JobRow) -> None:
        for name, value in changes.items():
            setattr(row, name, value)

    return change


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (_row(id=1), "job 1 comes after job 2"),
        (_row(id=10**6), "and the next id is"),
        (_row(state=ACTIVE), "is in state 3, which none can be stored in"),
        (_row(state=0), "is in state 0"),
        (_row(queue="nowhere"), "in a queue that is not there"),
    ],
)
def test_jobs_that_cannot_be(change: Callable[[JobRow], None], sentence: str) -> None:
    """An export that somebody has edited is judged line by line."""
    snapshot = life()
    rows = list(snapshot.rows())
    change(rows[2])
    snapshot.jobs = rows
    with pytest.raises(BadDump, match=sentence):
        bring(export(snapshot), MemoryStorage())


def test_calls_that_are_owed_to_nobody() -> None:
    """They would break the server that loads them."""
    snapshot = life()
    snapshot.webhooks = snapshot.webhooks[:1]
    with pytest.raises(BadDump, match="a call that is owed to nobody"):
        bring(export(snapshot), MemoryStorage())


def test_progress_adds_up_to_the_file() -> None:
    """The bar reaches its end, whatever the pieces are."""
    text = export(life())
    done: list[int] = []
    reader = Reader(io.BytesIO(text))
    Import(reader, MemoryStorage()).run(done.append)
    assert sum(done) == len(text)


def test_a_storage_that_fails_is_closed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its lock is given back, so that the import can be run again."""
    storage = sqlite(tmp_path / "b.db")

    def fail(number: int, blob: bytes) -> None:
        raise StorageError("no room")

    monkeypatch.setattr(storage, "commit", fail)
    with pytest.raises(StorageError, match="no room"):
        bring(export(life()), storage)
    bring(export(life()), sqlite(tmp_path / "b.db"))
