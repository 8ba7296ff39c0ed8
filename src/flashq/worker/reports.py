"""How far jobs are, and that they live: what their code says while it runs.

Any thread may say so at any time, and none may wait for it or fail because of it. So a report is one entry in a queue;
the loop sends what has gathered, one request under way at a time, and of several reports of one job only the newest.
What cannot be sent is dropped: the next report says more, and the heartbeat renews the lease anyway.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Final, NamedTuple

from flashq.client import AsyncFlashQ, Pending
from flashq.client.results import JobRecord
from flashq.errors import FlashQError, NotActive, NotFound, StaleAttempt
from flashq.worker.logs import facts

log = logging.getLogger("flashq.worker")

MAX_REPORTS: Final = 10_000
"""Reports that wait for the loop; beyond that the oldest are dropped. Only a task that reports in a tight loop while
another blocks the event loop gets there."""


class Report(NamedTuple):
    """What a job's code has said: how far it is, or (without a percentage) that it lives."""

    record: JobRecord
    percent: int | None
    message: str | None


class Reports:
    """What is still to be said to the server.

    Args:
        client: how to say it.
        ended: told of a job whose attempt turned out to be over, and why.
    """

    def __init__(self, client: AsyncFlashQ, ended: Callable[[JobRecord, str], None]) -> None:
        self._client = client
        self._ended = ended
        self._loop = asyncio.get_running_loop()
        self._said: deque[Report] = deque(maxlen=MAX_REPORTS)
        self._woken = False
        self._sending: asyncio.Task[None] | None = None

    def link(self, record: JobRecord) -> "ReportLink":
        """What a job's context speaks through."""
        return ReportLink(self, record)

    def say(self, report: Report) -> None:
        """Send this as soon as may be. From any thread."""
        self._said.append(report)
        if not self._woken:
            self._woken = True
            with suppress(RuntimeError):  # the loop is closed: a thread that was left behind
                self._loop.call_soon_threadsafe(self._send_soon)

    def _send_soon(self) -> None:
        self._woken = False
        if self._sending is None:
            self._sending = self._loop.create_task(self._send_all(), name="flashq reports")

    async def _send_all(self) -> None:
        try:
            while self._said:
                await self._send()
        finally:
            self._sending = None

    async def _send(self) -> None:
        newest: dict[int, Report] = {}
        while self._said:
            report = self._said.popleft()
            if report.percent is not None or id(report.record) not in newest:
                newest[id(report.record)] = report
        sent: list[tuple[JobRecord, Pending[None]]] = []
        try:
            async with self._client.pipeline(keep_errors=True) as p:
                for record, percent, message in newest.values():
                    pending = p.heartbeat(record) if percent is None else p.progress(record, percent, message)
                    sent.append((record, pending))
        except FlashQError as error:
            log.debug("reports dropped: %s", error)
        for record, pending in sent:
            self._judge(record, pending.error)

    def _judge(self, record: JobRecord, error: BaseException | None) -> None:
        if isinstance(error, StaleAttempt | NotActive | NotFound):
            self._ended(record, str(error))
        elif error is not None:
            log.debug("report dropped: %s", error, extra={"flashq": facts(record)})


class ReportLink:
    """One job's way to say something; see `flashq.tasks.context.Link`."""

    __slots__ = ("_record", "_reports")

    def __init__(self, reports: Reports, record: JobRecord) -> None:
        self._reports = reports
        self._record = record

    def progress(self, percent: int, message: str | None) -> None:
        """Say how far the attempt is."""
        self._reports.say(Report(self._record, percent, message))

    def heartbeat(self) -> None:
        """Say that the attempt lives."""
        self._reports.say(Report(self._record, None, None))
