"""Who listens to which events, and the telling.

Telling is an append to each listener's own buffer, never a wait: a slow listener loses events (and is told how many)
but slows nobody. While nobody listens, events are not even made.

Every event that is made has a number. The newest are kept only when somebody asked for it (`Hub.remember`): listeners
whose connection breaks may then come back and ask for what they missed.
"""

from collections.abc import Callable, Container, Iterator
from itertools import groupby
from typing import Any, Final, NamedTuple, Protocol

from flashq.errors import LimitReached
from flashq.model import Event
from flashq.observe.ring import PORTION_BYTES, PORTION_EVENTS, Ring, Told, topic
from flashq.protocol.limits import MAX_SUBSCRIPTIONS

ALL: Final = "*"


class Subscriber(Protocol):
    """Where a listener's events go."""

    def tell(self, run: list[Told]) -> None:
        """Take events, all of one type and one queue. Must not wait, nor change them."""


class _Wish(NamedTuple):
    """Which events of a topic: their types (none = all), and the queues that may be heard of (None = all)."""

    types: frozenset[str]
    within: Container[str] | None

    def wants(self, queue: str, event_type: str) -> bool:
        if self.types and event_type not in self.types:
            return False
        return self.within is None or queue in self.within


class Hub:
    """All subscriptions, and the numbers of events.

    Attributes:
        boot: number of this start of the server: numbers of another start mean other events.
        position: the number of the newest event.
    """

    def __init__(self, watched: Callable[[bool], None], boot: int = 1) -> None:
        """Build it without listeners.

        Args:
            watched: called with whether events are to be made, each time that may have changed.
            boot: number of this start.
        """
        self.boot = boot
        self.position = 0
        self._topics: dict[str, dict[Any, _Wish]] = {}
        self._queues: dict[Any, set[str]] = {}
        self._count = 0
        self._ring: Ring | None = None
        self._watched = watched

    def subscribe(
        self,
        subscriber: Any,  # noqa: ANN401
        queue: str,
        types: frozenset[str],
        within: Container[str] | None = None,
    ) -> None:
        """Send ``subscriber`` the events of a queue. Again for the same queue replaces.

        Args:
            subscriber: a `Subscriber`.
            queue: its name; ``*``: all queues.
            types: those wanted; none = every type.
            within: the queues of which the subscriber may hear; None = all.

        Raises:
            LimitReached: there are as many subscriptions as there may be.
        """
        topic = self._topics.get(queue, {})
        if subscriber not in topic:
            if self._count >= MAX_SUBSCRIPTIONS:
                raise LimitReached(f"Too many subscriptions (max {MAX_SUBSCRIPTIONS})")
            self._count += 1
            self._queues.setdefault(subscriber, set()).add(queue)
        topic[subscriber] = _Wish(types, within)
        self._topics[queue] = topic
        self._watch()

    def unsubscribe(self, subscriber: Any, queue: str) -> None:  # noqa: ANN401
        """Stop what `subscribe` started for the same queue; nothing happens if there was nothing."""
        topic = self._topics.get(queue, {})
        if topic.pop(subscriber, None) is not None:
            self._count -= 1
            self._queues[subscriber].discard(queue)
            if not self._queues[subscriber]:
                del self._queues[subscriber]
            if not topic:
                del self._topics[queue]
        self._watch()

    def leave(self, subscriber: Any) -> None:  # noqa: ANN401
        """A listener is gone."""
        for queue in list(self._queues.get(subscriber, ())):
            self.unsubscribe(subscriber, queue)

    def publish(self, events: list[Event]) -> None:
        """Tell everybody what they asked for, each listener once an event.

        Events of a batch are of one type and one queue, and are told together: a call for each of ten thousand events
        to each of a hundred listeners would take a second.
        """
        ring = self._ring
        everywhere = self._topics.get(ALL, {})
        for name, alike in groupby(events, topic):
            run = []
            for event in alike:
                self.position += 1
                run.append(Told(self.position, event))
            if ring is not None:
                ring.extend(run)
            here = self._topics.get(name[0], {})
            listeners = [who for each in (everywhere, here) for who, wish in each.items() if wish.wants(*name)]
            for who in dict.fromkeys(listeners):
                who.tell(run)

    # --- coming back ---

    def remember(self) -> None:
        """From now on keep the newest events, and have them made also while nobody listens."""
        if self._ring is None:
            self.position += 1  # for all that was not made meanwhile: whoever saw only what was before it missed some
            self._ring = Ring(self.position + 1)
            self._watch()

    def forget(self) -> None:
        """Keep nothing."""
        self._ring = None
        self._watch()

    def missed(self, subscriber: Any, number: int) -> tuple[list[Told], int] | None:  # noqa: ANN401
        """A portion of what ``subscriber`` would have been told since an event.

        Args:
            subscriber: it has subscribed, so its wishes are known.
            number: of that event.

        Returns:
            Events, and the number up to which these are all; None when that is not known any more.
        """
        wanted = self._wanted(subscriber, number)
        if wanted is None:
            return None
        portion: list[Told] = []
        weight = 0
        for told in wanted:
            portion.append(told)
            weight += len(told.json)
            if weight >= PORTION_BYTES or len(portion) >= PORTION_EVENTS:
                return portion, told.number
        return portion, self.position

    def left(self, subscriber: Any) -> tuple[int, int]:  # noqa: ANN401
        """How many events are kept that ``subscriber`` wants, and the number behind which they are."""
        if self._ring is None:
            return 0, self.position
        wants = self._wishes(subscriber)
        return sum(count for name, count in self._ring.counts.items() if wants(*name)), self._ring.start

    def _wanted(self, subscriber: Any, number: int) -> Iterator[Told] | None:  # noqa: ANN401
        kept = self._ring.since(number) if self._ring is not None else None
        if kept is None:
            return None
        wants = self._wishes(subscriber)
        return (told for told in kept if wants(told.event.queue, told.event.event_type))

    def _wishes(self, subscriber: Any) -> Callable[[str, str], bool]:  # noqa: ANN401
        """Whether a listener wants events of a queue and a type."""
        wishes = {queue: self._topics[queue][subscriber] for queue in self._queues.get(subscriber, ())}
        everywhere = wishes.get(ALL)

        def wants(queue: str, event_type: str) -> bool:
            wish = wishes.get(queue)
            return bool(
                (wish and wish.wants(queue, event_type)) or (everywhere and everywhere.wants(queue, event_type))
            )

        return wants

    def _watch(self) -> None:
        self._watched(bool(self._topics) or self._ring is not None)
