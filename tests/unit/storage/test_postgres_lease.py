"""One server writes: who may take over and when, and that whoever was replaced can do nothing."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.fakes.postgres import Databases
from tools.postgres import query

from flashq.errors import StorageError
from flashq.storage import postgres_lease as lease
from flashq.storage import postgres_statements as sql
from flashq.storage import statements
from flashq.storage.postgres_schema import migrate
from flashq.storage.postgres_session import Refused, Session

Connect = Callable[[], Session]


@pytest.fixture
def url(databases: Databases) -> Iterator[str]:
    """A database with the schema."""
    with databases.fresh() as url:
        session = Session(url)
        session.connect()
        migrate(session)
        session.close()
        yield url


@pytest.fixture
def connect(url: str) -> Iterator[Connect]:
    """Makes sessions."""
    made: list[Session] = []

    def connect() -> Session:
        made.append(Session(url))
        made[-1].connect()
        return made[-1]

    yield connect
    for session in made:
        session.close()


def eventually(reached: Callable[[], object]) -> None:
    """Wait for what other threads bring about."""
    deadline = time.monotonic() + 10
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def expire(url: str) -> None:
    """Time passes for the database."""
    query(url, "UPDATE flashq.lease SET expires = clock_timestamp() - interval '1 ms'")


def no_wait(_: float) -> None:
    """Nobody waits here."""


def test_every_start_has_a_new_epoch(connect: Connect) -> None:
    """After a clean stop at once."""
    session = connect()
    for epoch in (1, 2, 3):
        assert lease.take(session, "me", "folder", no_wait) == epoch
        lease.release(session, epoch)


def test_a_live_owner_is_named(connect: Connect, url: str) -> None:
    """As soon as it renews its lease, which proves that it is alive."""
    owner, other = connect(), connect()
    lease.take(owner, "host a, process 7, 127.0.0.1:6789", "a", no_wait)

    def renews(_: float) -> None:
        owner.fetch(lease._RENEW, 1, lease.TTL_MS)

    with pytest.raises(StorageError, match=r"another FlashQ server is using it: host a, process 7, 127\.0\.0\.1:6789"):
        lease.take(other, "host b", "b", renews)
    owner.fetch(sql.COMMIT, 1, 1, b"x")


def test_a_silent_owner_is_waited_for(connect: Connect, url: str) -> None:
    """Until its lease has run out by the database's clock, and not longer."""
    owner, other = connect(), connect()
    lease.take(owner, "a", "a", no_wait)
    waits: list[float] = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            expire(url)

    assert lease.take(other, "b", "b", wait) == 2
    assert len(waits) == 3


def test_a_dead_owner_of_the_same_folder_is_not_waited_for(connect: Connect) -> None:
    """Who has the folder locked knows that the one before is dead."""
    lease.take(connect(), "a", "folder", no_wait)
    assert lease.take(connect(), "b", "folder", no_wait) == 2


def test_whoever_was_replaced_can_write_nothing(connect: Connect, url: str) -> None:
    """Neither commit nor slice nor renewal, however late it wakes up; and no row is there."""
    old, new = connect(), connect()
    lease.take(old, "a", "a", no_wait)
    expire(url)
    lease.take(new, "b", "b", no_wait)
    with pytest.raises(Refused) as refused:
        old.fetch(sql.COMMIT, 1, 1, b"stale")
    assert refused.value.sqlstate == "FQ001"
    old.connect()
    with pytest.raises(Refused), old.transaction("SELECT fence(0, 1)"):
        pass
    old.connect()
    assert old.fetch(lease._RENEW, 1, lease.TTL_MS) == []
    assert query(url, "SELECT count(*) FROM flashq.journal") == ["0"]
    lease.release(old, 1)
    new.fetch(sql.COMMIT, 2, 1, b"fresh")


def test_a_lease_that_ran_out_is_still_ours(connect: Connect, url: str) -> None:
    """While the database was down nobody can have taken over, and nothing has changed."""
    owner = connect()
    lease.take(owner, "a", "a", no_wait)
    expire(url)
    owner.fetch(sql.COMMIT, 1, 1, b"x")
    assert len(owner.fetch(lease._RENEW, 1, lease.TTL_MS)) == 1
    with pytest.raises(StorageError, match="another FlashQ server"):
        lease.take(connect(), "b", "b", lambda _: owner.fetch(lease._RENEW, 1, lease.TTL_MS))


def test_a_takeover_waits_for_a_commit_under_way(connect: Connect, url: str) -> None:
    """So the new owner finds all that the old one was told is committed; a renewal waits for nothing."""
    old, new, beside = connect(), connect(), connect()
    lease.take(old, "a", "a", no_wait)
    expire(url)
    taken: list[int] = []
    taking = threading.Thread(target=lambda: taken.append(lease.take(new, "b", "b", no_wait)))
    with old.transaction("SELECT fence(0, 1)"):
        taking.start()
        waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'UPDATE lease%'"
        eventually(lambda: beside.fetch(waiting)[0][0] == 1)
        assert taken == []
        old.fetch("INSERT INTO journal VALUES (1, 'x')")
    taking.join()
    assert taken == [2]
    assert new.fetch(statements.NEWEST)[0][0] == 1


def test_a_renewal_waits_for_no_commit(connect: Connect, url: str) -> None:
    """A large group must not cost us the lease."""
    old, beside = connect(), connect()
    lease.take(old, "a", "a", no_wait)
    with old.transaction("SELECT fence(0, 1)"):
        assert len(beside.fetch(lease._RENEW, 1, lease.TTL_MS)) == 1


def test_a_commit_during_a_takeover_is_refused(connect: Connect, url: str) -> None:
    """It waits for the takeover to be decided, and sees it then."""
    old, new, beside = connect(), connect(), connect()
    lease.take(old, "a", "a", no_wait)
    told: list[str] = []

    def late() -> None:
        try:
            old.fetch(sql.COMMIT, 1, 1, b"late")
        except Refused as error:
            told.append(error.sqlstate)

    committing = threading.Thread(target=late)
    with new.transaction("UPDATE lease SET epoch = epoch + 1"):
        committing.start()
        waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%commit_group%'"
        eventually(lambda: beside.fetch(waiting)[0][0] == 1)
    committing.join()
    assert told == ["FQ001"]
    assert new.connected
    assert beside.fetch("SELECT count(*) FROM journal")[0][0] == 0


def test_the_keeper_renews(url: str, connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also over a connection that is cut, and it says until when nobody else can be the owner."""
    monkeypatch.setattr(lease, "RENEW_S", 0.01)
    session, now = connect(), [1_000]
    lease.take(session, "a", "a", no_wait)
    keeper = lease.Keeper(Session(url), 1, lambda: now[0], lambda error: None)
    try:
        for moment in (1_000, 2_000, 3_000):
            now[0] = moment
            eventually(lambda: keeper.held_until_ms == now[0] + lease.TTL_MS - lease.MARGIN_MS)
            query(url, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'UPDATE lease%'")
    finally:
        keeper.stop()


def test_the_keeper_says_when_it_is_lost(url: str, connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once, in a sentence for people, and then it ends."""
    monkeypatch.setattr(lease, "RENEW_S", 0.01)
    session = connect()
    lease.take(session, "a", "a", no_wait)
    told: list[StorageError] = []
    keeper = lease.Keeper(Session(url), 1, lambda: 0, told.append)
    session.fetch("UPDATE lease SET epoch = 2")
    eventually(lambda: told)
    keeper.stop()
    assert len(told) == 1
    assert "another FlashQ server has taken over" in str(told[0])


def test_a_folder_has_a_word(tmp_path: Path) -> None:
    """The same at every start, and another in another folder."""
    word = lease.instance_of(tmp_path / "a")
    assert lease.instance_of(tmp_path / "a") == word
    assert lease.instance_of(tmp_path / "b") != word


def test_an_owner_has_a_name() -> None:
    """Machine, process and address: whoever reads it can find it."""
    assert lease.owner_name("127.0.0.1:6789").endswith(", 127.0.0.1:6789")
