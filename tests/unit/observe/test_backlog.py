"""Unit tests of `flashq.observe.backlog`."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from flashq.model import Event
from flashq.observe import backlog as backlog_module
from flashq.observe.backlog import MAX_EVENTS, Backlog, Total
from flashq.observe.ring import PORTION_BYTES, PORTION_EVENTS, Told


def told(number: int, weight: int = 0) -> Told:
    """An event whose payload has this many bytes."""
    return Told(number, Event("pushed", "q", number, 5, Raw(b"1" * weight)) if weight else Event("active", "q", 1, 5))


def numbers(backlog: Backlog) -> list[int]:
    """All that waits, taken."""
    found: list[int] = []
    while backlog:
        found += [each.number for each in backlog.take()]
    return found


def test_it_is_full_by_count() -> None:
    """A thousand events have room."""
    backlog = Backlog(Total())
    for number in range(MAX_EVENTS):
        assert not backlog.full
        backlog.add(told(number))
    assert backlog.full
    assert numbers(backlog) == list(range(MAX_EVENTS))
    assert not backlog.full


def test_it_is_full_by_weight() -> None:
    """A megabyte has room, and the one event that goes beyond it."""
    backlog = Backlog(Total())
    for number in range(3):
        assert not backlog.full
        backlog.add(told(number, 400_000))
    assert backlog.full
    large = Backlog(Total())
    assert not large.full
    large.add(told(4, 2_000_000))
    assert large.full


def test_all_together_have_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """When all hold too much, each has room for a small share only."""
    monkeypatch.setattr(backlog_module, "MAX_ALL_BYTES", 500_000)
    total = Total()
    one, other = Backlog(total), Backlog(total)
    for number in range(6):
        assert not one.full
        one.add(told(number, 90_000))
    assert one.full
    assert not other.full
    other.add(told(1, 70_000))
    assert other.full
    one.clear()
    assert len(one) == 0
    assert not other.full


def test_portions_are_about_a_buffer() -> None:
    """Many small events go together, of large ones not more than needed, and one always."""
    backlog = Backlog(Total())
    for number in range(10):
        backlog.add(told(number, 20_000))
    assert [each.number for each in backlog.take()] == [0, 1, 2, 3]
    many = Backlog(Total())
    for number in range(PORTION_EVENTS + 1):
        many.add(told(number))
    assert len(many.take()) == PORTION_EVENTS
    assert len(many.take()) == 1
    large = Backlog(Total())
    large.add(told(1, PORTION_BYTES * 3))
    assert len(large.take()) == 1
    assert large.take() == []


@given(st.lists(st.sampled_from(["add", "take", "clear"]), max_size=60))
def test_the_weight_is_right(steps: list[str]) -> None:
    """Whatever happens, the total is what the backlogs hold, and nothing when they are empty."""
    total = Total()
    backlogs = [Backlog(total), Backlog(total)]
    for number, step in enumerate(steps):
        backlog = backlogs[number % 2]
        if step == "add":
            backlog.add(told(number, 1 + number * 10_000))
        elif step == "take":
            backlog.take()
        else:
            backlog.clear()
        assert total.bytes == sum(len(each.json) for one in backlogs for each in (one._told or ()))
    for backlog in backlogs:
        numbers(backlog)
    assert total.bytes == 0
