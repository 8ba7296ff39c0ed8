"""What the HTTP door says of itself, to programs: ``GET /openapi.json``."""

from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route as Path

from flashq.protocol.codec import encode
from flashq.transports.http.endpoints import Door
from flashq.transports.http.envelope import JSON, Headers
from flashq.transports.http.openapi import describe


class Documentation:
    """Made when it is first asked for: most servers are never asked."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self._description: Final[dict[bool, bytes]] = {}

    def routes(self) -> list[Path]:
        """Where it is."""
        return [Path("/openapi.json", self._openapi)]

    async def _openapi(self, request: Request) -> Response:
        """The description; with a token where one is asked for, as for everything else that tells of the server."""
        gate = self._door.gate
        headers = dict(request.scope["headers"])
        gate.check_host(headers)
        gate.session(request.scope, headers)
        secured = self._door.context.access.anonymous is None
        if secured not in self._description:
            self._description[secured] = encode(describe(secured=secured))
        return _response(JSON, self._description[secured])


def _response(headers: Headers, body: bytes) -> Response:
    response = Response(body)
    response.raw_headers = [*headers, (b"content-length", b"%d" % len(body))]
    return response
