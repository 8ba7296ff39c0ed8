"""One typed struct per command: the schema that every door shares.

The ranges stand in the types, so a request that decodes is a request whose members are in range; msgspec checks
them in C while it reads. Names, defaults and which members may be null are those of the wire contract.
"""

from typing import Annotated, Any, Final, Literal

from msgspec import Meta, Raw, Struct, field

from flashq.model import U32, Duration, FlowJob, JobId, JobSpec, Key, Priority
from flashq.protocol.limits import (
    MAX_HISTORY,
    MAX_HOLDS,
    MAX_ID,
    MAX_KEY_CHARS,
    MAX_PULL_QUEUES,
    MAX_TAGS,
    MAX_URL_CHARS,
    MAX_WORKER_QUEUES,
)

ListedState = Literal["waiting", "delayed", "active", "completed", "failed", "waiting-children"]
"""A state in which there may be jobs."""


class Request(Struct, tag_field="cmd", kw_only=True, gc=False):
    """Base of all commands.

    Attributes:
        req_id: when given, the answer carries it and may come out of order.
    """

    req_id: str | None = field(default=None, name="reqId")


class Push(JobSpec, tag_field="cmd", tag="PUSH", kw_only=True, gc=False):
    """Add one job."""

    queue: str
    req_id: str | None = field(default=None, name="reqId")


class PushBatch(Request, tag="PUSHB", kw_only=True, gc=False):
    """Add many jobs to one queue: all of them or none."""

    queue: str
    jobs: list[JobSpec]


class PushFlow(Request, tag="PUSHFLOW", kw_only=True, gc=False):
    """Add jobs of any queues that may wait for each other: all of them or none."""

    jobs: Annotated[list[FlowJob], Meta(min_length=1)]


class Pull(Request, tag="PULL", kw_only=True, gc=False):
    """Take one job; ``timeout`` ms is how long to wait for one (absent: for ever)."""

    queue: str
    timeout: Duration | None = None


class PullBatch(Request, tag="PULLB", kw_only=True, gc=False):
    """Take up to ``count`` jobs; waits for at least one.

    Attributes:
        queue: where from.
        count: at most so many.
        timeout: ms to wait for the first; None = for ever.
    """

    queue: str
    count: U32
    timeout: Duration | None = None


class PullAny(Request, tag="PULLANY", kw_only=True, gc=False):
    """Take up to ``count`` jobs from several queues, the first named first; waits for at least one."""

    queues: Annotated[list[str], Meta(min_length=1, max_length=MAX_PULL_QUEUES)]
    count: U32 = 1
    timeout: Duration | None = None


class Ack(Request, tag="ACK", kw_only=True, gc=False):
    """The attempt succeeded."""

    id: JobId
    result: Raw = Raw(b"null")
    token: str | None = None


class AckBatch(Request, tag="ACKB", kw_only=True, gc=False):
    """Many attempts succeeded. ``tokens`` and ``results`` are aligned with ``ids``."""

    ids: list[JobId]
    tokens: list[str] | None = None
    results: list[Raw] | None = None


class Fail(Request, tag="FAIL", kw_only=True, gc=False):
    """The attempt failed: again after ``delay`` ms (absent: the backoff), or never again if ``dead``."""

    id: JobId
    error: str | None = None
    token: str | None = None
    delay: Duration | None = None
    dead: bool = False


class Release(Request, tag="RELEASE", kw_only=True, gc=False):
    """The attempt is given up, uncounted: again at once, or after ``delay`` ms."""

    id: JobId
    token: str | None = None
    delay: Duration | None = None


class WaitJob(Request, tag="WAITJOB", kw_only=True, gc=False):
    """How did the job end? Waits for its end ``timeout`` ms (absent: for ever)."""

    id: JobId
    timeout: Duration | None = None


class GetResult(Request, tag="GETRESULT", kw_only=True, gc=False):
    """What the job returned."""

    id: JobId


class GetJob(Request, tag="GETJOB", kw_only=True, gc=False):
    """A job and its state."""

    id: JobId


class GetJobByCustomId(Request, tag="GETJOBBYCUSTOMID", kw_only=True, gc=False):
    """A job by the id that the client gave it."""

    job_id: Key


class GetState(Request, tag="GETSTATE", kw_only=True, gc=False):
    """A job's state."""

    id: JobId


class ListJobs(Request, tag="LISTJOBS", kw_only=True, gc=False):
    """Jobs, newest first, a page at a time.

    Attributes:
        queue: of this queue only.
        state: in this state only.
        limit: at most so many; more than `MAX_LISTED` is taken as that.
        cursor: where the page before said that this one begins.
    """

    queue: str | None = None
    state: ListedState | None = None
    limit: Annotated[int, Meta(ge=1, le=2**32 - 1)] = 100
    cursor: str | None = None


class Explain(Request, tag="EXPLAIN", kw_only=True, gc=False):
    """Why a job is where it is."""

    id: JobId


class Cancel(Request, tag="CANCEL", kw_only=True, gc=False):
    """Take back a job that has not finished."""

    id: JobId


class Progress(Request, tag="PROGRESS", kw_only=True, gc=False):
    """How far an attempt is, in percent; renews its lease."""

    id: JobId
    progress: Annotated[int, Meta(ge=0, le=255)]
    message: str | None = None
    token: str | None = None


class GetProgress(Request, tag="GETPROGRESS", kw_only=True, gc=False):
    """How far a job is."""

    id: JobId


class Heartbeat(Request, tag="HEARTBEAT", kw_only=True, gc=False):
    """The attempt still runs: renew its lease."""

    id: JobId
    token: str | None = None


class DeadLetters(Request, tag="DLQ", kw_only=True, gc=False):
    """The queue's dead letters, oldest first."""

    queue: str
    count: U32 | None = 100


class RetryDeadLetters(Request, tag="RETRYDLQ", kw_only=True, gc=False):
    """Run one dead letter again, or all of them."""

    queue: str
    id: JobId | None = None


class PurgeDeadLetters(Request, tag="PURGEDLQ", kw_only=True, gc=False):
    """Remove the queue's dead letters."""

    queue: str


class Subscribe(Request, tag="SUBSCRIBE", kw_only=True, gc=False):
    """Send this connection the events of a queue (``*``: of all); no types named = every type."""

    queue: str
    events: list[str] = field(default_factory=list)


class Unsubscribe(Request, tag="UNSUBSCRIBE", kw_only=True, gc=False):
    """Stop what SUBSCRIBE of the same queue started on this connection."""

    queue: str


class StatsRequest(Request, tag="STATS", kw_only=True, gc=False):
    """How many jobs are in which state."""


class MetricsRequest(Request, tag="METRICS", kw_only=True, gc=False):
    """Totals and rates."""


class Cron(Request, tag="CRON", kw_only=True, gc=False):
    """Set a schedule; the same name replaces."""

    name: Annotated[str, Meta(min_length=1, max_length=256)]
    queue: str
    schedule: str
    data: Raw = Raw(b"null")
    priority: Priority = 0
    timezone: Key | None = None
    timeout: Duration | None = None
    ttl: Duration | None = None
    backoff: Duration | None = None
    max_attempts: U32 | None = None
    unique_key: Key | None = None
    tags: Annotated[list[Key], Meta(max_length=MAX_TAGS)] | None = None


class CronDelete(Request, tag="CRONDELETE", kw_only=True, gc=False):
    """Remove a schedule."""

    name: str


class CronList(Request, tag="CRONLIST", kw_only=True, gc=False):
    """All schedules."""


class Webhook(Request, tag="WEBHOOK", kw_only=True, gc=False):
    """Call a URL at each event.

    Attributes:
        url: where to: http or https, to a host that is out on the internet unless the server allows others.
        events: types of events, at least one; ``*``: all.
        queue: only of this queue; absent: of all.
        secret: signs what is sent; never shown again.
    """

    url: Annotated[str, Meta(min_length=1, max_length=MAX_URL_CHARS)]
    events: Annotated[list[str], Meta(min_length=1, max_length=100)]
    queue: str | None = None
    secret: Annotated[str, Meta(min_length=1, max_length=MAX_KEY_CHARS)] | None = None


class WebhookDelete(Request, tag="WEBHOOKDELETE", kw_only=True, gc=False):
    """Remove a webhook, and what is still to be delivered to it."""

    id: str


class WebhookList(Request, tag="WEBHOOKLIST", kw_only=True, gc=False):
    """All webhooks, without their secrets."""


class RateLimit(Request, tag="RATELIMIT", kw_only=True, gc=False):
    """Deliver at most ``limit`` jobs a second."""

    queue: str
    limit: U32


class RateLimitClear(Request, tag="RATELIMITCLEAR", kw_only=True, gc=False):
    """Remove the rate limit."""

    queue: str


class SetConcurrency(Request, tag="SETCONCURRENCY", kw_only=True, gc=False):
    """At most ``limit`` attempts at once."""

    queue: str
    limit: U32


class ClearConcurrency(Request, tag="CLEARCONCURRENCY", kw_only=True, gc=False):
    """Remove the concurrency limit."""

    queue: str


class Pause(Request, tag="PAUSE", kw_only=True, gc=False):
    """Stop deliveries of the queue."""

    queue: str


class Resume(Request, tag="RESUME", kw_only=True, gc=False):
    """Deliver again."""

    queue: str


class ListQueues(Request, tag="LISTQUEUES", kw_only=True, gc=False):
    """All queues."""


class Auth(Request, tag="AUTH", kw_only=True, gc=False):
    """Present a token."""

    token: str


class Ping(Request, tag="PING", kw_only=True, gc=False):
    """Is anybody there?"""


class Hello(Request, tag="HELLO", kw_only=True, gc=False):
    """This connection is part of a worker; jobs it pulls are leased to the worker.

    Attributes:
        worker: its name.
        queues, concurrency, host, pid: what WORKERS says of it.
        holds: (id, token) of every attempt that it knows of; whatever else is leased to it goes back uncounted.
    """

    worker: Annotated[str, Meta(min_length=1, max_length=256)]
    queues: Annotated[list[Key], Meta(max_length=MAX_WORKER_QUEUES)] = field(default_factory=list)
    concurrency: U32 = 1
    host: Key | None = None
    pid: U32 | None = None
    holds: Annotated[list[tuple[JobId, str]], Meta(max_length=MAX_HOLDS)] | None = None


class Beat(Request, tag="BEAT", kw_only=True, gc=False):
    """The worker lives: renew all its leases. With ``wait`` ms: and tell what the server ends of its attempts."""

    worker: str
    wait: Duration | None = None


class Bye(Request, tag="BYE", kw_only=True, gc=False):
    """The worker leaves; what it still holds goes back uncounted, or ends as failed with ``error``."""

    worker: str
    error: str | None = None


class Workers(Request, tag="WORKERS", kw_only=True, gc=False):
    """All workers."""


class Settings(Request, tag="SETTINGS", kw_only=True, gc=False):
    """How the server was set up; no secrets."""


class Nodes(Request, tag="NODES", kw_only=True, gc=False):
    """The servers that work together: one, without clustering."""


class Shutdown(Request, tag="SHUTDOWN", kw_only=True, gc=False):
    """Stop in good order: answer what waits, commit, exit with 0."""


class Restart(Request, tag="RESTART", kw_only=True, gc=False):
    """Stop as SHUTDOWN does, and exit with 100: whoever watches over the process starts it again."""


class Backup(Request, tag="BACKUP", kw_only=True, gc=False):
    """Copy the database into a file while the server goes on: another server can start on it."""


class History(Request, tag="HISTORY", kw_only=True, gc=False):
    """What happened to a job."""

    id: JobId


class AuditLog(Request, tag="AUDITLOG", kw_only=True, gc=False):
    """What operators did, newest first: ``limit`` actions, none from before ``since`` (wall ms), from ``cursor`` on."""

    since: Annotated[int, Meta(ge=0, le=MAX_ID)] | None = None
    limit: Annotated[int, Meta(ge=1, le=MAX_HISTORY)] = 100
    cursor: Annotated[int, Meta(ge=1, le=MAX_ID)] | None = None


AnyRequest = (
    Push
    | PushBatch
    | PushFlow
    | Pull
    | PullBatch
    | PullAny
    | Ack
    | AckBatch
    | Fail
    | Release
    | WaitJob
    | GetResult
    | GetJob
    | GetJobByCustomId
    | GetState
    | ListJobs
    | Explain
    | Cancel
    | Progress
    | GetProgress
    | Heartbeat
    | DeadLetters
    | RetryDeadLetters
    | PurgeDeadLetters
    | Subscribe
    | Unsubscribe
    | StatsRequest
    | MetricsRequest
    | Cron
    | CronDelete
    | CronList
    | Webhook
    | WebhookDelete
    | WebhookList
    | RateLimit
    | RateLimitClear
    | SetConcurrency
    | ClearConcurrency
    | Pause
    | Resume
    | ListQueues
    | Auth
    | Ping
    | Hello
    | Beat
    | Bye
    | Workers
    | Settings
    | Nodes
    | Shutdown
    | Restart
    | Backup
    | History
    | AuditLog
)

REQUEST_TYPES: Final[tuple[type[Any], ...]] = AnyRequest.__args__
"""All of them, for the table of commands and for the tests that compare it with the documentation."""
