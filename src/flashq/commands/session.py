"""What a command needs to know: who asks, and what there is to ask."""

from collections.abc import Callable, Container
from typing import Protocol

from flashq.engine.engine import Engine
from flashq.engine.leases import Worker


class Subscriptions(Protocol):
    """Where a command registers the wish for events; `flashq.observe.events.Hub` is one."""

    def subscribe(
        self, subscriber: object, queue: str, types: frozenset[str], within: Container[str] | None = None
    ) -> None:
        """Send ``subscriber`` the events of a queue (``*``: of all ``within``); no types = every type."""

    def unsubscribe(self, subscriber: object, queue: str) -> None:
        """Stop what `subscribe` started for the same queue."""


class Session:
    """One client's standing: what it may do, and which worker it is part of.

    Attributes:
        allowed: the request types it may send; None = all.
        worker: the worker it named itself as, if any.
        subscriber: where its events go; None when its door cannot carry events.
    """

    __slots__ = ("allowed", "subscriber", "worker")

    def __init__(self, allowed: frozenset[type] | None = None, subscriber: object = None) -> None:
        self.allowed = allowed
        self.worker: Worker | None = None
        self.subscriber = subscriber


class Context:
    """What commands work on.

    Attributes:
        engine: the queue itself.
        hub: subscriptions to events.
        authenticate: token -> the request types it allows (None: all); raises Unauthorized for a wrong one.
        closing: the server drains and takes no new work.
        unfinished: bytes of commands that have not come wholly, over all connections; doors keep it.
    """

    __slots__ = ("authenticate", "closing", "engine", "hub", "unfinished")

    def __init__(
        self,
        engine: Engine,
        hub: Subscriptions,
        authenticate: Callable[[str], frozenset[type] | None] = lambda _: None,
    ) -> None:
        self.engine = engine
        self.hub = hub
        self.authenticate = authenticate
        self.closing = False
        self.unfinished = 0
