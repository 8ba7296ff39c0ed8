"""URLs that the server is to call: the library that calls one goes where we have judged, and nowhere inward."""

from collections.abc import Iterator
from ipaddress import IPv6Address, IPv6Network, ip_address
from typing import Final
from urllib.parse import urlsplit

from tests.fuzz.endings import refused
from tests.fuzz.seeds import documented_words, literals
from yarl import URL

from flashq.security.addresses import is_public, why_refused

WORDS: Final = (
    *("http://", "https://", "@", ":", "//", "#", "?", "/", ".", "%", "%2e", "%40", "%00", "localhost", "[", "]"),
    *(
        "127.0.0.1",
        "0x7f.1",
        "2130706433",
        "[::1]",
        "[::ffff:10.0.0.1]",
        "169.254.169.254",
        "64:ff9b::",
        "2002:",
        "xn--",
    ),
)
MAX_BYTES: Final = 2_048
_NAT64: Final = IPv6Network("64:ff9b::/96")


def seeds() -> Iterator[bytes]:
    """The URLs and addresses of the tests and of the documentation."""
    for text in literals("tests/unit/security/test_addresses.py", "tests/unit/webhooks/test_post.py"):
        yield text
        yield b"http://" + text + b"/"
    yield from documented_words("://")


def read(data: bytes) -> str:
    """A URL; whether private addresses may be called is both tried."""
    url = data.decode(errors="replace")
    is_public(url)
    loose, strict = why_refused(url, private=True), why_refused(url, private=False)
    assert strict is not None or loose is None, "what is private may be called only where private is refused"
    if loose is not None:
        return loose
    host = urlsplit(url).hostname or ""
    try:
        called = URL(url, encoded=True).raw_host or ""
    except ValueError as error:  # a try that fails; nothing is called
        return f"let through, and {refused(error)}"
    assert called.rstrip(".").lower() == host.rstrip(".").lower(), f"{called!r} would be called, {host!r} was judged"
    try:
        address = ip_address(called)
    except ValueError:
        return strict or "a name"
    wraps = isinstance(address, IPv6Address) and (address.ipv4_mapped or address.sixtofour or address in _NAT64)
    assert strict is not None or wraps or address.is_global, "an address that is not public would be called"
    return strict or "an address"
