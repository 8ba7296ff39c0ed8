"""A PostgreSQL database is looked at while a server uses it, and what leads to none is told in plain words."""

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from tests.conformance.storage import seen
from tests.fakes.kept import busy_life, commit, groups_of
from tests.fakes.postgres import Databases
from tests.unit.storage.test_dump import TRAIL, export, life
from tests.unit.storage.test_importing import bring
from tests.unit.storage.test_reading import checked
from tools.postgres import query

from flashq.errors import StorageError
from flashq.storage.open import reading_for
from flashq.storage.postgres import PostgresStorage
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


def exported(url: str) -> bytes:
    """What is in a database now."""
    with checked(url) as reading:
        return export(reading.snapshot(), reading.trail())


def test_a_server_may_go_on(url: str, make: Callable[[], PostgresStorage]) -> None:
    """It is told that there is one, and what is committed later is not seen."""
    groups = groups_of(busy_life().memory.log)
    storage = make()
    storage.open()
    list(storage.load().rows())
    for number, blob in enumerate(groups[:-1], 1):
        storage.commit(number, blob)
    with closing(reading_for(url)) as reading:
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
    with closing(reading_for(url)) as reading:
        (_, reach), (_, look), *_ = reading.checks()
        assert reach()
        with pytest.raises(StorageMissing, match="nothing of FlashQ"):
            look()
    assert query(url, "SELECT to_regnamespace('flashq') IS NULL") == ["t"]


def test_nobody_answers(tmp_path: Path) -> None:
    """It is told in plain words, without the password."""
    with closing(reading_for(f"postgres://me:secret@/db?host={tmp_path}")) as reading:
        _, reach = reading.checks()[0]
        with pytest.raises(StorageError, match="PostgreSQL database db") as refusal:
            reach()
    assert "secret" not in str(refusal.value)


@pytest.mark.parametrize(("version", "sentence"), [(999, "use a newer FlashQ"), (1, "use a server once")])
def test_another_schema_is_refused(url: str, make: Callable[[], PostgresStorage], version: int, sentence: str) -> None:
    """A newer one and an older one: nothing here could bring it up without changing it."""
    commit(make(), [])
    query(url, f"UPDATE flashq.schema_version SET version = {version}")
    with closing(reading_for(url)) as reading:
        (_, reach), (_, look), *_ = reading.checks()
        assert reach()
        with pytest.raises(StorageError, match=sentence):
            look()


def high_water(url: str, folder: Path) -> str:
    """What the check of this name says."""
    with closing(reading_for(url, folder)) as reading:
        return {name: check() for name, check in reading.checks()}["high water"]


def test_what_was_confirmed_is_there(url: str, make: Callable[[], PostgresStorage], tmp_path: Path) -> None:
    """The file of the data folder says so; without it nobody knows."""
    commit(make(), groups_of(busy_life().memory.log))
    groups = query(url, "SELECT count(*) FROM flashq.journal")[0]
    assert high_water(url, tmp_path) == f"{groups} groups of 1 starts; {groups} are known to have been confirmed"
    assert "no witness" in high_water(url, tmp_path / "elsewhere")
    assert not (tmp_path / "elsewhere").exists()


def test_a_database_that_is_an_older_copy(url: str, make: Callable[[], PostgresStorage], tmp_path: Path) -> None:
    """It lacks what was confirmed, and would be refused by a start; so would one whose witness is damaged."""
    commit(make(), groups_of(busy_life().memory.log))
    query(url, "DELETE FROM flashq.journal WHERE number = (SELECT max(number) FROM flashq.journal)")
    with pytest.raises(StorageError, match="back in time"):
        high_water(url, tmp_path)
    (file,) = tmp_path.glob("*.highwater")
    file.write_bytes(b"x" * 64)
    with pytest.raises(StorageError, match="high-water file is damaged"):
        high_water(url, tmp_path)
    file.unlink()
    file.mkdir()
    with pytest.raises(StorageError, match="highwater: Is a directory"):
        high_water(url, tmp_path)


def test_what_is_confirmed_behind_the_look_is_not_missing(
    url: str, make: Callable[[], PostgresStorage], tmp_path: Path
) -> None:
    """A server goes on, and its high-water file with it, after the moment that is looked at."""
    groups = groups_of(busy_life().memory.log)
    commit(make(), groups[:-1])
    with closing(reading_for(url, tmp_path)) as reading:
        checks = dict(reading.checks())
        for name in ("database", "schema"):
            assert checks[name]()
        commit(make(), groups[-1:])
        for name in ("journal", "high water"):
            assert checks[name]()
