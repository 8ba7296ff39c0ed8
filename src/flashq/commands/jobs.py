"""PUSH, PULL, ACK and their kin: the commands that move jobs."""

from collections.abc import Callable, Hashable
from functools import partial
from typing import Final

from msgspec import Raw

from flashq.commands.names import check_queue_name, queue_of
from flashq.commands.parked import Parked
from flashq.commands.session import Context, Session
from flashq.engine.intake import DUPLICATE, REPLAYED, Admitted
from flashq.engine.leases import Worker
from flashq.engine.queue import Queue, Queues
from flashq.engine.watchers import Ending
from flashq.errors import BadRequest, Duplicate, LimitReached, TooLarge
from flashq.model import COMPLETED, FAILED, STATE_NAMES, UNKNOWN, Instant, JobView
from flashq.protocol import replies, requests
from flashq.protocol.codec import check_payload, check_payloads, result_bytes
from flashq.protocol.limits import MAX_BATCH

ENDED: Final = frozenset({STATE_NAMES[COMPLETED], STATE_NAMES[FAILED], STATE_NAMES[UNKNOWN]})
"""States in which there is nothing to wait for."""

OK: Final = replies.Reply()
"""The plain answer, shared; `marked` makes one of its own."""


def marked(reply: replies.Reply | replies.Failed, req_id: str | None) -> replies.Reply | replies.Failed:
    """An answer with the id of the request that it answers, if that had one."""
    if req_id is None:
        return reply
    if reply is OK:
        reply = replies.Reply()
    reply.req_id = req_id
    return reply


def push(context: Context, _: Session, request: requests.Push, now: Instant) -> replies.Pushed:
    """PUSH."""
    engine = context.engine
    data = bytes(request.data)
    check_payload(data)
    queue = queue_of(engine.queues, request.queue)
    try:
        id, outcome = engine.intake.push(queue, request, data, now)
    finally:
        if not queue.pushed:  # refused or known: a queue that holds nothing must not stay
            engine.queues.leave(queue)
    if outcome == DUPLICATE:
        raise Duplicate(f"Duplicate job with key: {request.unique_key}", id)
    reply = replies.Pushed(id=id)
    if outcome == REPLAYED:
        reply.replayed = True
    return reply


def push_batch(context: Context, _: Session, request: requests.PushBatch, now: Instant) -> replies.PushedBatch:
    """PUSHB."""
    jobs = request.jobs
    check_batch(len(jobs), "jobs")
    queue = queue_of(context.engine.queues, request.queue)
    if not jobs:
        context.engine.queues.leave(queue)
        return replies.PushedBatch(ids=[])
    payloads = [bytes(job.data) for job in jobs]
    check_payloads(payloads)
    try:
        admitted = context.engine.intake.push_batch(queue, jobs, payloads, now)
    finally:
        if not queue.pushed:
            context.engine.queues.leave(queue)
    return _pushed(admitted)


def push_flow(context: Context, _: Session, request: requests.PushFlow, now: Instant) -> replies.PushedBatch:
    """PUSHFLOW."""
    jobs = request.jobs
    check_batch(len(jobs), "jobs")
    payloads = [bytes(job.data) for job in jobs]
    check_payloads(payloads)
    known = context.engine.queues
    queues: dict[str, Queue] = {}
    try:
        for place, job in enumerate(jobs):
            if job.queue not in queues:
                queues[job.queue] = _queue_at(known, job.queue, place)
        admitted = context.engine.intake.push_flow([queues[job.queue] for job in jobs], jobs, payloads, now)
    finally:
        for queue in queues.values():
            known.leave(queue)
    return _pushed(admitted)


def pull(context: Context, session: Session, request: requests.Pull, now: Instant) -> replies.Pulled | Parked:
    """PULL."""
    name = request.queue
    queue, worker = _pulling(context, session, name, now)
    jobs = context.engine.dispatch.pull(queue, 1, now, worker) if queue is not None else []
    if jobs or request.timeout == 0:
        return _pulled(jobs)
    return _parked(context, (name,), 1, request.timeout, worker, _pulled)


def pull_batch(
    context: Context, session: Session, request: requests.PullBatch, now: Instant
) -> replies.PulledBatch | Parked:
    """PULLB."""
    name, count = request.queue, min(request.count, MAX_BATCH)
    queue, worker = _pulling(context, session, name, now)
    jobs = context.engine.dispatch.pull(queue, count, now, worker) if queue is not None and count else []
    if jobs or request.timeout == 0 or not count:
        return replies.PulledBatch(jobs=jobs)
    return _parked(context, (name,), count, request.timeout, worker, _pulled_batch)


def pull_any(
    context: Context, session: Session, request: requests.PullAny, now: Instant
) -> replies.PulledBatch | Parked:
    """PULLANY."""
    names = tuple(dict.fromkeys(request.queues))
    for place, name in enumerate(request.queues):
        if name not in context.engine.queues.by_name:
            check_queue_name(name, f"Invalid: queues[{place}]: ")
    worker = _worker(context, session, now)
    count = min(request.count, MAX_BATCH)
    jobs = context.engine.dispatch.pull_any(names, count, now, worker) if count else []
    if jobs or request.timeout == 0 or not count:
        return replies.PulledBatch(jobs=jobs)
    return _parked(context, names, count, request.timeout, worker, _pulled_batch)


def ack(context: Context, _: Session, request: requests.Ack, now: Instant) -> replies.Reply:
    """ACK."""
    if context.engine.settle.ack(request.id, request.token, result_bytes(request.result), now):
        return replies.Acked(already=True)
    return OK


def ack_batch(context: Context, _: Session, request: requests.AckBatch, now: Instant) -> replies.Counted:
    """ACKB."""
    ids = request.ids
    check_batch(len(ids), "jobs")
    for name, values in (("tokens", request.tokens), ("results", request.results)):
        if values is not None and len(values) != len(ids):
            raise BadRequest(f"Invalid: {name} has {len(values)} members, ids has {len(ids)}")
    results: dict[int, bytes] = {}
    for id, raw in zip(ids, request.results or (), strict=False):
        result = result_bytes(raw)
        if result is not None:
            results[id] = result
    acked = context.engine.settle.ack_batch(ids, request.tokens, results, now)
    reply = replies.Counted(ids=[acked.count])
    if request.tokens is not None:
        reply.stale = acked.stale
    return reply


def fail(context: Context, _: Session, request: requests.Fail, now: Instant) -> replies.Reply:
    """FAIL."""
    context.engine.settle.fail(request.id, request.token, request.error, now, delay=request.delay, dead=request.dead)
    return OK


def release(context: Context, _: Session, request: requests.Release, now: Instant) -> replies.Reply:
    """RELEASE."""
    context.engine.settle.release(request.id, request.token, request.delay or 0, now)
    return OK


def cancel(context: Context, _: Session, request: requests.Cancel, now: Instant) -> replies.Reply:
    """CANCEL."""
    context.engine.settle.cancel(request.id, now)
    return OK


def progress(context: Context, _: Session, request: requests.Progress, now: Instant) -> replies.Reply:
    """PROGRESS."""
    context.engine.control.progress(request.id, request.token, request.progress, request.message, now)
    return OK


def heartbeat(context: Context, _: Session, request: requests.Heartbeat, now: Instant) -> replies.Reply:
    """HEARTBEAT."""
    context.engine.control.heartbeat(request.id, request.token, now)
    return OK


def wait_job(context: Context, _: Session, request: requests.WaitJob, __: Instant) -> replies.Ended | Parked:
    """WAITJOB."""
    engine, id = context.engine, request.id
    ending = engine.lookup.ending(id)
    if request.timeout == 0 or ending.state in ENDED:
        return _ended(id, ending)

    def park(token: Hashable, now: Instant) -> None:
        engine.watchers.park(token, id, request.timeout, now)

    return Parked(park, partial(_ended, id), lambda: _ended(id, engine.lookup.ending(id)))


def get_result(context: Context, _: Session, request: requests.GetResult, __: Instant) -> replies.Result:
    """GETRESULT."""
    result = context.engine.lookup.result(request.id)
    return replies.Result(id=request.id, result=Raw(b"null" if result is None else result))


def get_job(context: Context, _: Session, request: requests.GetJob, __: Instant) -> replies.JobAndState:
    """GETJOB."""
    lookup = context.engine.lookup
    return replies.JobAndState(job=lookup.job(request.id), state=lookup.state(request.id))


def get_job_by_custom_id(
    context: Context, _: Session, request: requests.GetJobByCustomId, __: Instant
) -> replies.JobAndState:
    """GETJOBBYCUSTOMID."""
    lookup = context.engine.lookup
    id = lookup.custom(request.job_id)
    return replies.JobAndState(job=lookup.job(id), state=lookup.state(id))


def get_state(context: Context, _: Session, request: requests.GetState, __: Instant) -> replies.StateOf:
    """GETSTATE."""
    return replies.StateOf(id=request.id, state=context.engine.lookup.state(request.id))


def get_progress(context: Context, _: Session, request: requests.GetProgress, __: Instant) -> replies.ProgressOf:
    """GETPROGRESS."""
    percent, message = context.engine.lookup.progress(request.id)
    return replies.ProgressOf(progress=replies.ProgressView(request.id, percent, message))


def check_batch(count: int, what: str) -> None:
    """Refuse a batch over the limit.

    Raises:
        TooLarge: it is.
    """
    if count > MAX_BATCH:
        raise TooLarge(f"Batch too large ({count} {what}, max {MAX_BATCH})")


def _pulling(context: Context, session: Session, name: str, now: Instant) -> tuple[Queue | None, Worker | None]:
    """From where and by whom. A queue that is not there holds nothing, and is made only when somebody waits on it."""
    queue = context.engine.queues.by_name.get(name)
    if queue is None:
        check_queue_name(name)
    return queue, _worker(context, session, now)


def _parked(
    context: Context,
    names: tuple[str, ...],
    count: int,
    wait_ms: int | None,
    worker: Worker | None,
    reply: Callable[[list[JobView]], replies.Reply],
) -> Parked:
    """A pull that found nothing and wants to wait."""
    by = context.engine.outbox.by

    def park(token: Hashable, now: Instant) -> None:
        context.engine.dispatch.park(token, names, count, wait_ms, now, worker, by)

    return Parked(park, reply, lambda: reply([]), in_line=True)


def _ended(id: int, ending: Ending) -> replies.Ended:
    result = b"null" if ending.result is None else ending.result
    return replies.Ended(id=id, state=ending.state, result=Raw(result), error=ending.error)


def _pulled(jobs: list[JobView]) -> replies.Pulled:
    return replies.Pulled(job=jobs[0] if jobs else None)


def _pulled_batch(jobs: list[JobView]) -> replies.PulledBatch:
    return replies.PulledBatch(jobs=jobs)


def _queue_at(queues: Queues, name: str, place: int) -> Queue:
    """`queue_of` for one job of a flow: what is refused is refused by its place."""
    try:
        return queue_of(queues, name)
    except (BadRequest, LimitReached) as error:
        raise type(error)(f"jobs[{place}]: {error}") from None


def _pushed(admitted: Admitted) -> replies.PushedBatch:
    reply = replies.PushedBatch(ids=admitted.ids)
    if admitted.duplicates:
        reply.duplicates = admitted.duplicates
    if admitted.replayed:
        reply.replayed = admitted.replayed
    return reply


def _worker(context: Context, session: Session, now: Instant) -> Worker | None:
    """The worker that this session speaks for. One that was given up for silent is back when it pulls again."""
    worker = session.worker
    if worker is not None and worker.gone:
        control = context.engine.control
        worker = control.hello(worker.name, worker.queues, worker.concurrency, worker.host, worker.pid, now)
        session.worker = worker
    return worker
