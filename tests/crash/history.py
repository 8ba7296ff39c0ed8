"""What clients did and were told, and the rules that it must obey whatever happened to the server.

Each operation is noted when it begins and when its answer comes. No answer means: it may have happened or not, and
both are fine. Times are of one steady clock, in seconds.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final, NamedTuple

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


@dataclass(slots=True)
class Fail:
    """An attempt that was given up. ``outcome``: ok, stale, or empty: no answer came."""

    id: int
    outcome: str = ""


@dataclass
class History:
    """One client's notes, or those of all clients together."""

    pushes: list[Push] = field(default_factory=list)
    deliveries: list[Delivery] = field(default_factory=list)
    acks: list[Ack] = field(default_factory=list)
    fails: list[Fail] = field(default_factory=list)
    unanswered: int = 0
    """So many jobs at most were in answers to pulls that never came."""
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
            whole.fails += part.fails
            whole.unanswered += part.unanswered
            whole.most_active = max(whole.most_active, part.most_active)
        return whole

    def ids(self) -> set[int]:
        """Of all jobs that an answer told of."""
        return {push.id for push in self.pushes if push.id} | {delivery.id for delivery in self.deliveries}

    def acknowledged(self) -> int:
        """Jobs that were completed for certain."""
        return len({ack.id for ack in self.acks if ack.outcome in ("ok", "already")})


class Entry(NamedTuple):
    """One entry of a job's history, as the server tells it."""

    event: str
    attempt: int
    detail: str | None


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


def untold(history: History, told: dict[int, list[Entry]]) -> list[str]:
    """What the server's histories of some jobs say otherwise than the clients saw, after all queues were drained.

    Args:
        history: of all clients.
        told: by id, the entries; of some of the jobs, and perhaps of ids that were never used.
    """
    deliveries: dict[int, set[str]] = defaultdict(set)
    for delivery in history.deliveries:
        deliveries[delivery.id].add(delivery.token)
    fails: dict[int, list[str]] = defaultdict(list)
    for fail in history.fails:
        fails[fail.id].append(fail.outcome)
    known = history.ids()
    found: list[str] = []
    unseen = 0
    for id, entries in told.items():
        if id not in known:
            if entries:
                found.append(f"history of a job that nobody has: {id}: {entries}")
            continue
        count = Counter(entry.event for entry in entries if entry.detail != WENT_ON)
        unseen += count["active"] - len(deliveries[id])
        found += [f"{sentence}: {id}: {entries}" for sentence in _mistold(count, deliveries[id], fails[id])]
        found += [f"{sentence}: {id}: {entries}" for sentence in _out_of_order(entries)]
    if unseen > history.unanswered:
        found.append(f"deliveries that nobody asked for: {unseen}, of {history.unanswered} unanswered at most")
    return found


WENT_ON: Final = "went on after a restart"
"""The detail of an entry that is no delivery."""

_ENDS: Final = frozenset({"completed", "failed", "timeout", "released", "restored"})


def _mistold(count: Counter[str], tokens: set[str], fails: list[str]) -> Iterator[str]:
    """Something happened, and the history has it not as often as it happened."""
    if count["pushed"] != 1:
        yield f"pushed {count['pushed']} times"
    if count["completed"] != 1:
        yield f"completed {count['completed']} times"
    if count["active"] < len(tokens):
        yield f"{len(tokens)} deliveries, {count['active']} in the history"
    if not fails.count("ok") <= count["failed"] <= fails.count("ok") + fails.count(""):
        yield f"{fails} failures, {count['failed']} in the history"


def _out_of_order(entries: list[Entry]) -> Iterator[str]:
    """A history begins with the push, ends with the completion, and each attempt ends before the next begins."""
    if entries and entries[0].event != "pushed":
        yield "the push is not the beginning"
    if entries and entries[-1].event != "completed":
        yield "the completion is not the end"
    running = False
    for entry in entries:
        if entry.event == "active" and running and entry.detail != WENT_ON:
            yield "active twice"
        running = entry.event == "active" or (running and entry.event not in _ENDS)
