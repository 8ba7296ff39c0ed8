"""WEBHOOK, WEBHOOKDELETE, WEBHOOKLIST: who is told of events by HTTP."""

from flashq.commands.admin import EVENT_TYPES
from flashq.commands.jobs import OK
from flashq.commands.names import check_queue_name
from flashq.commands.session import Context, Session
from flashq.errors import BadRequest
from flashq.model import Instant
from flashq.protocol import replies, requests
from flashq.security.addresses import why_refused

_ALL = "*"


def webhook(context: Context, _: Session, request: requests.Webhook, now: Instant) -> replies.WebhookAdded:
    """WEBHOOK."""
    wrong = why_refused(request.url, private=context.private_webhooks)
    if wrong is not None:
        raise BadRequest(f"Invalid: the URL {wrong} - at `$.url`")
    unknown = sorted(set(request.events) - EVENT_TYPES - {_ALL})
    if unknown:
        raise BadRequest(f"Invalid: unknown event type {unknown[0][:40]!r} - at `$.events`")
    if request.queue is not None:
        check_queue_name(request.queue)
    events = [] if _ALL in request.events else sorted(set(request.events))
    id = context.engine.webhooks.add(request.url, events, request.queue, request.secret, now.wall)
    return replies.WebhookAdded(id=id)


def webhook_delete(context: Context, _: Session, request: requests.WebhookDelete, __: Instant) -> replies.Reply:
    """WEBHOOKDELETE."""
    context.engine.webhooks.delete(request.id)
    return OK


def webhook_list(context: Context, _: Session, __: requests.WebhookList, ___: Instant) -> replies.Webhooks:
    """WEBHOOKLIST."""
    return replies.Webhooks(webhooks=context.engine.webhooks.views())
