"""Memory that a burst has taken goes back to the system when the burst is over.

The GNU C library learns from what is freed: after one block of 16 MiB it takes all smaller ones from its heap, too, and
a heap shrinks from its end only. So a few clients that send the longest lines at the same time could leave a server
with hundreds of megabytes that it no longer uses, until it ends. Fixed thresholds switch that learning off. Other C
libraries do not learn so, and are left alone.
"""

import ctypes
from typing import Final

MAP_BYTES: Final = 512 * 1024
"""Blocks from this size on are mapped one by one and given back as they are freed: larger than what is read at once, so
that ordinary traffic does not pay for it, and far smaller than the longest line."""

TRIM_BYTES: Final = 1024 * 1024
"""Free memory at the heap's end that is kept for the next batch."""

_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
"""As in glibc's malloc.h."""


def give_memory_back() -> bool:
    """Fix the thresholds for this process; tells whether its C library has them."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):  # another C library, or another system
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, MAP_BYTES) and mallopt(_M_TRIM_THRESHOLD, TRIM_BYTES))
