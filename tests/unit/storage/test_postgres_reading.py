"""A PostgreSQL database is read as a start would find it, also while a server uses it, and damage is named."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.conformance.storage import seen
from tests.fakes.kept import busy_life, commit, groups_of
from tests.fakes.postgres import Databases
from tests.unit.storage.test_dump import TRAIL, export, life
from tests.unit.storage.test_importing import bring
from tools.postgres import query

from flashq.errors import StorageError
from flashq.storage.postgres import PostgresStorage
from flashq.storage.postgres_reading import PostgresReading
from flashq.storage.reading import StorageMissing


@pytest.fixture
def url(databases: Databases) -> Iterator[str]:
    """An empty database."""
    with databases.fresh() as url:
        yield url


@pytest.fixture
def make(url: str, tmp_path: Path) -> Callable[[], PostgresStorage]:
    """Makes a storage on it."""
    return lambda: PostgresStorage(url, tmp_path, steady_ms=lambda: 0)


@contextmanager
def looked_at(url: str) -> Iterator[PostgresReading]:
    """A reading whose checks are to be called."""
    reading = PostgresReading(url)
    try:
        yield reading
    finally:
        reading.close()


@contextmanager
def checked(url: str) -> Iterator[PostgresReading]:
    """A reading that has passed all its checks."""
    with looked_at(url) as reading:
        for _, check in reading.checks():
            assert check()
        yield reading


def exported(url: str) -> bytes:
    """What is in a database now."""
    with checked(url) as reading:
        return export(reading.snapshot(), reading.trail())


@pytest.mark.parametrize("fold", [False, True])
def test_it_reads_what_a_start_would_load(url: str, make: Callable[[], PostgresStorage], fold: bool) -> None:
    """From the tables or from the journal; and it counts no start."""
    commit(make(), groups_of([*busy_life().memory.log, *TRAIL]), fold=fold)
    text = exported(url)
    with checked(url) as reading:
        found = seen(reading.snapshot())
    storage = make()
    storage.open()
    loaded = storage.load()
    assert loaded.epoch == 2
    assert seen(loaded) == found
    storage.close()
    assert text.splitlines()[1:-1] == export(life(), TRAIL).splitlines()[1:-1]


def test_a_server_may_go_on(url: str, make: Callable[[], PostgresStorage]) -> None:
    """It is told that there is one, and what is committed later is not seen."""
    groups = groups_of(busy_life().memory.log)
    storage = make()
    storage.open()
    list(storage.load().rows())
    for number, blob in enumerate(groups[:-1], 1):
        storage.commit(number, blob)
    with looked_at(url) as reading:
        told = [check() for _, check in reading.checks()]
        assert "in use by" in told[1]
        storage.commit(len(groups), groups[-1])
        while storage.tidy(idle=True):
            pass
        before = seen(reading.snapshot())
    storage.close()
    with checked(url) as reading:
        after = seen(reading.snapshot())
    assert before != after == seen(life())


def test_from_sqlite_to_postgres_and_back(url: str, make: Callable[[], PostgresStorage], tmp_path: Path) -> None:
    """An export of the one is an import of the other: nothing is lost or changed on the way."""
    text = export(life(), TRAIL)
    bring(text, make())
    assert exported(url) == text


def test_a_killed_import_goes_on(
    url: str, make: Callable[[], PostgresStorage], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the tables of this backend too, stands how far it is."""
    monkeypatch.setattr("flashq.storage.importing.PIECE_LINES", 20)
    text = export(life(), TRAIL)
    for commits in (3, 1):
        storage = make()
        real, left = storage.commit, [commits]

        def mortal(number: int, blob: bytes, storage=storage, real=real, left=left) -> None:
            if not left[0]:
                storage._let_go()
                raise RuntimeError("killed")
            left[0] -= 1
            real(number, blob)

        monkeypatch.setattr(storage, "commit", mortal)
        with pytest.raises(RuntimeError, match="killed"):
            bring(text, storage)
        with checked(url) as reading:
            assert reading.snapshot().importing
    bring(text, make())
    assert exported(url).splitlines()[1:-1] == text.splitlines()[1:-1]


def test_there_is_nothing(url: str) -> None:
    """A database without our tables is no damage, and none are made."""
    with looked_at(url) as reading:
        (_, reach), (_, look), *_ = reading.checks()
        assert reach()
        with pytest.raises(StorageMissing, match="nothing of FlashQ"):
            look()
    assert query(url, "SELECT to_regnamespace('flashq') IS NULL") == ["t"]


def test_nobody_answers(tmp_path: Path) -> None:
    """It is told in plain words, without the password."""
    with looked_at(f"postgres://me:secret@/db?host={tmp_path}") as reading:
        _, reach = reading.checks()[0]
        with pytest.raises(StorageError, match="PostgreSQL database db") as refusal:
            reach()
    assert "secret" not in str(refusal.value)


DAMAGES = {
    "a group is missing": (
        "DELETE FROM flashq.journal WHERE number = (SELECT min(number) + 1 FROM flashq.journal)",
        "journal",
        "is missing from the journal",
    ),
    "a group is altered": (
        "UPDATE flashq.journal SET blob = blob || '\\x00' WHERE number = 1",
        "journal",
        "checksum",
    ),
    "newer": ("UPDATE flashq.schema_version SET version = 999", "schema", "use a newer FlashQ"),
    "older": ("UPDATE flashq.schema_version SET version = 1", "schema", "use a server once"),
    "no meta": ("DELETE FROM flashq.meta", "schema", "is empty"),
    "inputs without a child": ("INSERT INTO flashq.inputs VALUES (0, 1, '1')", "rows", r"are not there: \[0\]"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_found(url: str, make: Callable[[], PostgresStorage], damage: str) -> None:
    """By the check whose matter it is."""
    statement, where, sentence = DAMAGES[damage]
    commit(make(), groups_of(busy_life().memory.log))
    query(url, statement)
    with looked_at(url) as reading:
        for name, check in reading.checks():
            if name == where:
                with pytest.raises(StorageError, match=sentence):
                    check()
                break
            assert check()
