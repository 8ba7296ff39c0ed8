"""Why a job is where it is: the answer of EXPLAIN, as words that programs can match on.

A reason is a fact of the moment at which it was asked for, and each has a type of its own; whoever shows it to people
makes the sentence. Only `Explanation.estimated_start` is no fact: it stands beside the numbers that it was made from,
and is missing where there are none.
"""

from typing import Literal

from msgspec import Struct


class Reason(Struct, tag_field="type", gc=False):
    """Base of all reasons. Times are wall ms, durations ms."""


class Paused(Reason, tag="paused", gc=False):
    """Deliveries of the queue are stopped until somebody resumes it."""


class Delayed(Reason, tag="delayed", gc=False):
    """It may not run before its time.

    Attributes:
        until: when it may.
        retry: whether it waits because it failed before.
        attempts: how often it has failed.
        error: why, the last time.
    """

    until: int
    retry: bool
    attempts: int
    error: str | None


class RateLimited(Reason, tag="rate_limited", gc=False):
    """The queue has delivered as much as it may.

    Attributes:
        limit: jobs a second.
        frees_in_ms: until the next one may be delivered.
    """

    limit: int
    frees_in_ms: int


class Holder(Struct, gc=False):
    """A job that is in somebody's hands, and since when."""

    id: int
    since: int


class Concurrency(Reason, tag="concurrency", gc=False):
    """As many jobs of the queue run as may.

    Attributes:
        limit: attempts at once.
        active: how many there are.
        holders: the newest of them, ten at the most.
    """

    limit: int
    active: int
    holders: list[Holder]


class Parent(Struct, gc=False):
    """A job that has to complete first, and the state it is in."""

    id: int
    state: str


class Dependencies(Reason, tag="dependencies", gc=False):
    """Jobs that it depends on have not completed.

    Attributes:
        count: how many have not.
        parents: the oldest of these, a hundred at the most.
    """

    count: int
    parents: list[Parent]


class Ahead(Reason, tag="ahead", gc=False):
    """Other jobs of the queue go first.

    Attributes:
        count: how many.
        exact: whether that is all of them; else there are at least so many.
    """

    count: int
    exact: bool


class NoWorker(Reason, tag="no_worker", gc=False):
    """Nobody asks for jobs of this queue: no pull waits, and no worker that named itself works for it.

    Attributes:
        active: jobs of the queue that are in the hands of others, who may ask for more when they are done.
        since_delivery_ms: how long ago somebody last got a job of the queue; None: not since the server started.
    """

    active: int
    since_delivery_ms: int | None


class WorkersBusy(Reason, tag="workers_busy", gc=False):
    """There are workers for the queue, and none of them asks for a job now.

    Attributes:
        workers: how many.
        concurrency: how many jobs they run at once, all together and of all their queues.
        since_delivery_ms: how long ago somebody last got a job of the queue; None: not since the server started.
    """

    workers: int
    concurrency: int
    since_delivery_ms: int | None


class Running(Reason, tag="running", gc=False):
    """It is in somebody's hands.

    Attributes:
        worker: who holds it, if that is a worker that named itself.
        since: when it was delivered.
        deadline: when the attempt ends as failed unless something is heard before.
        ends_by: what ends it then: the job's own timeout, which nothing moves; the lease, which each sign of life of
            the attempt moves; or the silence of its worker, which each BEAT moves.
        progress: percent.
        message: what its worker said last, or the text of an earlier failure.
    """

    worker: str | None
    since: int
    deadline: int
    ends_by: Literal["timeout", "lease", "silence"]
    progress: int
    message: str | None


class Completed(Reason, tag="completed", gc=False):
    """It is done.

    Attributes:
        started_at: when the attempt began that did it.
        attempts: how often it had failed before.
        result: whether what it returned is remembered.
    """

    started_at: int
    attempts: int
    result: bool


class Failed(Reason, tag="failed", gc=False):
    """It rests among the dead letters until somebody retries or purges it.

    Attributes:
        at: since when.
        attempts: how often it failed.
        max_attempts: how often it may; 0 = no bound.
        error: why, the last time.
    """

    at: int
    attempts: int
    max_attempts: int
    error: str | None


class Gone(Reason, tag="gone", gc=False):
    """There was such a job, and it is not remembered.

    Attributes:
        dropped: whether it left without completing: cancelled, expired or purged. Else it completed, or that is
            forgotten as well.
    """

    dropped: bool


AnyReason = (
    Paused
    | Delayed
    | RateLimited
    | Concurrency
    | Dependencies
    | Ahead
    | NoWorker
    | WorkersBusy
    | Running
    | Completed
    | Failed
    | Gone
)


class Basis(Struct, gc=False):
    """What an estimate rests on.

    Attributes:
        place: the job's in the line; 1 = it is the next.
        delivered: jobs of the queue that were delivered in the last ``over_ms`` ms.
        over_ms: at most a minute; 0 = the rate limit alone says when.
        rate_limit: jobs a second that may be delivered; None: no limit.
    """

    place: int
    delivered: int
    over_ms: int
    rate_limit: int | None


class Explanation(Struct, gc=False):
    """Everything that keeps a job where it is.

    Attributes:
        id: the job.
        queue: where it lives; None: that is not remembered.
        state: as GETSTATE has it.
        at: when all this was so, by the server's clock.
        reasons: all that apply; several may.
        expires_at: when its ttl ends, unless it is over by then; None: never.
        unique_key: which it holds; None: none.
        estimated_start: when it will be delivered if all goes on as it did; None: nobody can say.
        estimate_basis: what that rests on; None: there is no estimate.
    """

    id: int
    queue: str | None
    state: str
    at: int
    reasons: list[AnyReason]
    expires_at: int | None = None
    unique_key: str | None = None
    estimated_start: int | None = None
    estimate_basis: Basis | None = None
