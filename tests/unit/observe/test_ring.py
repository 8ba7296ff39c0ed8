"""Unit tests of `flashq.observe.ring`."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from flashq.model import Event
from flashq.observe import ring as ring_module
from flashq.observe.ring import Ring, Told


def event(id: int = 1, data: bytes | None = None) -> Event:
    """One event."""
    return Event("pushed", "q", id, 5) if data is None else Event("pushed", "q", id, 5, Raw(data))


def since(ring: Ring, number: int) -> list[Told] | None:
    """What comes behind a number."""
    found = ring.since(number)
    return None if found is None else list(found)


def test_an_event_is_one_line() -> None:
    """A payload may hold line breaks between its values; where events are lines they would start another."""
    told = Told(1, event(1, b'{"a":\n\r\n"x\\n",\n"b":1.50}'))
    assert b"\n" not in told.json
    assert b"\r" not in told.json
    assert json.loads(told.json)["data"] == {"a": "x\n", "b": 1.5}
    assert b"1.50" in told.json


def test_an_event_is_encoded_once() -> None:
    """All listeners share the same bytes."""
    told = Told(1, event())
    assert told.json is told.json


def test_the_oldest_make_room_by_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the newest stay; who asks for older ones learns that they are gone."""
    monkeypatch.setattr(ring_module, "MAX_KEPT", 3)
    ring = Ring(1)
    for number in range(1, 6):
        ring.extend([Told(number, event(number))])
    kept = since(ring, 2)
    assert kept is not None
    assert [told.number for told in kept] == [3, 4, 5]
    assert since(ring, 1) is None
    assert since(ring, 5) == []
    assert since(ring, 6) is None
    assert ring.start == 2


def test_it_knows_how_many_of_each_kind_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of what has gone as well: nothing stays of a queue that has no event among the newest."""
    monkeypatch.setattr(ring_module, "MAX_KEPT", 3)
    ring = Ring(1)
    ring.extend([Told(1, event()), Told(2, event())])
    ring.extend([Told(3, Event("failed", "other", 1, 5))])
    assert ring.counts == {("q", "pushed"): 2, ("other", "failed"): 1}
    ring.extend([Told(4, Event("failed", "other", 2, 5))])
    assert ring.counts == {("q", "pushed"): 1, ("other", "failed"): 2}
    ring.extend([Told(number, event()) for number in range(5, 10)])
    assert ring.counts == {("q", "pushed"): 3}
    assert list(ring.counts) == [("q", "pushed")]


def test_the_oldest_make_room_by_weight(monkeypatch: pytest.MonkeyPatch) -> None:
    """Large payloads push out more than one; one that is larger than all the room leaves nothing, not even itself."""
    monkeypatch.setattr(ring_module, "MAX_KEPT_BYTES", 100)
    ring = Ring(1)
    for number in (1, 2, 3):
        ring.extend([Told(number, event(number, b"1" * 30))])
    ring.extend([Told(4, event(4, b"1" * 70))])
    kept = since(ring, 2)
    assert kept is not None
    assert [told.number for told in kept] == [3, 4]
    ring.extend([Told(5, event(5, b"1" * 101))])
    assert since(ring, 4) is None
    assert since(ring, 5) == []
    ring.extend([Told(6, event(6, b"1" * 100))])
    assert since(ring, 5) != []


@given(st.integers(1, 50), st.integers(0, 30), st.integers(0, 100))
def test_against_a_plain_list(first: int, count: int, number: int) -> None:
    """For every number: exactly the events behind it, or the word that they are not all there."""
    ring = Ring(first)
    numbers = list(range(first, first + count))
    for each in numbers:
        ring.extend([Told(each, event(each))])
    kept = since(ring, number)
    if number < first - 1 or number >= first + count:
        assert kept is None
    else:
        assert kept is not None
        assert [told.number for told in kept] == [each for each in numbers if each > number]
