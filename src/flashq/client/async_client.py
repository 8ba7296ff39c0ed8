"""`AsyncFlashQ`, the client for asyncio: one method a command, typed results, one connection for all calls.

The plain client in ``sync_client.py`` is generated from this file by ``tools/unasync.py``; change this one only.

Numbers named after a member of the wire contract (``delay``, ``ttl``, ``timeout`` ...) are milliseconds as there;
the client's own carry their unit in the name (``call_timeout_ms``).
"""

import secrets
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from copy import copy
from itertools import count as counting
from types import TracebackType
from typing import Any, Final, TypeVar

from msgspec import UNSET, UnsetType

from flashq.client import calls
from flashq.client.address import resolve
from flashq.client.async_connection import AsyncConnection, Wire
from flashq.client.batch import Collected
from flashq.client.calls import Call
from flashq.client.encoding import FlowJob, encode
from flashq.client.pipeline import MAX_REPEATS, STORAGE_PAUSE_MS, RepeatBudget, Unreachable
from flashq.client.results import (
    AckedBatch,
    AuditPage,
    Cron,
    Ending,
    Event,
    JobPage,
    JobProgress,
    JobRecord,
    PushedIds,
    read_event,
)
from flashq.errors import BadRequest, ConnectionLost, FlashQError, StorageError, StorageFull
from flashq.model import EndedAttempt, HistoryEntry, Metrics, QueueView, Stats, WebhookView, WorkerView
from flashq.protocol.limits import MAX_ID, MAX_LISTED
from flashq.protocol.replies import BackupView, NodeView, SettingsView
from flashq.protocol.requests import ListedState, Request
from flashq.reasons import Explanation

__all__ = ["AsyncBatch", "AsyncFlashQ", "AsyncSubscription"]

T = TypeVar("T")

CALL_TIMEOUT_MS: Final = 30_000
"""How long a call waits for its answer: longer than any commit of a server that still works."""

CONNECT_TIMEOUT_MS: Final = 10_000
"""How long a call waits for a connection: long enough for a server to restart, with time for two attempts at the
cap of the backoff; short enough that a wrong address is noticed."""

WAIT_PART_MS: Final = 60_000
"""How long one WAITJOB waits at the server: an abandoned one is gone after a minute, and to ask again costs nothing."""


class AsyncFlashQ:
    """A client of one FlashQ server.

    ::

        async with AsyncFlashQ("flashq://localhost") as q:
            id = await q.push("emails", {"to": "ada@example.org"}, priority=5)
            job = await q.pull("emails", timeout=1000)
            if job is not None:
                await q.ack(job, {"sent": job.data["to"]})

    Connects at the first call, or at once with ``async with`` or `connect`; connects again, with jitter, after the
    connection was lost. Calls may run at the same time, thousands of them: they share the connection.

    When the connection is lost while a call waits for its answer, nobody knows whether it took effect. Calls that
    can be sent twice without harm (reads, settings, pulls, a push with a ``job_id``, an ack of a pulled job) are
    sent again on a new connection, at most three times and within the call's time; all others raise
    `ConnectionLost`. With ``safe_retry`` every push gets a ``job_id`` of its own, which makes it one of the former
    at the price of some bytes and of an index entry on the server for each job.

    Every method raises the error of `flashq.errors` that the server's code names (`BadRequest`, `NotFound` ...),
    `ConnectionLost` (`Unreachable` if nothing was sent), or `CallTimeout`.

    Args:
        url: ``flashq://[TOKEN@]host[:port]``, ``flashqs://`` (the same inside TLS), ``http://`` and ``https://`` (over
            HTTP, which needs the extra ``http``) or ``flashq+unix:///path``; default ``FLASHQ_URL``, else this machine.
        host: instead of, or over, the URL's.
        port: instead of, or over, the URL's.
        unix_socket: path of a Unix socket, instead of host and port.
        token: what to authenticate with, over the URL's.
        ca: path of the certificates to believe (PEM), when the URL asks for TLS; default ``FLASHQ_CA``, else those
            that the system believes.
        call_timeout_ms: how long a call waits for its answer (a pull: beyond its own ``timeout``); None: for ever.
        connect_timeout_ms: how long a call waits for a connection; None: as long as its own time.
        safe_retry: give every push a ``job_id``, so that it is sent again after a lost connection.
        connection: a way to the server made elsewhere, such as that into a test's server; the address does not count.

    Raises:
        BadRequest: the address or a timeout makes no sense.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        host: str | None = None,
        port: int | None = None,
        unix_socket: str | None = None,
        token: str | None = None,
        ca: str | None = None,
        call_timeout_ms: int | None = CALL_TIMEOUT_MS,
        connect_timeout_ms: int | None = CONNECT_TIMEOUT_MS,
        safe_retry: bool = False,
        connection: AsyncConnection | None = None,
    ) -> None:
        if connection is None:
            address = resolve(url, host=host, port=port, unix_socket=unix_socket, token=token, ca=ca)
            connection = AsyncConnection(address, _positive("connect_timeout_ms", connect_timeout_ms))
        self._connection = connection
        self._call_timeout_ms = _positive("call_timeout_ms", call_timeout_ms)
        self._safe_retry = safe_retry
        self._job_ids = _fresh_job_ids()
        self._budget = RepeatBudget()

    def __repr__(self) -> str:
        return f"AsyncFlashQ({str(self._connection.address)!r})"

    @property
    def address(self) -> str:
        """Where its server is, as a URL without the token."""
        return str(self._connection.address)

    async def __aenter__(self) -> "AsyncFlashQ":
        await self.connect()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def connect(self) -> None:
        """Connect now, so that a wrong address or token shows here and not at the first call.

        Raises:
            Unreachable: nobody answers there within the connect timeout.
            Unauthorized: the token is wrong.
        """
        await self._connection.connect()

    async def close(self) -> None:
        """Close the connection; calls that still wait raise `ConnectionLost`. Closing twice is no mistake."""
        await self._connection.close()

    def with_options(
        self, *, call_timeout_ms: int | UnsetType | None = UNSET, safe_retry: bool | UnsetType = UNSET
    ) -> "AsyncFlashQ":
        """The same client with other options for the calls made through what this returns.

        ``await q.with_options(call_timeout_ms=500).stats()``. Both share one connection, so closing either closes it.
        """
        other = copy(self)
        if call_timeout_ms is not UNSET:
            other._call_timeout_ms = _positive("call_timeout_ms", call_timeout_ms)  # noqa: SLF001 - a copy of our own
        if safe_retry is not UNSET:
            other._safe_retry = safe_retry  # noqa: SLF001
        return other

    def pipeline(self, *, keep_errors: bool = False) -> "AsyncBatch":
        """Collect calls and send them together: the fastest way to make many.

        ::

            async with q.pipeline() as p:
                ids = [p.push("emails", mail) for mail in mails]
            print(ids[0].result())

        Nothing is sent before the block ends, and nothing at all if it raises. When it has ended, all answers are
        in, and the first error of all calls is raised.

        Args:
            keep_errors: do not raise; look at each `Pending.error` or `Pending.result` instead.
        """
        return AsyncBatch(self, self._job_ids if self._safe_retry else None, keep_errors=keep_errors)

    def subscribe(self, queue: str = "*", events: Sequence[str] = ()) -> "AsyncSubscription":
        """Watch what happens to jobs, over a connection of its own.

        ::

            async with q.subscribe("emails", ["completed", "failed"]) as events:
                async for event in events:
                    print(event.event_type, event.job_id)

        Args:
            queue: whose jobs; ``*``: all.
            events: which types; none named: every type.
        """
        return AsyncSubscription(self._connection, queue, events, self._call_timeout_ms)

    # --- jobs ---

    async def push(
        self,
        queue: str,
        data: object,
        *,
        priority: int = 0,
        delay: int | None = None,
        ttl: int | None = None,
        timeout: int | None = None,
        max_attempts: int | None = None,
        backoff: int | None = None,
        unique_key: str | None = None,
        depends_on: Sequence[int] | None = None,
        tags: Sequence[str] | None = None,
        job_id: str | None = None,
        collect: bool = False,
    ) -> int:
        """Add one job.

        Args:
            queue: where it goes.
            data: the payload: any value that can be written as JSON (dataclasses, structs and datetimes included;
                NaN and infinity become null), or `msgspec.Raw` with JSON already written.
            priority: higher runs first.
            delay: ms until it may run.
            ttl: ms after which it disappears where it waits; if it runs it may finish.
            timeout: ms that one attempt may run.
            max_attempts: failed attempts until the dead letters; 0 = no bound, None = the server's default.
            backoff: ms before the first retry, doubled each time; 0 = at once, None = the server's default.
            unique_key: at most one live job of the queue may hold it.
            depends_on: ids of jobs that must complete first.
            tags: words for people.
            job_id: your own id; makes the push safe to repeat: the same id again gives the same job.
            collect: deliver the job with the results of its parents, as its `JobRecord.inputs`.

        Returns:
            The job's id.

        Raises:
            Duplicate: a live job holds the unique key; its ``id`` says which.
            TooLarge: the payload is over 1 MiB.
            TypeError: the payload holds something that JSON has no word for.
        """
        call = calls.push(
            queue,
            data,
            priority=priority,
            delay=delay,
            ttl=ttl,
            timeout=timeout,
            max_attempts=max_attempts,
            backoff=backoff,
            unique_key=unique_key,
            depends_on=depends_on,
            tags=tags,
            job_id=job_id,
            collect=collect,
        )
        return await self._do(calls.signed(call, self._job_ids) if self._safe_retry else call)

    async def push_batch(self, queue: str, jobs: Iterable[object]) -> PushedIds:
        """Add many jobs to one queue: all of them or none.

        Args:
            queue: where they go.
            jobs: up to 10,000; a `JobSpec` each, or just the payload where nothing else is to be said.

        Returns:
            Their ids in the same order: a list that also knows which places are ``duplicates`` or ``replayed``.

        Raises:
            BadRequest: one of the jobs is not valid; the text names its index.
            TooLarge: too many jobs, or one too large.
        """
        call = calls.push_batch(queue, jobs)
        return await self._do(calls.signed(call, self._job_ids) if self._safe_retry else call)

    async def push_flow(self, jobs: Iterable[FlowJob]) -> PushedIds:
        """Add jobs of any queues that may wait for each other: all of them or none, in one step.

        Args:
            jobs: 1 to 10,000 `FlowJob`; each may name earlier ones as its parents by their places (``after``).

        Returns:
            Their ids in the same order; places in ``replayed`` hold jobs whose ``job_id`` was known.

        Raises:
            BadRequest: one of the jobs is not valid; the text names its index.
            Duplicate: a unique key is held, or stands twice in the flow: nothing was pushed.
            TooLarge: too many jobs or dependencies, or one too large.
        """
        call = calls.push_flow(jobs)
        return await self._do(calls.signed(call, self._job_ids) if self._safe_retry else call)

    async def pull(self, queue: str, timeout: int | None = None) -> JobRecord | None:
        """Take one job; it is yours until you `ack` or `fail` it or its lease ends.

        Args:
            queue: from where.
            timeout: ms to wait for one; None: as long as it takes; 0: not at all.

        Returns:
            The job; None if there was none in time.
        """
        return await self._wait(lambda left: calls.pull(queue, left), timeout)

    async def pull_batch(self, queue: str, count: int, timeout: int | None = None) -> list[JobRecord]:
        """Take up to ``count`` jobs: waits for the first, then takes what is there.

        Args:
            queue: from where.
            count: at most so many.
            timeout: ms to wait for the first; None: as long as it takes; 0: not at all.

        Returns:
            The jobs; empty if there was none in time.
        """
        return await self._wait(lambda left: calls.pull_batch(queue, count, left), timeout)

    async def pull_any(self, queues: Sequence[str], count: int = 1, timeout: int | None = None) -> list[JobRecord]:
        """Take up to ``count`` jobs from several queues: from the first as many as it has, then from the next.

        Args:
            queues: from where, up to 100; their order is their priority.
            count: at most so many.
            timeout: ms to wait until one of them has a job; None: as long as it takes; 0: not at all.

        Returns:
            The jobs; empty if there was none in time.
        """
        return await self._wait(lambda left: calls.pull_any(queues, count, left), timeout)

    async def ack(self, job: JobRecord | int, result: object = None, *, token: str | None = None) -> None:
        """The attempt succeeded.

        Args:
            job: the pulled job; with a bare id and no token, whatever attempt is live is meant.
            result: kept for `result`, if not None; JSON as a payload is.
            token: of the attempt, if ``job`` is an id.

        Raises:
            StaleAttempt: the attempt had ended (its lease was over); somebody else has the job.
            NotActive: nobody holds the job.
            NotFound: no such job.
        """
        await self._do(calls.ack(job, result, token=token))

    async def ack_batch(
        self,
        jobs: Iterable[JobRecord | int],
        results: Sequence[object] | None = None,
        *,
        tokens: Sequence[str] | None = None,
    ) -> AckedBatch:
        """Many attempts succeeded; jobs that are not there any more are skipped.

        Args:
            jobs: the pulled jobs, or ids.
            results: one for each job.
            tokens: one for each job, if they are ids.

        Returns:
            How many were acknowledged, and which were refused because their attempt had ended.

        Raises:
            BadRequest: lengths differ, or pulled jobs and bare ids are mixed.
        """
        return await self._do(calls.ack_batch(jobs, results, tokens=tokens))

    async def fail(
        self,
        job: JobRecord | int,
        error: str | None = None,
        *,
        delay: int | None = None,
        dead: bool = False,
        token: str | None = None,
    ) -> None:
        """The attempt failed: the job is tried again after its backoff, or goes to the dead letters.

        Args:
            job: the pulled job, or an id.
            error: why; kept with the job.
            delay: ms until the retry, instead of the backoff; 0: at once.
            dead: straight to the dead letters, however many attempts are left.
            token: of the attempt, if ``job`` is an id.

        Raises:
            StaleAttempt, NotActive, NotFound: as for `ack`.
        """
        await self._do(calls.fail(job, error, delay=delay, dead=dead, token=token))

    async def release(self, job: JobRecord | int, *, delay: int | None = None, token: str | None = None) -> None:
        """Give up the attempt in good order: the job goes back, and the attempt is not counted.

        Args:
            job: the pulled job, or an id.
            delay: ms until it may run again; None or 0: at once, from the head of its line. A job that goes back at
                once too often counts as failed; one that is put off does not.
            token: of the attempt, if ``job`` is an id.

        Raises:
            StaleAttempt, NotActive, NotFound: as for `ack`.
        """
        await self._do(calls.release(job, delay=delay, token=token))

    async def progress(
        self, job: JobRecord | int, percent: int, message: str | None = None, *, token: str | None = None
    ) -> None:
        """Say how far the attempt is; this also renews its lease.

        Args:
            job: the pulled job, or an id.
            percent: 0 to 100.
            message: a few words.
            token: of the attempt, if ``job`` is an id.
        """
        await self._do(calls.progress(job, percent, message, token=token))

    async def heartbeat(self, job: JobRecord | int, *, token: str | None = None) -> None:
        """Say that the attempt still runs: renews its lease.

        Args:
            job: the pulled job, or an id.
            token: of the attempt, if ``job`` is an id.
        """
        await self._do(calls.heartbeat(job, token=token))

    async def cancel(self, job: JobRecord | int) -> None:
        """Take back a job that has not finished.

        Raises:
            NotActive: it has completed or failed.
            NotFound: no such job.
        """
        await self._do(calls.cancel(job))

    async def wait_job(self, job: JobRecord | int, timeout: int | None = None) -> Ending:
        """How the job ended, as soon as it has.

        The server is asked again each minute, so that a wait whose caller has gone does not stay there for ever.

        Args:
            job: the job, or its id.
            timeout: ms to wait for its end; None: as long as it takes; 0: not at all.

        Returns:
            Its ending; with the state it is in if it has not ended in time.
        """
        asked_at = self._connection.now_ms()
        while True:
            left = self._left_ms(asked_at, timeout)
            part = WAIT_PART_MS if left is None else min(left, WAIT_PART_MS)
            ending = await self._wait(lambda ms: calls.wait_job(job, ms), part)
            if ending.ended or part == left:
                return ending

    async def result(self, job: JobRecord | int) -> Any:  # noqa: ANN401 - a result is whatever was given to `ack`
        """What the job returned; None also if it is not known (any more)."""
        return await self._do(calls.result(job))

    async def job(self, id: int) -> JobRecord | None:
        """The job, with its ``state``; None if it is not known (any more)."""
        return await self._do(calls.job(id))

    async def job_by_custom_id(self, job_id: str) -> JobRecord | None:
        """The job that was pushed with this ``job_id``; None if it is not known (any more)."""
        return await self._do(calls.job_by_custom_id(job_id))

    async def state(self, job: JobRecord | int) -> str:
        """One of waiting, delayed, active, completed, failed, waiting-children, unknown."""
        return await self._do(calls.state(job))

    async def jobs(
        self, queue: str | None = None, state: ListedState | None = None, limit: int = 100, cursor: str | None = None
    ) -> JobPage:
        """Some of the jobs that live or are remembered, newest first, each with its ``state``.

        Args:
            queue: of this queue only; None: of all.
            state: waiting, delayed, active, completed, failed or waiting-children; None: whichever.
            limit: at most so many; more than 1,000 is taken as that.
            cursor: the ``next`` of the page before; None: from the newest.

        Returns:
            The page. It may hold fewer jobs than asked for although there are more: ``next`` says whether there are.

        Raises:
            BadRequest: there is no such state or cursor.
        """
        return await self._do(calls.jobs(queue, state, limit, cursor))

    async def all_jobs(
        self, queue: str | None = None, state: ListedState | None = None, limit: int | None = None
    ) -> AsyncIterator[JobRecord]:
        """Every job that `jobs` would list, or the newest ``limit`` of them, fetched by pages.

        ::

            async for job in q.all_jobs("emails", "failed"):
                print(job.id, job.progress_msg)

        What comes, goes or changes its state meanwhile may be listed or not; everything else is listed exactly once.
        """
        cursor: str | None = None
        left = MAX_ID if limit is None else limit
        while True:
            page = await self.jobs(queue, state, min(left, MAX_LISTED), cursor)
            for job in page.jobs:
                left -= 1
                yield job
            if not left or page.next is None:
                return
            cursor = page.next

    async def explain(self, job: JobRecord | int) -> Explanation:
        """Why the job is where it is: everything that keeps it from running, and when it may start.

        ::

            why = await q.explain(id)
            if any(isinstance(reason, reasons.Paused) for reason in why.reasons):
                await q.resume("emails")

        Returns:
            The state and the reasons, each of a type of its own in `flashq.reasons`.

        Raises:
            NotFound: there never was such a job.
        """
        return await self._do(calls.explain(job))

    async def get_progress(self, job: JobRecord | int) -> JobProgress:
        """How far the job is.

        Raises:
            NotFound: no such job.
        """
        return await self._do(calls.get_progress(job))

    async def history(self, job: JobRecord | int) -> list[HistoryEntry]:
        """What happened to the job, oldest first, the newest 1,000 entries; the server must run with ``AUDIT=1``.

        Empty for a job that is not known, or whose history is no longer kept.

        Raises:
            BadRequest: the server keeps no history.
        """
        return await self._do(calls.history(job))

    # --- dead letters ---

    async def dead_letters(self, queue: str, count: int = 100) -> list[JobRecord]:
        """Jobs that are out of attempts, oldest first; ``progress_msg`` holds the last error."""
        return await self._do(calls.dead_letters(queue, count))

    async def retry_dead_letters(self, queue: str, id: int | None = None) -> int:
        """Run one dead letter again, or all of them, with their attempts back to 0; gives how many."""
        return await self._do(calls.retry_dead_letters(queue, id))

    async def purge_dead_letters(self, queue: str) -> int:
        """Remove the queue's dead letters; gives how many."""
        return await self._do(calls.purge_dead_letters(queue))

    # --- queues ---

    async def queues(self) -> list[QueueView]:
        """All queues that hold a job or a setting."""
        return await self._do(calls.queues())

    async def pause(self, queue: str) -> None:
        """Stop deliveries of the queue; pushes and acks go on."""
        await self._do(calls.pause(queue))

    async def resume(self, queue: str) -> None:
        """Deliver again."""
        await self._do(calls.resume(queue))

    async def set_rate_limit(self, queue: str, limit: int) -> None:
        """Deliver at most ``limit`` jobs a second."""
        await self._do(calls.set_rate_limit(queue, limit))

    async def clear_rate_limit(self, queue: str) -> None:
        """Remove the rate limit."""
        await self._do(calls.clear_rate_limit(queue))

    async def set_concurrency(self, queue: str, limit: int) -> None:
        """At most ``limit`` jobs of the queue in workers' hands at once."""
        await self._do(calls.set_concurrency(queue, limit))

    async def clear_concurrency(self, queue: str) -> None:
        """Remove the concurrency limit."""
        await self._do(calls.clear_concurrency(queue))

    # --- schedules ---

    async def set_cron(
        self,
        name: str,
        queue: str,
        schedule: str,
        data: object = None,
        *,
        priority: int = 0,
        timezone: str | None = None,
        timeout: int | None = None,
        ttl: int | None = None,
        backoff: int | None = None,
        max_attempts: int | None = None,
        unique_key: str | None = None,
        tags: Sequence[str] | None = None,
    ) -> None:
        """Push a job whenever a schedule says so; the same name replaces.

        Args:
            name: of the schedule.
            queue: where its jobs go.
            schedule: ``*/30`` (every 30 seconds), or five fields, or six with seconds first.
            data: the payload of its jobs.
            priority: of its jobs.
            timezone: in which the schedule is read, as ``Europe/Rome``; None: UTC.
            timeout: of its jobs, as all that follows: ms that one attempt may run.
            ttl: ms after which a job disappears where it waits; if it runs it may finish.
            backoff: ms before the first retry, doubled each time; None = the server's default.
            max_attempts: failed attempts until the dead letters; 0 = no bound, None = the server's default.
            unique_key: nothing is pushed as long as the job of a former firing lives.
            tags: words for people.

        Raises:
            BadRequest: the schedule or the time zone cannot be read.
        """
        call = calls.set_cron(
            name,
            queue,
            schedule,
            data,
            priority=priority,
            timezone=timezone,
            timeout=timeout,
            ttl=ttl,
            backoff=backoff,
            max_attempts=max_attempts,
            unique_key=unique_key,
            tags=tags,
        )
        await self._do(call)

    async def delete_cron(self, name: str) -> None:
        """Remove a schedule.

        Raises:
            NotFound: there is none of this name.
        """
        await self._do(calls.delete_cron(name))

    async def crons(self) -> list[Cron]:
        """All schedules."""
        return await self._do(calls.crons())

    # --- webhooks ---

    async def add_webhook(
        self, url: str, events: Sequence[str] = ("*",), *, queue: str | None = None, secret: str | None = None
    ) -> str:
        """Have the server call a URL at each event, also when nobody listens and after a restart.

        Args:
            url: where; its host must be out on the internet unless the server allows others.
            events: types of events, as in `subscribe`; ``*`` = all.
            queue: only of this one; None = of all.
            secret: signs each call, so that the receiver knows who it is from.

        Returns:
            The webhook's id.

        Raises:
            BadRequest: the URL may not be called, or an event or queue cannot be.
            LimitReached: there are as many webhooks as there may be.
        """
        return await self._do(calls.add_webhook(url, events, queue=queue, secret=secret))

    async def delete_webhook(self, id: str) -> None:
        """Remove a webhook, and what is still to be delivered to it.

        Raises:
            NotFound: there is none of this id.
        """
        await self._do(calls.delete_webhook(id))

    async def webhooks(self) -> list[WebhookView]:
        """All webhooks, and how their deliveries go; without their secrets."""
        return await self._do(calls.webhooks())

    # --- server ---

    async def stats(self) -> Stats:
        """How many jobs are in which state, over all queues."""
        return await self._do(calls.stats())

    async def metrics(self) -> Metrics:
        """Totals, rates and latencies."""
        return await self._do(calls.metrics())

    async def audit_log(self, *, since: int | None = None, limit: int = 100, cursor: int | None = None) -> AuditPage:
        """What operators did, newest first; the server must run with ``AUDIT=1``.

        Args:
            since: no older actions (ms since the Unix epoch).
            limit: at most so many, up to 1,000.
            cursor: of the page before, to go on behind it.

        Raises:
            BadRequest: the server keeps no history.
        """
        return await self._do(calls.audit_log(since, limit, cursor))

    async def ping(self) -> None:
        """Ask for a sign of life."""
        await self._do(calls.ping())

    async def auth(self, token: str) -> None:
        """Present another token, now and whenever the client connects again.

        With a token in the URL or the arguments this happens by itself.

        Raises:
            Unauthorized: the server does not know it; the token used before stays.
        """
        await self._connection.authenticate(token, self._call_timeout_ms)

    # --- workers ---

    async def hello(
        self,
        worker: str,
        queues: Sequence[str] = (),
        concurrency: int = 1,
        *,
        host: str | None = None,
        pid: int | None = None,
        holds: Iterable[JobRecord] | None = None,
    ) -> None:
        """Say that this client is a worker: what it pulls is leased to the worker as long as it sends `beat`.

        Said again by itself, without ``holds``, whenever the client connects again.

        Args:
            worker: its name, unlike any other's.
            queues: from where it pulls.
            concurrency: how many jobs it runs at once.
            host: where it runs.
            pid: its process.
            holds: every job of the worker that is not settled yet; None: nothing is said of it. Jobs that the server
                leased to the worker and that are not among these were lost with a connection on their way: they go
                back uncounted. Only for a worker that pulls over one connection, one pull at a time.
        """
        greeting = calls.hello(worker, queues, concurrency, host, pid)
        await self._connection.greet(greeting.request, self._call_timeout_ms)
        if holds is not None:
            await self._do(calls.hello(worker, queues, concurrency, host, pid, holds))

    async def beat(self, worker: str, *, wait: int | None = None) -> list[EndedAttempt]:
        """Say that the worker lives: renews the leases of all its jobs. Due every five seconds.

        Args:
            worker: its name.
            wait: ms, up to 10,000: wait so long until the server has ended an attempt of this worker.

        Returns:
            Attempts that were ended by a cancel or by their job's timeout since the last such call: to go on with them
            is of no use. Always empty without ``wait``.

        Raises:
            NotFound: the worker is not known; it was silent for too long, or said `bye`.
        """
        if wait is None:
            return await self._do(calls.beat(worker))
        return await self._wait(lambda left: calls.beat(worker, wait=left), wait)

    async def bye(self, worker: str, *, error: str | None = None) -> None:
        """Say that the worker leaves: jobs it still holds go back, their attempt not counted.

        Args:
            worker: its name.
            error: what ended it, said by whoever looked after it: the jobs it holds end as failed with this text.
        """
        self._connection.forget_greeting()
        await self._do(calls.bye(worker, error))

    async def workers(self) -> list[WorkerView]:
        """All workers that have said hello and are alive."""
        return await self._do(calls.workers())

    # --- the server ---

    async def settings(self) -> SettingsView:
        """How the server was set up: version, doors, storage, durability; no secrets."""
        return await self._do(calls.settings())

    async def nodes(self) -> list[NodeView]:
        """The servers that work together; one, without clustering."""
        return await self._do(calls.nodes())

    async def shutdown(self) -> None:
        """Have the server stop in good order: what waits is answered, what happened is committed.

        Raises:
            ConnectionLost: the answer did not come; the server may be stopping all the same.
        """
        await self._do(calls.shutdown())

    async def restart(self) -> None:
        """As `shutdown`, but with the exit code that asks whoever watches over the server to start it again."""
        await self._do(calls.restart())

    async def backup(self) -> BackupView:
        """Have the server copy its database into a file that another one can start on; it goes on serving meanwhile.

        Waits until the backup is on the server's disk, as long as that takes.

        Raises:
            BadRequest: the server keeps its jobs in memory or in PostgreSQL.
            LimitReached: a backup is being made already.
            StorageFull: there is no room for it.
            StorageError: it cannot be written.
            ConnectionLost: the answer did not come; the backup may be made all the same.
        """
        call = calls.backup()
        self._budget.calls += 1
        assert isinstance(call.request, Request)
        return call.read(await self._connection.wait(call.request, None, self._call_timeout_ms))

    # --- how a call is made ---

    async def _do(self, call: Call[T]) -> T:
        """Send one call, again if it may be and the connection is lost or the server cannot save; give its result."""
        line = encode(call.request)
        self._budget.calls += 1
        asked_at = self._connection.now_ms()
        try:
            answer = await self._connection.ask(line, self._call_timeout_ms)
        except Unreachable:
            raise
        except ConnectionLost as lost:
            if not call.repeatable:
                raise
            answer = await self._ask_again(line, asked_at, lost)
        while True:
            try:
                return call.read(answer)
            except StorageFull:
                raise
            except StorageError as away:
                if not call.repeatable:
                    raise
                answer = await self._ask_later(line, asked_at, away)

    async def _ask_later(self, line: bytes, asked_at: float, away: StorageError) -> bytes:
        """Send a line again whose outcome the server could not save, or raise that if there is no time left for it."""
        left = self._left_ms(asked_at, self._call_timeout_ms)
        pause = max(STORAGE_PAUSE_MS, away.retry_after_ms)
        if (left is not None and left <= pause) or not self._budget.take():
            raise away
        await self._connection.pause(pause)
        try:
            return await self._connection.ask(line, None if left is None else left - pause)
        except ConnectionLost:  # the server has left: what it last said is all that is known
            raise away from None

    async def _ask_again(self, line: bytes, asked_at: float, lost: ConnectionLost) -> bytes:
        """Send a line on a new connection after ``lost``, as often and as long as that makes sense."""
        for _ in range(MAX_REPEATS):
            left = self._left_ms(asked_at, self._call_timeout_ms)
            if (left is not None and left <= lost.retry_after_ms) or not self._budget.take():
                break
            if lost.retry_after_ms:
                await self._connection.pause(lost.retry_after_ms)
                left = self._left_ms(asked_at, self._call_timeout_ms)
            try:
                return await self._connection.ask(line, left)
            except Unreachable:
                raise
            except ConnectionLost as again:
                lost = again
        raise lost

    async def _wait(self, ask: Callable[[int | None], Call[T]], wait_ms: int | None) -> T:
        """Send a call that waits; if the server ends that early, ask again for what is left of its waiting time.

        Args:
            ask: makes the call for so many ms.
            wait_ms: how long the server may hold the answer back; None: for ever.
        """
        self._budget.calls += 1
        asked_at = self._connection.now_ms()
        left = wait_ms
        repeats = 0
        while True:
            call = ask(left)
            assert isinstance(call.request, Request)
            try:
                return call.read(await self._connection.wait(call.request, left, self._call_timeout_ms))
            except Unreachable:
                raise
            except ConnectionLost as lost:
                left = self._left_ms(asked_at, wait_ms)
                if repeats == MAX_REPEATS or not self._budget.take():
                    raise
                repeats += 1
                if lost.retry_after_ms:
                    await self._connection.pause(_at_most(lost.retry_after_ms, left))
                    left = self._left_ms(asked_at, wait_ms)
            except StorageFull:
                raise
            except StorageError as away:
                left = self._left_ms(asked_at, wait_ms)
                if left == 0 or not self._budget.take():
                    raise
                await self._connection.pause(_at_most(max(STORAGE_PAUSE_MS, away.retry_after_ms), left))
                left = self._left_ms(asked_at, wait_ms)

    def _left_ms(self, asked_at: float, timeout_ms: int | None) -> int | None:
        """What is left of a time that began at ``asked_at``."""
        if timeout_ms is None:
            return None
        return max(0, int(asked_at + timeout_ms - self._connection.now_ms()))

    async def _send(self, batch: "AsyncBatch") -> None:
        """Send what a pipeline has collected; its pending results are settled afterwards."""
        self._budget.calls += len(batch)
        while batch.lines():
            try:
                outcomes = await self._connection.ask_all(batch.lines(), self._call_timeout_ms)
            except FlashQError as error:
                batch.abandon(error)
                return
            if not batch.settle(outcomes, self._budget):
                return
            if batch.pause_ms:
                await self._connection.pause(batch.pause_ms)


class AsyncBatch(Collected):
    """The calls of one ``async with client.pipeline()`` block; the methods are those of the client."""

    def __init__(self, client: AsyncFlashQ, job_ids: Iterator[str] | None, *, keep_errors: bool) -> None:
        super().__init__(job_ids)
        self._client = client
        self._keep_errors = keep_errors

    async def __aenter__(self) -> "AsyncBatch":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            return
        await self._client._send(self)  # noqa: SLF001 - the client's own other half
        first = self.first_error()
        if first is not None and not self._keep_errors:
            raise first


class AsyncSubscription:
    """The events of one or more queues; iterate over it, or ask for the `next`.

    Events are not kept for those who are not listening: when the connection is lost, what happened until the next
    subscription is missed. So iteration raises `ConnectionLost` then, rather than to go on with a silent gap.
    """

    def __init__(
        self, connection: AsyncConnection, queue: str, events: Sequence[str], call_timeout_ms: int | None
    ) -> None:
        self._connection = connection
        self._queue = queue
        self._events = events
        self._call_timeout_ms = call_timeout_ms
        self._wire: Wire | None = None
        self._closed = False

    async def __aenter__(self) -> "AsyncSubscription":
        self._wire = await self._connection.open_wire(self._call_timeout_ms)
        try:
            await self.add(self._queue, self._events)
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __aiter__(self) -> "AsyncSubscription":
        return self

    async def __anext__(self) -> Event:
        if self._closed:
            raise StopAsyncIteration
        try:
            return await self.next()
        except ConnectionLost:
            if self._closed:
                raise StopAsyncIteration from None
            raise

    async def next(self, timeout_ms: int | None = None) -> Event:
        """The next event.

        Args:
            timeout_ms: how long to wait for one; None: as long as it takes.

        Raises:
            CallTimeout: none came in time.
            ConnectionLost: the connection ended.
        """
        return read_event(await self._opened().next_event(timeout_ms))

    async def add(self, queue: str, events: Sequence[str] = ()) -> None:
        """Watch another queue too; the same queue again replaces what was asked for before."""
        await self._ask(calls.subscribe(queue, events))

    async def drop(self, queue: str) -> None:
        """Watch a queue no more."""
        await self._ask(calls.unsubscribe(queue))

    async def close(self) -> None:
        """End it; whoever iterates comes to the end."""
        self._closed = True
        if self._wire is not None:
            await self._wire.close()

    async def _ask(self, call: Call[None]) -> None:
        call.read(await self._opened().ask_beside_events(encode(call.request), self._call_timeout_ms))

    def _opened(self) -> Wire:
        if self._wire is None:
            raise FlashQError("the subscription has not been opened: use it in a `with` block")
        return self._wire


def _at_most(ms: int, left_ms: int | None) -> int:
    return ms if left_ms is None else min(ms, left_ms)


def _positive(name: str, ms: int | None) -> int | None:
    if ms is not None and ms <= 0:
        raise BadRequest(f"Invalid: {name} must be more than 0 ms; None waits without a limit")
    return ms


def _fresh_job_ids() -> Iterator[str]:
    """Ids that no other client makes: 96 random bits for this one, then a number."""
    mine = secrets.token_urlsafe(12)
    return (f"{mine}.{number}" for number in counting(1))
