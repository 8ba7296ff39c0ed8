"""What a command needs to know: who asks, and what there is to ask."""

from collections.abc import Container, Hashable
from typing import Protocol

from flashq.engine.engine import Engine
from flashq.engine.leases import Worker
from flashq.engine.records import Actor
from flashq.engine.trail import Question
from flashq.model import Instant
from flashq.protocol.replies import SettingsView
from flashq.security.access import Access
from flashq.security.identity import Identity, Scope


class Subscriptions(Protocol):
    """Where a command registers the wish for events; `flashq.observe.events.Hub` is one."""

    def subscribe(
        self, subscriber: object, queue: str, types: frozenset[str], within: Container[str] | None = None
    ) -> None:
        """Send ``subscriber`` the events of a queue (``*``: of all ``within``); no types = every type."""

    def unsubscribe(self, subscriber: object, queue: str) -> None:
        """Stop what `subscribe` started for the same queue."""


class Host(Protocol):
    """The process that carries commands out, as far as they may ask it."""

    def settings(self, now: Instant) -> SettingsView:
        """How it was set up."""

    def leave(self, exit_code: int) -> None:
        """Stop in good order once this turn's answers are on their way. Returns at once."""


class Archive(Protocol):
    """Where a command asks about the past; the server has one when it keeps the history of jobs."""

    def ask(self, token: Hashable, question: Question, now: Instant) -> None:
        """Answer ``question`` with what is remembered up to now; delivered to ``token`` when that has been done.

        Raises:
            Overloaded: as many wait as may.
        """


class Backups(Protocol):
    """Where a command asks for a backup; a server has one when its database is a file of its own."""

    def begin(self, token: Hashable, now: Instant) -> None:
        """Make a backup; a `BackupView`, or the error that it failed for, is delivered to ``token``.

        Raises:
            LimitReached: one is being made.
            Overloaded: as many calls wait as may.
        """


class Session:
    """One client's standing: who it is, what it may do, and which worker it is part of.

    Attributes:
        allowed: the request types it may send; None = all.
        scope: the queues it may touch; None = all.
        identity: who it is; None before it has shown a token, and where nobody asks.
        peer: where it comes from, for logs.
        worker: the worker it named itself as, if any.
        subscriber: where its events go; None when its door cannot carry events.
        door: through which it came, for the history of jobs.
    """

    __slots__ = ("allowed", "door", "identity", "peer", "scope", "subscriber", "worker")

    def __init__(
        self, allowed: frozenset[type] | None = None, subscriber: object = None, peer: str = "", door: str = ""
    ) -> None:
        self.allowed = allowed
        self.scope: Scope | None = None
        self.identity: Identity | None = None
        self.worker: Worker | None = None
        self.subscriber = subscriber
        self.peer = peer
        self.door = door

    @property
    def actor(self) -> Actor:
        """As whom it does what it does."""
        name = "anonymous" if self.identity is None else self.identity.name
        return Actor(name, self.peer or None, self.door or None)

    @property
    def revoked(self) -> bool:
        """Whether what it was allowed has been taken back: its door has to let it go."""
        return self.identity is not None and self.identity.revoked

    def identify(self, identity: Identity) -> None:
        """It is known who this is: from now on it may do what that one may."""
        self.identity = identity
        self.allowed = identity.allowed
        self.scope = identity.scope


class Context:
    """What commands work on.

    Attributes:
        engine: the queue itself.
        hub: subscriptions to events.
        access: who may come in; a door asks it before it takes commands, unless `Access.anonymous` says not to.
        host: the process around it all; None where there is none to speak of.
        closing: the server drains and takes no new work.
        away: the storage does not answer; what needs it is refused.
        barred: either; the one question that a command pays for both.
        private_webhooks: webhooks may name addresses of the machine and of networks that are not public.
        unfinished: bytes of commands that have not come wholly, over all connections; doors keep it.
        archive: where to ask about the past; None when no history is kept.
        backups: where to ask for a backup; None when the server can make none.
    """

    __slots__ = (
        *("access", "archive", "away", "backups", "barred", "closing", "engine", "host", "hub", "private_webhooks"),
        "unfinished",
    )

    def __init__(
        self, engine: Engine, hub: Subscriptions, access: Access | None = None, host: Host | None = None
    ) -> None:
        self.engine = engine
        self.hub = hub
        self.access = access or Access()
        self.host = host
        self.barred = False
        self.closing = False
        self.away = False
        self.private_webhooks = False
        self.unfinished = 0
        self.archive: Archive | None = None
        self.backups: Backups | None = None

    def close(self) -> None:
        """Take no more commands."""
        self.closing = self.barred = True

    def set_away(self, away: bool) -> None:
        """The storage does not answer, or does again."""
        self.away = away
        self.barred = away or self.closing
