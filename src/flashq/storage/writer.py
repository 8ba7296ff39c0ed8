"""The one thread that writes to storage.

A commit waits for the disk, and the event loop must not. One thread rather than a pool: groups have an order, and a
connection to SQLite has one owner. The thread sleeps in its queue and is woken by a group; there is nothing to poll.

Upkeep shares the thread, because it shares the connection. Between two commits storage is offered a slice and knows
itself whether its bounds call for it; once nothing has been submitted for `QUIET_S` it may do all it has, slice by
slice, with a look for a waiting group before each.
"""

from collections.abc import Callable
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Final

from flashq.storage.base import Storage

QUIET_S: Final = 0.1
"""Seconds without a group after which upkeep may begin. Between two groups of a busy server there is always a moment
in which none waits; a slice started there would make the next one late, and what it folds would often be worth
folding together with what comes after."""

_Order = tuple[int, bytes] | None


class Writer:
    """Commits groups in the order of their submission. Its thread runs from the moment it is made."""

    def __init__(
        self,
        storage: Storage,
        done: Callable[[int, int], None],
        failed: Callable[[BaseException], None],
        clock_us: Callable[[], int],
    ) -> None:
        """Start the thread.

        Args:
            storage: opened and loaded; from now on touched by this thread only, until `stop` has returned.
            done: called on the thread for each group that is safe, with its number and the µs that its commit took.
            failed: called on the thread, once, with what ended it. Nothing is committed afterwards: what is in
                memory is ahead of what is remembered, and the process must end.
            clock_us: a steady clock in microseconds.
        """
        self._storage = storage
        self._done = done
        self._failed = failed
        self._clock_us = clock_us
        self._orders: SimpleQueue[_Order] = SimpleQueue()
        self._stopping = False
        self._thread = Thread(target=self._run, name="flashq-writer", daemon=True)
        self._thread.start()

    def submit(self, number: int, blob: bytes) -> None:
        """Ask for a commit. Returns at once; after a failure it has no effect.

        Args:
            number: of the group.
            blob: the group, as `flashq.storage.records` encodes it.
        """
        self._orders.put((number, blob))

    def stop(self) -> None:
        """Commit what was submitted, do no more upkeep, and end the thread. Not to be called on the thread."""
        self._stopping = True
        self._orders.put(None)
        self._thread.join()

    def _run(self) -> None:
        try:
            while (order := self._next_order()) is not None:
                number, blob = order
                began = self._clock_us()
                self._storage.commit(number, blob)
                self._done(number, self._clock_us() - began)
                if not self._stopping:
                    self._storage.tidy(idle=False)
        except BaseException as error:  # whatever it was, nothing may be confirmed after it
            self._failed(error)

    def _next_order(self) -> _Order:
        try:
            return self._orders.get(timeout=QUIET_S)
        except Empty:
            self._tidy_while_quiet()
            return self._orders.get()

    def _tidy_while_quiet(self) -> None:
        while self._orders.empty() and self._storage.tidy(idle=True):
            pass
