"""What HTTP makes of path, query and body: a request that lines would take as well, or an error with a status."""

import re
from collections.abc import Iterator
from typing import Final

from tests.fuzz.endings import refused
from tests.fuzz.seeds import documented_json, literals
from tests.fuzz.targets.requests import MEMBERS

from flashq.errors import BadRequest
from flashq.protocol.codec import decode_request, encode
from flashq.transports.http.auth import query_of
from flashq.transports.http.routes import ROUTES, Reader

WORDS: Final = (
    *(f"{name}=" for name in MEMBERS),
    *(f'"{name}":' for name in MEMBERS),
    *("&", "%", "%00", "%ff", "+", "\0", "{", "}", "[]", "null", "\r\n", "}{", '"cmd":"PING"'),
)
MAX_BYTES: Final = 64 * 1024
_NAMES: Final = [re.findall(r"{(\w+)}", route.path) for route in ROUTES]
_READERS: Final = [Reader(route) for route in ROUTES]


def seeds() -> Iterator[bytes]:
    """Each route with a body, each with a query, and what the tests of the routes contain."""
    bodies = [b"{}", b'{"data":1}', *literals("tests/unit/transports/http/test_routes.py"), *documented_json()]
    for place in range(len(ROUTES)):
        for body in bodies[place :: len(ROUTES)]:
            yield b"\0".join((bytes((place + 1,)) + b"7", b"limit=5&state=waiting&count=2", body))


def read(data: bytes) -> str:
    """The first byte is the route; then the members of its path, the query and the body, with zero bytes between."""
    if not data:
        return "nothing"
    place = (data[0] - 1) % len(ROUTES)
    path, _, rest = data[1:].partition(b"\0")
    query, _, body = rest.partition(b"\0")
    members = dict(zip(_NAMES[place], path.decode(errors="replace").split("/"), strict=False))
    if len(members) < len(_NAMES[place]):
        return "another path"
    try:
        request = _READERS[place].request(members, query_of({"query_string": query}), body)
    except BadRequest as error:
        return f"{place} {refused(error)}"
    for name, text in members.items():
        assert str(getattr(request, name)) == text or text.isdigit(), "a member of the path was overridden"
    line = encode(request)
    assert b"\n" not in line, "a request that does not fit into one line"
    assert encode(decode_request(line)) == line, "a request that lines would read differently"
    return f"{place}"
