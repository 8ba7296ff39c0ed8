"""What those who watch a server fetch: the page for Prometheus, and the last hour.

They are no commands: there is nothing in them that a client of lines would want. A page is some thousand lines with
many queues, so it is made in a thread, once for all who ask within a second, however many and however often they do.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route as Path

from flashq.model import Instant
from flashq.observe.figures import Figures
from flashq.observe.history import History
from flashq.observe.prometheus import CONTENT_TYPE, exposition
from flashq.protocol.codec import encode
from flashq.protocol.requests import MetricsRequest
from flashq.transports.http.endpoints import Door
from flashq.transports.http.envelope import JSON, SAFE, Headers, response, success

KEPT_MS: Final = 1_000
"""How long a page is good for. Nobody watches more closely, and a page may be a hundred milliseconds of processor."""

TEXT: Final[Headers] = [(b"content-type", CONTENT_TYPE.encode()), *SAFE]


class Page:
    """The page for Prometheus, made anew when it is asked for and too old."""

    def __init__(self, figures: Callable[[], Awaitable[Figures]], clock: Callable[[], Instant]) -> None:
        """Args: ``figures``: takes those of this moment; ``clock``: tells it."""
        self._figures = figures
        self._clock = clock
        self._text = b""
        self._good_until = 0
        self._making: asyncio.Task[bytes] | None = None

    async def text(self) -> bytes:
        """The page, at most a second old when its making began. Those who ask while it is made wait for it together."""
        if self._clock().steady < self._good_until:
            return self._text
        if self._making is None or self._making.done():
            self._making = asyncio.create_task(self._make())
        return await asyncio.shield(self._making)  # one who leaves does not take the page from the others

    async def _make(self) -> bytes:
        good_until = self._clock().steady + KEPT_MS
        figures = await self._figures()
        self._text = await asyncio.to_thread(exposition, figures)
        self._good_until = good_until
        return self._text


class Watching:
    """The endpoints for those who watch."""

    def __init__(self, door: Door, page: Page, history: History) -> None:
        self._door = door
        self._page = page
        self._history = history

    def routes(self) -> list[Path]:
        """Where they are."""
        return [Path("/metrics/prometheus", self._prometheus), Path("/metrics/history", self._points)]

    async def _prometheus(self, request: Request) -> Response:
        self._admit(request)
        return response(200, await self._page.text(), TEXT)

    async def _points(self, request: Request) -> Response:
        self._admit(request)
        return response(200, success(encode(self._history.points())), JSON)

    def _admit(self, request: Request) -> None:
        gate = self._door.gate
        gate.permit(gate.admit(request.scope, dict(request.scope["headers"])), MetricsRequest)
