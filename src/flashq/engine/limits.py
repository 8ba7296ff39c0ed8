"""How many of n may go now: pause, rate limit and concurrency limit of one queue.

The rate limit is a token bucket: as many tokens as the limit, refilled by the limit each second. It is counted in
thousandths of a token, so that a millisecond of refill is a whole number and nothing is ever lost to rounding.
"""


class Limits:
    """The brakes of one queue. `allow` asks, `took` pays; a question that leads to no job costs nothing."""

    __slots__ = ("_filled_at", "_millis", "concurrency", "free", "paused", "rate")

    def __init__(self) -> None:
        self.paused = False
        self.rate = 0
        """Jobs a second; 0 = no limit."""
        self.concurrency = 0
        """Attempts at once; 0 = no limit."""
        self.free = True
        """No brake is set: the question need not be asked."""
        self._millis = 0
        self._filled_at = 0

    def set_paused(self, paused: bool) -> None:
        """Stop or allow deliveries."""
        self.paused = paused
        self._renew()

    def set_concurrency(self, limit: int) -> None:
        """At most ``limit`` attempts at once; 0 removes the limit."""
        self.concurrency = limit
        self._renew()

    def set_rate(self, limit: int, now: int, *, full: bool = True) -> None:
        """At most ``limit`` jobs a second; 0 removes the limit.

        Args:
            limit: jobs a second, and the size of the bucket.
            now: steady ms.
            full: the bucket starts full; after a restart it starts empty, since nobody knows what was in it and
                a restart must not be a way around the limit.
        """
        self.rate = limit
        self._millis = limit * 1_000 if full else 0
        self._filled_at = now
        self._renew()

    def allow(self, count: int, active: int, now: int) -> int:
        """How many of ``count`` jobs may be delivered now (steady ms), with ``active`` attempts running."""
        if self.free:
            return count
        if self.paused:
            return 0
        if self.concurrency:
            count = min(count, max(0, self.concurrency - active))
        if self.rate:
            self._fill(now)
            count = min(count, self._millis // 1_000)
        return count

    def took(self, count: int) -> None:
        """``count`` jobs were delivered: each takes a token."""
        if self.rate:
            self._millis -= count * 1_000

    def next_token(self, now: int) -> int | None:
        """Steady ms at which the bucket holds a token, None when it is not the bucket that says no."""
        if not self.rate or self.paused:
            return None
        wait = self.wait_for(1, now)
        return now + wait if wait else None

    def wait_for(self, count: int, now: int) -> int:
        """Ms until the bucket holds, or has given out, ``count`` tokens from now on; there must be a rate limit."""
        missing = count * 1_000 - self._filled(now)
        return -(-missing // self.rate) if missing > 0 else 0

    def _fill(self, now: int) -> None:
        self._millis = self._filled(now)
        self._filled_at = now

    def _filled(self, now: int) -> int:
        """What the bucket holds, in thousandths of a token."""
        elapsed = now - self._filled_at
        return min(self.rate * 1_000, self._millis + elapsed * self.rate) if elapsed > 0 else self._millis

    def _renew(self) -> None:
        self.free = not (self.paused or self.rate or self.concurrency)
