"""Who is told of events by HTTP, and what is still owed to whom.

A *call* is one event for one webhook. It is made while the event happens and becomes a record of the same turn, so it
is remembered if and only if the change is that it tells; it is owed until it was delivered or given up. The calling
itself is somebody else's: see `flashq.webhooks.delivery`.

With nobody registered the outbox does not show events here, and nothing is made. What is owed is bounded by number and
by size; the oldest makes room for the newest, because a receiver that is away for so long has to ask for the present
state anyhow.
"""

from collections.abc import Callable, Iterable
from typing import Final

from msgspec import UNSET, Raw, Struct, UnsetType
from msgspec.json import Encoder

from flashq.engine.effects import Outbox
from flashq.engine.records import CallRow, CallsOver, CallsOwed, WebhookDeleted, WebhookRow, WebhookSet
from flashq.errors import LimitReached, NotFound
from flashq.model import Event, WebhookView
from flashq.protocol.limits import MAX_CALL_BYTES, MAX_CALLS, MAX_WEBHOOKS

_EPOCH_BITS: Final = 32
"""Calls are numbered on from the number of the boot: so no number repeats, although none is stored for its own sake."""

_encode: Final = Encoder().encode


class _Body(Struct):
    """What a webhook is sent."""

    event: str
    queue: str
    job_id: int
    timestamp: int
    data: Raw | None
    error: str | None
    progress: int | UnsetType = UNSET


class Webhook(Struct, eq=False):
    """One registration, and how it went since the start of the server.

    Attributes:
        row: what was registered.
        owed: calls that are neither delivered nor given up.
        delivered, failed, dropped: calls that ended in each of these ways.
        last_error: why the newest try that failed did, or None.
    """

    row: WebhookRow
    owed: int = 0
    delivered: int = 0
    failed: int = 0
    dropped: int = 0
    last_error: str | None = None


class Call(Struct, eq=False):
    """One event for one webhook.

    Attributes:
        number: larger than that of every call before it.
        webhook: whom to call.
        body: what to send; nothing once the call is over.
        over: it is owed no more.
    """

    number: int
    webhook: Webhook
    body: bytes
    over: bool = False

    @property
    def id(self) -> str:
        """By which a receiver knows it again: the same at each try, and after a restart."""
        return f"{self.webhook.row.id}-{self.number:x}"


class Webhooks:
    """All webhooks by id, and all calls that are owed, oldest first.

    Attributes:
        by_id: the webhooks.
        owed: the calls by number.
        bytes: of all their bodies.
        next_number: of the next call.
    """

    def __init__(self, outbox: Outbox, epoch: int, nonce: Callable[[], str]) -> None:
        """Begin with nobody.

        Args:
            outbox: shows the events, and takes the records.
            epoch: number of this boot.
            nonce: makes the ids of webhooks.
        """
        self._outbox = outbox
        self._nonce = nonce
        self.by_id: dict[str, Webhook] = {}
        self.owed: dict[int, Call] = {}
        self.bytes = 0
        self.next_number = epoch << _EPOCH_BITS

    def restore(self, webhooks: Iterable[WebhookRow], calls: Iterable[CallRow]) -> None:
        """Go on where what is remembered ends."""
        for row in webhooks:
            self.by_id[row.id] = Webhook(row)
        for call in calls:
            self._owe(Call(call.number, self.by_id[call.webhook], call.body))
        self._watch()

    def add(self, url: str, events: list[str], queue: str | None, secret: str | None, now: int) -> str:
        """Register a webhook; returns its id.

        Args:
            url: where to call; has been checked.
            events: types of events; none = all.
            queue: only of this one; None = of all.
            secret: with which calls are signed.
            now: wall ms.

        Raises:
            LimitReached: there are as many as there may be.
        """
        if len(self.by_id) >= MAX_WEBHOOKS:
            raise LimitReached(f"Too many webhooks (max {MAX_WEBHOOKS})")
        row = WebhookRow(self._nonce(), url, events, queue, secret, now)
        self.by_id[row.id] = Webhook(row)
        self._outbox.record(WebhookSet(row))
        self._watch()
        return row.id

    def delete(self, id: str) -> None:
        """Remove a webhook, and what is owed to it.

        Raises:
            NotFound: there is none of this id.
        """
        webhook = self.by_id.pop(id, None)
        if webhook is None:
            raise NotFound("Webhook not found")
        for call in [call for call in self.owed.values() if call.webhook is webhook]:
            self._forget(call)
        self._outbox.record(WebhookDeleted(id))
        self._watch()

    def views(self) -> list[WebhookView]:
        """All webhooks, in the order of their registration, without their secrets."""
        found = sorted(self.by_id.values(), key=lambda webhook: (webhook.row.created_at, webhook.row.id))
        return [_view(webhook) for webhook in found]

    def show(self, event: Event) -> None:
        """An event happens: owe it to those who asked for it."""
        told = [
            webhook
            for webhook in self.by_id.values()
            if (webhook.row.queue is None or webhook.row.queue == event.queue)
            and (not webhook.row.events or event.event_type in webhook.row.events)
        ]
        if not told:
            return
        body = _encode(_body(event))
        first = self.next_number
        self.next_number += len(told)
        self._outbox.record(CallsOwed(first, [webhook.row.id for webhook in told], body))
        for number, webhook in enumerate(told, first):
            self._owe(Call(number, webhook, body))
        self._make_room()

    def delivered(self, call: Call) -> None:
        """The receiver has it."""
        if not call.over:
            call.webhook.delivered += 1
            self._end([call])

    def give_up(self, call: Call) -> None:
        """It was tried often enough."""
        if not call.over:
            call.webhook.failed += 1
            self._end([call])

    def _make_room(self) -> None:
        dropped: list[Call] = []
        count, size = len(self.owed), self.bytes
        for call in self.owed.values():  # the oldest first
            if count <= MAX_CALLS and size <= MAX_CALL_BYTES:
                break
            count -= 1
            size -= len(call.body)
            call.webhook.dropped += 1
            dropped.append(call)
        if dropped:
            self._end(dropped)

    def _end(self, calls: list[Call]) -> None:
        for call in calls:
            self._forget(call)
        self._outbox.record(CallsOver([call.number for call in calls]))

    def _owe(self, call: Call) -> None:
        self.owed[call.number] = call
        self.bytes += len(call.body)
        call.webhook.owed += 1

    def _forget(self, call: Call) -> None:
        del self.owed[call.number]
        self.bytes -= len(call.body)
        call.webhook.owed -= 1
        call.over, call.body = True, b""

    def _watch(self) -> None:
        """Be shown events while there is anybody to tell."""
        self._outbox.also = self.show if self.by_id else None
        self._outbox.watch("webhooks", bool(self.by_id))


def _body(event: Event) -> _Body:
    data = None if event.data is UNSET else event.data
    error = None if event.error is UNSET else event.error
    return _Body(event.event_type, event.queue, event.job_id, event.timestamp, data, error, event.progress)


def _view(webhook: Webhook) -> WebhookView:
    row = webhook.row
    return WebhookView(
        row.id,
        row.url,
        row.events or ["*"],
        row.queue,
        row.secret is not None,
        row.created_at,
        webhook.owed,
        webhook.delivered,
        webhook.failed,
        webhook.dropped,
        webhook.last_error,
    )
