"""Backups on demand: one at a time, made on the writer's thread while the loop and the commits go on.

Whoever asks waits for it as for any call that waits, and is answered once the backup is durable. If he leaves
meanwhile it is made all the same: somebody wanted it, and it stands in the log.
"""

import logging
from asyncio import AbstractEventLoop
from collections.abc import Callable, Generator, Hashable
from typing import Protocol

from flashq.engine.waiters import Call
from flashq.errors import FlashQError, LimitReached, StorageError
from flashq.model import Instant
from flashq.protocol.replies import BackupView
from flashq.server.runtime import Runtime
from flashq.storage.backup import Backup

log = logging.getLogger("flashq")

Steps = Generator[None, None, Backup]


class Copier(Protocol):
    """Who makes backups between its commits: the writer of a storage."""

    def back_up(self, steps: Steps, done: Callable[[Backup | Exception], None]) -> None:
        """Make one; then call ``done``, on any thread, with it or with what it failed for."""


class Backups:
    """The backups of one server."""

    def __init__(self, runtime: Runtime, loop: AbstractEventLoop, copier: Copier, steps: Callable[[], Steps]) -> None:
        """Wire it up.

        Args:
            runtime: whose clients ask for them.
            loop: the one loop.
            copier: makes them.
            steps: the steps of a new one.
        """
        self._runtime = runtime
        self._loop = loop
        self._copier = copier
        self._steps = steps
        self._running = False

    def begin(self, token: Hashable, now: Instant) -> None:
        """Make a backup; see `flashq.commands.session.Backups`."""
        if self._running:
            raise LimitReached("A backup is being made already (max 1 at once)")
        call = Call(token=token, leave=_stay)
        self._runtime.engine.parking.park(call, None, now)
        self._running = True

        def done(outcome: Backup | Exception) -> None:
            self._loop.call_soon_threadsafe(self._ended, call, now, outcome)

        self._copier.back_up(self._steps(), done)

    def _ended(self, call: Call, began: Instant, outcome: Backup | Exception) -> None:
        self._running = False
        runtime = self._runtime
        now = runtime.clock()
        answer = _failed(outcome) if isinstance(outcome, Exception) else _made(outcome, now.steady - began.steady)
        if call.parked:
            runtime.engine.parking.forget(call)
            runtime.engine.outbox.deliver(call.token, answer)
            runtime.hand_over(now)


def _made(backup: Backup, took_ms: int) -> BackupView:
    log.info("backup %s: %d bytes, made in %d ms", backup.path, backup.size, took_ms)
    return BackupView(path=str(backup.path), bytes=backup.size, group=backup.group, took_ms=took_ms)


def _failed(error: Exception) -> FlashQError:
    if isinstance(error, FlashQError):
        log.error("no backup: %s", error)
        return error
    log.error("no backup", exc_info=error)
    return StorageError("The backup failed; the server's log says why")


def _stay() -> None:
    """Nobody waits for it any more: it is made all the same."""
