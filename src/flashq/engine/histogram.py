"""How long things took: counts in fixed buckets, so that a million observations cost as much memory as one.

A batch is one observation with a weight wherever its jobs share their time, and they mostly do: they were pushed
together, or delivered together. Where they do not, they are sorted and the few bounds are looked up among them, rather
than each of them among the bounds: both in C, and no call for any job.

Whole numbers of one unit, because the engine's times are whole numbers; whoever shows them divides.
"""

from bisect import bisect_left, bisect_right
from typing import Final

from flashq.model import Distribution

JOB_TIMES_MS: Final = (
    *(1, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000),
    *(300_000, 900_000, 3_600_000, 14_400_000, 86_400_000),
)
"""Upper bounds for what jobs do: from a millisecond, the resolution of the clocks, to a day."""


class Histogram:
    """Observations of one kind, in buckets; a bucket holds what is not above its bound."""

    __slots__ = ("_bounds", "_counts", "_sum", "_unit")

    def __init__(self, bounds: tuple[int, ...], unit: int) -> None:
        """Build an empty one.

        Args:
            bounds: upper bounds of the buckets, ascending; one more bucket takes what is above them all.
            unit: how many units make a second: 1,000 for milliseconds.
        """
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0
        self._unit = unit

    def add(self, value: int, count: int = 1) -> None:
        """``count`` things took ``value`` each. A negative value, of a clock that was set back, is 0."""
        self._counts[bisect_left(self._bounds, value)] += count
        if value > 0:
            self._sum += value * count

    def add_since(self, moments: list[int], now: int) -> None:
        """Things that began at these moments ended now; there is at least one. Negative times as with `add`."""
        count = len(moments)
        bounds, counts = self._bounds, self._counts
        if moments.count(moments[0]) == count:  # pushed together
            took = now - moments[0]
            counts[bisect_left(bounds, took)] += count
            if took > 0:
                self._sum += took * count
            return
        ordered = sorted(moments, reverse=True)  # in C, and nearly sorted mostly: jobs come in the order of time
        took_each = [now - moment if moment < now else 0 for moment in ordered]
        self._sum += sum(took_each)
        below = 0
        for bucket in range(bisect_left(bounds, took_each[0]), bisect_left(bounds, took_each[-1])):
            upto = bisect_right(took_each, bounds[bucket], below)
            counts[bucket] += upto - below
            below = upto
        counts[bisect_left(bounds, took_each[-1])] += count - below

    def read(self) -> Distribution:
        """What was observed so far; a copy."""
        return Distribution(self._bounds, tuple(self._counts), self._sum, self._unit)
