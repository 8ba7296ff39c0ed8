"""CRON, CRONDELETE, CRONLIST: schedules."""

from flashq.commands.jobs import OK
from flashq.commands.names import check_queue_name
from flashq.commands.session import Context, Session
from flashq.model import Instant, JobSpec
from flashq.protocol import replies, requests
from flashq.protocol.codec import check_payload


def cron(context: Context, _: Session, request: requests.Cron, now: Instant) -> replies.Reply:
    """CRON."""
    check_queue_name(request.queue)
    data = bytes(request.data)
    check_payload(data)
    timezone = request.timezone or "UTC"
    given = JobSpec(
        data=request.data,
        timeout=request.timeout,
        ttl=request.ttl,
        backoff=request.backoff,
        max_attempts=request.max_attempts,
        unique_key=request.unique_key,
        tags=request.tags,
    )
    context.engine.control.set_cron(
        request.name, request.queue, data, request.schedule, request.priority, timezone, now, given
    )
    return OK


def cron_delete(context: Context, _: Session, request: requests.CronDelete, __: Instant) -> replies.Reply:
    """CRONDELETE."""
    context.engine.control.delete_cron(request.name)
    return OK


def cron_list(context: Context, _: Session, __: requests.CronList, ___: Instant) -> replies.Crons:
    """CRONLIST."""
    return replies.Crons(crons=context.engine.lookup.crons())
