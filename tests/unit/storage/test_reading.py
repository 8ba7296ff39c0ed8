"""A storage of any kind is checked and read as a start would find it, and damage to what they share is named."""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import apsw
import pytest
from tests.conformance.storage import seen
from tests.fakes.kept import busy_life, commit, fails_at, groups_of
from tests.fakes.postgres import Databases
from tests.unit.engine.bench import Bench
from tests.unit.storage.test_dump import TRAIL, export, life
from tools.postgres import query

from flashq.storage import checksums
from flashq.storage.base import Storage
from flashq.storage.open import reading_for, storage_for
from flashq.storage.reading import Reading


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A place of each kind where nothing is yet."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/flashq.db"
    else:
        databases: Databases = request.getfixturevalue("databases")
        with databases.fresh() as url:
            yield url


@pytest.fixture
def make(url: str, tmp_path: Path) -> Callable[[], Storage]:
    """Makes a storage on it."""

    def make() -> Storage:
        storage = storage_for(url, durability="full", steady_ms=lambda: 0, folder=tmp_path)
        assert storage is not None
        return storage

    return make


@contextmanager
def checked(url: str) -> Iterator[Reading]:
    """A reading that has passed all its checks."""
    with closing(reading_for(url)) as reading:
        for _, check in reading.checks():
            assert check()
        yield reading


def change(url: str, statement: str) -> None:
    """Run a statement behind our back."""
    if url.startswith("sqlite"):
        with closing(apsw.Connection(url.removeprefix("sqlite:///"), vfs=checksums.vfs())) as connection:
            connection.execute(statement)
    else:
        query(url, f"SET search_path = flashq; {statement}")


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_it_reads_what_a_start_would_load(url: str, make: Callable[[], Storage], share: float) -> None:
    """From the tables, from the journal or from both, with the trail; and it counts no start."""
    groups = groups_of([*busy_life().memory.log, *TRAIL])
    folded = int(share * len(groups))
    commit(make(), groups[:folded], fold=True)
    commit(make(), groups[folded:])
    with checked(url) as reading:
        snapshot = reading.snapshot()
        text = export(snapshot, reading.trail())
    with checked(url) as reading:
        found = seen(reading.snapshot())
    storage = make()
    storage.open()
    loaded = storage.load()
    assert seen(loaded) == found
    assert snapshot.epoch == loaded.epoch - 1 == 2
    storage.close()
    assert text.splitlines()[1:-1] == export(life(), TRAIL).splitlines()[1:-1]


def test_what_a_window_that_broke_off_left_is_no_damage(url: str, make: Callable[[], Storage]) -> None:
    """A job that ended is gone from the tables before what it had collected; the journal still says that it ended."""
    bench = Bench()
    parents = [bench.push("reports"), bench.push("reports")]
    child = bench.push("merge", depends_on=parents, collect=True)
    parent = bench.pull_one("reports")
    bench.ack(parent.id, parent.token, b"1")
    bench.take()
    until_now = len(bench.memory.log)
    bench.cancel(child)
    bench.take()
    commit(make(), groups_of(bench.memory.log[:until_now]), fold=True)
    commit(make(), groups_of(bench.memory.log[until_now:]))
    change(url, f"DELETE FROM jobs WHERE id = {child}")
    with checked(url) as reading:
        assert [row.id for row in reading.snapshot().rows()] == parents


DAMAGES = {
    "no meta": ("DELETE FROM meta", "schema", "the table meta.* is empty"),
    "a group is missing": (
        "DELETE FROM journal WHERE number = (SELECT min(number) + 1 FROM journal)",
        "journal",
        "is missing from the journal",
    ),
    "a group is altered": (
        "UPDATE journal SET blob = substr(blob, 1, length(blob) - 1) WHERE number = (SELECT max(number) FROM journal)",
        "journal",
        "checksum",
    ),
    "inputs without a child": ("INSERT INTO inputs VALUES (30, 1, '1')", "rows", r"are not there: \[30\]"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_found(url: str, make: Callable[[], Storage], damage: str) -> None:
    """By the check whose matter it is, in a sentence that names it; what comes before it passes."""
    statement, where, sentence = DAMAGES[damage]
    groups = groups_of(busy_life().memory.log)
    half = len(groups) // 2
    commit(make(), groups[:half], fold=True)
    commit(make(), groups[half:])
    change(url, statement)
    with closing(reading_for(url)) as reading:
        fails_at(reading, where, sentence)
