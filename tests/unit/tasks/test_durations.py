"""Durations: ms or timedelta, and nothing that leaves the unit to guessing."""

from datetime import timedelta

import pytest

from flashq.protocol.limits import MAX_DURATION_MS
from flashq.tasks.durations import as_ms


@pytest.mark.parametrize(
    ("value", "ms"), [(0, 0), (1_500, 1_500), (timedelta(seconds=1.5), 1_500), (timedelta(days=1), 86_400_000)]
)
def test_ints_are_ms_and_timedeltas_say_so_themselves(value: object, ms: int) -> None:
    """Both forms come out as the same number."""
    assert as_ms(value) == ms


def test_none_stays_none() -> None:
    """Nothing given is nothing said."""
    assert as_ms(None) is None


@pytest.mark.parametrize("value", [1.5, "1s", True])
def test_what_has_no_unit_is_refused(value: object) -> None:
    """A float could be seconds or milliseconds; a guess would be wrong by a thousand."""
    with pytest.raises(TypeError, match="milliseconds"):
        as_ms(value)


@pytest.mark.parametrize("value", [-1, timedelta(seconds=-1)])
def test_time_does_not_run_backwards(value: object) -> None:
    """A negative duration is a mistake in the sum before it."""
    with pytest.raises(ValueError, match="negative"):
        as_ms(value)


def test_no_duration_is_longer_than_the_server_takes() -> None:
    """A task that asks for a retry in a thousand years fails with that, instead of with a request that is refused."""
    assert as_ms(MAX_DURATION_MS) == MAX_DURATION_MS
    with pytest.raises(ValueError, match="ten years"):
        as_ms(MAX_DURATION_MS + 1)
