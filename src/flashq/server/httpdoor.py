"""The door for HTTP, put together: who may ask, what answers, what streams, and what listens.

Loaded when it is opened, by a server that has one: its libraries are a large part of what a start has to load.
"""

import asyncio
from collections.abc import Callable
from ssl import SSLContext
from typing import Final

from flashq.commands.session import Context
from flashq.config import Config
from flashq.observe.streams import Streams
from flashq.server import clock
from flashq.server.gauges import Gauges
from flashq.server.runtime import Runtime
from flashq.server.web import Web
from flashq.transports.calls import Calls
from flashq.transports.http.app import build
from flashq.transports.http.auth import ANY, Gatekeeper, local_names
from flashq.transports.http.endpoints import Door
from flashq.transports.http.events import event_streams
from flashq.transports.http.metrics import Page, Watching

FAREWELL_SECONDS: Final = 0.5
QUIET_TURNS: Final = 3
"""How long streams of events may take to be ended, and turns of the loop without one that is: then all have been."""


class HttpDoor:
    """The door for HTTP; see `flashq.server.doors.ServerDoor`."""

    def __init__(
        self, config: Config, storage: str, context: Context, runtime: Runtime, gauges: Gauges, room: Callable[[], bool]
    ) -> None:
        """Build it, shut.

        Args:
            config: the server's settings.
            storage: the kind that keeps the jobs.
            context: what commands work on.
            runtime: the turns.
            gauges: what those who watch are shown.
            room: asked by each new connection, which is counted already, whether there is room for it.
        """
        self._config = config
        self._loop = asyncio.get_running_loop()
        self._calls = Calls(context, runtime)
        self._streams = Streams(runtime.hub, self._loop)
        door = Door(self._calls, _gatekeeper(config, context))
        watching = Watching(door, Page(gauges.figures, clock.now), gauges.history)
        lane = build(
            door,
            storage=storage,
            origins=config.cors_allow_origin,
            more=watching.routes(),
            streams=event_streams(door, self._streams),
        )
        self._web = Web(lane.whole, room, runtime.after_others, lane.at_once)

    async def listen(self, tls: SSLContext | None) -> None:
        """Open it.

        Raises:
            OSError: the address cannot be listened on.
        """
        await self._web.listen(self._config.host, self._config.http_port, tls)

    @property
    def port(self) -> int:
        """The real port; 0 while the door is shut."""
        return self._web.port

    @property
    def connected(self) -> int:
        """How many connections there are, those included that are still being made."""
        return self._web.connected

    def let_go_revoked(self) -> None:
        """Refuse what waits for somebody whose token is no longer valid."""
        self._calls.let_go_revoked()

    async def close(self) -> None:
        """End the streams, and take no more connections."""
        self._streams.end()
        deadline = self._loop.time() + FAREWELL_SECONDS
        quiet = 0
        while quiet < QUIET_TURNS and self._loop.time() < deadline:
            await asyncio.sleep(0)
            quiet = 0 if self._streams.busy else quiet + 1
        self._web.close()

    def drain(self) -> None:
        """End all waiting."""
        self._calls.drain()

    def settled(self) -> bool:
        """Whether every request was answered, and everybody has left."""
        return self._web.settled()

    def abort(self) -> None:
        """Cut off who is left."""
        self._web.abort()


def _gatekeeper(config: Config, context: Context) -> Gatekeeper:
    trusting = context.access.anonymous is not None
    return Gatekeeper(
        context,
        clock.now,
        origins=config.cors_allow_origin,
        hosts=config.allowed_hosts or (local_names(config.host) if trusting else (ANY,)),
    )
