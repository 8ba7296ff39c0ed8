"""The one way in: may this session do that, and what comes of it."""

from typing import Final, NoReturn

from flashq.commands.audit import run_audited
from flashq.commands.parked import Parked
from flashq.commands.scope import RULES, closed, speaks_for
from flashq.commands.session import Context, Session
from flashq.commands.table import ACTIONS, BEFORE_AUTH, COMMANDS, WITHOUT_STORAGE
from flashq.errors import Forbidden, NotFound, ShuttingDown, StorageError, Unauthorized
from flashq.model import Instant
from flashq.protocol.limits import MAX_KEY_CHARS
from flashq.protocol.replies import Reply
from flashq.protocol.requests import AnyRequest

AWAY: Final = "The storage does not answer: this was not carried out; ask again in a second"

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
        _refuse(context, session, kind, now)
    if context.barred:
        _bar(context, kind)
    run = _RUN[kind] if session.scope is None else _run_scoped
    if context.engine.outbox.auditing:
        return run_audited(run, context, session, request, now, action=kind in ACTIONS)
    reply: Reply | Parked = run(context, session, request, now)
    return reply


def over(context: Context, parked: Parked) -> Reply:
    """The answer of a wait that is over, or that something ends.

    Raises:
        FlashQError: it is refused; also while the storage is away, since what it would say may never become true.
    """
    if context.away:
        raise StorageError(AWAY)
    return parked.over()


def _bar(context: Context, kind: type) -> None:
    if context.closing:
        raise ShuttingDown("The server is shutting down")
    if kind not in WITHOUT_STORAGE:
        raise StorageError(AWAY)


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


def permit(context: Context, session: Session, kind: type, now: Instant) -> None:
    """Ask what `execute` asks first, for what is no command, needs the role of one, and speaks of all queues.

    Raises:
        Unauthorized, Forbidden: this session may not send requests of this kind, or not touch every queue.
    """
    if session.allowed is not None and kind not in session.allowed:
        _refuse(context, session, kind, now)
    if session.scope is not None:
        _deny(context, session, kind, now)
        raise Forbidden("Forbidden: this speaks of the whole server and needs a token for all queues")


def _run_scoped(context: Context, session: Session, request: AnyRequest, now: Instant) -> Reply | Parked:
    """Carry out a request of a session that may not touch every queue, as far as its rule does not answer it."""
    kind = type(request)
    try:
        reply: Reply | Parked | None = RULES.get(kind, closed)(context, session, request, now)
    except Forbidden:
        _deny(context, session, kind, now)
        raise
    if reply is None:
        reply = _RUN[kind](context, session, request, now)
    return reply


def _refuse(context: Context, session: Session, kind: type, now: Instant) -> NoReturn:
    if session.identity is not None:
        _deny(context, session, kind, now)
    if session.allowed == BEFORE_AUTH:
        raise Unauthorized("Authentication required")
    command = COMMANDS[kind]
    raise Forbidden(f"Forbidden: {command.name} needs role {command.role}")


def _deny(context: Context, session: Session, kind: type, now: Instant) -> None:
    context.access.denied(session.identity, session.peer, COMMANDS[kind].name, now.steady)
