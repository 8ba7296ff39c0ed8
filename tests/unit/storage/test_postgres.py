"""Nothing is guessed: what a lost connection leaves open is asked of the database, and nothing is written elsewhere."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.postgres import Databases
from tools.postgres import query

from flashq.engine.records import CronDeleted, Pushed
from flashq.errors import StorageError
from flashq.storage import postgres, windows
from flashq.storage import postgres_statements as sql
from flashq.storage.postgres import PostgresStorage
from flashq.storage.postgres_session import Session
from flashq.storage.records import encode
from flashq.storage.schema import Step, steps

GROUP = encode([CronDeleted("x")])
Make = Callable[..., PostgresStorage]


def batch(first: int, jobs: int) -> bytes:
    """A group of plain jobs."""
    return encode([Pushed("mail", first, 100, 0, 3, 0, 0, 0, [b"1"] * jobs)])


@pytest.fixture
def url(databases: Databases) -> Iterator[str]:
    """An empty database."""
    with databases.fresh() as url:
        yield url


@pytest.fixture
def make(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Makes opened storages; their clock moves only if it is moved."""
    monkeypatch.setattr(postgres, "TRY_AGAIN_S", (0.01, 0.02))
    made: list[PostgresStorage] = []

    def make(folder: str = "data", **given: object) -> PostgresStorage:
        storage = PostgresStorage(url, tmp_path / folder, steady_ms=lambda: 0, address="here", **given)  # type: ignore[arg-type]
        made.append(storage)
        storage.open()
        list(storage.load().rows())
        return storage

    yield make
    for storage in made:
        storage._let_go()


def cut(url: str) -> None:
    """End all connections but this one."""
    query(url, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() "
          "AND datname = current_database()")  # fmt: skip


def expire(url: str) -> None:
    """Time passes for the database."""
    query(url, "UPDATE flashq.lease SET expires = clock_timestamp() - interval '1 ms'")


def numbers(url: str) -> list[str]:
    """The groups that are there."""
    return query(url, "SELECT number FROM flashq.journal ORDER BY number")


def test_a_commit_survives_a_lost_connection(make: Make, url: str) -> None:
    """It is made again on a new one, and once."""
    storage = make()
    storage.commit(1, GROUP)
    cut(url)
    storage.commit(2, GROUP)
    cut(url)
    storage.commit(3, GROUP)
    assert numbers(url) == ["1", "2", "3"]


@pytest.mark.parametrize("before", [True, False])
def test_an_unknown_outcome_is_asked_for(make: Make, url: str, monkeypatch: pytest.MonkeyPatch, before: bool) -> None:
    """Whether the connection broke before the commit happened or after: afterwards it is there, once."""
    storage = make()
    fetch, calls = storage._db.fetch, []

    def breaking(text: str, *values: object) -> list[object]:
        if text == sql.COMMIT and not calls:
            calls.append(text)
            if not before:
                fetch(text, *values)
            cut(url)
        return fetch(text, *values)

    monkeypatch.setattr(storage._db, "fetch", breaking)
    storage.commit(1, GROUP)
    storage.commit(2, GROUP)
    assert calls
    assert numbers(url) == ["1", "2"]


def test_a_slice_that_broke_is_done_again(make: Make, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The window begins anew; its jobs are there once, and it counts as folded once."""
    storage = make()
    for number in range(1, 4):
        storage.commit(number, batch(number * 2_000 - 1_999, 2_000))
    slices = 0
    while storage.tidy(idle=True):
        slices += 1
        if slices in (3, 5):
            cut(url)
    assert query(url, "SELECT count(*), count(DISTINCT id) FROM flashq.jobs") == ["6000|6000"]
    assert query(url, "SELECT pushed FROM flashq.queues") == ["6000"]
    assert (storage._windows._unfolded_changes, storage._windows._unfolded_bytes) == (0, 0)
    assert numbers(url) == []


def test_a_window_that_was_folded_when_it_broke_is_not_folded_again(make: Make, url: str) -> None:
    """Counters are increments, so this is asked of the database too."""
    storage = make()
    storage.commit(1, batch(1, 10))
    execute = storage._db.execute

    broken = []

    def breaking(text: str) -> None:
        execute(text)
        if text == "COMMIT" and not numbers(url) and not broken:
            broken.append(text)
            cut(url)
            execute("SELECT 1")

    storage._db.execute = breaking  # type: ignore[method-assign]
    while storage.tidy(idle=True):
        pass
    assert query(url, "SELECT pushed FROM flashq.queues") == ["10"]
    assert broken
    assert storage._windows.folded
    assert storage._windows._unfolded_changes == 0


def test_a_database_that_went_back_is_refused(make: Make, url: str) -> None:
    """A confirmed group is missing when it answers again: nothing is written after that."""
    storage = make()
    storage.commit(1, GROUP)
    storage.commit(2, GROUP)
    query(url, "DELETE FROM flashq.journal WHERE number = 2")
    cut(url)
    with pytest.raises(StorageError, match="went back in time: it holds 1 groups of 1 starts, but 2 groups"):
        storage.commit(3, GROUP)
    with pytest.raises(StorageError, match="failed before"):
        storage.commit(3, GROUP)
    assert numbers(url) == ["1"]
    storage.close()
    with pytest.raises(StorageError, match=r"went back in time.* remove .*\.highwater"):
        make()


def test_a_relaxed_database_that_lost_its_end_is_gone_on_with(make: Make, url: str) -> None:
    """By the next start: that much was never promised."""
    storage = make(durability="relaxed")
    storage.commit(1, GROUP)
    storage.commit(2, GROUP)
    query(url, "DELETE FROM flashq.journal WHERE number = 2")
    cut(url)
    with pytest.raises(StorageError, match="went back in time"):
        storage.commit(3, GROUP)
    storage.close()
    make(durability="relaxed").commit(2, GROUP)


def test_a_start_is_durable_whatever_the_durability(make: Make, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An epoch that a crash of the database took back would be given out again, and tokens with it."""
    levels: list[str] = []
    taking, migrating = postgres.lease.take, postgres.migrate

    def level(session: Session) -> None:
        levels.append(session.fetch("SHOW synchronous_commit")[0][0])

    def take(session: Session, *rest: Any) -> int:
        level(session)
        return taking(session, *rest)

    def migrate(session: Session) -> int:
        level(session)
        return migrating(session)

    monkeypatch.setattr(postgres.lease, "take", take)
    monkeypatch.setattr(postgres, "migrate", migrate)
    storage = make(durability="relaxed")
    assert levels == ["on", "on", "on"]
    level(storage._db)
    assert levels[-1] == "off"


def test_an_older_copy_is_refused_at_the_start(make: Make, url: str) -> None:
    """The data folder knows how far the database was; removing its file is how one goes on with an older copy."""
    storage = make()
    storage.commit(1, GROUP)
    storage.commit(2, GROUP)
    storage.close()
    query(url, "DELETE FROM flashq.journal WHERE number = 2")
    with pytest.raises(StorageError, match=r"went back in time.* remove .*\.highwater"):
        make()
    make("another folder").close()


def test_another_database_is_not_written_to(make: Make, url: str) -> None:
    """The address may lead elsewhere after an outage."""
    storage = make()
    query(url, "UPDATE flashq.meta SET identity = gen_random_uuid()")
    cut(url)
    with pytest.raises(StorageError, match="another database answers"):
        storage.commit(1, GROUP)


def test_a_gap_in_the_database_is_refused(make: Make, url: str) -> None:
    """What the program thinks is not enough."""
    storage = make()
    storage.commit(1, GROUP)
    query(url, "DELETE FROM flashq.journal")
    with pytest.raises(StorageError, match="group 1 is missing"):
        storage.commit(2, GROUP)


def test_whoever_was_replaced_is_told(make: Make, url: str) -> None:
    """At its next commit or slice, also over a new connection."""
    old = make()
    old._keeper.stop()  # as a frozen process
    expire(url)
    new = make("another folder")
    with pytest.raises(StorageError, match="another FlashQ server has taken over"):
        old.commit(1, GROUP)
    new.commit(1, GROUP)
    new._keeper.stop()
    expire(url)
    newest = make("a third folder")
    cut(url)
    with pytest.raises(StorageError, match="another FlashQ server has taken over"):
        new.commit(2, GROUP)
    newest.commit(2, GROUP)
    assert numbers(url) == ["1", "2"]


def test_two_servers_with_one_folder(make: Make) -> None:
    """The second is told at once."""
    make()
    with pytest.raises(StorageError, match=r"another FlashQ server with the data folder .*data is using it"):
        make()


def test_a_closed_server_is_followed_at_once(make: Make, url: str) -> None:
    """Its lease is released, and the next server may have another folder."""
    make().close()
    make("another folder").close()
    assert query(url, "SELECT epoch, expires FROM flashq.lease") == ["2|-infinity"]


def test_whoever_waits_can_be_told_to_give_up(make: Make, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that is to leave does not wait for a database that does not come."""
    storage = make()
    cut(url)
    trying = threading.Event()

    def connect() -> None:
        trying.set()
        raise postgres.Away("nobody there")

    monkeypatch.setattr(storage._db, "connect", connect)
    told: list[StorageError] = []

    def commit() -> None:
        try:
            storage.commit(1, GROUP)
        except StorageError as error:
            told.append(error)

    committing = threading.Thread(target=commit)
    committing.start()
    assert trying.wait(10)
    storage.give_up()
    committing.join(10)
    assert "did not answer" in str(told[0])


def test_a_database_that_is_not_there_ends_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a while, in which it may come; the sentence has no password."""
    monkeypatch.setattr(postgres, "TRY_AGAIN_S", (0.0, 0.0))
    clock = iter(range(0, 100_000, 4_000))
    storage = PostgresStorage("postgres://me:secret@127.0.0.1:1/db", tmp_path, steady_ms=lambda: next(clock))
    with pytest.raises(StorageError, match="cannot be reached") as trouble:
        storage.open()
    assert "secret" not in str(trouble.value)


def test_the_schema_of_a_live_server_is_left_alone(make: Make, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A newer program that finds it in use ends without having changed it; once it is the owner, it does."""
    owner = make()
    known = steps("postgres")
    newer = [*known, Step(known[-1].number + 1, "newer", "CREATE TABLE newer (n int)")]
    monkeypatch.setattr("flashq.storage.postgres_schema.steps", lambda backend: newer)
    monkeypatch.setattr(postgres.lease, "RENEW_S", 0.01)
    with pytest.raises(StorageError, match="another FlashQ server is using it"):
        make("another folder")
    there = "SELECT to_regclass('flashq.newer') IS NOT NULL"
    assert query(url, there) == ["f"]
    owner.close()
    make("another folder").commit(1, GROUP)
    assert query(url, there) == ["t"]


def test_relaxed_durability_does_not_wait(make: Make, url: str) -> None:
    """For the disk; but what the witness says is on it."""
    storage = make(durability="relaxed")
    assert storage._db.fetch("SHOW synchronous_commit")[0][0] == "off"
    storage.commit(1, GROUP)
    while storage.tidy(idle=True):
        pass
    assert query(url, "SELECT synced FROM flashq.meta") == ["1"]
    assert storage._high_water.mark.number == 1


def test_a_damaged_group_ends_the_start(make: Make, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the next start need not wait for the lease of this one."""
    storage = make()
    storage.commit(1, GROUP)
    storage.close()
    query(url, "UPDATE flashq.journal SET blob = 'x'")
    for _ in range(2):
        with pytest.raises(StorageError, match=r"group 1: .*cut short"):
            make()


def test_the_journal_is_folded_under_load(make: Make, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once it is long."""
    monkeypatch.setattr(windows, "UNFOLDED_CHANGES", 10)
    monkeypatch.setattr(windows, "EASY_PACE", 5)
    monkeypatch.setattr(windows, "HARD_PACE", 5)
    storage = make()
    for number in range(1, 20):
        storage.commit(number, batch(number * 10 - 9, 10))
        storage.tidy(idle=False)
    assert int(query(url, "SELECT folded FROM flashq.meta")[0]) > 5
