"""Columns of a chunk: a list while many of its slots hold a job, and a dictionary once few do.

A list of 4,096 slots costs 32 KiB however few of them hold something. Most chunks come and go as a whole, but of some a
few jobs stay for weeks: dead letters that nobody looks at, jobs with a long delay. Without this each of them would keep
a hundred times its size.
"""

from collections.abc import Iterable
from typing import Any, Generic, Protocol, TypeVar, overload

T = TypeVar("T")


class Column(Protocol[T]):
    """What the stages do with a column: they read and write slots, and slices with both ends."""

    @overload
    def __getitem__(self, place: int, /) -> T: ...
    @overload
    def __getitem__(self, place: slice, /) -> list[T]: ...
    @overload
    def __setitem__(self, place: int, value: T, /) -> None: ...
    @overload
    def __setitem__(self, place: slice, value: Iterable[T], /) -> None: ...


class Sparse(Generic[T]):
    """A column of which few slots hold something. Slower than a list, and small.

    Slots without a job hold None here as well; nobody reads them, hence the plain types.
    """

    __slots__ = ("_held",)

    def __init__(self, column: Column[T], slots: Iterable[int]) -> None:
        """Take over what a column holds in some slots; the others hold nothing."""
        self._held = {slot: value for slot in slots if (value := column[slot]) is not None}

    @overload
    def __getitem__(self, place: int, /) -> T: ...
    @overload
    def __getitem__(self, place: slice, /) -> list[T]: ...
    def __getitem__(self, place: int | slice, /) -> T | list[T]:
        """One slot, or those from ``start`` to before ``stop``."""
        if isinstance(place, slice):
            return [self[slot] for slot in range(place.start, place.stop)]
        return self._held.get(place)  # type: ignore[return-value]

    @overload
    def __setitem__(self, place: int, value: T, /) -> None: ...
    @overload
    def __setitem__(self, place: slice, value: Iterable[T], /) -> None: ...
    def __setitem__(self, place: int | slice, value: Any, /) -> None:
        """Write one slot, or those from ``start`` to before ``stop``, for each of which there is a value."""
        if isinstance(place, slice):
            for slot, one in zip(range(place.start, place.stop), value, strict=True):
                self[slot] = one
        elif value is None:
            self._held.pop(place, None)
        else:
            self._held[place] = value
