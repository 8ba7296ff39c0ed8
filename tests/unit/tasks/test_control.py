"""What a task raises to steer its job."""

from datetime import timedelta

import pytest

from flashq import Cancelled, Reject, Retry, Snooze


def test_durations_are_kept_in_ms() -> None:
    """All of them take ms or timedelta."""
    assert Retry("later", in_=timedelta(seconds=5)).delay_ms == 5_000
    assert Retry().delay_ms is None
    assert Snooze(in_=60_000).delay_ms == 60_000


def test_reasons_are_their_text() -> None:
    """What stands in the dead letters is what was said."""
    assert str(Retry("the API is away")) == "the API is away"
    assert str(Reject("no such user")) == "no such user"


def test_a_catch_all_does_not_swallow_a_cancellation() -> None:
    """``except Exception`` is everywhere, and must not keep a cancelled job running."""
    assert not issubclass(Cancelled, Exception)
    with pytest.raises(ValueError, match="negative"):
        Snooze(in_=-1)
