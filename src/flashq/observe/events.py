"""Who listens to which events, and the telling.

Telling is an append to each listener's own buffer, never a wait: a slow listener loses events (and is told how many)
but slows nobody. While nobody listens, events are not even made.
"""

from collections.abc import Callable
from typing import Any, Final, Protocol

from msgspec.json import Encoder

from flashq.errors import LimitReached
from flashq.model import Event
from flashq.protocol.limits import MAX_SUBSCRIPTIONS

ALL: Final = "*"
_encode: Final = Encoder().encode


class Subscriber(Protocol):
    """Where a listener's events go."""

    def tell(self, event: bytes) -> None:
        """Take one event, encoded as JSON. Must not wait."""


class Hub:
    """All subscriptions."""

    def __init__(self, watched: Callable[[bool], None]) -> None:
        """Args: ``watched``: called with whether anybody listens, each time that changes."""
        self._topics: dict[str, dict[Any, frozenset[str]]] = {}
        self._count = 0
        self._watched = watched

    def subscribe(self, subscriber: Any, queue: str, types: frozenset[str]) -> None:  # noqa: ANN401
        """Send ``subscriber`` the events of a queue (``*``: of all); no types = every type. Again replaces.

        Raises:
            LimitReached: there are as many subscriptions as there may be.
        """
        topic = self._topics.get(queue, {})
        if subscriber not in topic:
            if self._count >= MAX_SUBSCRIPTIONS:
                raise LimitReached(f"Too many subscriptions (max {MAX_SUBSCRIPTIONS})")
            self._count += 1
        topic[subscriber] = types
        self._topics[queue] = topic
        self._watched(True)

    def unsubscribe(self, subscriber: Any, queue: str) -> None:  # noqa: ANN401
        """Stop what `subscribe` started for the same queue; nothing happens if there was nothing."""
        topic = self._topics.get(queue, {})
        if topic.pop(subscriber, None) is not None:
            self._count -= 1
        if not topic:
            self._topics.pop(queue, None)
        self._watched(bool(self._topics))

    def leave(self, subscriber: Any) -> None:  # noqa: ANN401
        """A listener is gone."""
        for queue in [queue for queue, topic in self._topics.items() if subscriber in topic]:
            self.unsubscribe(subscriber, queue)

    def publish(self, events: list[Event]) -> None:
        """Tell everybody what they asked for, each listener once an event."""
        everywhere = self._topics.get(ALL, {})
        for event in events:
            here = self._topics.get(event.queue, {})
            listeners = [
                who
                for topic in (everywhere, here)
                for who, types in topic.items()
                if not types or event.event_type in types
            ]
            if listeners:
                line = _encode(event)
                for who in dict.fromkeys(listeners):
                    who.tell(line)
