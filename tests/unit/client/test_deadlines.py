"""Unit tests of `flashq.client.deadlines`."""

import pytest

from flashq.client import deadlines
from flashq.client.pipeline import NEVER


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that the clock shows."""
    seconds = [7.0]
    monkeypatch.setattr(deadlines.time, "monotonic", lambda: seconds[0])
    return seconds


def test_what_is_left_goes_down(clock: list[float]) -> None:
    """A deadline stays where it is, and the time until it runs out."""
    until = deadlines.deadline_of(50)
    assert until == deadlines.now_ms() + 50
    clock[0] += 0.02
    assert deadlines.left_ms(until) == pytest.approx(30)


def test_a_deadline_that_has_come_is_an_error(clock: list[float]) -> None:
    """Nobody is told that he may wait for no time, which a socket would take for ever."""
    until = deadlines.deadline_of(50)
    clock[0] += 0.05
    with pytest.raises(TimeoutError):
        deadlines.left_ms(until)


def test_no_timeout_is_no_deadline() -> None:
    """Who may wait for ever is told so, whenever he asks."""
    assert deadlines.deadline_of(None) == NEVER
    assert deadlines.left_ms(NEVER) is None
