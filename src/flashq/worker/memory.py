"""How much memory a process occupies: what a worker, or its child, looks at when its size is limited."""

import resource
import sys
from pathlib import Path


def resident_mb() -> int:
    """Memory that this process occupies, MiB. Where there is no ``/proc``: the most it ever did."""
    try:
        pages = int(Path("/proc/self/statm").read_bytes().split()[1])
    except OSError:
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # KiB, but bytes on macOS
        return most // (1024 * 1024 if sys.platform == "darwin" else 1024)
    return pages * resource.getpagesize() // (1024 * 1024)
