"""Unit tests of `flashq.observe.events`."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from flashq.errors import LimitReached
from flashq.model import Event
from flashq.observe.events import ALL, Hub
from flashq.observe.ring import PORTION_BYTES, Told
from flashq.protocol.limits import MAX_SUBSCRIPTIONS


class Ear:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.heard: list[dict[str, Any]] = []

    def tell(self, run: list[Told]) -> None:
        """Take events."""
        assert len({(told.event.queue, told.event.event_type) for told in run}) == 1
        self.heard += [json.loads(told.json) for told in run]


def hub() -> tuple[Hub, list[bool]]:
    """A hub, and what it said about being watched."""
    watched: list[bool] = []
    return Hub(watched.append), watched


def test_who_hears_what() -> None:
    """Queue and type decide; every event comes once, however often it was asked for."""
    hub_, _ = hub()
    everything, one, some = Ear(), Ear(), Ear()
    hub_.subscribe(everything, ALL, frozenset())
    hub_.subscribe(everything, "a", frozenset({"pushed"}))
    hub_.subscribe(one, "a", frozenset())
    hub_.subscribe(some, "b", frozenset({"completed", "failed"}))
    hub_.publish([Event("pushed", "a", 1, 5), Event("pushed", "b", 2, 6), Event("completed", "b", 2, 7)])
    assert [event["job_id"] for event in everything.heard] == [1, 2, 2]
    assert one.heard == [{"event_type": "pushed", "queue": "a", "job_id": 1, "timestamp": 5}]
    assert [event["event_type"] for event in some.heard] == ["completed"]


def test_events_carry_what_is_set() -> None:
    """Payloads go out as they came in; what is not set is not there."""
    hub_, _ = hub()
    ear = Ear()
    hub_.subscribe(ear, "q", frozenset())
    hub_.publish([Event("pushed", "q", 1, 5, Raw(b'{"a":1.50}')), Event("failed", "q", 1, 6, error="x\n")])
    assert ear.heard[0]["data"] == {"a": 1.5}
    assert ear.heard[1] == {"event_type": "failed", "queue": "q", "job_id": 1, "timestamp": 6, "error": "x\n"}


def test_subscribing_again_replaces() -> None:
    """The newest wish counts, and it counts once."""
    hub_, _ = hub()
    ear = Ear()
    hub_.subscribe(ear, "q", frozenset({"pushed"}))
    hub_.subscribe(ear, "q", frozenset({"failed"}))
    hub_.publish([Event("pushed", "q", 1, 5), Event("failed", "q", 1, 5)])
    assert [event["event_type"] for event in ear.heard] == ["failed"]
    hub_.unsubscribe(ear, "q")
    hub_.publish([Event("failed", "q", 1, 5)])
    assert len(ear.heard) == 1


def test_watched_follows_whether_anybody_listens() -> None:
    """The engine makes events only as long as somebody wants them."""
    hub_, watched = hub()
    one, other = Ear(), Ear()
    hub_.unsubscribe(one, "q")
    assert watched[-1:] in ([], [False])
    hub_.subscribe(one, "q", frozenset())
    hub_.subscribe(other, ALL, frozenset())
    assert watched[-1] is True
    hub_.unsubscribe(one, "q")
    assert watched[-1] is True
    hub_.leave(other)
    assert watched[-1] is False


def test_only_what_may_be_seen_is_told() -> None:
    """Who asks for all queues and may see some hears of those; another listener still hears of all."""
    hub_, _ = hub()
    scoped, all_ = Ear(), Ear()
    hub_.subscribe(scoped, ALL, frozenset(), within={"mine-1"})
    hub_.subscribe(all_, ALL, frozenset())
    hub_.publish([Event("pushed", "mine-1", 1, 5), Event("pushed", "theirs", 2, 5)])
    assert [event["job_id"] for event in scoped.heard] == [1]
    assert [event["job_id"] for event in all_.heard] == [1, 2]


def pushed(*ids: int, queue: str = "q") -> list[Event]:
    """Events of jobs."""
    return [Event("pushed", queue, id, 5) for id in ids]


def test_one_who_comes_back_hears_what_it_missed() -> None:
    """Exactly what it would have been told, by queue, type and right; nothing that it has heard already."""
    hub_, _ = hub()
    hub_.remember()
    ear = Ear()
    hub_.subscribe(ear, "q", frozenset({"pushed"}))
    hub_.publish(pushed(1))
    heard = hub_.position
    hub_.leave(ear)
    hub_.publish([*pushed(2), Event("failed", "q", 2, 6), *pushed(3, queue="other"), *pushed(4)])
    hub_.subscribe(ear, "q", frozenset({"pushed"}))
    assert missed(hub_, ear, heard) == [("pushed", 2), ("pushed", 4)]
    hub_.subscribe(ear, ALL, frozenset({"failed"}), within={"q"})
    assert missed(hub_, ear, heard) == [("pushed", 2), ("failed", 2), ("pushed", 4)]
    assert missed(hub_, ear, hub_.position) == []


def missed(hub_: Hub, who: Ear, number: int) -> list[tuple[str, int]] | None:
    """What a listener missed since then, collected over all portions."""
    found: list[tuple[str, int]] = []
    while number < hub_.position:
        portion = hub_.missed(who, number)
        if portion is None:
            return None
        told, reached = portion
        assert reached > number
        found += [(each.event.event_type, each.event.job_id) for each in told]
        number = reached
    return found


def test_what_was_missed_comes_in_portions() -> None:
    """Each of about the size of a buffer; together they are everything, once, and end where was asked."""
    hub_, _ = hub()
    hub_.remember()
    ear = Ear()
    hub_.subscribe(ear, "q", frozenset())
    start = hub_.position
    data = Raw(b'"' + b"x" * 10_000 + b'"')
    hub_.publish([Event("pushed", "q", id, 5, data) for id in range(30)])
    first = hub_.missed(ear, start)
    assert first is not None
    assert PORTION_BYTES <= sum(len(told.json) for told in first[0]) < PORTION_BYTES + 11_000
    assert missed(hub_, ear, start) == [("pushed", id) for id in range(30)]
    assert hub_.left(ear) == (30, start)


class Allowed:
    """Queues that may be heard of; knows how often it was asked."""

    def __init__(self, *names: str) -> None:
        self.asked = 0
        self._names = names

    def __contains__(self, name: object) -> bool:
        self.asked += 1
        return name in self._names


def test_what_is_left_is_not_counted_one_by_one() -> None:
    """Thousands of events are kept, and a listener that lags asks at each portion: it is asked for each topic once."""
    hub_, _ = hub()
    hub_.remember()
    ear, allowed = Ear(), Allowed("q")
    hub_.subscribe(ear, "*", frozenset({"pushed"}), allowed)
    start = hub_.position
    for queue, type in (("q", "pushed"), ("q", "failed"), ("p", "pushed")) * 2:
        hub_.publish([Event(type, queue, id, 5) for id in range(1_000)])
    allowed.asked = 0
    assert hub_.left(ear) == (2_000, start)
    assert allowed.asked == 2


def test_what_was_not_kept_is_said_to_be_gone() -> None:
    """Who saw the last event before nothing was kept is not told that it missed nothing."""
    hub_, _ = hub()
    ear = Ear()
    assert hub_.missed(ear, 0) is None
    assert hub_.left(ear) == (0, 0)
    hub_.remember()
    hub_.publish(pushed(1))
    seen = hub_.position
    hub_.forget()
    assert hub_.missed(ear, seen) is None
    hub_.remember()
    assert hub_.missed(ear, seen) is None
    assert hub_.missed(ear, hub_.position) == ([], hub_.position)
    assert hub_.missed(ear, hub_.position + 1) is None


def test_events_are_made_as_long_as_they_are_kept() -> None:
    """Also while nobody listens, so that who comes back in time finds them; asking twice changes nothing."""
    hub_, watched = hub()
    hub_.remember()
    assert watched[-1] is True
    position = hub_.position
    hub_.remember()
    assert hub_.position == position
    ear = Ear()
    hub_.subscribe(ear, "q", frozenset())
    hub_.leave(ear)
    assert watched[-1] is True
    hub_.forget()
    assert watched[-1] is False


def test_there_are_only_so_many() -> None:
    """The bound is over all listeners; leaving makes room, a refused one takes none."""
    hub_, _ = hub()
    ears = [Ear() for _ in range(MAX_SUBSCRIPTIONS)]
    for ear in ears:
        hub_.subscribe(ear, "q", frozenset())
    with pytest.raises(LimitReached, match=str(MAX_SUBSCRIPTIONS)):
        hub_.subscribe(Ear(), "q", frozenset())
    with pytest.raises(LimitReached):
        hub_.subscribe(Ear(), "new", frozenset())
    assert "new" not in hub_._topics
    hub_.subscribe(ears[0], "q", frozenset({"pushed"}))
    hub_.leave(ears[1])
    hub_.subscribe(Ear(), "q", frozenset())


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["subscribe", "unsubscribe", "leave"]), st.integers(0, 3), st.sampled_from(["a", "b", ALL])
    ),
    max_size=40,
)


@given(STEPS)
def test_against_a_plain_set(steps: list[tuple[str, int, str]]) -> None:
    """Coming and going in any order: exactly those who subscribed hear, and nothing stays of those who left."""
    hub_, watched = hub()
    ears = [Ear() for _ in range(4)]
    wishes: set[tuple[int, str]] = set()
    for step, number, queue in steps:
        if step == "subscribe":
            hub_.subscribe(ears[number], queue, frozenset())
            wishes.add((number, queue))
        elif step == "unsubscribe":
            hub_.unsubscribe(ears[number], queue)
            wishes.discard((number, queue))
        else:
            hub_.leave(ears[number])
            wishes = {wish for wish in wishes if wish[0] != number}
        assert hub_._count == len(wishes)
        assert (watched[-1] if watched else False) is bool(wishes)
    hub_.publish([Event("pushed", "a", 1, 5)])
    for number, ear in enumerate(ears):
        assert len(ear.heard) == any(wish in wishes for wish in ((number, "a"), (number, ALL)))
    assert set(hub_._topics) == {queue for _, queue in wishes}
    assert {(ears.index(ear), queue) for ear, queues in hub_._queues.items() for queue in queues} == wishes
