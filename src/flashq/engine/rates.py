"""How fast jobs complete: counts and latencies of the last minute, in buckets of a second."""

from typing import Final

_SECONDS: Final = 60


class Rates:
    """A ring of one-second buckets. Times are wall ms."""

    __slots__ = ("_counts", "_latencies", "_second", "_since")

    def __init__(self, now: int) -> None:
        self._second = now // 1_000
        self._since = self._second
        self._counts = [0] * _SECONDS
        self._latencies = [0] * _SECONDS

    def completed(self, count: int, latency_ms: int, now: int) -> None:
        """``count`` jobs completed; ``latency_ms`` is the sum of their times from push to completion.

        A negative sum, of jobs pushed before the wall clock was set back, counts as 0.
        """
        second = now // 1_000
        if second != self._second:
            self._turn(second)
        self._counts[second % _SECONDS] += count
        self._latencies[second % _SECONDS] += max(0, latency_ms)

    def per_second(self, now: int) -> float:
        """Completions a second over the last minute, or since the start if that is shorter."""
        self._turn(now // 1_000)
        span = min(_SECONDS, max(1, now // 1_000 - self._since + 1))
        return sum(self._counts) / span

    def average_latency_ms(self, now: int) -> float:
        """Mean time from push to completion of the jobs completed in the last minute; 0 if there are none."""
        self._turn(now // 1_000)
        count = sum(self._counts)
        return sum(self._latencies) / count if count else 0.0

    def _turn(self, second: int) -> None:
        if second < self._second:  # the wall clock was set back: start over rather than mix two minutes
            self._second = self._since = second
            self._counts = [0] * _SECONDS
            self._latencies = [0] * _SECONDS
            return
        for passed in range(self._second + 1, min(second, self._second + _SECONDS) + 1):
            self._counts[passed % _SECONDS] = 0
            self._latencies[passed % _SECONDS] = 0
        self._second = second
