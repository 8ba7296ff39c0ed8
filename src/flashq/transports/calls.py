"""Calls that are made one by one and awaited: the gate of every door whose clients ask, wait and read one answer.

`LineConnection` keeps the answers of one client in their order. Here nothing is ordered: each call has an answer of
its own, which leaves when what it depends on is durable. One `Calls` serves a whole door.

Two steps, so that the common case costs no future and no trip through the event loop: `Calls.begin` carries the
command out and returns its answer if that may leave at once, and otherwise a `Pending` whose ``future`` brings it.
"""

from asyncio import Future, get_running_loop
from collections import deque
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from flashq.commands.execute import execute, over
from flashq.commands.parked import Parked
from flashq.commands.session import Context, Session
from flashq.errors import FlashQError, StorageError, Unauthorized
from flashq.model import Instant, JobView
from flashq.protocol.replies import Pulled, PulledBatch, Reply
from flashq.protocol.requests import AnyRequest
from flashq.transports.base import Turns

Shape = Callable[[Any, Instant], bytes]
"""Makes the answer's bytes out of the reply, in the turn of the command: later what it tells of may have moved on."""

Outcome = bytes | FlashQError
"""An answer, or what a command was refused for. Handed on and not raised: a refusal is nothing out of the ordinary, and
its traceback would lead back to whoever holds it, which only the cyclic collector undoes."""

_NO_JOBS: Final[list[JobView]] = []


class Pending:
    """A call whose answer cannot leave yet: it waits for a job, or for the disk.

    Attributes:
        future: the outcome.
    """

    __slots__ = ("_calls", "future", "jobs", "parked", "shape")

    def __init__(self, calls: "Calls", shape: Shape, parked: Parked | None = None) -> None:
        self._calls = calls
        self.future: Future[Outcome] = get_running_loop().create_future()
        self.shape = shape
        self.parked = parked
        self.jobs = _NO_JOBS

    @property
    def waits(self) -> bool:
        """Whether what it waits for may take any time; else it is a commit that is on its way."""
        return self.parked is not None

    def answer(self, delivered: Any, now: Instant) -> "Calls":  # noqa: ANN401 - what it is, its command knows
        """What it waited for; nothing when its time is over."""
        self._calls.answered(self, delivered, now)
        return self._calls


class _Held(NamedTuple):
    depends_on: int
    pending: Pending
    outcome: Outcome


class Calls:
    """The calls of one door.

    Attributes:
        context: what commands work on.
    """

    def __init__(self, context: Context, turns: Turns) -> None:
        self.context = context
        self._turns = turns
        self._out: list[tuple[Pending, Outcome]] = []
        self._held: deque[_Held] = deque()
        self._parked: dict[Pending, Session] = {}
        self._room: list[Future[None]] = []
        turns.attach(self)

    def begin(self, session: Session, request: AnyRequest, shape: Shape) -> Outcome | Pending:
        """Carry out a command.

        Args:
            session: who asks.
            request: what.
            shape: makes the answer.

        Returns:
            The answer, or what the command was refused for; pending, if that depends on what is not durable yet.
        """
        turns = self._turns
        now = turns.clock()
        jobs = _NO_JOBS
        outcome: Outcome
        try:
            reply = execute(self.context, session, request, now)
            if type(reply) is Parked:
                pending = Pending(self, shape, reply)
                reply.park(pending, now)
                self._parked[pending] = session
                turns.gather()
                turns.hand_over(now)
                return pending
            jobs = handed_out(reply)  # type: ignore[arg-type]  # the type test above is faster than one mypy follows
            outcome = shape(reply, now)
        except FlashQError as error:
            outcome = _bare(error)
        except Exception as error:
            turns.broken(error)
            raise
        depends_on = turns.gather()
        if depends_on <= turns.durable:
            turns.hand_over(now)
            return outcome
        pending = Pending(self, shape)
        pending.jobs = jobs
        self._hold(depends_on, pending, outcome)
        turns.hand_over(now)
        return pending

    def abandon(self, pending: Pending) -> None:
        """Whoever called is gone: it waits no more, and the jobs of an answer that nobody read go back, uncounted."""
        now = self._turns.clock()
        pending.future.cancel()
        if pending in self._parked:
            del self._parked[pending]
            self.context.engine.parking.unpark(pending)
        self.give_back(pending.jobs, now)

    def give_back(self, jobs: list[JobView], now: Instant | None = None) -> None:
        """The answer that would have handed out these jobs cannot be read by anybody."""
        turns = self._turns
        moment = now or turns.clock()
        turns.give_back(jobs, moment)
        turns.gather()
        turns.hand_over(moment)

    @property
    def held_back(self) -> bool:
        """Whether the disk is far behind."""
        return self._turns.held_back

    async def room(self) -> None:
        """Return when commands may be carried out: not while the disk is far behind."""
        while self._turns.held_back:
            future: Future[None] = get_running_loop().create_future()
            self._room.append(future)
            await future

    def let_go_revoked(self) -> None:
        """The tokens have changed: refuse what waits for somebody who is no longer welcome."""
        for pending, session in list(self._parked.items()):
            if session.revoked and self.context.engine.parking.unpark(pending):
                del self._parked[pending]
                _settle(pending, Unauthorized("Token revoked"))

    def drain(self) -> None:
        """The server is leaving: end all waiting."""
        now = self._turns.clock()
        for pending in list(self._parked):
            if self.context.engine.parking.unpark(pending):
                self.answered(pending, None, now)
        self.send()
        self._turns.hand_over(now)

    # --- the runtime's side ---

    def answered(self, pending: Pending, delivered: Any, now: Instant) -> None:  # noqa: ANN401 - see `Parked.reply`
        """A call that waited has its answer; `send` lets it go."""
        self._parked.pop(pending, None)
        parked = pending.parked
        assert parked is not None
        outcome: Outcome
        try:
            reply = parked.reply(delivered) if delivered else over(self.context, parked)
            pending.jobs = handed_out(reply)
            outcome = pending.shape(reply, now)
        except FlashQError as error:
            outcome = _bare(error)
        self._out.append((pending, outcome))

    def send(self) -> None:
        """Let go what was answered, or hold it until what it depends on is durable."""
        depends_on = self._turns.gather()
        out, self._out = self._out, []
        durable = depends_on <= self._turns.durable
        for pending, outcome in out:
            if durable:
                _settle(pending, outcome)
            else:
                self._hold(depends_on, pending, outcome)

    def release(self, durable: int) -> None:
        """Let go what depends on groups up to ``durable``."""
        held = self._held
        while held and held[0].depends_on <= durable:
            _, pending, outcome = held.popleft()
            _settle(pending, outcome)
        if held:
            self._turns.wait(self)

    def refuse(self, error: StorageError) -> None:
        """Nobody knows whether what is held will ever be confirmed."""
        held, self._held = self._held, deque()
        now = self._turns.clock()
        for _, pending, _ in held:
            jobs, pending.jobs = pending.jobs, _NO_JOBS
            self._turns.give_back(jobs, now)
            _settle(pending, error)

    def hold_back(self) -> None:
        """The disk is far behind: who asks `room` waits."""

    def go_on(self) -> None:
        """It has caught up."""
        room, self._room = self._room, []
        for future in room:
            if not future.done():
                future.set_result(None)

    def _hold(self, depends_on: int, pending: Pending, outcome: Outcome) -> None:
        self._held.append(_Held(depends_on, pending, outcome))
        self._turns.wait(self)


def handed_out(reply: Reply) -> list[JobView]:
    """The jobs that an answer hands to a worker."""
    if type(reply) is PulledBatch:
        return reply.jobs
    if type(reply) is Pulled and reply.job is not None:
        return [reply.job]
    return _NO_JOBS


def _settle(pending: Pending, outcome: Outcome) -> None:
    if not pending.future.done():  # else nobody waits for it any more
        pending.future.set_result(outcome)


def _bare(error: FlashQError) -> FlashQError:
    """An error without its traceback."""
    return error.with_traceback(None)
