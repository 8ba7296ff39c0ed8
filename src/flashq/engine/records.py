"""What the engine wants remembered: the records of a turn, and the rows they add up to.

A record carries *results*, never the request that led to them: the row as it now is. So restoring depends on no
clock, no hash order and no rule that a later version may have changed.

Records are appended to the journal in the order in which they happened; `flashq.storage.fold` turns them into
rows; `flashq.engine.restore` turns rows into an engine. Both ends import this file and nothing of each other.
"""

from collections.abc import Iterable, Iterator
from typing import Final

from msgspec import Struct, field

from flashq.model import WAITING

Ids = list[int]

KEEP_DROPPED: Final = 50_000
"""Ids remembered as cancelled, expired or purged, so that a child pushed later does not take them for completed: as
many as completed jobs, since both are asked about equally late. The engine and storage forget by this one number."""


class Actor(Struct, array_like=True, frozen=True, gc=False):
    """Who did something.

    Attributes:
        name: of the identity that the client showed a token for; ``anonymous`` without one, ``server`` for what the
            server did by itself.
        peer: the address from which it came, or None.
        door: through which it came, or None.
    """

    name: str
    peer: str | None = None
    door: str | None = None


SERVER: Final = Actor("server")
"""The clock, a lost connection, a start: nobody asked for it."""

STARTED: Final = "START"
"""The action of an `Operated` that stands at the beginning of each start of the server."""


MAX_SPAN: Final = 10_000
"""Jobs that one run of a `Happened` may cover: a batch. So whoever looks for the history of a job knows how far before
its id a run may begin that covers it."""


class JobRow(Struct, array_like=True, gc=False):
    """One job, whole. Times are ms since the Unix epoch, durations ms; 0 = never or none.

    Attributes:
        id: the job.
        queue: its queue's name.
        state: a state of `flashq.model`. ACTIVE is never stored: an active job is stored as it waited.
        priority, created_at, run_at, started_at, attempts, max_attempts, backoff, ttl, timeout: as in JOB.
        data: the payload, JSON as it was sent.
        unique_key, custom_id: what the client gave, or None.
        depends_on, tags: what the client gave, or None.
        progress: percent.
        message: last progress message or error text, or None.
        fence_epoch, fence_serial: the newest attempt that has ended; tokens up to it are stale.
        returns: how often the job was handed back uncounted.
        done: number of the completion (1, 2, 3 ... over the whole server), 0 while not completed.
        done_at: when it completed.
        token: the token of the attempt that completed it, or None.
        result: what that attempt returned (JSON), or None.
        collect: whether it is delivered with the results of its parents.
        excess: bytes of these results if they are too many, and let go; else 0.
        inputs: those results (JSON) by parent, as far as there are any; None once it has completed.
    """

    id: int
    queue: str
    state: int
    priority: int
    created_at: int
    run_at: int
    started_at: int
    attempts: int
    max_attempts: int
    backoff: int
    ttl: int
    timeout: int
    data: bytes
    unique_key: str | None = None
    custom_id: str | None = None
    depends_on: Ids | None = None
    tags: list[str] | None = None
    progress: int = 0
    message: str | None = None
    fence_epoch: int = 0
    fence_serial: int = 0
    returns: int = 0
    done: int = 0
    done_at: int = 0
    token: str | None = None
    result: bytes | None = None
    collect: bool = False
    excess: int = 0
    inputs: list[tuple[int, bytes]] | None = None


class QueueRow(Struct, array_like=True, gc=False):
    """A queue's settings and lifetime counters. ``rate_limit`` and ``concurrency_limit`` 0 = none."""

    name: str
    paused: bool = False
    rate_limit: int = 0
    concurrency_limit: int = 0
    pushed: int = 0
    completed: int = 0
    failed: int = 0
    cancelled: int = 0
    expired: int = 0
    purged: int = 0


class CronRow(Struct, array_like=True, gc=False):
    """A schedule. ``last_run`` is the newest instant that fired (0 = none), ``next_run`` the next one.

    What stands behind these is given to each of its jobs, as in `flashq.model.JobSpec`; None = not said.
    """

    name: str
    queue: str
    data: bytes
    schedule: str
    priority: int
    timezone: str
    next_run: int
    last_run: int
    timeout: int | None = None
    ttl: int | None = None
    backoff: int | None = None
    max_attempts: int | None = None
    unique_key: str | None = None
    tags: list[str] | None = None


class WebhookRow(Struct, array_like=True, gc=False):
    """A webhook: whom to call, and of what. ``events`` empty = of all; ``queue`` None = of all queues."""

    id: str
    url: str
    events: list[str]
    queue: str | None
    secret: str | None
    created_at: int


class CallRow(Struct, array_like=True, gc=False):
    """A call that is owed to a webhook: ``body`` is what will be sent, to the byte; numbers grow and never repeat."""

    number: int
    webhook: str
    body: bytes


class Pushed(Struct, array_like=True, tag=1, gc=False):
    """Plain jobs that are ready at once, with ids ``first``, ``first + 1``, ... and equal options."""

    queue: str
    first: int
    created_at: int
    priority: int
    max_attempts: int
    backoff: int
    ttl: int
    timeout: int
    data: list[bytes]


class Added(Struct, array_like=True, tag=2, gc=False):
    """One job with anything out of the ordinary: delay, key, parents, tags, a client's id."""

    row: JobRow


class Changed(Struct, array_like=True, tag=3, gc=False):
    """A job moved to another state (not to an end): its changing members as they now are."""

    id: int
    queue: str
    state: int
    run_at: int
    started_at: int
    attempts: int
    message: str | None
    fence_epoch: int
    fence_serial: int
    returns: int


class Completed(Struct, array_like=True, tag=4, gc=False):
    """Attempts of one delivery that succeeded, numbered ``done``, ``done + 1``, ... in the order of ``ids``.

    ``forget`` and ``forget_results``: completions with smaller numbers, and results of completions with smaller
    numbers, are no longer remembered.
    """

    queue: str
    ids: Ids
    done: int
    done_at: int
    started_at: int
    token: str
    results: list[tuple[int, bytes]]
    forget: int
    forget_results: int


class Dropped(Struct, array_like=True, tag=5, gc=False):
    """Jobs that left without completing. ``reason``: cancelled, expired or purged."""

    queue: str
    ids: Ids
    reason: str


class Progressed(Struct, array_like=True, tag=6, gc=False):
    """A job reported how far it is."""

    id: int
    progress: int
    message: str | None


class QueueSet(Struct, array_like=True, tag=7, gc=False):
    """A queue's settings as they now are; its counters are not part of it."""

    name: str
    paused: bool
    rate_limit: int
    concurrency_limit: int


class CronSet(Struct, array_like=True, tag=8, gc=False):
    """A schedule as it now is: set, replaced or fired."""

    row: CronRow


class CronDeleted(Struct, array_like=True, tag=9, gc=False):
    """A schedule is gone."""

    name: str


class Collected(Struct, array_like=True, tag=10, gc=False):
    """The result of a parent, given to the children that collect it. Comes behind its `Completed`.

    Once for all of them: with ten thousand children a result each would be a group that no disk takes in time.
    """

    parent: int
    result: bytes
    children: Ids


class Overfilled(Struct, array_like=True, tag=11, gc=False):
    """The results that a job was to collect, ``excess`` bytes so far, are too many: it keeps none of them."""

    id: int
    excess: int


class WebhookSet(Struct, array_like=True, tag=12, gc=False):
    """A webhook was registered."""

    row: WebhookRow


class WebhookDeleted(Struct, array_like=True, tag=13, gc=False):
    """A webhook is gone, and so is what was owed to it."""

    id: str


class CallsOwed(Struct, array_like=True, tag=14, gc=False):
    """Webhooks are to be told of an event, in calls numbered ``first``, ``first + 1``, ... in their order.

    In one group with the change that it tells, so that neither is remembered without the other.
    """

    first: int
    webhooks: list[str]
    body: bytes


class CallsOver(Struct, array_like=True, tag=15, gc=False):
    """These calls are owed no more: delivered, given up, or pushed out by newer ones."""

    numbers: list[int]


class Imported(Struct, array_like=True, tag=16, gc=False):
    """A piece of an import, which has not come to its end: jobs as another storage had them, in the order of their ids.

    They count nothing: what they have counted comes with `ImportEnded`.

    Attributes:
        place: how far the import is, in words of its own; not empty.
        rows: the jobs.
    """

    place: str
    rows: list[JobRow]


class ImportEnded(Struct, array_like=True, tag=17, gc=False):
    """An import is complete.

    Attributes:
        next_id, completions: as in `Snapshot`.
        queues: all queues, with the counters that all that was imported adds up to.
        dropped: ids that ended without completing, oldest first.
    """

    next_id: int
    completions: int
    queues: list[QueueRow]
    dropped: Ids


class Happened(Struct, array_like=True, tag=20, gc=False):
    """Something that happened to jobs of one queue, for their history; changes no row of theirs.

    One for a whole batch: what its jobs share stands here once.

    Attributes:
        at: wall ms.
        event: what, as a word of `flashq.engine.effects.Outbox.happened`.
        queue: of the jobs.
        runs: their ids: first, how many, first, how many ...
        by: who caused it.
        attempt: number of the attempt that it is about, from 1; 0: about none.
        worker: who holds or held that attempt, if it named itself.
        detail: an error, or until when (wall ms) the job waits, or None.
    """

    at: int
    event: str
    queue: str
    runs: Ids
    by: Actor
    attempt: int = 0
    worker: str | None = None
    detail: str | None = None


class Operated(Struct, array_like=True, tag=21, gc=False):
    """Something that an operator did, or the server by itself.

    Attributes:
        at: wall ms.
        action: the command's name, or `STARTED`.
        by: who did it.
        target: the queue, the schedule or whatever else it was done to, or None.
        detail: what else was asked for, as JSON without secrets and payloads, or None.
    """

    at: int
    action: str
    by: Actor
    target: str | None = None
    detail: str | None = None


Record = (
    Pushed
    | Added
    | Changed
    | Completed
    | Dropped
    | Progressed
    | QueueSet
    | CronSet
    | CronDeleted
    | Collected
    | Overfilled
    | WebhookSet
    | WebhookDeleted
    | CallsOwed
    | CallsOver
    | Imported
    | ImportEnded
    | Happened
    | Operated
)


class Snapshot(Struct, gc=False):
    """All that is remembered, as rows; what storage gives to `flashq.engine.restore`.

    Attributes:
        next_id: the id that the next job gets; larger than any id ever given.
        epoch: number of this boot, from 1; part of every token.
        completions: how many jobs ever completed.
        jobs: live and remembered jobs in the order of their ids; stretches of plain waiting jobs may come as one
            record, since a million of them are read in a blink that way. May be a generator over the database, so it
            is read once, by `rows` too.
        queues: settings and counters.
        crons: schedules.
        dropped: the newest ids that ended without completing, oldest first.
        webhooks: who is told of events, in the order of their registration.
        calls: what is owed to them, oldest first.
        importing: how far an import is that was broken off: these are not all rows then. Empty: there is none.
    """

    next_id: int
    epoch: int
    completions: int
    jobs: Iterable[JobRow | Pushed]
    queues: list[QueueRow]
    crons: list[CronRow]
    dropped: Ids
    webhooks: list[WebhookRow] = field(default_factory=list)
    calls: list[CallRow] = field(default_factory=list)
    importing: str = ""

    def rows(self) -> Iterator[JobRow]:
        """The jobs, each as a row of its own."""
        for job in self.jobs:
            if isinstance(job, Pushed):
                yield from rows_of(job)
            else:
                yield job


def rows_of(run: Pushed, start: int = 0, stop: int | None = None) -> list[JobRow]:
    """A batch of plain jobs job by job, or those at the places ``start`` to before ``stop``."""
    queue, created, priority = run.queue, run.created_at, run.priority
    attempts, backoff, ttl, timeout = run.max_attempts, run.backoff, run.ttl, run.timeout
    return [
        JobRow(id, queue, WAITING, priority, created, created, 0, 0, attempts, backoff, ttl, timeout, data)
        for id, data in enumerate(run.data[start:stop], run.first + start)
    ]
