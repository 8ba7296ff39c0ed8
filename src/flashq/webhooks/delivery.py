"""What is owed to webhooks, tried until it is delivered or given up.

What a try is, is somebody else's (`flashq.webhooks.post`); here is when, and whose turn it is:

- Nothing leaves before it is durable: a call waits for the commit of the change that it tells, as an answer does.
- A call is tried `TRIES` times, with a growing wait between. It is over when the engine has recorded that it is, so one
  whose end was not committed before a crash is delivered again, under the same id: at least once, never at most once.
- Webhooks take turns, and each has `MAX_PER_WEBHOOK` calls under way at most: a receiver that is dead holds up its own
  calls and no others. Calls of one webhook begin in the order of their events; what comes of that order, several of
  them being under way and some being repeated, is best effort.

Everything runs on the one loop. With no webhook there is neither a session nor a task, and the HTTP client is not even
loaded.
"""

import asyncio
import logging
import random
from asyncio import Task, TimerHandle
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from heapq import heapify, heappop, heappush
from typing import Final, Protocol

from msgspec import Struct, field

from flashq.engine.webhooks import Call, Webhooks
from flashq.errors import StorageError
from flashq.protocol.limits import MAX_CALLS
from flashq.security.signing import sign
from flashq.transports.base import Gated
from flashq.urls import split_url

log = logging.getLogger("flashq")

WAITS_S: Final = (1, 10, 60, 300)
"""Seconds before each further try: the last comes after six minutes, which bridges a receiver's restart or deployment
and does not keep the newest events waiting behind a backlog that nobody will read."""

TRIES: Final = len(WAITS_S) + 1

JITTER: Final = 0.2
"""By which part a wait is longer or shorter, so that calls that failed together do not come back together."""

MAX_IN_FLIGHT: Final = 32
"""Calls under way, over all webhooks: connections and answers held at the same time."""

MAX_PER_WEBHOOK: Final = 4
"""Of these, to one webhook: eight receivers must hang before the others feel it."""


class Post(Protocol):
    """How a call is made."""

    async def post(self, url: str, headers: dict[str, str], body: bytes) -> str | None:
        """Try once. Returns None when it was taken, else why not, in words that hold nothing secret."""

    async def close(self) -> None:
        """Let go of all connections."""


class Turns(Protocol):
    """The runtime, as far as it is needed here; see `flashq.transports.base.Turns`."""

    @property
    def durable(self) -> int:
        """The newest group that is safe."""

    def gather(self) -> int:
        """Journal what was caused. Returns the group that holds it."""

    def wait(self, gated: Gated) -> None:
        """``gated`` holds something back."""


class _Try(Struct, eq=False):
    """A call, and how often it has failed."""

    call: Call
    failed: int = 0


class _Line(Struct, eq=False):
    """The calls of one webhook that may begin, and how many are under way."""

    waiting: deque[_Try] = field(default_factory=deque)
    in_flight: int = 0


class Deliveries:
    """All calls of a server."""

    def __init__(
        self,
        webhooks: Webhooks,
        turns: Turns,
        open_post: Callable[[], Awaitable[Post]],
        loop: asyncio.AbstractEventLoop,
        spread: Callable[[], float] = random.random,
    ) -> None:
        """Wire it up; `start` sets it going.

        Args:
            webhooks: what is owed.
            turns: the runtime.
            open_post: how calls are made; asked for with the first.
            loop: the one loop; gives time and timers.
            spread: a random number from 0 to 1.
        """
        self._webhooks = webhooks
        self._turns = turns
        self._open_post = open_post
        self._loop = loop
        self._spread = spread
        self._seen = webhooks.next_number
        self._held: deque[tuple[int, int]] = deque()  # (depends on, calls before this number)
        self._lines: dict[str, _Line] = {}
        self._later: list[tuple[float, int, _Try]] = []
        self._kept = 0  # calls in lines and among the later ones
        self._timer: TimerHandle | None = None
        self._tasks: set[Task[None]] = set()
        self._in_flight = 0
        self._opening = asyncio.Lock()
        self._post: Post | None = None
        self._stopping = False

    @property
    def busy(self) -> bool:
        """Whether calls are under way."""
        return bool(self._tasks)

    def start(self) -> None:
        """Begin with what was owed when the server started; all of that is durable."""
        self._queue(self._webhooks.owed.values())

    def owed(self, depends_on: int) -> None:
        """There may be new calls: they may begin when the group of this number is durable."""
        upto = self._webhooks.next_number
        if upto != (self._held[-1][1] if self._held else self._seen):
            self._held.append((depends_on, upto))
            self.release(self._turns.durable)

    def stop(self) -> None:
        """Begin nothing more. What is under way goes on."""
        self._stopping = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def close(self) -> None:
        """Cut off what is still under way: it stays owed, and comes again after the next start."""
        self.stop()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._post is not None:
            await self._post.close()

    # --- the gate: see flashq.transports.base.Gated ---

    def release(self, durable: int) -> None:
        """Begin what depends on groups up to ``durable``."""
        held, upto = self._held, self._seen
        while held and held[0][0] <= durable:
            upto = held.popleft()[1]
        if held:
            self._turns.wait(self)
        numbers = range(self._seen, upto)
        self._seen = upto
        owed = self._webhooks.owed
        self._queue(owed[number] for number in numbers if number in owed)

    def refuse(self, error: StorageError) -> None:
        """Nobody asked: what is held stays so, until it is durable or the process ends."""
        del error

    # --- whose turn it is ---

    def _queue(self, calls: Iterable[Call]) -> None:
        for call in calls:
            self._line(call).waiting.append(_Try(call))
            self._kept += 1
        if self._kept > 2 * MAX_CALLS:
            self._sweep()
        self._begin()

    def _line(self, call: Call) -> _Line:
        return self._lines.setdefault(call.webhook.row.id, _Line())

    def _begin(self) -> None:
        """Begin as many calls as there may be, one of each webhook in turn."""
        began = not self._stopping
        while began:
            began = False
            for id, line in list(self._lines.items()):
                if self._in_flight >= MAX_IN_FLIGHT:
                    return
                if line.in_flight < MAX_PER_WEBHOOK and (following := self._next(line)) is not None:
                    began = True
                    self._lines[id] = self._lines.pop(id)  # to the end
                    self._spawn(line, following)
                elif not line.waiting and not line.in_flight:
                    del self._lines[id]

    def _next(self, line: _Line) -> _Try | None:
        while line.waiting:
            following = line.waiting.popleft()
            self._kept -= 1
            if not following.call.over:
                return following
        return None

    def _spawn(self, line: _Line, following: _Try) -> None:
        line.in_flight += 1
        self._in_flight += 1
        task = self._loop.create_task(self._deliver(line, following))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _sweep(self) -> None:
        """Let go of calls that are over: they were dropped faster than it came to their turn."""
        for line in self._lines.values():
            line.waiting = deque(waiting for waiting in line.waiting if not waiting.call.over)
        self._later = [entry for entry in self._later if not entry[2].call.over]
        heapify(self._later)
        self._kept = len(self._later) + sum(len(line.waiting) for line in self._lines.values())

    # --- one call ---

    async def _deliver(self, line: _Line, trying: _Try) -> None:
        try:
            why = await self._try(trying.call)
        except Exception as error:
            log.exception("a webhook could not be called")
            why = f"internal: {type(error).__name__}"
        finally:
            line.in_flight -= 1
            self._in_flight -= 1
        self._ended(trying, why)
        self._begin()

    async def _try(self, call: Call) -> str | None:
        row, body = call.webhook.row, call.body
        headers = {"Content-Type": "application/json", "X-FlashQ-Delivery": call.id}
        if row.secret is not None:
            headers["X-FlashQ-Signature"] = sign(row.secret, body)
        async with self._opening:
            if self._post is None:
                self._post = await self._open_post()
        return await self._post.post(row.url, headers, body)

    def _ended(self, trying: _Try, why: str | None) -> None:
        call = trying.call
        _note(call, why)
        if why is None:
            self._webhooks.delivered(call)
        else:
            trying.failed += 1
            if trying.failed >= TRIES:
                self._webhooks.give_up(call)
            elif not call.over:
                self._try_later(trying)
        self._turns.gather()

    def _try_later(self, trying: _Try) -> None:
        wait = WAITS_S[trying.failed - 1] * (1 - JITTER + 2 * JITTER * self._spread())
        heappush(self._later, (self._loop.time() + wait, trying.call.number, trying))
        self._kept += 1
        self._arm()

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._later and not self._stopping:
            self._timer = self._loop.call_at(self._later[0][0], self._due)

    def _due(self) -> None:
        now = self._loop.time()
        while self._later and self._later[0][0] <= now:
            trying = heappop(self._later)[2]
            self._line(trying.call).waiting.append(trying)
        self._arm()
        self._begin()


def _note(call: Call, why: str | None) -> None:
    """Keep how it went, and log when that changes: a line for every call would be a log of nothing else.

    The URL is not logged: with many receivers it is itself the secret.
    """
    webhook = call.webhook
    before, webhook.last_error = webhook.last_error, why
    host = ""
    with suppress(ValueError):
        host = split_url(webhook.row.url).hostname or ""
    if why is not None and before is None:
        log.warning("webhook %s: calls to %s fail: %s", webhook.row.id, host, why)
    elif why is None and before is not None:
        log.info("webhook %s: calls to %s succeed again", webhook.row.id, host)
