"""What a turn of the engine asks of the outside: records to remember, deliveries to make, events to tell.

The stages note effects in the `Outbox` in the order of their causes; the outside takes them once per turn. Nothing
is noted for nobody: no record when nothing is remembered, no event when nobody listens, no history unless it is kept.
"""

from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple

from msgspec import Raw

from flashq.engine.queue import Options
from flashq.engine.records import MAX_SPAN, SERVER, Actor, Happened, Operated, Pushed, Record
from flashq.model import Event, Instant


class Effects(NamedTuple):
    """The effects of one turn."""

    records: list[Record]
    deliveries: list[tuple[Hashable, Any]]
    """(the token of a call that waited, what it waited for); nothing, an empty list: its time is over."""
    events: list[Event]


class Outbox:
    """Collects the effects of a turn."""

    __slots__ = (
        "_happened",
        "_options",
        "_run",
        "_watching",
        "also",
        "auditing",
        "by",
        "deliveries",
        "events",
        "recording",
        "records",
        "watched",
    )

    def __init__(self, *, recording: bool) -> None:
        self.recording = recording
        """Whether anything is remembered at all."""
        self.watched = False
        """Whether anybody listens to events; see `watch`."""
        self.also: Callable[[Event], None] | None = None
        """Who is shown each event as it happens, so that what comes of it is remembered together with its cause."""
        self.auditing = False
        """Whether the history of jobs is kept, and what operators do."""
        self.by = SERVER
        """On whose behalf things happen now. Set around each command while `auditing`."""
        self.records: list[Record] = []
        self.deliveries: list[tuple[Hashable, Any]] = []
        self.events: list[Event] = []
        self._run: Pushed | None = None  # the newest record, when it may still grow
        self._options: Options | None = None
        self._happened: Happened | None = None  # likewise
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

    def happened(
        self,
        event: str,
        queue: str,
        ids: Sequence[int],
        now: Instant,
        *,
        attempt: int = 0,
        worker: str | None = None,
        detail: str | None = None,
        by: Actor | None = None,
    ) -> None:
        """Remember this in the history of these jobs. Callers ask `auditing` first.

        What happens to several jobs one by one, and is otherwise the same, becomes one record.

        Args:
            event: pushed, delayed, waiting-children, ready, active, completed, failed, timeout, retrying, released,
                dead, retried, cancelled, expired or purged.
            queue: of the jobs.
            ids: the jobs.
            now: the moment.
            attempt: number of the attempt that it is about, 0: none.
            worker: who holds or held it.
            detail: more about it.
            by: on whose behalf, if not of whose command is being carried out.
        """
        runs = runs_of(ids)
        new = Happened(now.wall, event, queue, runs, by or self.by, attempt, worker, detail)
        last = self._happened
        if last is not None and _alike(last, new):
            _join(last.runs, runs)
            return
        self._happened = new
        self.records.append(new)

    def operated(self, action: str, now: Instant, target: str | None = None, detail: str | None = None) -> None:
        """Remember what an operator did; the arguments are those of `Operated`. Callers ask `auditing` first."""
        self._happened = None
        self.records.append(Operated(now.wall, action, self.by, target, detail))

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
            self._run = self._happened = None
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


def runs_of(ids: Sequence[int]) -> list[int]:
    """Ids as runs of consecutive ones: first, how many, first, how many ... Their order is lost."""
    first, count = ids[0], len(ids)
    if count == 1 or (count <= MAX_SPAN and list(ids) == list(range(first, first + count))):
        return [first, count]
    runs: list[int] = []
    for id in sorted(ids):
        _join(runs, [id, 1])
    return runs


def _join(runs: list[int], more: list[int]) -> None:
    """Put runs behind others; the first of them goes into the last of the others if it continues it."""
    if runs and runs[-2] + runs[-1] == more[0] and runs[-1] + more[1] <= MAX_SPAN:
        runs[-1] += more[1]
        runs += more[2:]
    else:
        runs += more


def _alike(last: Happened, new: Happened) -> bool:
    return (
        last.event == new.event
        and last.queue == new.queue
        and last.at == new.at
        and last.attempt == new.attempt
        and last.worker == new.worker
        and last.detail == new.detail
        and last.by == new.by
    )
