"""How long a failed job waits before its next attempt: doubled each time, with a ceiling.

One pure function, so that the number in a reply, in the journal and in a test is the same number. There is no
jitter here: attempts of one job never collide with each other, and an engine that rolls no dice can be replayed.
"""

from typing import Final

MAX_BACKOFF_MS: Final = 3_600_000
"""One hour. A job that waits longer between attempts looks lost to the people who look for it."""

_DOUBLINGS: Final = MAX_BACKOFF_MS.bit_length()
"""So many doublings take even 1 ms past the ceiling; more would only build huge integers."""


def delay_ms(backoff: int, attempts: int) -> int:
    """The pause before the next attempt.

    Args:
        backoff: ms before the first retry; 0 = retry at once.
        attempts: failed attempts so far, the newest included; 1 after the first failure.

    Returns:
        ``backoff * 2 ** (attempts - 1)`` ms, at most `MAX_BACKOFF_MS`.
    """
    doublings = min(max(attempts - 1, 0), _DOUBLINGS)
    return min(backoff << doublings, MAX_BACKOFF_MS)
