"""What clients did and were told, and the rules that it must obey whatever happened to the server.

Each operation is noted when it begins and when its answer comes. No answer means: it may have happened or not, and
both are fine. Times are of one steady clock, in seconds.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

NEVER: Final = float("inf")


@dataclass(slots=True)
class Push:
    """One job on its way in. ``id`` 0: no answer came."""

    uid: str
    began: float
    id: int = 0
    ended: float = NEVER
    key: str | None = None


@dataclass(slots=True)
class Delivery:
    """A job in the answer of a pull that began at ``began``."""

    id: int
    uid: str
    token: str
    began: float
    ended: float


@dataclass(slots=True)
class Ack:
    """An acknowledgement. ``outcome``: ok, already, stale, missing, or empty: no answer came."""

    id: int
    token: str
    began: float
    outcome: str = ""
    ended: float = NEVER


@dataclass
class History:
    """One client's notes, or those of all clients together."""

    pushes: list[Push] = field(default_factory=list)
    deliveries: list[Delivery] = field(default_factory=list)
    acks: list[Ack] = field(default_factory=list)
    most_active: int = 0
    """The most attempts that the limited queue was ever seen with."""

    @classmethod
    def of_all(cls, parts: Iterable["History"]) -> "History":
        """The notes of all clients together."""
        whole = cls()
        for part in parts:
            whole.pushes += part.pushes
            whole.deliveries += part.deliveries
            whole.acks += part.acks
            whole.most_active = max(whole.most_active, part.most_active)
        return whole

    def acknowledged(self) -> int:
        """Jobs that were completed for certain."""
        return len({ack.id for ack in self.acks if ack.outcome in ("ok", "already")})


def attempt(token: str) -> tuple[int, int]:
    """Where an attempt stands in the order of attempts: boot, delivery of that boot."""
    epoch, serial, _ = token.split(".")
    return int(epoch, 16), int(serial, 16)


def violations(history: History, limit: int) -> list[str]:
    """Everything that must not have happened, after all queues were drained. Empty is right."""
    return [
        *_lost(history),
        *_given_twice(history),
        *_phantoms(history),
        *_resurrected(history),
        *_completed_twice(history),
        *_stale_successes(history),
        *_enqueued_twice(history),
        *_over_limit(history, limit),
    ]


def _lost(history: History) -> Iterator[str]:
    """A push that was confirmed, and that nobody ever finished. Told by its payload: a lost id is given out again."""
    carried = {(delivery.id, delivery.token): delivery.uid for delivery in history.deliveries}
    ended = {carried.get((ack.id, ack.token)) for ack in history.acks if ack.outcome in ("", "ok", "already")}
    for push in history.pushes:
        if push.id and push.uid not in ended:
            yield f"lost: {push}"


def _given_twice(history: History) -> Iterator[str]:
    """One id for two jobs."""
    owners: dict[int, str] = {}
    for push in history.pushes:
        if push.id and owners.setdefault(push.id, push.uid) != push.uid:
            yield f"one id, two jobs: {push} and {owners[push.id]}"


def _phantoms(history: History) -> Iterator[str]:
    """A delivery of what nobody pushed, or of something else than was pushed."""
    began: dict[str, float] = {}
    ids: dict[str, set[int]] = defaultdict(set)
    for push in history.pushes:
        began[push.uid] = min(push.began, began.get(push.uid, NEVER))
        ids[push.uid].add(push.id)
    for delivery in history.deliveries:
        if began.get(delivery.uid, NEVER) > delivery.ended:
            yield f"phantom: {delivery}"
        elif delivery.id not in ids[delivery.uid] and 0 not in ids[delivery.uid]:
            yield f"another id than was confirmed: {delivery}"


def _resurrected(history: History) -> Iterator[str]:
    """A delivery that began after the job had been completed."""
    done: dict[int, float] = {}
    for ack in history.acks:
        if ack.outcome in ("ok", "already"):
            done[ack.id] = min(ack.ended, done.get(ack.id, NEVER))
    for delivery in history.deliveries:
        if delivery.began > done.get(delivery.id, NEVER):
            yield f"resurrected: {delivery}, completed at {done[delivery.id]}"


def _completed_twice(history: History) -> Iterator[str]:
    """Two acknowledgements that each said they were the first."""
    completed: dict[int, Ack] = {}
    for ack in history.acks:
        if ack.outcome == "ok":
            if ack.id in completed:
                yield f"completed twice: {completed[ack.id]} and {ack}"
            completed[ack.id] = ack


def _stale_successes(history: History) -> Iterator[str]:
    """An acknowledgement that counted although the job had been given to a later attempt before."""
    latest: dict[int, list[Delivery]] = defaultdict(list)
    for delivery in history.deliveries:
        latest[delivery.id].append(delivery)
    for ack in history.acks:
        if ack.outcome == "ok":
            for delivery in latest[ack.id]:
                if delivery.ended < ack.began and attempt(delivery.token) > attempt(ack.token):
                    yield f"stale success: {ack} after {delivery}"


def _enqueued_twice(history: History) -> Iterator[str]:
    """Two live jobs of one key; or two jobs for pushes that were repeats of each other."""
    freed: dict[int, float] = {}
    for ack in history.acks:
        if ack.outcome in ("", "ok", "already"):
            freed[ack.id] = min(ack.began, freed.get(ack.id, NEVER))
    by_key: dict[str, list[Push]] = defaultdict(list)
    by_uid: dict[str, set[int]] = defaultdict(set)
    for push in history.pushes:
        if push.id:
            by_uid[push.uid].add(push.id)
            if push.key is not None:
                by_key[push.key].append(push)
    for pushes in by_key.values():
        pushes.sort(key=lambda push: push.id)
        for one, other in pairwise(pushes):
            if other.id != one.id and freed.get(one.id, NEVER) > other.ended:
                yield f"one key, two jobs: {one} and {other}"
    for uid, ids in by_uid.items():
        if len(ids) > 1:
            yield f"one push, two jobs: {uid} {ids}"


def _over_limit(history: History, limit: int) -> Iterator[str]:
    if history.most_active > limit:
        yield f"over the limit: {history.most_active} attempts at once, {limit} allowed"
