"""HISTORY and AUDITLOG: who did what, when; and the noting of it around every command.

What happens to jobs the engine notes itself, wherever it happens; it only has to know on whose behalf. What operators
do is noted here, once for all commands: a command of an operator or an administrator is an action, unless it only
reads. So a new command is noted without a line of its own.
"""

from collections.abc import Callable, Hashable
from typing import Any, Final

from msgspec import structs
from msgspec.json import encode

from flashq.commands.parked import Parked
from flashq.commands.session import Context, Session
from flashq.engine.records import SERVER
from flashq.engine.trail import JobHistory, Operations
from flashq.errors import BadRequest, ShuttingDown
from flashq.model import Instant
from flashq.protocol import replies, requests
from flashq.urls import split_url

OFF: Final = "history is off: start the server with AUDIT=1"

TARGETS: Final = ("queue", "name", "id")
"""The members that say what an action is done to; the first that is there."""

TOLD: Final = frozenset({"events", "id", "limit", "name", "priority", "queue", "schedule", "timezone"})
"""The members that are kept with an action. Named one by one: what a command may get one day may be a secret."""


def history(context: Context, _: Session, request: requests.History, __: Instant) -> Parked:
    """HISTORY."""
    question = JobHistory(request.id)

    def reply(_: object) -> replies.History:
        entries, truncated = question.answer()
        return replies.History(id=request.id, history=entries, truncated=truncated)

    return _asked(context, question, reply)


def audit_log(context: Context, _: Session, request: requests.AuditLog, __: Instant) -> Parked:
    """AUDITLOG."""
    question = Operations(request.since or 0, request.limit, request.cursor or 0)

    def reply(_: object) -> replies.AuditLog:
        operations, cursor = question.answer()
        return replies.AuditLog(audit=operations, cursor=cursor or None)

    return _asked(context, question, reply)


def run_audited(
    run: Callable[[Context, Session, Any, Instant], replies.Reply | Parked],
    context: Context,
    session: Session,
    request: requests.AnyRequest,
    now: Instant,
    *,
    action: bool,
) -> replies.Reply | Parked:
    """Carry out a request on behalf of its session, and note it if it is an operator's ``action``."""
    outbox = context.engine.outbox
    outbox.by = session.actor
    try:
        reply = run(context, session, request, now)
        if action:
            outbox.operated(str(request.__struct_config__.tag), now, *_said(request))
        return reply
    finally:
        outbox.by = SERVER


def _asked(context: Context, question: JobHistory | Operations, reply: Callable[[Any], replies.Reply]) -> Parked:
    archive = context.archive
    if archive is None:
        raise BadRequest(OFF)

    def park(token: Hashable, now: Instant) -> None:
        archive.ask(token, question, now)

    def over() -> replies.Reply:
        raise ShuttingDown("The server is shutting down")

    return Parked(park, reply, over, brief=True)


def _said(request: requests.AnyRequest) -> tuple[str | None, str | None]:
    """What an action was done to, and what else was said, as JSON."""
    members = structs.asdict(request)
    target = next((name for name in TARGETS if members.get(name) is not None), None)
    told = {
        name: members[name] for name in sorted(TOLD & members.keys()) if members[name] is not None and name != target
    }
    if "url" in members:
        told["host"] = split_url(members["url"]).hostname  # the rest of it may be a secret
    return str(members[target]) if target else None, encode(told).decode() if told else None
