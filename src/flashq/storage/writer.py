"""The one thread that writes to storage.

A commit waits for the disk, and the event loop must not. One thread rather than a pool: groups have an order, and a
connection to SQLite has one owner. The thread sleeps in its queue and is woken by a group; there is nothing to poll.

Upkeep shares the thread, because it shares the connection. Between two commits storage is offered a slice and knows
itself whether its bounds call for it; once nothing has been submitted for `QUIET_S` it may do all it has, slice by
slice, with a look for a waiting group before each, and again every hour.

So do questions about the past. They are answered one after the other, slice by slice, a commit coming first; upkeep
has its turn between two of them, since it moves what they read.

And so does a backup, step by step. It takes long, so everything else goes on meanwhile: of commits, questions and
upkeep each has its turn before the next step.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterator
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Final, NamedTuple

from flashq.engine.trail import Question
from flashq.storage.backup import Backup
from flashq.storage.base import Storage

QUIET_S: Final = 0.1
"""Seconds without a group after which upkeep may begin. Between two groups of a busy server there is always a moment
in which none waits; a slice started there would make the next one late, and what it folds would often be worth
folding together with what comes after."""

IDLE_S: Final = 3_600
"""Seconds after which storage is asked again while nothing happens: what it keeps for a time runs out by itself."""


class _Reading(NamedTuple):
    """A question, and what to call once it has been fed."""

    question: Question
    done: Callable[[], None]


class _Copying(NamedTuple):
    """A backup, and what to call with it, or with what it failed for."""

    steps: Generator[None, None, Backup]
    done: Callable[[Backup | Exception], None]


_Order = tuple[int, bytes] | _Reading | _Copying | None


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
        self._readings: deque[_Reading] = deque()
        self._slices: Iterator[None] | None = None  # of the first of them, once it has begun
        self._copying: _Copying | None = None
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

    def read(self, question: Question, done: Callable[[], None]) -> None:
        """Ask for a question to be fed with what is remembered, every group submitted before it included.

        Args:
            question: touched by the thread until it is fed.
            done: called on the thread once that is so; never, if the thread ends before.
        """
        self._orders.put(_Reading(question, done))

    def back_up(self, steps: Generator[None, None, Backup], done: Callable[[Backup | Exception], None]) -> None:
        """Ask for a backup. No other one may be under way.

        Args:
            steps: makes it, on the thread.
            done: called on the thread with the backup, or with what it failed for, which ends nothing else; never,
                if the thread ends before.
        """
        self._orders.put(_Copying(steps, done))

    def stop(self, limit_s: float | None = None) -> bool:
        """Commit what was submitted, do nothing else any more, and end the thread. Not to be called on the thread.

        Args:
            limit_s: how long that may take; None: as long as it takes.

        Returns:
            Whether the thread has ended. If not, a disk hangs, and storage must not be touched by anybody else.
        """
        self._stopping = True
        self._orders.put(None)
        self._thread.join(limit_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            while (order := self._next_order()) is not None:
                if isinstance(order, _Reading | _Copying):
                    self._take_up(order)
                    continue
                number, blob = order
                began = self._clock_us()
                self._storage.commit(number, blob)
                self._done(number, self._clock_us() - began)
                if not self._stopping:
                    self._go_on()
        except BaseException as error:  # whatever it was, nothing may be confirmed after it
            self._failed(error)
        finally:
            if self._copying is not None:
                self._copying.steps.close()

    def _take_up(self, order: _Reading | _Copying) -> None:
        if isinstance(order, _Reading):
            self._readings.append(order)
        else:
            self._copying = order

    def _next_order(self) -> _Order:
        while (self._readings or self._copying) and self._orders.empty() and not self._stopping:
            self._go_on()
        wait_s = QUIET_S
        while True:
            try:
                return self._orders.get(timeout=wait_s)
            except Empty:
                self._tidy_while_quiet()
                wait_s = IDLE_S

    def _go_on(self) -> None:
        """A slice of everything that goes on between commits."""
        if self._readings:
            self._read_on()
        else:
            self._storage.tidy(idle=False)
        if self._copying is not None:
            self._copy_on(self._copying)

    def _copy_on(self, copying: _Copying) -> None:
        try:
            next(copying.steps)
        except StopIteration as end:
            self._copying = None
            copying.done(end.value)
        except Exception as error:  # whatever it was, no commit has a part in it
            self._copying = None
            copying.done(error)

    def _read_on(self) -> None:
        """A slice of the first reading; when it has come to its end, what upkeep put off."""
        reading = self._readings[0]
        if self._slices is None:
            self._slices = self._storage.read(reading.question)
        if next(self._slices, self) is self:
            self._slices = None
            self._readings.popleft()
            reading.done()
            self._storage.tidy(idle=False)

    def _tidy_while_quiet(self) -> None:
        while self._orders.empty() and self._storage.tidy(idle=True):
            pass
