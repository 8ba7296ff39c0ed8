"""Every command as a value: what to send, how to read the answer, and whether it may be sent twice.

The async client, the sync client and their pipelines all send these, so that what a command means on the wire is
written down once. Pure: nothing here knows a connection.

A call is *repeatable* when sending it again after a lost answer changes nothing more than sending it once: reads,
settings, a push with a ``job_id``, an ack with its attempt's token. A pull is repeatable too: a job that was lost
with the connection returns when its lease ends, whether or not the pull is asked again. The counts of dead-letter
commands and of batch acks, and the errors of a second CANCEL, FAIL, RELEASE or CRONDELETE, would mislead: those are
not.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, Generic, TypeVar

from msgspec import DecodeError, Raw, Struct, json, structs

from flashq import model
from flashq.client import encoding
from flashq.client.encoding import JobSpec
from flashq.client.results import AckedBatch, AuditPage, Cron, Ending, JobPage, JobProgress, JobRecord, PushedIds
from flashq.errors import BY_CODE, BadRequest, Duplicate, FlashQError
from flashq.model import EndedAttempt, HistoryEntry, Metrics, QueueView, Stats, WebhookView, WorkerView
from flashq.protocol import replies, requests
from flashq.protocol.replies import BackupView, NodeView, SettingsView
from flashq.reasons import Explanation

T = TypeVar("T")
R = TypeVar("R", bound=Struct)


class Call(Struct, Generic[T], frozen=True, gc=False):
    """One command, ready to be sent.

    Attributes:
        request: what goes out.
        read: the answer's line -> what the method returns; raises what the server refused.
        repeatable: whether it may be sent again when the answer was lost.
    """

    request: Struct
    read: Callable[[bytes], T]
    repeatable: bool = False


# --- answers ---------------------------------------------------------------------------------------------------


class _Refusal(Struct):
    ok: bool
    error: str = ""
    code: str = ""
    id: int = 0
    retry_after_ms: int = 0  # of an answer over HTTP: see client/http.py


_read_refusal = json.Decoder(_Refusal).decode

_OK: Final = b'{"ok":true'
"""How every good answer begins. One that begins otherwise is looked at more closely, so nothing rests on it."""


def raise_refusal(line: bytes) -> None:
    """Raise what the server refused; return if the line is a good answer after all.

    Raises:
        FlashQError: the error of `flashq.errors` that the answer's code names.
    """
    try:
        refusal = _read_refusal(line)
    except DecodeError as error:
        raise _unreadable(line, error) from error
    if not refusal.ok:
        raise _refused(refusal)


def _refused(refusal: _Refusal) -> FlashQError:
    """The error for a refusal.

    Made here rather than where it is raised: a frame that holds the error which it raises is held by that in turn, and
    so are all frames above it, with whatever the caller has in hand.
    """
    kind = BY_CODE.get(refusal.code, FlashQError)
    if kind is Duplicate:
        return Duplicate(refusal.error, refusal.id)
    refused = kind(refusal.error or "the server refused without saying why")
    refused.retry_after_ms = refusal.retry_after_ms
    return refused


def read_ok(line: bytes) -> None:
    """Read an answer that holds nothing but ``ok``.

    Raises:
        FlashQError: what the server refused.
    """
    if not line.startswith(_OK):
        raise_refusal(line)


def _unreadable(line: bytes, error: Exception) -> FlashQError:
    return FlashQError(f"the server sent an unreadable answer: {error}: {line[:200].decode(errors='replace')!a}")


def _reader(reply: type[R], pick: Callable[[R], T]) -> Callable[[bytes], T]:
    """A function that reads answers of one shape and takes out what the caller wants."""
    decode = json.Decoder(reply).decode

    def read(line: bytes) -> T:
        if not line.startswith(_OK):
            raise_refusal(line)
        try:
            return pick(decode(line))
        except DecodeError as error:
            raise _unreadable(line, error) from error

    return read


class _Pulled(Struct, gc=False):
    job: JobRecord | None


class _PulledBatch(Struct, gc=False):
    jobs: list[JobRecord]


class _Found(Struct, gc=False):
    job: JobRecord | None
    state: str


class _ProgressOf(Struct, gc=False):
    progress: JobProgress


class _Result(Struct, gc=False):
    result: Any


class _Crons(Struct, gc=False):
    crons: list[Cron]


class _Webhooks(Struct, gc=False):
    webhooks: list[WebhookView]


class _Ended(Struct, gc=False):
    ended: list[EndedAttempt] = []


def _found(reply: _Found) -> JobRecord | None:
    if reply.job is not None:
        reply.job.state = reply.state
    return reply.job


def _dead(reply: _PulledBatch) -> list[JobRecord]:
    for job in reply.jobs:
        job.state = "failed"
    return reply.jobs


def _ids(reply: replies.PushedBatch) -> PushedIds:
    return PushedIds(reply.ids, reply.duplicates or [], reply.replayed or [])


def _count(reply: replies.Counted) -> int:
    return reply.ids[0] if reply.ids else 0


read_pushed = _reader(replies.Pushed, lambda reply: reply.id)
read_pushed_batch = _reader(replies.PushedBatch, _ids)
read_pulled = _reader(_Pulled, lambda reply: reply.job)
read_pulled_batch = _reader(_PulledBatch, lambda reply: reply.jobs)
_read_acked_batch = _reader(replies.Counted, lambda reply: AckedBatch(_count(reply), reply.stale or []))
_read_count = _reader(replies.Counted, _count)
_read_result = _reader(_Result, lambda reply: reply.result)
_read_found = _reader(_Found, _found)
_read_ended = _reader(_Ended, lambda reply: reply.ended)
_read_ending = _reader(Ending, lambda ending: ending)
_read_state = _reader(replies.StateOf, lambda reply: reply.state)
_read_progress = _reader(_ProgressOf, lambda reply: reply.progress)
_read_page = _reader(JobPage, lambda page: page)
_read_explained = _reader(replies.Explained, lambda reply: reply.explain)
_read_dead = _reader(_PulledBatch, _dead)
_read_purged = _reader(replies.Purged, lambda reply: reply.count)
_read_stats = _reader(Stats, lambda stats: stats)
_read_metrics = _reader(replies.MetricsReply, lambda reply: reply.metrics)
_read_crons = _reader(_Crons, lambda reply: reply.crons)
_read_webhook = _reader(replies.WebhookAdded, lambda reply: reply.id)
_read_webhooks = _reader(_Webhooks, lambda reply: reply.webhooks)
_read_queues = _reader(replies.Queues, lambda reply: reply.queues)
_read_workers = _reader(replies.WorkersReply, lambda reply: reply.workers)
_read_settings = _reader(replies.SettingsReply, lambda reply: reply.settings)
_read_nodes = _reader(replies.NodesReply, lambda reply: reply.nodes)
_read_history = _reader(replies.History, lambda reply: reply.history)
_read_backup = _reader(replies.BackupReply, lambda reply: reply.backup)
_read_audit_log = _reader(replies.AuditLog, lambda reply: AuditPage(reply.audit, reply.cursor))


# --- jobs ------------------------------------------------------------------------------------------------------


def _id_and_token(job: JobRecord | int, token: str | None) -> tuple[int, str | None]:
    """A pulled job brings the token of its attempt along; a bare id has only the one that was given."""
    if isinstance(job, JobRecord):
        return job.id, job.token if token is None else token
    return job, token


def push(
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
) -> Call[int]:
    """PUSH: add one job; gives its id. For the members see `JobSpec`."""
    request = encoding.Push(
        queue=queue,
        data=data,
        priority=priority,
        delay=delay,
        ttl=ttl,
        timeout=timeout,
        max_attempts=max_attempts,
        backoff=backoff,
        unique_key=unique_key,
        depends_on=None if depends_on is None else list(depends_on),
        tags=None if tags is None else list(tags),
        job_id=job_id,
        collect=collect,
    )
    return Call(request, read_pushed, job_id is not None)


def push_batch(queue: str, jobs: Iterable[object]) -> Call[PushedIds]:
    """PUSHB: add many jobs, all or none; gives their ids in order.

    Args:
        queue: where they go.
        jobs: a `JobSpec` each, or just the payload where nothing else is to be said.
    """
    specs = [job if isinstance(job, model.JobSpec) else JobSpec(data=job) for job in jobs]
    return Call(
        encoding.PushBatch(queue=queue, jobs=specs),
        read_pushed_batch,
        all(spec.job_id is not None for spec in specs),
    )


def push_flow(jobs: Iterable[model.FlowJob]) -> Call[PushedIds]:
    """PUSHFLOW: add jobs of any queues that may wait for each other, all or none; gives their ids in order."""
    specs = list(jobs)
    return Call(
        encoding.PushFlow(jobs=specs),
        read_pushed_batch,
        all(spec.job_id is not None for spec in specs),
    )


def signed(call: Call[T], job_ids: Iterator[str]) -> Call[T]:
    """The same push, made safe to repeat: every job without a ``job_id`` gets one. Other calls stay as they are.

    Args:
        call: any call.
        job_ids: where new ids come from; no two clients may have one in common.
    """
    request = call.request
    if isinstance(request, encoding.Push):
        if request.job_id is None:
            request.job_id = next(job_ids)
    elif isinstance(request, encoding.PushBatch | encoding.PushFlow):
        request.jobs = [
            structs.replace(spec, job_id=next(job_ids)) if spec.job_id is None else spec for spec in request.jobs
        ]
    else:
        return call
    return Call(request, call.read, True)


def pull(queue: str, timeout: int | None) -> Call[JobRecord | None]:
    """PULL: take one job; waits ``timeout`` ms for one (None: for ever), then gives None."""
    return Call(encoding.Pull(queue=queue, timeout=timeout), read_pulled, True)


def pull_batch(queue: str, count: int, timeout: int | None) -> Call[list[JobRecord]]:
    """PULLB: take up to ``count`` jobs; waits ``timeout`` ms for the first (None: for ever)."""
    return Call(encoding.PullBatch(queue=queue, count=count, timeout=timeout), read_pulled_batch, True)


def pull_any(queues: Sequence[str], count: int, timeout: int | None) -> Call[list[JobRecord]]:
    """PULLANY: take up to ``count`` jobs, from the first of the queues that has some on; waits as `pull_batch` does."""
    request = encoding.PullAny(queues=list(queues), count=count, timeout=timeout)
    return Call(request, read_pulled_batch, True)


def ack(job: JobRecord | int, result: object = None, *, token: str | None = None) -> Call[None]:
    """ACK: the attempt succeeded, with what result."""
    id, token = _id_and_token(job, token)
    return Call(encoding.Ack(id=id, result=result, token=token), read_ok, token is not None)


def ack_batch(
    jobs: Iterable[JobRecord | int], results: Sequence[object] | None = None, *, tokens: Sequence[str] | None = None
) -> Call[AckedBatch]:
    """ACKB: many attempts succeeded; ``results`` and ``tokens`` are aligned with ``jobs``.

    Raises:
        BadRequest: some of the jobs have a token and some have not, or the lengths differ.
    """
    listed = list(jobs)
    ids = [job.id if isinstance(job, JobRecord) else job for job in listed]
    if tokens is None:
        tokens = _tokens_of(listed)
    for name, aligned in (("results", results), ("tokens", tokens)):
        if aligned is not None and len(aligned) != len(ids):
            raise BadRequest(f"Invalid: {len(aligned)} {name} for {len(ids)} jobs")
    request = encoding.AckBatch(
        ids=ids,
        tokens=None if tokens is None else list(tokens),
        results=None if results is None else list(results),
    )
    return Call(request, _read_acked_batch)


def _tokens_of(jobs: list[JobRecord | int]) -> list[str] | None:
    """The tokens of all jobs, None if none has one. A mixture has no form on the wire and is likely a slip."""
    tokens = [job.token for job in jobs if isinstance(job, JobRecord) and job.token is not None]
    if not tokens:
        return None
    if len(tokens) != len(jobs):
        raise BadRequest("Invalid: give either pulled jobs or bare ids in one batch, not both")
    return tokens


def fail(
    job: JobRecord | int,
    error: str | None = None,
    *,
    delay: int | None = None,
    dead: bool = False,
    token: str | None = None,
) -> Call[None]:
    """FAIL: the attempt failed, why; tried again after ``delay`` ms, or never again if ``dead``."""
    id, token = _id_and_token(job, token)
    return Call(encoding.Fail(id=id, error=error, token=token, delay=delay, dead=dead), read_ok)


def release(job: JobRecord | int, *, delay: int | None = None, token: str | None = None) -> Call[None]:
    """RELEASE: the attempt is given up, uncounted; the job runs again at once, or after ``delay`` ms."""
    id, token = _id_and_token(job, token)
    return Call(encoding.Release(id=id, token=token, delay=delay), read_ok)


def progress(job: JobRecord | int, percent: int, message: str | None = None, *, token: str | None = None) -> Call[None]:
    """PROGRESS: how far the attempt is; renews its lease."""
    id, token = _id_and_token(job, token)
    request = encoding.Progress(id=id, progress=percent, message=message, token=token)
    return Call(request, read_ok, token is not None)


def heartbeat(job: JobRecord | int, *, token: str | None = None) -> Call[None]:
    """HEARTBEAT: the attempt still runs; renews its lease."""
    id, token = _id_and_token(job, token)
    return Call(requests.Heartbeat(id=id, token=token), read_ok, token is not None)


def cancel(job: JobRecord | int) -> Call[None]:
    """CANCEL: take back a job that has not finished."""
    return Call(requests.Cancel(id=_id_of(job)), read_ok)


def _id_of(job: JobRecord | int) -> int:
    return job.id if isinstance(job, JobRecord) else job


def wait_job(job: JobRecord | int, timeout: int | None) -> Call[Ending]:
    """WAITJOB: how the job ended; waits ``timeout`` ms for its end (None: for ever)."""
    return Call(encoding.WaitJob(id=_id_of(job), timeout=timeout), _read_ending, True)


def result(job: JobRecord | int) -> Call[Any]:
    """GETRESULT: what the job returned; None also when it is not known (any more)."""
    return Call(requests.GetResult(id=_id_of(job)), _read_result, True)


def job(id: int) -> Call[JobRecord | None]:
    """GETJOB: the job with its state; None if it is not known (any more)."""
    return Call(requests.GetJob(id=id), _read_found, True)


def job_by_custom_id(job_id: str) -> Call[JobRecord | None]:
    """GETJOBBYCUSTOMID: the job that was pushed with this ``job_id``."""
    return Call(requests.GetJobByCustomId(job_id=job_id), _read_found, True)


def state(job: JobRecord | int) -> Call[str]:
    """GETSTATE: waiting, delayed, active, completed, failed, waiting-children or unknown."""
    return Call(requests.GetState(id=_id_of(job)), _read_state, True)


def jobs(
    queue: str | None = None, state: requests.ListedState | None = None, limit: int = 100, cursor: str | None = None
) -> Call[JobPage]:
    """LISTJOBS: a page of jobs, newest first."""
    return Call(encoding.ListJobs(queue=queue, state=state, limit=limit, cursor=cursor), _read_page, True)


def explain(job: JobRecord | int) -> Call[Explanation]:
    """EXPLAIN: why the job is where it is."""
    return Call(requests.Explain(id=_id_of(job)), _read_explained, True)


def get_progress(job: JobRecord | int) -> Call[JobProgress]:
    """GETPROGRESS: how far the job is."""
    return Call(requests.GetProgress(id=_id_of(job)), _read_progress, True)


def history(job: JobRecord | int) -> Call[list[HistoryEntry]]:
    """HISTORY: what happened to the job, oldest first."""
    return Call(requests.History(id=_id_of(job)), _read_history, True)


# --- dead letters ----------------------------------------------------------------------------------------------


def dead_letters(queue: str, count: int = 100) -> Call[list[JobRecord]]:
    """DLQ: the queue's dead letters, oldest first."""
    return Call(requests.DeadLetters(queue=queue, count=count), _read_dead, True)


def retry_dead_letters(queue: str, id: int | None = None) -> Call[int]:
    """RETRYDLQ: run one dead letter again, or all; gives how many."""
    return Call(requests.RetryDeadLetters(queue=queue, id=id), _read_count)


def purge_dead_letters(queue: str) -> Call[int]:
    """PURGEDLQ: remove the queue's dead letters; gives how many."""
    return Call(requests.PurgeDeadLetters(queue=queue), _read_purged)


# --- queues ----------------------------------------------------------------------------------------------------


def queues() -> Call[list[QueueView]]:
    """LISTQUEUES: all queues."""
    return Call(requests.ListQueues(), _read_queues, True)


def pause(queue: str) -> Call[None]:
    """PAUSE: stop deliveries."""
    return Call(requests.Pause(queue=queue), read_ok, True)


def resume(queue: str) -> Call[None]:
    """RESUME: deliver again."""
    return Call(requests.Resume(queue=queue), read_ok, True)


def set_rate_limit(queue: str, limit: int) -> Call[None]:
    """RATELIMIT: deliver at most ``limit`` jobs a second."""
    return Call(requests.RateLimit(queue=queue, limit=limit), read_ok, True)


def clear_rate_limit(queue: str) -> Call[None]:
    """RATELIMITCLEAR: remove the rate limit."""
    return Call(requests.RateLimitClear(queue=queue), read_ok, True)


def set_concurrency(queue: str, limit: int) -> Call[None]:
    """SETCONCURRENCY: at most ``limit`` attempts at once."""
    return Call(requests.SetConcurrency(queue=queue, limit=limit), read_ok, True)


def clear_concurrency(queue: str) -> Call[None]:
    """CLEARCONCURRENCY: remove the concurrency limit."""
    return Call(requests.ClearConcurrency(queue=queue), read_ok, True)


# --- schedules -------------------------------------------------------------------------------------------------


def set_cron(
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
) -> Call[None]:
    """CRON: set a schedule; the same name replaces."""
    request = encoding.Cron(
        name=name,
        queue=queue,
        schedule=schedule,
        data=Raw(b"null") if data is None else data,
        priority=priority,
        timezone=timezone,
        timeout=timeout,
        ttl=ttl,
        backoff=backoff,
        max_attempts=max_attempts,
        unique_key=unique_key,
        tags=None if tags is None else list(tags),
    )
    return Call(request, read_ok, True)


def delete_cron(name: str) -> Call[None]:
    """CRONDELETE: remove a schedule."""
    return Call(requests.CronDelete(name=name), read_ok)


def crons() -> Call[list[Cron]]:
    """CRONLIST: all schedules."""
    return Call(requests.CronList(), _read_crons, True)


# --- webhooks --------------------------------------------------------------------------------------------------


def add_webhook(url: str, events: Sequence[str], *, queue: str | None = None, secret: str | None = None) -> Call[str]:
    """WEBHOOK: call a URL at each event."""
    return Call(encoding.Webhook(url=url, events=list(events), queue=queue, secret=secret), _read_webhook)


def delete_webhook(id: str) -> Call[None]:
    """WEBHOOKDELETE: remove a webhook, and what is still to be delivered to it."""
    return Call(requests.WebhookDelete(id=id), read_ok)


def webhooks() -> Call[list[WebhookView]]:
    """WEBHOOKLIST: all webhooks."""
    return Call(requests.WebhookList(), _read_webhooks, True)


# --- server and workers ----------------------------------------------------------------------------------------


def stats() -> Call[Stats]:
    """STATS: how many jobs are in which state."""
    return Call(requests.StatsRequest(), _read_stats, True)


def metrics() -> Call[Metrics]:
    """METRICS: totals and rates."""
    return Call(requests.MetricsRequest(), _read_metrics, True)


def ping() -> Call[None]:
    """PING: is anybody there?"""
    return Call(requests.Ping(), read_ok, True)


def auth(token: str) -> Call[None]:
    """AUTH: present a token."""
    return Call(requests.Auth(token=token), read_ok, True)


def hello(
    worker: str,
    queues: Sequence[str],
    concurrency: int,
    host: str | None = None,
    pid: int | None = None,
    holds: Iterable[JobRecord] | None = None,
) -> Call[None]:
    """HELLO: the connection is part of a worker, which holds these jobs and no others."""
    known = None if holds is None else [(job.id, job.token or "") for job in holds]
    request = encoding.Hello(
        worker=worker, queues=list(queues), concurrency=concurrency, host=host, pid=pid, holds=known
    )
    return Call(request, read_ok, True)


def beat(worker: str, *, wait: int | None = None) -> Call[list[EndedAttempt]]:
    """BEAT: the worker lives; renews all its leases. With ``wait`` ms: gives what the server ended of its attempts."""
    return Call(encoding.Beat(worker=worker, wait=wait), _read_ended, True)


def bye(worker: str, error: str | None = None) -> Call[None]:
    """BYE: the worker leaves; what it still holds goes back, or ends as failed with ``error``."""
    return Call(encoding.Bye(worker=worker, error=error), read_ok, True)


def workers() -> Call[list[WorkerView]]:
    """WORKERS: all workers."""
    return Call(requests.Workers(), _read_workers, True)


def settings() -> Call[SettingsView]:
    """SETTINGS: how the server was set up."""
    return Call(requests.Settings(), _read_settings, True)


def nodes() -> Call[list[NodeView]]:
    """NODES: the servers that work together."""
    return Call(requests.Nodes(), _read_nodes, True)


def shutdown() -> Call[None]:
    """SHUTDOWN: stop. Never repeated: a server that came back meanwhile would stop again."""
    return Call(requests.Shutdown(), read_ok, False)


def restart() -> Call[None]:
    """RESTART: stop, to be started again. Never repeated, as `shutdown`."""
    return Call(requests.Restart(), read_ok, False)


def backup() -> Call[BackupView]:
    """BACKUP: copy the database. Never repeated: it would be made twice."""
    return Call(requests.Backup(), _read_backup, False)


def audit_log(since: int | None = None, limit: int = 100, cursor: int | None = None) -> Call[AuditPage]:
    """AUDITLOG: what operators did, newest first."""
    return Call(requests.AuditLog(since=since, limit=limit, cursor=cursor), _read_audit_log, True)


def subscribe(queue: str, events: Sequence[str]) -> Call[None]:
    """SUBSCRIBE: send the connection the events of a queue (``*``: of all); no types = every type."""
    return Call(requests.Subscribe(queue=queue, events=list(events)), read_ok, True)


def unsubscribe(queue: str) -> Call[None]:
    """UNSUBSCRIBE: stop what `subscribe` of the same queue started."""
    return Call(requests.Unsubscribe(queue=queue), read_ok, True)
