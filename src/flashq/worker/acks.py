"""Telling the server what became of the jobs: many at once, one request under way at a time.

What ends while a request is under way goes with the next one, so the load itself makes the batches: an idle worker's
ack leaves at once, a busy one's a thousand at a time. Nobody waits for an ack, so nothing here costs a future or a
task for each job.

Everything carries the token of its attempt. So after a lost connection it is simply sent again, and what the server
has ended meanwhile (the job was cancelled, its time was over) is refused as stale and logged, no more.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from random import random
from typing import Any, Final, NamedTuple

from msgspec import Raw

from flashq.client import AckedBatch, AsyncBatch, AsyncFlashQ, Pending
from flashq.client.pipeline import Backoff
from flashq.client.results import JobRecord
from flashq.errors import (
    BadRequest,
    CallTimeout,
    ConnectionLost,
    NotActive,
    NotFound,
    Overloaded,
    ShuttingDown,
    StaleAttempt,
    StorageError,
)
from flashq.protocol.limits import MAX_LINE_BYTES
from flashq.tasks.outcome import Done, Failed, Gone, Outcome, Snoozed
from flashq.worker.logs import facts

log = logging.getLogger("flashq.worker")

MAX_JOBS: Final = 2_000
"""Jobs in one request: beyond it a batch costs no less for each job, and its answer comes later."""

MAX_BYTES: Final = MAX_LINE_BYTES // 2
"""Results in one request: well below the longest line, whose other members count too."""

MAX_WAITING: Final = 10_000
"""Outcomes that wait to be told: with so many the worker takes no new jobs. A server that is away or whose disk is
full must not make the worker's memory grow without a bound."""

_TRY_AGAIN: Final = (ConnectionLost, CallTimeout, ShuttingDown, StorageError, Overloaded)
"""The same request may be accepted later."""

_OVER: Final = (StaleAttempt, NotActive, NotFound)
"""The server has ended the attempt without us."""

_REFUSED: Final = "the server refused"
"""How the failure begins that takes the place of an outcome that the server refused; it is not replaced again."""


Entry = tuple[JobRecord, Outcome | None]
"""One attempt and how it ended; None: it never began, and is given back uncounted."""


class Batch(NamedTuple):
    """What goes into one request.

    Attributes:
        together: successes, told in one command.
        apart: everything else, told in a command each.
    """

    together: list[Entry]
    apart: list[Entry]


class Acks:
    """The outcomes that the server is still to be told.

    Args:
        client: how to tell it.
        room: called when there is room again after `full`.
    """

    def __init__(self, client: AsyncFlashQ, room: Callable[[], None]) -> None:
        self._client = client
        self._room = room
        self._together: list[Entry] = []
        self._apart: list[Entry] = []
        self._under_way: list[Entry] = []
        self._sending: asyncio.Task[None] | None = None
        self._backoff = Backoff()
        self._troubled = False

    def __len__(self) -> int:
        """How many there are, without those under way."""
        return len(self._together) + len(self._apart)

    def records(self) -> list[JobRecord]:
        """The jobs whose end the server may not know yet, those under way included."""
        return [record for entries in (self._under_way, self._together, self._apart) for record, _ in entries]

    @property
    def full(self) -> bool:
        """Whether so many wait that no new jobs should be taken."""
        return len(self) >= MAX_WAITING

    def add(self, record: JobRecord, outcome: Outcome) -> None:
        """An attempt has ended; it is told at the end of this turn of the loop, or with the next request."""
        if type(outcome) is Done:
            self._together.append((record, outcome))
        elif type(outcome) is Gone:
            return
        else:
            self._apart.append((record, outcome))
        if self._sending is None:
            self._send_soon()

    def release(self, records: Iterable[JobRecord]) -> None:
        """Give back jobs that were not begun; their attempt is not counted."""
        self._apart.extend((record, None) for record in records)
        if self._apart and self._sending is None:
            self._send_soon()

    async def flush(self, limit_s: float) -> int:
        """Wait until everything is told, at most ``limit_s``; gives how many are left untold."""
        sending = self._sending
        if sending is not None:
            await asyncio.wait({sending}, timeout=limit_s)
            sending.cancel()
            await asyncio.wait({sending})
        return len(self)

    def _send_soon(self) -> None:
        self._sending = asyncio.get_running_loop().create_task(self._send_all(), name="flashq acks")

    async def _send_all(self) -> None:
        try:
            while self._together or self._apart:
                was_full = self.full
                await self._send_some()
                if was_full and not self.full:
                    self._room()
        finally:
            self._sending = None

    async def _send_some(self) -> None:
        batch = left = self._take()
        self._under_way = [*batch.together, *batch.apart]
        trouble: BaseException | None = None
        try:
            left, trouble = await self._send(batch)
        finally:
            # What was not told is told next, also if this was given up in the middle.
            self._together[:0], self._apart[:0] = left
            self._under_way = []
        if trouble is not None:
            await self._pause(trouble)
        elif self._troubled:
            self._troubled = False
            self._backoff.lost()
            log.info("the server takes outcomes again")

    def _take(self) -> Batch:
        """The oldest outcomes, as many as go into one request."""
        size = count = 0
        for _, outcome in self._together[:MAX_JOBS]:
            size += len(_result(outcome))
            if size > MAX_BYTES and count:
                break
            count += 1
        batch = Batch(self._together[:count], self._apart[: MAX_JOBS - count])
        del self._together[:count], self._apart[: len(batch.apart)]
        return batch

    async def _send(self, batch: Batch) -> tuple[Batch, BaseException | None]:
        """Tell these; gives what must be told again, and the error that makes waiting before that sensible."""
        acked: Pending[AckedBatch] | BadRequest | None = None
        sent: list[tuple[Entry, Pending[None] | BadRequest]] = []
        async with self._client.pipeline(keep_errors=True) as p:
            if batch.together:
                acked = _ack_together(p, batch.together)
            sent = [(entry, _tell(p, entry)) for entry in batch.apart]
        left = Batch([], [])
        errors = [None if acked is None else self._judge_acks(batch.together, acked, left)]
        errors += [self._judge(entry, _error_of(pending), left) for entry, pending in sent]
        return left, next((error for error in errors if error is not None), None)

    def _judge_acks(
        self, told: list[Entry], answer: "Pending[AckedBatch] | BadRequest", left: Batch
    ) -> BaseException | None:
        error = _error_of(answer)
        if error is None:
            assert isinstance(answer, Pending)
            self._note_stale(told, answer.result().stale)
        elif isinstance(error, _TRY_AGAIN):
            left.together.extend(told)
            return error
        elif isinstance(error, BadRequest):
            left.apart.extend(told)  # one of them is wrong: each for itself shows which
        else:
            log.error("the server refused %d outcomes: %s", len(told), error)
        return None

    def _judge(self, entry: Entry, error: BaseException | None, left: Batch) -> BaseException | None:
        """What a single answer means; gives an error that waiting may cure."""
        record, outcome = entry
        if error is None:
            return None
        if isinstance(error, _TRY_AGAIN):
            left.apart.append(entry)
            return error
        if isinstance(error, _OVER):
            self._note_stale([entry], [record.id])
        elif isinstance(error, BadRequest) and _can_be_told_otherwise(outcome):
            # An attempt that nobody ends would keep its job active for as long as this worker lives.
            what = "the result" if isinstance(outcome, Done) else "how it ended"
            left.apart.append((record, Failed(f"{_REFUSED} {what}: {error}", dead=True)))
        else:
            log.error("the server refused an outcome: %s", error, extra={"flashq": facts(record)})
        return None

    def _note_stale(self, told: list[Entry], stale: list[int]) -> None:
        if stale:
            refused = set(stale)
            for record, _ in told:
                if record.id in refused:
                    log.info("stale: the server had ended the attempt", extra={"flashq": facts(record)})

    async def _pause(self, error: BaseException) -> None:
        if not self._troubled:
            self._troubled = True
            log.warning("cannot tell the server what became of jobs, trying again until it works: %s", error)
        self._backoff.failed(error)
        await asyncio.sleep(self._backoff.delay_ms(random()) / 1_000)  # noqa: S311 - spreads workers, guards nothing


def _can_be_told_otherwise(outcome: Outcome | None) -> bool:
    return outcome is not None and not (isinstance(outcome, Failed) and outcome.error.startswith(_REFUSED))


def _result(outcome: Outcome | None) -> bytes:
    return (outcome.result if type(outcome) is Done else None) or b""


def _ack_together(p: AsyncBatch, told: list[Entry]) -> "Pending[AckedBatch] | BadRequest":
    results = None
    if any(outcome.result is not None for _, outcome in told if type(outcome) is Done):
        results = [Raw(_result(outcome) or b"null") for _, outcome in told]
    try:
        return p.ack_batch([record for record, _ in told], results)
    except BadRequest as error:
        return error


def _tell(p: AsyncBatch, entry: Entry) -> "Pending[None] | BadRequest":
    record, outcome = entry
    try:
        match outcome:
            case Done():
                return p.ack(record, Raw(_result(outcome) or b"null"))
            case Failed(error, delay, dead):
                return p.fail(record, error, delay=delay, dead=dead)
            case Snoozed(delay):
                return p.release(record, delay=delay)
            case _:
                return p.release(record)
    except BadRequest as error:
        return error


def _error_of(answer: "Pending[Any] | BadRequest") -> BaseException | None:
    return answer if isinstance(answer, BadRequest) else answer.error
