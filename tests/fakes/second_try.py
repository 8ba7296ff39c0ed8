"""A second try for what took too long: what a machine that stands still explains once, it does not explain twice."""

from collections.abc import Callable
from typing import TypeVar

_Measured = TypeVar("_Measured")


def second_try(measure: Callable[[], _Measured], in_time: Callable[[_Measured], bool]) -> _Measured:
    """What is measured, or what is measured then if that took too long."""
    first = measure()
    return first if in_time(first) else measure()
