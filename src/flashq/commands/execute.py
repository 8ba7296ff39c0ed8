"""The one way in: may this session do that, and what comes of it."""

from flashq.commands.audit import run_audited
from flashq.commands.parked import Parked
from flashq.commands.scope import RULES, closed, speaks_for
from flashq.commands.session import Context, Session
from flashq.commands.table import ACTIONS, BEFORE_AUTH, COMMANDS
from flashq.errors import Forbidden, NotFound, ShuttingDown, Unauthorized
from flashq.model import Instant
from flashq.protocol.limits import MAX_KEY_CHARS
from flashq.protocol.replies import Reply
from flashq.protocol.requests import AnyRequest

_RUN = {request: command.run for request, command in COMMANDS.items()}


def execute(context: Context, session: Session, request: AnyRequest, now: Instant) -> Reply | Parked:
    """Carry out a request.

    Args:
        context: what commands work on.
        session: who asks.
        request: one of `flashq.protocol.requests`.
        now: the moment at which it takes effect.

    Returns:
        Its answer, or `Parked` when it wants to wait: parking is the door's next step.

    Raises:
        FlashQError: it was refused, and nothing has changed.
    """
    kind = type(request)
    if session.allowed is not None and kind not in session.allowed:
        if session.identity is not None:
            context.access.denied(session.identity, session.peer, COMMANDS[kind].name, now.steady)
        _refuse(session, kind)
    if context.closing:
        raise ShuttingDown("The server is shutting down")
    if session.scope is not None or context.engine.outbox.auditing:
        return _closely(context, session, request, now)
    reply: Reply | Parked = _RUN[kind](context, session, request, now)
    return reply


def _closely(context: Context, session: Session, request: AnyRequest, now: Instant) -> Reply | Parked:
    """Carry out a request of a session that may not touch every queue, or one that goes into the history of jobs."""
    if context.engine.outbox.auditing:
        return run_audited(_narrowed, context, session, request, now, action=type(request) in ACTIONS)
    return _narrowed(context, session, request, now)


def _narrowed(context: Context, session: Session, request: AnyRequest, now: Instant) -> Reply | Parked:
    kind = type(request)
    if session.scope is not None:
        narrowed = _narrow(context, session, request, now)
        if narrowed is not None:
            return narrowed
    reply: Reply | Parked = _RUN[kind](context, session, request, now)
    return reply


def speak_for(context: Context, session: Session, worker: str) -> None:
    """What this session pulls is leased to this worker, which has said HELLO before.

    No command: a door asks for it whose clients have no connection to say HELLO on.

    Raises:
        NotFound: it has not, or was given up, or is somebody else's.
    """
    known = context.engine.workers.get(worker)
    if known is None or not speaks_for(context, session, worker):
        raise NotFound(f"Worker {worker[:MAX_KEY_CHARS]!r} not found")
    session.worker = known


def permit(session: Session, kind: type) -> None:
    """Ask what `execute` asks first, for what is no command and needs the role of one.

    Raises:
        Unauthorized, Forbidden: this session may not send requests of this kind.
    """
    if session.allowed is not None and kind not in session.allowed:
        _refuse(session, kind)


def _narrow(context: Context, session: Session, request: AnyRequest, now: Instant) -> Reply | Parked | None:
    kind = type(request)
    try:
        narrowed: Reply | Parked | None = RULES.get(kind, closed)(context, session, request, now)
    except Forbidden:
        context.access.denied(session.identity, session.peer, COMMANDS[kind].name, now.steady)
        raise
    return narrowed


def _refuse(session: Session, kind: type) -> None:
    if session.allowed == BEFORE_AUTH:
        raise Unauthorized("Authentication required")
    command = COMMANDS[kind]
    raise Forbidden(f"Forbidden: {command.name} needs role {command.role}")
