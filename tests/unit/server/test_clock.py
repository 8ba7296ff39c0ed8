"""Unit tests of `flashq.server.clock`."""

import time

from flashq.server import clock


def test_both_clocks() -> None:
    """Whole milliseconds of the wall clock and of the one that never goes back."""
    wall, steady = time.time_ns() // 10**6, time.monotonic_ns() // 10**6
    now = clock.now()
    assert wall <= now.wall <= wall + 5_000
    assert steady <= now.steady <= steady + 5_000
    assert isinstance(now.wall, int)
    assert isinstance(now.steady, int)


def test_the_steady_clock_never_goes_back() -> None:
    """Moments come in their order."""
    moments = [clock.now().steady for _ in range(1_000)]
    assert moments == sorted(moments)


def test_microseconds_are_of_the_same_clock() -> None:
    """What is measured in them can be set beside the milliseconds."""
    before = clock.now().steady
    assert before <= clock.steady_us() // 1_000 <= before + 5_000
