"""Durations as users give them: integers of milliseconds, or `datetime.timedelta` for those who like a unit."""

from datetime import timedelta
from typing import Final, overload

from flashq.protocol.limits import MAX_DURATION_MS

Duration = int | timedelta

_MS: Final = timedelta(milliseconds=1)


@overload
def as_ms(value: Duration) -> int: ...
@overload
def as_ms(value: None) -> None: ...
def as_ms(value: Duration | None) -> int | None:
    """A duration in ms; None stays None.

    Raises:
        TypeError: it is a float (seconds? milliseconds? nobody can tell) or something else.
        ValueError: it is negative, or longer than ten years.
    """
    if value is None:
        return None
    if isinstance(value, timedelta):
        value = value // _MS
    elif not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"a duration is an int of milliseconds or a timedelta, not {value!r}")
    if value < 0:
        raise ValueError(f"a duration cannot be negative: {value} ms")
    if value > MAX_DURATION_MS:
        raise ValueError(
            f"a duration of {value} ms is longer than ten years ({MAX_DURATION_MS} ms): a slip of the unit?"
        )
    return value
