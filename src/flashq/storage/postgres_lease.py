"""Who may write to a PostgreSQL database: one server at a time, and no server longer than it can prove.

The lease is a row with an *epoch*, which every start increases. Every commit and every slice of upkeep names the epoch
under which its server started, in the transaction that writes, and is refused once there is a newer one. That alone
keeps two servers apart: one that was frozen and wakes up too late can write nothing. An advisory lock would not do, for
it ends with the session while the belief in it does not.

The *expiry*, by the database's clock, only decides when somebody else may take over. It is renewed every second on a
connection and a thread of its own, so that neither a large group nor a busy event loop delays it. An owner whose lease
has run out, say because the database was down, goes on if nobody has taken over: then nothing has changed.

A server that was killed leaves a lease that runs for up to `TTL_MS` more. The next one need not wait if it can prove
that the owner is dead: the owner had locked the data folder, and now we have it locked. The folder has a word that
stands in the lease as well.
"""

import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from random import uniform
from secrets import token_hex
from typing import Final

from flashq.errors import StorageError
from flashq.storage.postgres_session import Away, Session

TTL_MS: Final = 5_000
"""How long a lease holds without being renewed: what a takeover from a dead machine waits for."""
RENEW_S: Final = 1.0
"""Three renewals may fail before the lease runs out."""
MARGIN_MS: Final = 1_000
"""So much earlier than the database an owner takes its lease for run out: the two clocks may run differently."""

_LOOK_S: Final = 0.25
_TRY_AGAIN_S: Final = (0.2, 0.5)

_TAKE: Final = (
    "UPDATE lease SET epoch = GREATEST(epoch, $4) + 1, owner = $1, instance = $2, "
    "expires = clock_timestamp() + $3 * interval '1 ms' "
    "WHERE shard = 0 AND (expires < clock_timestamp() OR instance = $2) RETURNING epoch"
)
_LOOK: Final = "SELECT owner, expires FROM lease WHERE shard = 0"
_RENEW: Final = (
    "UPDATE lease SET expires = clock_timestamp() + $2 * interval '1 ms' WHERE shard = 0 AND epoch = $1 RETURNING epoch"
)
_RELEASE: Final = "UPDATE lease SET expires = '-infinity' WHERE shard = 0 AND epoch = $1"


def take(session: Session, owner: str, instance: str, wait: Callable[[float], object], above: int = 0) -> int:
    """Become the owner; waits as long as the one before may still be alive.

    Args:
        session: connected; the schema is there.
        owner: who we are, for people.
        instance: the word of the data folder, which we have locked.
        wait: sleeps for so many seconds.
        above: the epoch is above this one.

    Returns:
        The epoch of this start; durable.

    Raises:
        StorageError: another server is alive. The sentence names it.
        Away: the database does not answer.
    """
    seen = None
    while True:
        taken = session.fetch(_TAKE, owner, instance, TTL_MS, above)
        if taken:
            return int(taken[0][0])
        rows = session.fetch(_LOOK)
        if not rows:
            raise StorageError(f"{session.place}: the database is damaged: the table lease is empty")
        holder, expires = rows[0]
        if seen is not None and expires > seen:
            raise StorageError(f"{session.place}: another FlashQ server is using it: {holder}; stop that one first")
        seen = expires
        wait(_LOOK_S)


def release(session: Session, epoch: int) -> None:
    """Let the next server in at once.

    Args:
        session: connected.
        epoch: ours; if there is a newer one, nothing happens.

    Raises:
        Away, StorageError: the database does not do it; then the lease runs out by itself.
    """
    session.fetch(_RELEASE, epoch)


def fenced(place: str) -> StorageError:
    """What the owner is told when it is not the owner any more."""
    return StorageError(
        f"{place}: another FlashQ server has taken over, since this one was not heard of for {TTL_MS // 1000} s; "
        "it ends without writing anything more"
    )


def owner_name(address: str) -> str:
    """Who this process is, for people at another machine.

    Args:
        address: where it listens.
    """
    return f"{socket.gethostname()}, process {os.getpid()}, {address}"


def instance_of(path: Path) -> str:
    """The word of a data folder on this boot of this machine; made when it is missing.

    Args:
        path: of its file. The folder is locked by this process.

    Raises:
        OSError: it cannot be read or made.
    """
    try:
        word = path.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        word = ""
    if not word:
        word = token_hex(8)
        path.write_text(word, encoding="ascii")
    boot = Path("/proc/sys/kernel/random/boot_id")  # a copy of the folder on another machine is another instance
    return f"{word} {boot.read_text(encoding='ascii').strip() if boot.exists() else ''}"


class Keeper:
    """Renews a lease until it is stopped or somebody else has it. Its thread runs from the moment it is made.

    Attributes:
        held_until_ms: on the steady clock, as long as which nobody else can have taken over; 0 until it is renewed.
    """

    def __init__(
        self, session: Session, epoch: int, steady_ms: Callable[[], int], lost: Callable[[StorageError], None]
    ) -> None:
        """Start.

        Args:
            session: its own, not connected yet; closed by it.
            epoch: under which the lease was taken just now.
            steady_ms: milliseconds of a clock that never jumps.
            lost: called on the thread, once, when somebody else has the lease.
        """
        self.held_until_ms = 0
        self._session = session
        self._epoch = epoch
        self._steady_ms = steady_ms
        self._lost = lost
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="flashq-lease", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread. The lease stays as it is."""
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        pause = 0.0
        try:
            while not self._stopping.wait(pause):
                pause = self._renew()
        except StorageError as error:
            self._lost(error)
        finally:
            self._session.close()

    def _renew(self) -> float:
        """Once. Returns the seconds until the next time."""
        sent = self._steady_ms()
        try:
            if not self._session.connected:
                self._session.connect()
            renewed = self._session.fetch(_RENEW, self._epoch, TTL_MS)
        except (Away, StorageError):  # what is wrong for good is found by the next commit, which can say so
            return uniform(*_TRY_AGAIN_S)  # noqa: S311 - not for secrets
        if not renewed:
            raise fenced(self._session.place)
        self.held_until_ms = sent + TTL_MS - MARGIN_MS
        return RENEW_S
