"""DATABASE_URL names a backend, or the mistake in it is named."""

import shutil
from contextlib import closing
from pathlib import Path

import pytest

from flashq.storage.open import kind_of, name_of, reading_for, storage_for
from flashq.storage.postgres import PostgresStorage
from flashq.storage.sqlite import SqliteStorage


def test_sqlite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Absolute paths and paths in the working folder; nothing is made before it is opened."""
    monkeypatch.chdir(tmp_path)
    for url in (f"sqlite:///{tmp_path}/a/flashq.db", "sqlite:///a/flashq.db"):
        storage = storage_for(url, durability="full", steady_ms=lambda: 0)
        assert isinstance(storage, SqliteStorage)
        assert not (tmp_path / "a").exists()
        storage.open()
        storage.close()
        shutil.rmtree(tmp_path / "a")


@pytest.mark.parametrize("scheme", ["postgres", "postgresql"])
def test_postgres(tmp_path: Path, scheme: str) -> None:
    """Both names of the scheme mean the same; nothing is reached before it is opened, and no name has the password."""
    url = f"{scheme}://me:secret@host/db"
    storage = storage_for(url, durability="full", steady_ms=lambda: 0, folder=tmp_path / "a")
    assert isinstance(storage, PostgresStorage)
    storage.close()
    assert not (tmp_path / "a").exists()
    assert name_of(url) == "PostgreSQL database db at host"
    assert name_of("memory://") == "memory://"
    assert [kind_of(url), kind_of("sqlite:///a"), kind_of("memory://")] == ["postgres", "sqlite", "memory"]


def test_memory_is_no_storage() -> None:
    """A server asked to remember nothing has no journal."""
    assert storage_for("memory://", durability="full", steady_ms=lambda: 0) is None


def test_what_can_be_looked_at(tmp_path: Path) -> None:
    """A database, which is not touched by naming it; nothing is left of a server that remembers nothing."""
    for url, first in ((f"sqlite:///{tmp_path}/a/flashq.db", "file"), ("postgresql://host/db", "database")):
        with closing(reading_for(url)) as reading:
            assert reading.checks()[0][0] == first
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match="leaves nothing"):
        reading_for("memory://")


@pytest.mark.parametrize(
    ("url", "named"),
    [
        ("mysql://me:secret@host/db", r"mysql://\.\.\."),
        ("sqlite:///", r"sqlite://\.\.\."),
        ("sqlite://flashq.db", r"sqlite://\.\.\."),
        ("memory://x", r"memory://\.\.\."),
        ("", "this"),
        ("flashq.db", "this"),
    ],
)
def test_anything_else_is_refused(url: str, named: str) -> None:
    """The sentence says what would be right, and repeats no password."""
    with pytest.raises(ValueError, match=f"unknown storage: .*not {named}$") as refusal:
        storage_for(url, durability="full", steady_ms=lambda: 0)
    assert "secret" not in str(refusal.value)
    with pytest.raises(ValueError, match=f"unknown storage: .*not {named}$") as refusal:
        reading_for(url)
    assert "secret" not in str(refusal.value)
