"""Asking about the past, which the engine does not keep: the answer comes from storage, or from a ring in memory.

The loop does not wait for it. With storage the writer thread reads between its commits, since it owns the connection;
without it the loop goes through the ring in slices. Either way the answer is delivered like that of any call that
waits, and what it says is durable: only committed groups are read, and all of those on which the question depends.
"""

from asyncio import AbstractEventLoop
from collections import deque
from collections.abc import Callable, Hashable, Iterator
from typing import Protocol

from flashq.engine.parking import Parking
from flashq.engine.trail import Question, Ring
from flashq.engine.waiters import Call
from flashq.errors import Overloaded, StorageError
from flashq.model import Instant
from flashq.protocol.limits import MAX_READINGS
from flashq.server.runtime import Runtime


class Reader(Protocol):
    """Who feeds questions: the writer of a storage, or a `RingReader`."""

    def read(self, question: Question, done: Callable[[], None]) -> None:
        """Feed it with all that is remembered now, some time; then call ``done``, on any thread."""


class Archive:
    """Questions and their answers. Stands at the gate like a connection, to begin when what was asked is durable."""

    def __init__(self, runtime: Runtime, loop: AbstractEventLoop, reader: Reader) -> None:
        """Wire it up.

        Args:
            runtime: whose past it is.
            loop: the one loop.
            reader: feeds the questions.
        """
        self._runtime = runtime
        self._parking: Parking = runtime.engine.parking
        self._loop = loop
        self._reader = reader
        self._asked: deque[tuple[int, Call, Question]] = deque()
        self._open = 0

    def ask(self, token: Hashable, question: Question, now: Instant) -> None:
        """Answer a question; see `flashq.commands.session.Archive`."""
        if self._open >= MAX_READINGS:
            raise Overloaded(f"Too many questions about the past (max {MAX_READINGS} at once)")
        call = Call(token=token, leave=_stay)
        self._parking.park(call, None, now)
        self._open += 1
        self._asked.append((self._runtime.gather(), call, question))
        self.release(self._runtime.durable)

    def release(self, durable: int) -> None:
        """Begin with what depends on groups up to ``durable``."""
        asked = self._asked
        while asked and asked[0][0] <= durable:
            self._begin(*asked.popleft()[1:])
        if asked:
            self._runtime.wait(self)

    def refuse(self, error: StorageError) -> None:
        """Who asked is answered with that: what he asked for may never become durable."""
        del error  # the door says it in words of its own
        asked, self._asked = self._asked, deque()
        for _, call, _ in asked:
            self._open -= 1
            self._parking.give_up(call)
        self._runtime.hand_over(self._runtime.clock())

    def _begin(self, call: Call, question: Question) -> None:
        def done() -> None:
            self._loop.call_soon_threadsafe(self._answer, call, question)

        self._reader.read(question, done)

    def _answer(self, call: Call, question: Question) -> None:
        self._open -= 1
        if not call.parked:
            return  # nobody waits for it any more
        self._parking.forget(call)
        self._runtime.engine.outbox.deliver(call.token, question)
        self._runtime.hand_over(self._runtime.clock())


class RingReader:
    """Reads a ring on the loop, slice by slice, and others have their turn in between."""

    def __init__(self, ring: Ring, loop: AbstractEventLoop) -> None:
        self._ring = ring
        self._loop = loop

    def read(self, question: Question, done: Callable[[], None]) -> None:
        """Feed a question."""
        self._step(self._ring.read(question), done)

    def _step(self, slices: Iterator[None], done: Callable[[], None]) -> None:
        if next(slices, self) is self:
            done()
        else:
            self._loop.call_soon(self._step, slices, done)


def _stay() -> None:
    """A question that nobody waits for is read to its end all the same: it costs less than to find it."""
