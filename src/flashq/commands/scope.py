"""What remains of each command for a token that is only good for some queues.

The one place where such a token is held to its queues, whichever door it came through. `RULES` has a line for every
command; one without a line is closed to these tokens, and a test finds it.

A queue that the client names is refused by name: that tells nothing which the client did not say itself. Everything
else of other queues is answered as if it were not there: jobs by their ids, schedules, workers, lines of a list. Two
kinds of names are shared by the whole server and cannot be hidden from who guesses them: a client's own id of a job and
the name of a schedule or worker. To take one that is taken is refused, without a word about who has it.
"""

from collections.abc import Callable, Collection, Iterable
from typing import Any, Final

from msgspec import Raw
from msgspec.structs import replace

from flashq.commands import admin, audit, browse, cron, jobs, queues, webhooks
from flashq.commands.parked import Parked
from flashq.commands.session import Context, Session
from flashq.engine.queue import Queue
from flashq.errors import BadRequest, Forbidden, NotActive, NotFound
from flashq.model import (
    ACTIVE,
    COMPLETED,
    DELAYED,
    FAILED,
    STATE_NAMES,
    UNKNOWN,
    WAITING,
    WAITING_CHILDREN,
    Instant,
    JobSpec,
    Metrics,
)
from flashq.protocol import replies, requests
from flashq.protocol.requests import AnyRequest
from flashq.reasons import Dependencies, Running
from flashq.security.identity import Scope

_UNKNOWN: Final = STATE_NAMES[UNKNOWN]


def closed(_: Context, __: Session, request: AnyRequest, ___: Instant) -> None:
    """Not for these tokens at all.

    Raises:
        Forbidden: always.
    """
    raise Forbidden(f"Forbidden: {_word(request)} needs a token for all queues")


def _free(_: Context, __: Session, ___: object, ____: Instant) -> None:
    """It touches no queue."""


def _names_queue(_: Context, session: Session, request: Any, __: Instant) -> None:  # noqa: ANN401
    _check_queue(session, request.queue)


def _topic(_: Context, session: Session, request: Any, __: Instant) -> None:  # noqa: ANN401
    """``*`` is open: the hub tells a session with a scope of its own queues only."""
    if request.queue != "*":
        _check_queue(session, request.queue)


def _names_queues(_: Context, session: Session, request: requests.PullAny, __: Instant) -> None:
    for queue in request.queues:
        _check_queue(session, queue)


def _push(context: Context, session: Session, request: requests.Push, _: Instant) -> None:
    _check_queue(session, request.queue)
    _check_spec(context, session, request, "")


def _push_batch(context: Context, session: Session, request: requests.PushBatch, _: Instant) -> None:
    _check_queue(session, request.queue)
    jobs.check_batch(len(request.jobs), "jobs")
    for place, spec in enumerate(request.jobs):
        _check_spec(context, session, spec, f"jobs[{place}]: ")


def _push_flow(context: Context, session: Session, request: requests.PushFlow, _: Instant) -> None:
    jobs.check_batch(len(request.jobs), "jobs")
    for place, spec in enumerate(request.jobs):
        _check_queue(session, spec.queue)
        _check_spec(context, session, spec, f"jobs[{place}]: ")


def _settles(context: Context, session: Session, request: Any, _: Instant) -> None:  # noqa: ANN401
    if _is_hidden(context, session, request.id):
        raise NotFound(f"Job {request.id} not found")


def _progress(context: Context, session: Session, request: requests.Progress, _: Instant) -> None:
    if _is_hidden(context, session, request.id):
        raise NotActive(f"Job {request.id} not found in processing")


def _ack_batch(context: Context, session: Session, request: requests.AckBatch, now: Instant) -> replies.Counted | None:
    """Ids of other queues are skipped, as unknown ones are."""
    ids, tokens, results = request.ids, request.tokens, request.results
    known = [place for place, id in enumerate(ids) if not _is_hidden(context, session, id)]
    aligned = all(len(values) == len(ids) for values in (tokens, results) if values is not None)
    if len(known) == len(ids) or not aligned:  # what does not fit together is refused as it stands
        return None
    return jobs.ack_batch(
        context,
        session,
        replace(request, ids=_at(known, ids), tokens=_at(known, tokens), results=_at(known, results)),
        now,
    )


def _wait_job(context: Context, session: Session, request: requests.WaitJob, _: Instant) -> replies.Ended | None:
    if _is_hidden(context, session, request.id):
        return replies.Ended(id=request.id, state=_UNKNOWN, result=Raw(b"null"), error=None)
    return None


def _get_result(context: Context, session: Session, request: requests.GetResult, _: Instant) -> replies.Result | None:
    if _is_hidden(context, session, request.id):
        return replies.Result(id=request.id, result=Raw(b"null"))
    return None


def _get_job(context: Context, session: Session, request: requests.GetJob, _: Instant) -> replies.JobAndState | None:
    return _no_job() if _is_hidden(context, session, request.id) else None


def _get_job_by_custom_id(
    context: Context, session: Session, request: requests.GetJobByCustomId, _: Instant
) -> replies.JobAndState | None:
    return _no_job() if _is_hidden(context, session, context.engine.lookup.custom(request.job_id)) else None


def _get_state(context: Context, session: Session, request: requests.GetState, _: Instant) -> replies.StateOf | None:
    return replies.StateOf(id=request.id, state=_UNKNOWN) if _is_hidden(context, session, request.id) else None


def _list_jobs(context: Context, session: Session, request: requests.ListJobs, _: Instant) -> replies.ListedJobs | None:
    if request.queue is None:
        return browse.list_among(context, set(_queues(context, session)), request)
    _check_queue(session, request.queue)
    return None


def _explain(context: Context, session: Session, request: requests.Explain, now: Instant) -> replies.Explained:
    """Parents and workers of other queues stay without a state and without a name."""
    if context.engine.lookup.queue(request.id) not in _scope(session):
        raise NotFound(f"Job {request.id} not found")
    reply = browse.explain(context, session, request, now)
    for reason in reply.explain.reasons:
        if isinstance(reason, Dependencies):
            for parent in reason.parents:
                if _is_hidden(context, session, parent.id):
                    parent.state = _UNKNOWN
        elif isinstance(reason, Running) and reason.worker is not None:
            worker = context.engine.workers.get(reason.worker)
            if worker is None or not _is_within(session, worker.queues):
                reason.worker = None
    return reply


def _list_queues(context: Context, session: Session, request: requests.ListQueues, now: Instant) -> replies.Queues:
    reply = queues.list_queues(context, session, request, now)
    return replies.Queues(queues=[queue for queue in reply.queues if queue.name in _scope(session)])


def _set_cron(context: Context, session: Session, request: requests.Cron, _: Instant) -> None:
    _check_queue(session, request.queue)
    if _hides_cron(context, session, request.name):
        raise _taken(request.name)


def _delete_cron(context: Context, session: Session, request: requests.CronDelete, _: Instant) -> None:
    if _hides_cron(context, session, request.name):
        raise NotFound("Cron job not found")


def _list_crons(context: Context, session: Session, request: requests.CronList, now: Instant) -> replies.Crons:
    reply = cron.cron_list(context, session, request, now)
    return replies.Crons(crons=[row for row in reply.crons if row.queue in _scope(session)])


def _set_webhook(_: Context, session: Session, request: requests.Webhook, __: Instant) -> None:
    """Of all queues it would tell of others, too."""
    if request.queue is None:
        raise Forbidden("Forbidden: a webhook without a queue needs a token for all queues")
    _check_queue(session, request.queue)


def _delete_webhook(context: Context, session: Session, request: requests.WebhookDelete, _: Instant) -> None:
    webhook = context.engine.webhooks.by_id.get(request.id)
    if webhook is not None and not _sees_webhook(session, webhook.row.queue):
        raise NotFound("Webhook not found")


def _list_webhooks(context: Context, session: Session, request: requests.WebhookList, now: Instant) -> replies.Webhooks:
    reply = webhooks.webhook_list(context, session, request, now)
    return replies.Webhooks(webhooks=[hook for hook in reply.webhooks if _sees_webhook(session, hook.queue)])


def _stats(context: Context, session: Session, _: requests.StatsRequest, __: Instant) -> replies.StatsReply:
    counts = [queue.counts for queue in _queues(context, session)]

    def total(state: int) -> int:
        return sum(count[state] for count in counts)

    return replies.StatsReply(
        queued=total(WAITING),
        processing=total(ACTIVE),
        delayed=total(DELAYED),
        dlq=total(FAILED),
        completed=total(COMPLETED),
        waiting_children=total(WAITING_CHILDREN),
    )


def _metrics(
    context: Context, session: Session, request: requests.MetricsRequest, now: Instant
) -> replies.MetricsReply:
    """Rates are measured over all queues together, so these tokens see none."""
    every = admin.metrics(context, session, request, now).metrics
    seen = list(_queues(context, session))
    narrowed = Metrics(
        total_pushed=sum(queue.pushed for queue in seen),
        total_completed=sum(queue.counts[COMPLETED] for queue in seen),
        total_failed=sum(queue.failed for queue in seen),
        jobs_per_second=0.0,
        avg_latency_ms=0.0,
        queues=[queue for queue in every.queues if queue.name in _scope(session)],
    )
    return replies.MetricsReply(metrics=narrowed)


def _hello(context: Context, session: Session, request: requests.Hello, _: Instant) -> None:
    for queue in request.queues:
        _check_queue(session, queue)
    if not speaks_for(context, session, request.worker):
        raise _taken(request.worker)


def _speaks(context: Context, session: Session, request: requests.Beat | requests.Bye, _: Instant) -> None:
    if not speaks_for(context, session, request.worker):
        raise NotFound(f"Worker {request.worker!r} not found")


def _workers(context: Context, session: Session, request: requests.Workers, now: Instant) -> replies.WorkersReply:
    """Those that work for queues of the scope and for no other: what the rest do is not told in part."""
    reply = admin.workers(context, session, request, now)
    return replies.WorkersReply(workers=[worker for worker in reply.workers if _is_within(session, worker.queues)])


def _history(context: Context, session: Session, request: requests.History, now: Instant) -> Parked:
    """A job of another queue has no history, as one that never was; its queue stands in the history itself."""
    parked, scope = audit.history(context, session, request, now), _scope(session)
    whole = parked.reply

    def reply(delivered: Any) -> replies.Reply:  # noqa: ANN401  # see `Parked.reply`
        found = whole(delivered)
        assert isinstance(found, replies.History)
        seen = all(entry.queue in scope for entry in found.history)
        return found if seen else replies.History(id=request.id, history=[], truncated=False)

    return replace(parked, reply=reply)


def speaks_for(context: Context, session: Session, worker: str) -> bool:
    """Whether a session may speak under a worker's name: nobody else's with a scope, unless the scope is the same."""
    known = context.engine.workers.get(worker)
    return session.scope is None or known is None or known.owner == session.scope


Rule = Callable[[Context, Session, Any, Instant], Any]

RULES: Final[dict[type, Rule]] = {
    **dict.fromkeys((requests.Auth, requests.Ping, requests.Settings, requests.Nodes), _free),
    **dict.fromkeys(
        (
            requests.Pull,
            requests.PullBatch,
            requests.DeadLetters,
            requests.RetryDeadLetters,
            requests.PurgeDeadLetters,
            requests.RateLimit,
            requests.RateLimitClear,
            requests.SetConcurrency,
            requests.ClearConcurrency,
            requests.Pause,
            requests.Resume,
        ),
        _names_queue,
    ),
    **dict.fromkeys(
        (
            requests.Ack,
            requests.Fail,
            requests.Release,
            requests.Heartbeat,
            requests.Cancel,
            requests.GetProgress,
        ),
        _settles,
    ),
    requests.Push: _push,
    requests.PushBatch: _push_batch,
    requests.PushFlow: _push_flow,
    requests.PullAny: _names_queues,
    requests.AckBatch: _ack_batch,
    requests.Progress: _progress,
    requests.WaitJob: _wait_job,
    requests.GetResult: _get_result,
    requests.GetJob: _get_job,
    requests.GetJobByCustomId: _get_job_by_custom_id,
    requests.GetState: _get_state,
    requests.ListJobs: _list_jobs,
    requests.Explain: _explain,
    requests.ListQueues: _list_queues,
    requests.Cron: _set_cron,
    requests.CronDelete: _delete_cron,
    requests.CronList: _list_crons,
    requests.Webhook: _set_webhook,
    requests.WebhookDelete: _delete_webhook,
    requests.WebhookList: _list_webhooks,
    requests.Subscribe: _topic,
    requests.Unsubscribe: _topic,
    requests.StatsRequest: _stats,
    requests.MetricsRequest: _metrics,
    requests.Hello: _hello,
    requests.Beat: _speaks,
    requests.Bye: _speaks,
    requests.Workers: _workers,
    requests.Shutdown: closed,
    requests.Restart: closed,
    requests.Backup: closed,
    requests.History: _history,
    requests.AuditLog: closed,
}
"""For each request type what a session with a scope gets: a rule raises, or answers in the command's place, or returns
None and the command is carried out as it is."""


def _scope(session: Session) -> Scope:
    assert session.scope is not None
    return session.scope


def _queues(context: Context, session: Session) -> Iterable[Queue]:
    scope = _scope(session)
    return (queue for queue in context.engine.queues.by_name.values() if queue.name in scope)


def _is_within(session: Session, queues: Collection[str]) -> bool:
    """Whether there are queues, and all of them are this session's."""
    scope = _scope(session)
    return bool(queues) and all(queue in scope for queue in queues)


def _is_hidden(context: Context, session: Session, id: int) -> bool:
    """Whether there is such a job, and it is of a queue that this session may not touch."""
    queue = context.engine.lookup.queue(id)
    return queue is not None and queue not in _scope(session)


def _hides_cron(context: Context, session: Session, name: str) -> bool:
    queue = context.engine.lookup.cron(name)
    return queue is not None and queue not in _scope(session)


def _sees_webhook(session: Session, queue: str | None) -> bool:
    return queue is not None and queue in _scope(session)


def _check_queue(session: Session, queue: str) -> None:
    if queue not in _scope(session):
        raise Forbidden(f"Forbidden: this token is not for queue {queue[:256]!r}")


def _check_spec(context: Context, session: Session, spec: JobSpec, where: str) -> None:
    for parent in spec.depends_on or ():
        if _is_hidden(context, session, parent):
            raise BadRequest(f"Invalid: {where}depends_on names unknown job {parent}")
    if spec.job_id is not None and _is_hidden(context, session, context.engine.lookup.custom(spec.job_id)):
        raise _taken(spec.job_id, where)


def _taken(name: str, where: str = "") -> Forbidden:
    return Forbidden(f"Forbidden: {where}the name {name!r} is not free for this token")


def _no_job() -> replies.JobAndState:
    return replies.JobAndState(job=None, state=_UNKNOWN)


def _at(places: list[int], values: list[Any] | None) -> Any:  # noqa: ANN401  # the kind of list that came
    return None if values is None else [values[place] for place in places]


def _word(request: object) -> str:
    return str(type(request).__struct_config__.tag)  # type: ignore[attr-defined]
