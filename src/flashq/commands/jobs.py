"""PUSH, PULL, ACK and their kin: the commands that move jobs."""

from typing import Final

from msgspec import Raw, Struct

from flashq.commands.names import queue_of
from flashq.commands.session import Context, Session
from flashq.engine.intake import DUPLICATE, REPLAYED
from flashq.engine.leases import Worker
from flashq.engine.queue import Queue
from flashq.errors import BadRequest, Duplicate, LimitReached, TooLarge
from flashq.model import Instant
from flashq.protocol import replies, requests
from flashq.protocol.codec import check_payload, check_payloads, result_bytes
from flashq.protocol.limits import MAX_BATCH

OK: Final = replies.Reply()
"""The plain answer, shared; whoever marks an answer with a request's id makes its own."""


class Parked(Struct, gc=False):
    """A pull found nothing and wants to wait. The door parks it with the engine, or answers `empty`.

    Attributes:
        queue: where to wait.
        count: how many jobs to take at the most.
        wait_ms: how long; None = for ever.
        worker: who will hold the jobs.
        batch: whether the answer is that of PULLB.
    """

    queue: Queue
    count: int
    wait_ms: int | None
    worker: Worker | None
    batch: bool

    def empty(self) -> replies.Pulled | replies.PulledBatch:
        """The answer when there is nothing."""
        return replies.PulledBatch(jobs=[]) if self.batch else replies.Pulled(job=None)


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
    reply = replies.PushedBatch(ids=admitted.ids)
    if admitted.duplicates:
        reply.duplicates = admitted.duplicates
    if admitted.replayed:
        reply.replayed = admitted.replayed
    return reply


def pull(context: Context, session: Session, request: requests.Pull, now: Instant) -> replies.Pulled | Parked:
    """PULL."""
    queue, worker = _pulling(context, session, request.queue, now)
    jobs = context.engine.dispatch.pull(queue, 1, now, worker)
    if jobs:
        return replies.Pulled(job=jobs[0])
    if request.timeout == 0:
        context.engine.queues.leave(queue)
        return replies.Pulled(job=None)
    return Parked(queue, 1, request.timeout, worker, batch=False)


def pull_batch(
    context: Context, session: Session, request: requests.PullBatch, now: Instant
) -> replies.PulledBatch | Parked:
    """PULLB."""
    queue, worker = _pulling(context, session, request.queue, now)
    count = min(request.count, MAX_BATCH)
    jobs = context.engine.dispatch.pull(queue, count, now, worker) if count else []
    if jobs:
        return replies.PulledBatch(jobs=jobs)
    if request.timeout == 0 or not count:
        context.engine.queues.leave(queue)
        return replies.PulledBatch(jobs=[])
    return Parked(queue, count, request.timeout, worker, batch=True)


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


def _pulling(context: Context, session: Session, name: str, now: Instant) -> tuple[Queue, Worker | None]:
    """From where and by whom. A refusal leaves neither a queue nor a worker behind."""
    queue = queue_of(context.engine.queues, name)
    try:
        return queue, _worker(context, session, now)
    except LimitReached:
        context.engine.queues.leave(queue)
        raise


def _worker(context: Context, session: Session, now: Instant) -> Worker | None:
    """The worker that this session speaks for. One that was given up for silent is back when it pulls again."""
    worker = session.worker
    if worker is not None and worker.gone:
        control = context.engine.control
        worker = control.hello(worker.name, worker.queues, worker.concurrency, worker.host, worker.pid, now)
        session.worker = worker
    return worker
