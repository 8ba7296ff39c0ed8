"""Is it alive, and does it take work? What load balancers and orchestrators ask."""

from typing import Literal

from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response

from flashq.commands.admin import STANDALONE
from flashq.protocol.codec import encode
from flashq.transports.http.endpoints import Door
from flashq.transports.http.envelope import JSON, RETRY_AFTER, response, success

Status = Literal["ok", "shutting_down", "storage_away", "storage_behind"]
"""What a server says of itself; only the first one takes work. docs/http.md tells what each means."""


class HealthView(Struct):
    """What everybody may know of a server."""

    status: Status
    node_id: str
    is_leader: bool
    cluster_enabled: bool
    storage: str


class Health:
    """The two questions. A server that lives but takes no work is healthy and not ready."""

    def __init__(self, door: Door, storage: str) -> None:
        self._door = door
        self._storage = storage

    async def health(self, _: Request) -> Response:
        """Does it live? Asked without a token."""
        return self._answer(200)

    async def ready(self, request: Request) -> Response:
        """Does it take work?"""
        self._door.gate.session(request.scope, dict(request.scope["headers"]))
        return self._answer(200 if self._status() == "ok" else 503)

    def _status(self) -> Status:
        if self._door.context.closing:
            return "shutting_down"
        if self._door.context.away:
            return "storage_away"
        return "storage_behind" if self._door.calls.held_back else "ok"

    def _answer(self, status: int) -> Response:
        view = HealthView(self._status(), STANDALONE, is_leader=True, cluster_enabled=False, storage=self._storage)
        return response(status, success(encode(view)), JSON if status == 200 else [*JSON, RETRY_AFTER])
