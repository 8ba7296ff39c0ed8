"""The application behind the HTTP door: a fast lane for the paths of producers and workers, the router for the others.

Measured: of the processor time of one push over HTTP, the router and its middlewares are more than half. So the few
paths that matter are looked up in a dictionary before anything else, and end in the same endpoints. Of what is left,
the task that carries a request is a large part: one that came as a whole and waits for nothing is answered without.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.routing import Route as Path

from flashq.errors import BadRequest, FlashQError
from flashq.protocol.codec import encode, failure
from flashq.transports.http.documentation import Documentation
from flashq.transports.http.endpoints import Application, Commands, Door, Endpoint, Receive, Scope, Send
from flashq.transports.http.envelope import JSON, not_found, refusal, response
from flashq.transports.http.health import Health
from flashq.transports.http.routes import COLD, HOT

COMMANDS_PATH: Final = "/commands"
CORS_HEADERS: Final = ("Authorization", "Content-Type", "Last-Event-ID", "FlashQ-Worker")
CORS_SECONDS: Final = 600
"""How long a browser may remember what it was allowed."""


class FastLane:
    """Answers the paths of producers and workers itself, and streams; the others go to the router.

    Attributes:
        whole: the application that this is part of.
    """

    def __init__(
        self,
        door: Door,
        endpoints: Sequence[Endpoint],
        commands: Commands,
        rest: Any,  # noqa: ANN401 - as Starlette types it
        streams: Mapping[tuple[str, str], Application],
    ) -> None:
        """Build it.

        Args:
            door: what the endpoints share.
            endpoints: those of routes that are asked for all the time.
            commands: of its path.
            rest: what answers everything else.
            streams: by the kind of connection and the first word of the path; a second one is a queue. They stay open,
                so each layer around them is memory that ten thousand listeners hold ten thousand times.
        """
        self.whole: Application = self
        self._calls = door.calls
        self._rest = rest
        self._streams = streams
        self._exact: dict[tuple[str, str], Endpoint | Commands] = {("POST", COMMANDS_PATH): commands}
        self._named: dict[tuple[str, str, str], tuple[Endpoint, str]] = {}
        for endpoint in endpoints:
            method, path = endpoint.route.method, endpoint.route.path
            if "{" in path:
                _, noun, name, verb = path.split("/", 3)
                self._named[method, noun, verb] = (endpoint, name.strip("{}"))
            else:
                self._exact[method, path] = endpoint

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request or carry a WebSocket."""
        if scope["type"] == "http":
            hot = self._hot(scope)
            if hot is not None:
                await hot(scope, receive, send)
                return
        parts = scope["path"].split("/", 3)
        if len(parts) in (2, 3) and scope.get("method", "GET") == "GET":
            stream = self._streams.get((scope["type"], parts[1]))
            if stream is not None:
                scope["path_params"] = {"queue": parts[2]} if len(parts) == 3 else {}
                await stream(scope, receive, send)
                return
        await self._rest(scope, receive, send)

    def at_once(self, scope: Scope, body: bytes) -> Application | None:
        """Answer a request that is there as a whole, if there is nothing to wait for.

        Args:
            scope: of the request.
            body: the whole of it, and not longer than one read from a connection.

        Returns:
            What goes on with the request: the whole application, if it is none for here. None: it was answered.
        """
        hot = self._hot(scope)
        if type(hot) is not Endpoint or self._calls.held_back:
            return self.whole
        headers = dict(scope["headers"])
        if b"origin" in headers:  # something around us may want to add to the answer
            return self.whole
        return hot.at_once(scope, headers, body)

    def _hot(self, scope: Scope) -> Endpoint | Commands | None:
        method, path = scope["method"], scope["path"]
        parts = path.split("/", 3)
        if len(parts) == 4:
            found = self._named.get((method, parts[1], parts[3]))
            if found is not None:
                scope["path_params"] = {found[1]: parts[2]}
                return found[0]
        exact = self._exact.get((method, path))
        if exact is not None:
            scope["path_params"] = {}
        return exact


class ByMethod:
    """The endpoints of one path."""

    def __init__(self, endpoints: Sequence[Endpoint]) -> None:
        self._endpoints = {endpoint.route.method: endpoint for endpoint in endpoints}
        if "GET" in self._endpoints and not self._endpoints["GET"].route.changes:
            self._endpoints["HEAD"] = self._endpoints["GET"]

    @property
    def methods(self) -> list[str]:
        """What may be asked."""
        return list(self._endpoints)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request whose method is one of them: the router has seen to that."""
        await self._endpoints[scope["method"]](scope, receive, send)


def build(
    door: Door,
    *,
    storage: str,
    origins: tuple[str, ...] = (),
    more: Sequence[BaseRoute] = (),
    streams: Mapping[tuple[str, str], Application] | None = None,
) -> FastLane:
    """The whole application: what answers at once, and has the rest in `FastLane.whole`.

    Args:
        door: what its endpoints share.
        storage: the kind that keeps the jobs, for those who ask after the server's health.
        origins: of other sites whose pages may read answers; none: browsers get no leave at all.
        more: routes that are no commands: pages, expositions.
        streams: what stays open, see `FastLane`.
    """
    hot = [Endpoint(door, route) for route in HOT]
    paths: dict[str, list[Endpoint]] = {}
    for endpoint in (*hot, *(Endpoint(door, route) for route in COLD)):
        paths.setdefault(endpoint.route.path, []).append(endpoint)
    health = Health(door, storage)
    commands = Commands(door)
    router = Starlette(
        routes=[
            *more,
            *Documentation(door).routes(),
            Path("/health", health.health),
            Path("/ready", health.ready),
            Path(COMMANDS_PATH, commands, methods=["POST"]),
            *(_path(path, ByMethod(group)) for path, group in paths.items()),
            *_only_get(streams or {}),
        ],
        exception_handlers={HTTPException: _http_error, FlashQError: _refused},
    )
    router.router.redirect_slashes = False
    lane = FastLane(door, hot, commands, router, streams or {})
    if origins:
        lane.whole = CORSMiddleware(
            lane,
            allow_origins=origins,
            allow_methods=("GET", "POST", "DELETE"),
            allow_headers=CORS_HEADERS,
            max_age=CORS_SECONDS,
        )
    return lane


def _path(path: str, endpoints: ByMethod) -> Path:
    made = Path(path, endpoints, methods=endpoints.methods)
    if "HEAD" not in endpoints.methods and made.methods:
        made.methods.discard("HEAD")  # the router takes it for granted beside GET; a pull is not to be had by it
    return made


def _only_get(streams: Mapping[tuple[str, str], Application]) -> Sequence[Path]:
    """The router is asked for streams only by those who do not GET them, and tells them so."""
    http = {noun: stream for (kind, noun), stream in streams.items() if kind == "http"}
    paths = [
        Path(path, stream, methods=["GET"])
        for noun, stream in http.items()
        for path in (f"/{noun}", f"/{noun}/{{queue}}")
    ]
    for path in paths:
        path.methods = {"GET"}  # the router takes HEAD for granted beside it; that would never end
    return paths


async def _http_error(request: Request, error: Exception) -> Response:
    """What the router says when it knows no such path or method."""
    assert isinstance(error, HTTPException)
    if error.status_code == 404:
        return await _refused(request, not_found(request.url.path))
    failed = failure(BadRequest(f"Invalid: {request.method[:20]} is not for {request.url.path[:200]}"))
    allow = (b"allow", (error.headers or {}).get("Allow", "").encode())
    return response(error.status_code, encode(failed), [*JSON, allow])


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, FlashQError)
    return response(*refusal(error))
