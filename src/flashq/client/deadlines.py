"""Until when a call of the plain client may take: moments in milliseconds on a clock that never jumps."""

import time

from flashq.client.pipeline import NEVER


def now_ms() -> float:
    """This moment."""
    return time.monotonic() * 1000


def deadline_of(timeout_ms: float | None) -> float:
    """When so many ms from now are over; `NEVER` for None."""
    return NEVER if timeout_ms is None else now_ms() + timeout_ms


def left_ms(deadline: float) -> float | None:
    """What is left until the deadline; None if there is none.

    Raises:
        TimeoutError: it has passed.
    """
    if deadline == NEVER:
        return None
    left = deadline - now_ms()
    if left <= 0:
        raise TimeoutError
    return left
