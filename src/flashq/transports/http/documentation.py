"""What the HTTP door says of itself: ``GET /openapi.json`` to programs, ``GET /docs`` to people.

The page is four plain files of our own that are read once and held in memory: nothing is built, nothing is fetched from
elsewhere, and no path of a request ever becomes the path of a file. It is given without a token, since a browser cannot
send one when it opens a page; what it shows comes from ``/openapi.json``, which asks for one like everything else.
"""

from functools import cache
from importlib.resources import files
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route as Path

from flashq.protocol.codec import encode
from flashq.transports.http.endpoints import Door
from flashq.transports.http.envelope import JSON, SAFE, response
from flashq.transports.http.openapi import describe

PAGE: Final = "/docs"

POLICY: Final = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
    b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""What the page may do: run and show our files, and ask this server. Nothing inline, nothing from elsewhere."""

FILES: Final = {
    PAGE: ("docs.html", b"text/html; charset=utf-8"),
    f"{PAGE}/docs.css": ("docs.css", b"text/css; charset=utf-8"),
    f"{PAGE}/docs.js": ("docs.js", b"text/javascript; charset=utf-8"),
    f"{PAGE}/icon.svg": ("icon.svg", b"image/svg+xml"),
}


class Documentation:
    """Made when it is first asked for: most servers are never asked."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self._description: Final[dict[bool, bytes]] = {}

    def routes(self) -> list[Path]:
        """Where it is."""
        pages = [Path(path, self._file) for path in FILES]
        return [Path("/", self._front), *pages, Path("/openapi.json", self._openapi)]

    async def _front(self, request: Request) -> Response:
        """Who types the address alone is shown what there is."""
        self._door.gate.check_host(dict(request.scope["headers"]))
        return response(302, b"", [*SAFE, (b"location", PAGE.encode())])

    async def _file(self, request: Request) -> Response:
        """One of our files."""
        self._door.gate.check_host(dict(request.scope["headers"]))
        name, kind = FILES[request.scope["path"]]
        safe = [header for header in SAFE if header[0] != b"content-security-policy"]
        headers = [(b"content-type", kind), (b"content-security-policy", POLICY), *safe]
        return response(200, content_of(name), headers)

    async def _openapi(self, request: Request) -> Response:
        """The description; with a token where one is asked for, as for everything else that tells of the server."""
        self._door.gate.admit(request.scope, dict(request.scope["headers"]))
        secured = self._door.context.access.anonymous is None
        if secured not in self._description:
            self._description[secured] = encode(describe(secured=secured))
        return response(200, self._description[secured], JSON)


@cache
def content_of(name: str) -> bytes:
    """One of the files that lie beside this module."""
    return (files("flashq.transports.http") / "static" / name).read_bytes()
