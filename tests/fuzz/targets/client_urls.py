"""URLs of the client: an address or BadRequest, which tells no token; an address comes back from its own URL."""

from collections.abc import Iterator
from typing import Final

from msgspec import structs
from tests.fuzz.endings import refused
from tests.fuzz.seeds import documented_words, literals

from flashq.client.address import parse, resolve
from flashq.errors import BadRequest

WORDS: Final = (
    *("flashq://", "flashqs://", "flashq+unix://", "http://", "https://", "//", "@", ":", "[::1]", "%", "%2F", "%00"),
    *("[fe80::1%25eth0]", "127.0.0.1", "localhost", ":6789", ":0", ":65536", "?", "#", "..", "\\\\", "\u2100"),
)
MAX_BYTES: Final = 4_096
_SCHEMES: Final = frozenset({"flashq", "flashqs", "flashq+unix", "http", "https"})
_TOKEN: Final = "hush-hush"


def seeds() -> Iterator[bytes]:
    """The URLs of the tests and of the documentation."""
    yield from literals("tests/unit/client/test_address.py")
    yield from documented_words("://")


def read(data: bytes) -> str:
    """A URL as it stands in the environment: bytes that are no text are surrogates."""
    url = data.decode("utf-8", "surrogateescape")
    scheme, mark, rest = url.partition("://")
    if not mark or scheme not in _SCHEMES:
        return _resolved(url)
    return f"{_resolved(url)}; with a token {_resolved(f'{scheme}://{_TOKEN}@{rest}')}"


def _resolved(url: str) -> str:
    try:
        address = resolve(url)
    except BadRequest as error:
        assert _TOKEN not in str(error), "a token is told"
        return refused(error).replace(url.partition(":")[0].lower(), "_")
    assert _TOKEN not in repr(address), "a token is shown"
    assert 1 <= address.port <= 65_535
    if not address.unix_socket:
        again = parse(str(address))
        assert again == structs.replace(address, token=None, ca=""), f"{again} is not {address}"
    return f"{str(address).partition(':')[0]} {bool(address.token)} {bool(address.path)} {':' in address.host}"
