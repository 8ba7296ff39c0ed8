"""PAUSE, RATELIMIT, LISTQUEUES and their kin: the brakes of a queue, and its dead letters."""

from flashq.commands.jobs import OK
from flashq.commands.names import check_queue_name, queue_of
from flashq.commands.session import Context, Session
from flashq.errors import BadRequest
from flashq.model import Instant
from flashq.protocol import replies, requests


def pause(context: Context, _: Session, request: requests.Pause, __: Instant) -> replies.Reply:
    """PAUSE."""
    engine = context.engine
    engine.control.pause(queue_of(engine.queues, request.queue))
    return OK


def resume(context: Context, _: Session, request: requests.Resume, now: Instant) -> replies.Reply:
    """RESUME."""
    engine = context.engine
    engine.control.resume(queue_of(engine.queues, request.queue), now)
    return OK


def rate_limit(context: Context, _: Session, request: requests.RateLimit, now: Instant) -> replies.Reply:
    """RATELIMIT."""
    _check_limit(request.limit)
    engine = context.engine
    engine.control.set_rate(queue_of(engine.queues, request.queue), request.limit, now)
    return OK


def rate_limit_clear(context: Context, _: Session, request: requests.RateLimitClear, now: Instant) -> replies.Reply:
    """RATELIMITCLEAR."""
    engine = context.engine
    engine.control.set_rate(queue_of(engine.queues, request.queue), 0, now)
    return OK


def set_concurrency(context: Context, _: Session, request: requests.SetConcurrency, now: Instant) -> replies.Reply:
    """SETCONCURRENCY."""
    _check_limit(request.limit)
    engine = context.engine
    engine.control.set_concurrency(queue_of(engine.queues, request.queue), request.limit, now)
    return OK


def clear_concurrency(context: Context, _: Session, request: requests.ClearConcurrency, now: Instant) -> replies.Reply:
    """CLEARCONCURRENCY."""
    engine = context.engine
    engine.control.set_concurrency(queue_of(engine.queues, request.queue), 0, now)
    return OK


def list_queues(context: Context, _: Session, __: requests.ListQueues, ___: Instant) -> replies.Queues:
    """LISTQUEUES."""
    return replies.Queues(queues=context.engine.lookup.queues())


def dead_letters(context: Context, _: Session, request: requests.DeadLetters, __: Instant) -> replies.Jobs:
    """DLQ."""
    check_queue_name(request.queue)
    count = 100 if request.count is None else request.count
    return replies.Jobs(jobs=context.engine.lookup.dead_letters(request.queue, count))


def retry_dead_letters(
    context: Context, _: Session, request: requests.RetryDeadLetters, now: Instant
) -> replies.Counted:
    """RETRYDLQ."""
    check_queue_name(request.queue)
    queue = context.engine.queues.by_name.get(request.queue)
    count = context.engine.control.retry_dead(queue, request.id, now) if queue else 0
    return replies.Counted(ids=[count])


def purge_dead_letters(
    context: Context, _: Session, request: requests.PurgeDeadLetters, now: Instant
) -> replies.Purged:
    """PURGEDLQ."""
    check_queue_name(request.queue)
    queue = context.engine.queues.by_name.get(request.queue)
    return replies.Purged(count=context.engine.control.purge_dead(queue, now) if queue else 0)


def _check_limit(limit: int) -> None:
    if not limit:
        raise BadRequest("Invalid: limit must be at least 1 - at `$.limit` (to stop a queue, PAUSE it)")
