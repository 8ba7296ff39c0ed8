"""The only reader of the clocks."""

from time import monotonic_ns, time_ns

from flashq.model import Instant

_new = tuple.__new__
"""Instant's own constructor is a Python function, and this is asked for every packet."""


def now() -> Instant:
    """This moment on both clocks, in whole milliseconds."""
    return _new(Instant, (time_ns() // 1_000_000, monotonic_ns() // 1_000_000))


def steady_us() -> int:
    """The clock that never jumps, in whole microseconds: for what takes less than a millisecond."""
    return monotonic_ns() // 1_000
