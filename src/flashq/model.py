"""The words that all layers share: a job's states, what a client sends, what everybody sees.

Kept small on purpose: a type belongs here only when the engine, the protocol and the SDK all need it.
"""

from typing import Annotated, Final, NamedTuple

from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from flashq.protocol.limits import MAX_DEPENDS_ON, MAX_DURATION_MS, MAX_ID, MAX_KEY_CHARS, MAX_TAGS

# The states of a job. Small integers, because the engine keeps one byte of state a job and compares whole
# slices of them at once; STATE_NAMES gives the words of the protocol.
UNKNOWN: Final = 0
WAITING: Final = 1
DELAYED: Final = 2
ACTIVE: Final = 3
COMPLETED: Final = 4
FAILED: Final = 5
WAITING_CHILDREN: Final = 6

STATE_NAMES: Final = ("unknown", "waiting", "delayed", "active", "completed", "failed", "waiting-children")

JobId = Annotated[int, Meta(ge=0, le=MAX_ID)]
Duration = Annotated[int, Meta(ge=0, le=MAX_DURATION_MS)]
Priority = Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)]
U32 = Annotated[int, Meta(ge=0, le=2**32 - 1)]
Key = Annotated[str, Meta(max_length=MAX_KEY_CHARS)]


class Instant(NamedTuple):
    """One moment on both clocks.

    Schedules (delays, ttl, cron) follow the wall clock that people set; leases, rate limits and waiting follow
    the steady clock that nobody can set, so that a corrected system time ends no lease early.
    """

    wall: int
    """Milliseconds since the Unix epoch."""
    steady: int
    """Milliseconds of a clock that never jumps; only differences mean anything."""


class JobSpec(Struct, kw_only=True, gc=False):
    """What a client may say about a job it pushes. A client cannot set anything else, by construction.

    Attributes:
        data: the payload, JSON kept byte for byte.
        priority: higher runs first.
        delay: ms until the job may run.
        ttl: ms after which a job that waits disappears; one that runs may finish.
        timeout: ms that one attempt may run.
        max_attempts: failed attempts until the dead letters; 0 = no bound, None = the server's default.
        backoff: ms before the first retry, doubled each time; 0 = at once, None = the server's default.
        unique_key: at most one live job of the queue may hold it.
        depends_on: ids of jobs that must complete first.
        tags: words for people; the server only keeps them.
        job_id: the client's own id; makes a push safe to repeat.
        collect: whether the job is delivered with the results of its parents.
    """

    data: Raw
    priority: Priority = 0
    delay: Duration | None = None
    ttl: Duration | None = None
    timeout: Duration | None = None
    max_attempts: U32 | None = None
    backoff: Duration | None = None
    unique_key: Key | None = None
    depends_on: Annotated[list[JobId], Meta(max_length=MAX_DEPENDS_ON)] | None = None
    tags: Annotated[list[Key], Meta(max_length=MAX_TAGS)] | None = None
    job_id: Key | None = None
    collect: bool = False


class FlowJob(JobSpec, kw_only=True, gc=False):
    """One job of a flow: jobs of any queues that are pushed together, and may wait for each other.

    Attributes:
        queue: where it goes.
        after: places of earlier jobs in the flow that must complete first, beside those of ``depends_on``.
    """

    queue: str
    after: Annotated[list[U32], Meta(max_length=MAX_DEPENDS_ON)] | None = None


class JobView(Struct, gc=False):
    """A whole job as everybody sees it: JOB of the protocol.

    Times are milliseconds since the Unix epoch, durations milliseconds; 0 means never or none.
    """

    id: int
    queue: str
    data: Raw
    priority: int
    created_at: int
    run_at: int
    started_at: int
    attempts: int
    max_attempts: int
    backoff: int
    ttl: int
    timeout: int
    unique_key: str | None
    depends_on: list[int]
    progress: int
    progress_msg: str | None
    tags: list[str]
    custom_id: str | UnsetType = UNSET
    token: str | UnsetType = UNSET
    inputs: list[Raw] | UnsetType = UNSET
    """The parents' results, aligned with ``depends_on``; only of a job that collects them and has not ended."""


class QueueView(Struct, gc=False):
    """A queue in a listing: QUEUE of the protocol."""

    name: str
    pending: int
    processing: int
    delayed: int
    dlq: int
    completed: int
    paused: bool
    rate_limit: int | None
    concurrency_limit: int | None


class CronView(Struct, gc=False):
    """A schedule in a listing: CRON of the protocol. Times are ms since the Unix epoch, durations ms."""

    name: str
    queue: str
    data: Raw
    schedule: str
    priority: int
    timezone: str
    next_run: int
    last_run: int | None
    timeout: int | None = None
    ttl: int | None = None
    backoff: int | None = None
    max_attempts: int | None = None
    unique_key: str | None = None
    tags: list[str] = []


class WorkerView(Struct, gc=False):
    """A worker in a listing. ``last_heartbeat`` is ms since the Unix epoch."""

    id: str
    queues: list[str]
    concurrency: int
    host: str | None
    pid: int | None
    last_heartbeat: int
    active: int
    processed: int
    failed: int


class WebhookView(Struct, gc=False):
    """A webhook in a listing; its secret is never shown.

    Attributes:
        id: by which it is deleted, and the beginning of the ids of its deliveries.
        url: where it is called.
        events: types of events, ``*`` = all.
        queue: only of this one; None = of all.
        has_secret: whether its deliveries are signed.
        created_at: ms since the Unix epoch.
        pending: deliveries that are still owed to it.
        delivered, failed, dropped: since the server's start: that it has, that were given up after the last try, that
            had to make room for newer ones.
        last_error: why the newest try that failed since the server's start did, or None.
    """

    id: str
    url: str
    events: list[str]
    queue: str | None
    has_secret: bool
    created_at: int
    pending: int
    delivered: int
    failed: int
    dropped: int
    last_error: str | None


class EndedAttempt(Struct, frozen=True):
    """An attempt that the server ended and its worker did not.

    Attributes:
        id: the job.
        token: the attempt.
        reason: ``cancelled``, or why it ended as failed: ``Job timed out``.
    """

    id: int
    token: str
    reason: str


class Stats(Struct, gc=False):
    """How many jobs there are in each state, over all queues: STATS of the protocol."""

    queued: int
    processing: int
    delayed: int
    dlq: int
    completed: int
    waiting_children: int


class QueueMetrics(Struct, gc=False):
    """A queue within METRICS."""

    name: str
    pending: int
    processing: int
    dlq: int
    rate_limit: int | None


class Metrics(Struct, gc=False):
    """METRICS of the protocol: totals since the data folder was made, rates over the last minute."""

    total_pushed: int
    total_completed: int
    total_failed: int
    jobs_per_second: float
    avg_latency_ms: float
    queues: list[QueueMetrics]


class Distribution(NamedTuple):
    """How many observations fell into which bucket.

    Attributes:
        bounds: upper bounds of the buckets, ascending; what lies on a bound is below it.
        counts: of each bucket, and behind them of what lies above the last bound.
        total: sum of all observations.
        unit: how many of the unit of bounds and total make a second.
    """

    bounds: tuple[int, ...]
    counts: tuple[int, ...]
    total: int
    unit: int


class Event(Struct, gc=False):
    """Something that happened to a job: EVENT of the protocol."""

    event_type: str
    queue: str
    job_id: int
    timestamp: int
    data: Raw | UnsetType = UNSET
    error: str | UnsetType = UNSET
    progress: int | UnsetType = UNSET


class HistoryEntry(Struct, gc=False):
    """One thing that happened to a job.

    Attributes:
        at: ms since the Unix epoch.
        event: what.
        queue: of the job.
        attempt: number of the attempt that it is about, from 1; 0: about none.
        worker: who held that attempt, if it had named itself.
        by: name of who caused it: of an identity, ``anonymous`` or ``server``.
        peer, door: the address of whoever caused it, and the door through which it came; null for ``server``.
        detail: an error, or until when the job waits.
    """

    at: int
    event: str
    queue: str
    attempt: int
    worker: str | None
    by: str
    peer: str | None
    door: str | None
    detail: str | None


class Operation(Struct, gc=False):
    """Something that an operator did.

    Attributes:
        number: grows from one to the next.
        at: ms since the Unix epoch.
        action: the command, or ``START``.
        target: the queue, the schedule or whatever else it was done to.
        by, peer, door: as in `HistoryEntry`.
        detail: what else was asked for, as JSON without secrets and payloads.
    """

    number: int
    at: int
    action: str
    target: str | None
    by: str
    peer: str | None
    door: str | None
    detail: str | None
