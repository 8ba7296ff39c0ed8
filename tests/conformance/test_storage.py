"""The storage suite, run over the backends."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest
from tests.conformance.storage import StorageSuite
from tests.fakes.postgres import Databases
from tools.postgres import query

from flashq.storage import postgres_dialect, tables, upkeep, windows
from flashq.storage.base import Storage
from flashq.storage.memory import MemoryStorage
from flashq.storage.postgres import PostgresStorage
from flashq.storage.sqlite import Durability, SqliteStorage

IN_MEMORY = next((folder for folder in ("/dev/shm",) if Path(folder).is_dir()), None)
"""A folder whose syncs cost nothing, if there is one: hundreds of histories are played, and no power is cut here."""


def shrink(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slice is a few rows, a window a few groups, a page a few rows of the trail."""
    for name, value in (("SLICE_ROWS", 3), ("_IDS_AT_ONCE", 2), ("PAGE_ROWS", 7)):
        monkeypatch.setattr(tables, name, value)
    for name, value in (
        ("WINDOW_CHANGES", 40),
        ("FEED_CHANGES", 10),
        ("UNFOLDED_CHANGES", 30),
        ("EASY_PACE", 4),
        ("HARD_PACE", 2),
    ):
        monkeypatch.setattr(windows, name, value)


class TestMemory(StorageSuite):
    """The reference backend."""

    @contextmanager
    def place(self) -> Iterator[Callable[[], Storage]]:
        """A list of groups that outlives its storages."""
        newest = [MemoryStorage()]

        def make() -> Storage:
            newest.append(newest[-1].reopened())
            return newest[-1]

        yield make

    def crash(self, storage: Storage) -> None:
        """There is nothing to take away."""


class TestSqlite(StorageSuite):
    """SQLite as it is set up."""

    examples = 100
    durability: Durability = "full"

    @contextmanager
    def place(self) -> Iterator[Callable[[], Storage]]:
        """A folder that outlives its storages."""
        steady = count(0, 400)
        with tempfile.TemporaryDirectory(dir=IN_MEMORY) as folder:
            path = Path(folder) / "data" / "flashq.db"
            yield lambda: SqliteStorage(path, steady_ms=lambda: next(steady), durability=self.durability)

    def crash(self, storage: Storage) -> None:
        """Close the files; without a word to SQLite nothing is written then."""
        assert isinstance(storage, SqliteStorage)
        storage._held.close()


class TestSqliteInSmallPieces(TestSqlite):
    """The same with windows, slices and bounds so small that every history crosses many of them."""

    examples = 200
    durability: Durability = "relaxed"

    @pytest.fixture(autouse=True)
    def small_pieces(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """And the log is a few pages."""
        shrink(monkeypatch)
        monkeypatch.setattr(upkeep, "CHECKPOINT_BYTES", 100_000)

    def test_the_newest_dropped_ids_are_remembered(self) -> None:
        """Judged with pieces of the real size; in tiny ones it takes minutes."""


class TestPostgres(StorageSuite):
    """PostgreSQL as it is set up. An empty schema is made anew for each storage, which is faster than a database."""

    examples = 10
    durability: Durability = "full"

    @pytest.mark.slow
    @pytest.mark.parametrize("seed", range(4))
    def test_a_long_history_loads_as_the_model_says(self, seed: int) -> None:
        """Fewer of them: what they are about is the fold, which every backend shares, and here each takes seconds."""
        super().test_a_long_history_loads_as_the_model_says(seed)

    @pytest.fixture(autouse=True)
    def database(self, databases: Databases) -> Iterator[None]:
        """A database for each test."""
        with databases.fresh() as self.url:
            yield

    @contextmanager
    def place(self) -> Iterator[Callable[[], Storage]]:
        """A schema and a folder that outlive their storages."""
        steady = count(0, 400)
        query(self.url, "DROP SCHEMA IF EXISTS flashq CASCADE")
        with tempfile.TemporaryDirectory(dir=IN_MEMORY) as folder:
            path = Path(folder) / "data"
            yield lambda: PostgresStorage(self.url, path, steady_ms=lambda: next(steady), durability=self.durability)

    def crash(self, storage: Storage) -> None:
        """Cut the connections; the lease stays as it is."""
        assert isinstance(storage, PostgresStorage)
        storage._let_go()


@pytest.mark.slow
class TestPostgresInSmallPieces(TestPostgres):
    """The same with windows, slices, pages and bounds so small that every history crosses many of them."""

    examples = 40
    durability: Durability = "relaxed"

    @pytest.fixture(autouse=True)
    def small_pieces(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """And a page is a few jobs or groups."""
        shrink(monkeypatch)
        monkeypatch.setattr(postgres_dialect, "PAGE_ROWS", 7)
        monkeypatch.setattr(postgres_dialect, "PAGE_BYTES", 200)

    def test_the_newest_dropped_ids_are_remembered(self) -> None:
        """Judged with pieces of the real size; in tiny ones it takes minutes."""
