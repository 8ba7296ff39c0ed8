"""What a turn of the engine asks of the outside: records to remember, deliveries to make, events to tell.

The stages note effects in the `Outbox` in the order of their causes; the outside takes them once per turn. Nothing
is noted for nobody: no record when nothing is remembered, no event when nobody listens.
"""

from collections.abc import Callable, Hashable
from typing import Any, NamedTuple

from msgspec import Raw

from flashq.engine.queue import Options
from flashq.engine.records import Pushed, Record
from flashq.model import Event


class Effects(NamedTuple):
    """The effects of one turn."""

    records: list[Record]
    deliveries: list[tuple[Hashable, Any]]
    """(the token of a call that waited, what it waited for); nothing, an empty list: its time is over."""
    events: list[Event]


class Outbox:
    """Collects the effects of a turn."""

    __slots__ = ("_options", "_run", "_watching", "also", "deliveries", "events", "recording", "records", "watched")

    def __init__(self, *, recording: bool) -> None:
        self.recording = recording
        """Whether anything is remembered at all."""
        self.watched = False
        """Whether anybody listens to events; see `watch`."""
        self.also: Callable[[Event], None] | None = None
        """Who is shown each event as it happens, so that what comes of it is remembered together with its cause."""
        self.records: list[Record] = []
        self.deliveries: list[tuple[Hashable, Any]] = []
        self.events: list[Event] = []
        self._run: Pushed | None = None  # the newest record, when it may still grow
        self._options: Options | None = None
        self._watching: set[str] = set()

    def watch(self, who: str, watching: bool) -> None:
        """One of those for whom events may be made does, or does no longer, want them."""
        if watching:
            self._watching.add(who)
        else:
            self._watching.discard(who)
        self.watched = bool(self._watching)

    def record(self, record: Record) -> None:
        """Remember this."""
        if self.recording:
            self.records.append(record)
            self._run = None

    def pushed(self, options: Options, first: int, payloads: list[bytes], created: int) -> None:
        """Remember plain jobs that are ready. Single pushes that follow each other become one record."""
        if not self.recording:
            return
        run = self._run
        if (
            run is not None
            and options is self._options
            and run.created_at == created
            and run.first + len(run.data) == first
        ):
            run.data.extend(payloads)
            return
        o = options
        self._run = Pushed(
            o.queue.name, first, created, o.priority, o.max_attempts, o.backoff, o.ttl, o.timeout, list(payloads)
        )
        self._options = options
        self.records.append(self._run)

    def deliver(self, token: Hashable, what: object) -> None:
        """Answer a call that waited; an empty list: its time is over."""
        self.deliveries.append((token, what))

    def event(
        self,
        kind: str,
        queue: str,
        id: int,
        now: int,
        *,
        data: bytes | None = None,
        error: str | None = None,
        progress: int | None = None,
    ) -> None:
        """Tell whoever listens. Callers ask `watched` first."""
        event = Event(kind, queue, id, now)
        if data is not None:
            event.data = Raw(data)
        if error is not None:
            event.error = error
        if progress is not None:
            event.progress = progress
        self.events.append(event)
        if self.also is not None:
            self.also(event)

    def take_records(self) -> list[Record]:
        """The records since the last call."""
        records = self.records
        if records:
            self.records = []
            self._run = None
        return records

    def take_deliveries(self) -> list[tuple[Hashable, Any]]:
        """The deliveries since the last call."""
        deliveries, self.deliveries = self.deliveries, []
        return deliveries

    def take_events(self) -> list[Event]:
        """The events since the last call."""
        events, self.events = self.events, []
        return events

    def take(self) -> Effects:
        """All effects since the last call."""
        return Effects(self.take_records(), self.take_deliveries(), self.take_events())
