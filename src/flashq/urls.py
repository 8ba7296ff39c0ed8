"""URLs taken apart: the one place that does it, since Python's own way forgives what leads elsewhere.

Until its releases of 2025 Python takes what stands in brackets for the host and forgets what stands beside them
(CVE-2025-0938): ``queue.example[::1]`` is this machine then. Whoever judges or shows such a host speaks of another one
than he who connects to it.
"""

import re
from typing import Final
from urllib.parse import SplitResult, urlsplit

_PLACE: Final = re.compile(r"\[[^][]*\](:.*)?|[^][]*", re.DOTALL)
"""Host and port: brackets are around the whole of a host or nowhere."""


def split_url(url: str) -> SplitResult:
    """Take a URL apart.

    Args:
        url: as it was given; one without a scheme begins with two slashes.

    Raises:
        ValueError: its host cannot be told. The text may repeat a part of the URL, which may be a secret.
    """
    parts = urlsplit(url)
    if not _PLACE.fullmatch(parts.netloc.rpartition("@")[2]):
        raise ValueError("something stands beside the brackets of the host")
    return parts
