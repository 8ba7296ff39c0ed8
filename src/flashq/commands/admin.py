"""AUTH, STATS, HELLO, SUBSCRIBE and their kin: who is there, and how it goes."""

from collections.abc import Hashable
from typing import Final

from msgspec.structs import asdict

from flashq.commands.jobs import OK
from flashq.commands.names import check_queue_name
from flashq.commands.parked import Parked
from flashq.commands.session import Context, Host, Session
from flashq.errors import BadRequest, FlashQError, NotFound, ShuttingDown
from flashq.model import Instant
from flashq.protocol import replies, requests

EXIT_RESTART: Final = 100
"""The exit code that asks whoever watches over the process to start it again."""

STANDALONE: Final = "standalone"
"""The name of a server that is not part of a cluster."""

INSTEAD: Final = {
    "memory": "Invalid: this server keeps its jobs in memory only, so there is nothing that a backup could hold",
    "postgres": "Invalid: this server keeps its jobs in PostgreSQL: back that up with its own tools, as pg_dump",
}
"""What is said where the server can make no backup, by the kind of its storage."""

EVENT_TYPES: Final = frozenset(
    ("pushed", "active", "completed", "failed", "retrying", "progress", "timeout", "expired", "cancelled")
)


def auth(context: Context, session: Session, request: requests.Auth, now: Instant) -> replies.Reply:
    """AUTH."""
    session.identify(context.access.identify(request.token, session.peer, now.steady))
    return OK


def ping(_: Context, __: Session, ___: requests.Ping, ____: Instant) -> replies.Reply:
    """PING."""
    return OK


def stats(context: Context, _: Session, __: requests.StatsRequest, ___: Instant) -> replies.StatsReply:
    """STATS."""
    return replies.StatsReply(**asdict(context.engine.lookup.stats()))


def metrics(context: Context, _: Session, __: requests.MetricsRequest, now: Instant) -> replies.MetricsReply:
    """METRICS."""
    return replies.MetricsReply(metrics=context.engine.lookup.metrics(now.wall))


def hello(context: Context, session: Session, request: requests.Hello, now: Instant) -> replies.Reply:
    """HELLO."""
    for queue in request.queues:
        check_queue_name(queue)
    worker = context.engine.control.hello(
        request.worker, request.queues, request.concurrency, request.host, request.pid, now
    )
    worker.owner = session.scope
    session.worker = worker
    if request.holds is not None:
        context.engine.control.reconcile(worker, set(request.holds), now)
    return OK


def beat(context: Context, _: Session, request: requests.Beat, now: Instant) -> replies.Reply | Parked:
    """BEAT."""
    beats = context.engine.beats
    worker = context.engine.control.beat(request.worker, now)
    if request.wait is None:
        return OK
    ended = beats.take(worker)
    if ended or not request.wait:
        return replies.EndedAttempts(ended=ended)
    wait_ms = request.wait

    def park(token: Hashable, now: Instant) -> None:
        beats.park(token, worker, wait_ms, now)

    def over() -> replies.Reply:
        if worker.gone:
            raise NotFound(f"Worker {worker.name!r} not found")
        return replies.EndedAttempts(ended=[])

    return Parked(park, lambda ended: replies.EndedAttempts(ended=ended), over)


def bye(context: Context, session: Session, request: requests.Bye, now: Instant) -> replies.Reply:
    """BYE."""
    context.engine.control.bye(request.worker, now, request.error)
    session.worker = None
    return OK


def workers(context: Context, _: Session, __: requests.Workers, ___: Instant) -> replies.WorkersReply:
    """WORKERS."""
    return replies.WorkersReply(workers=context.engine.lookup.workers())


def subscribe(context: Context, session: Session, request: requests.Subscribe, _: Instant) -> replies.Reply:
    """SUBSCRIBE."""
    _check_topic(request.queue)
    unknown = sorted(set(request.events) - EVENT_TYPES)
    if unknown:
        raise BadRequest(f"Invalid: unknown event type {unknown[0][:40]!r} - at `$.events`")
    context.hub.subscribe(_subscriber(session), request.queue, frozenset(request.events), session.scope)
    return OK


def unsubscribe(context: Context, session: Session, request: requests.Unsubscribe, _: Instant) -> replies.Reply:
    """UNSUBSCRIBE."""
    _check_topic(request.queue)
    context.hub.unsubscribe(_subscriber(session), request.queue)
    return OK


def settings(context: Context, _: Session, __: requests.Settings, now: Instant) -> replies.SettingsReply:
    """SETTINGS."""
    return replies.SettingsReply(settings=_host(context).settings(now))


def nodes(context: Context, _: Session, __: requests.Nodes, now: Instant) -> replies.NodesReply:
    """NODES."""
    about = _host(context).settings(now)
    return replies.NodesReply(
        nodes=[replies.NodeView(STANDALONE, about.host, about.port, is_leader=True, state="standalone")]
    )


def shutdown(context: Context, _: Session, __: requests.Shutdown, ___: Instant) -> replies.Reply:
    """SHUTDOWN."""
    _host(context).leave(0)
    return OK


def restart(context: Context, _: Session, __: requests.Restart, ___: Instant) -> replies.Reply:
    """RESTART."""
    _host(context).leave(EXIT_RESTART)
    return OK


def backup(context: Context, _: Session, __: requests.Backup, now: Instant) -> Parked:
    """BACKUP."""
    backups = context.backups
    if backups is None:
        raise BadRequest(INSTEAD[_host(context).settings(now).storage])

    def reply(outcome: replies.BackupView | FlashQError) -> replies.Reply:
        if isinstance(outcome, FlashQError):
            raise outcome
        return replies.BackupReply(backup=outcome)

    def over() -> replies.Reply:
        raise ShuttingDown("The server is shutting down")

    return Parked(backups.begin, reply, over, brief=True)


def _host(context: Context) -> Host:
    if context.host is None:
        raise BadRequest("Invalid: this server is part of another program")
    return context.host


def _check_topic(queue: str) -> None:
    if queue != "*":
        check_queue_name(queue)


def _subscriber(session: Session) -> object:
    if session.subscriber is None:
        raise BadRequest("Invalid: this connection cannot carry events")
    return session.subscriber
