"""Unit tests of `flashq.server.backups`: who asks is answered once, with a backup or with what it failed for."""

import asyncio
import logging
from collections.abc import Callable, Generator
from pathlib import Path

import pytest
from tests.fakes.waiting import Waiting

from flashq.engine.engine import Engine
from flashq.engine.settings import Settings
from flashq.errors import FlashQError, LimitReached, Overloaded, StorageError, StorageFull
from flashq.model import Instant
from flashq.protocol import limits
from flashq.protocol.replies import BackupView
from flashq.server.backups import Backups
from flashq.server.runtime import Runtime
from flashq.storage.backup import Backup

MADE = Backup(Path("made.db"), 4_096, 7)


class Copier:
    """Makes a backup when the test says so."""

    def __init__(self) -> None:
        self.asked: list[Callable[[Backup | Exception], None]] = []

    def back_up(self, steps: Generator[None, None, Backup], done: Callable[[Backup | Exception], None]) -> None:
        """Note it."""
        self.asked.append(done)


class House:
    """A runtime with backups, and a clock of which the test is the master."""

    def __init__(self) -> None:
        self.now = Instant(1_700_000_000_000, 1_000)
        loop = asyncio.get_running_loop()
        engine = Engine(Settings(), nonce=lambda: "n", now=self.now)
        self.runtime = Runtime(engine, loop, lambda: self.now, pytest.fail)
        self.copier = Copier()
        self.backups = Backups(self.runtime, loop, self.copier, lambda: (MADE for _ in ()))  # type: ignore[arg-type]
        self.waiting = Waiting()

    async def end(self, outcome: Backup | Exception) -> None:
        """The backup has come to its end, and the thread says so."""
        await asyncio.to_thread(self.copier.asked.pop(), outcome)
        await asyncio.sleep(0)


async def test_who_asks_is_told_of_the_backup(caplog: pytest.LogCaptureFixture) -> None:
    """Where it is, how large, what is in it, and how long it took; the log says so too."""
    caplog.set_level(logging.INFO)
    house = House()
    house.backups.begin(house.waiting, house.now)
    house.now = Instant(house.now.wall, house.now.steady + 250)
    await house.end(MADE)
    assert house.waiting.answers == [BackupView(path="made.db", bytes=4_096, group=7, took_ms=250)]
    assert len(house.runtime.engine.parking) == 0
    assert "backup made.db: 4096 bytes, made in 250 ms" in caplog.text


async def test_one_at_a_time() -> None:
    """A second one is refused while the first is made, also when nobody waits for that any more, and not after it."""
    house = House()
    house.backups.begin(house.waiting, house.now)
    assert house.runtime.engine.parking.unpark(house.waiting)
    with pytest.raises(LimitReached, match="being made already"):
        house.backups.begin(Waiting(), house.now)
    assert len(house.copier.asked) == 1
    await house.end(MADE)
    assert house.waiting.answers == []
    house.backups.begin(house.waiting, house.now)
    await house.end(StorageFull("no room"))
    house.backups.begin(Waiting(), house.now)


@pytest.mark.parametrize(
    ("error", "told", "logged"),
    [
        (StorageFull("no room"), "no room", "no backup: no room"),
        (ZeroDivisionError("a secret"), "The backup failed; the server's log says why", "ZeroDivisionError: a secret"),
    ],
)
async def test_why_it_failed_is_told(
    caplog: pytest.LogCaptureFixture, error: Exception, told: str, logged: str
) -> None:
    """An error of the storage in its words; one that nobody thought of stands in the log alone."""
    house = House()
    house.backups.begin(house.waiting, house.now)
    await house.end(error)
    (answer,) = house.waiting.answers
    assert isinstance(answer, FlashQError)
    assert isinstance(answer, StorageError)
    assert str(answer) == told
    assert logged in caplog.text


async def test_where_too_many_wait_none_is_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is refused as any call that waits, and the next one is not refused for it."""
    house = House()
    monkeypatch.setattr("flashq.engine.parking.MAX_WAITS", 0)
    with pytest.raises(Overloaded):
        house.backups.begin(house.waiting, house.now)
    assert house.copier.asked == []
    monkeypatch.setattr("flashq.engine.parking.MAX_WAITS", limits.MAX_WAITS)
    house.backups.begin(house.waiting, house.now)
