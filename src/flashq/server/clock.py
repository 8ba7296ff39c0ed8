"""The only reader of the clocks."""

from time import monotonic_ns, time_ns

from flashq.model import Instant


def now() -> Instant:
    """This moment on both clocks, in whole milliseconds."""
    return Instant(time_ns() // 1_000_000, monotonic_ns() // 1_000_000)
