"""The reference backend: what it does beyond the suite of tests/conformance."""

import pytest

from flashq.engine.records import CronDeleted, Pushed
from flashq.errors import StorageError
from flashq.storage.memory import MemoryStorage
from flashq.storage.records import encode

GROUPS = [encode([Pushed("mail", first, 100, 0, 3, 0, 0, 0, [b"1"])]) for first in (1, 2, 3)]


def test_groups_are_shared_with_whoever_gave_them() -> None:
    """A test may hold the disk in its hands."""
    disk: list[bytes] = []
    storage = MemoryStorage(disk)
    assert storage.open() == 0
    storage.commit(1, GROUPS[0])
    storage.commit(1, b"ignored")
    assert disk == GROUPS[:1]
    assert [job.id for job in storage.load().rows()] == [1]


def test_reopened_is_another_process() -> None:
    """The crashed one can write on without being seen; the epoch goes on."""
    storage = MemoryStorage(list(GROUPS))
    storage.open()
    after = storage.reopened()
    storage.commit(4, encode([CronDeleted("x")]))
    assert after.open() == 3
    snapshot = after.load()
    assert (snapshot.epoch, snapshot.next_id) == (2, 4)


def test_reopened_may_lose_the_end() -> None:
    """A disk that did not sync keeps a prefix."""
    storage = MemoryStorage(list(GROUPS)).reopened(keep=1)
    assert storage.open() == 1
    assert storage.load().next_id == 2


def test_a_gap_is_refused() -> None:
    """Groups are dense."""
    with pytest.raises(StorageError, match="group 2 cannot follow group 0"):
        MemoryStorage().commit(2, GROUPS[0])


def test_there_is_nothing_to_keep() -> None:
    """No upkeep, and nothing to close."""
    storage = MemoryStorage()
    assert storage.tidy(idle=True) is False
    storage.close()
