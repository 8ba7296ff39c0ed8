"""uvicorn's HTTP protocol in our own event loop, with the bounds that it leaves to others.

uvicorn's server would bring signal handlers and a timer that wakes ten times a second; its protocol class needs
neither. What it does not bound is how long and how large the head of a request may be: a client that sends one byte
of a header a minute would hold its connection for ever.

And it starts a task for each request, when the head is there. Most requests come as a whole in one read and can be
answered without waiting for anything: those are offered to the application first, which saves the task.
"""

import asyncio
import logging
from asyncio import BaseTransport, TimerHandle, Transport
from collections.abc import Callable, MutableMapping
from functools import partial
from ssl import SSLContext
from typing import Any, Final, cast

from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from flashq.server.handshakes import BACKLOG, TlsListener
from flashq.server.websocket import FRAME_BYTES, ListenerSocket
from flashq.transports.base import BREATH_BYTES, Patient

HEAD_BYTES: Final = 64 * 1024
"""The head of a request: all headers together. Beyond it is an attack or a cookie jar."""

MAX_HEADERS: Final = 100
"""Each is parsed in Python, and the shortest have five bytes. Browsers and proxies send some dozens at most."""

MAX_PIECES: Final = 256
FINE_BYTES: Final = 8 * 1024
"""Whoever sends a body in more chunks than that in one read is read in such portions, one in each turn of the loop: the
shortest chunks have six bytes, and each is handled in Python. Others have larger ones."""

HEAD_SECONDS: Final = 10
"""How long the head of a request may take to come, from its first byte; of the first request, from the connection."""

KEEP_ALIVE_SECONDS: Final = 5
"""Idle time between two requests. What a vanished client leaves behind is kept for as long, so no more than needed."""

MAX_PIPELINED: Final = 100
"""Requests of one connection that wait for the answer of one before them: each is fifty times as large in memory as it
was on the wire."""

STUCK_SECONDS: Final = 30
"""A client that reads nothing of an answer for so long is cut off: answers that wait to be read are memory."""

PING_SECONDS: Final = 20
"""WebSocket pings, and how long the answer may take: what is silent for longer is gone."""


MAX_AT_ONCE: Final = 64
"""Requests of one read that are answered at once: others wait meanwhile."""

Scope = MutableMapping[str, Any]
AtOnce = Callable[[Scope, bytes], Any]
"""(scope, body) -> the ASGI application that goes on with a request; None: it was answered."""


class TooMuch(Exception):
    """A client asks for more than anybody can remember. Nothing more of what came is parsed: its connection ends."""


class Flow(FlowControl):
    """When a connection is read from: not while uvicorn has enough of it, and not while others have their turn."""

    _breathing = False

    def breathe(self) -> None:
        """Read no more until `go_on`."""
        if not (self.read_paused or self._breathing):
            self._transport.pause_reading()
        self._breathing = True

    def go_on(self) -> None:
        """The others have had their turn."""
        self._breathing = False
        if not (self.read_paused or self._transport.is_closing()):
            self._transport.resume_reading()

    def pause_reading(self) -> None:
        """There is enough to do with what came."""
        if not (self.read_paused or self._breathing):
            self._transport.pause_reading()
        self.read_paused = True

    def resume_reading(self) -> None:
        """There is not."""
        if self.read_paused and not self._breathing:
            self._transport.resume_reading()
        self.read_paused = False


class HttpConnection(HttpToolsProtocol):
    """One HTTP connection, bounded."""

    flow: Flow

    def __init__(self, web: "Web") -> None:
        super().__init__(web.config, web.state, {}, web.loop)
        self._web = web
        self._head = True  # the head of a request is being read
        self._head_bytes = 0
        self._head_timer: TimerHandle | None = None
        self._stuck_timer: TimerHandle | None = None
        self._idle_timer: TimerHandle | None = None
        self._idle_since: float | None = None  # in the loop's time; None: a request is under way
        self._unread = 0
        self._running: RequestResponseCycle | None = None
        self._unread_body: RequestResponseCycle | None = None
        """A request whose head is there; the rest may have come with it."""
        self._at_once = 0
        self._portion = BREATH_BYTES
        self._pieces = 0
        self._later = b""
        """The rest of a read that is larger than a portion."""

    def connection_made(self, transport: BaseTransport) -> None:
        """A client is there."""
        super().connection_made(cast("Transport", transport))
        self.flow = Flow(self.transport)
        self._web.handshakes.discard(self)
        if not self._web.room():
            self.transport.abort()
            return
        self.app_state["transport"] = transport  # endpoints ask it whether anybody still listens
        self.app_state["whole"] = self._send_whole
        self._head_timer = self.loop.call_later(HEAD_SECONDS, self.transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        self._stop_timer()
        self._stop_stuck_timer()
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        super().connection_lost(exc)
        if self._running is not None:  # uvicorn tells the newest request only, which may be one behind it
            self._running.disconnected = True
            self._running.message_event.set()
        self.pipeline.clear()  # nobody reads their answers
        self._running = self._unread_body = None
        self.cycle = self.scope = None  # type: ignore[assignment]  # they lead back here, and the collector comes late
        self.app_state.clear()

    def data_received(self, data: bytes) -> None:
        """It sent something."""
        if len(data) > self._portion:
            data, self._later = data[: self._portion], data[self._portion :]
            self.flow.breathe()
            self._web.after_others(self)
        self._at_once = MAX_AT_ONCE
        self._pieces = 0
        super().data_received(data)
        if self._pieces > MAX_PIECES:
            self._portion = FINE_BYTES
        self._at_once = 0  # nothing more is here: what is begun from now on need not wait for the end of a read
        if self._unread_body is not None:
            self._start(self.app)
        if self._head and not self.transport.is_closing():
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES:
                self.send_400_response("Header too large.")
            elif self._head_timer is None:
                self._head_timer = self.loop.call_later(HEAD_SECONDS, self.transport.abort)

    def go_on(self) -> None:
        """The others have had their turn: take the rest of what it sent."""
        later, self._later = self._later, b""
        if later and not self.transport.is_closing() and self.parser is not None:
            self.data_received(later)
        if not self._later:
            self.flow.go_on()

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        super().on_message_begin()
        self._head = True

    def on_header(self, name: bytes, value: bytes) -> None:
        """One of its headers, or of what may follow a body."""
        super().on_header(name, value)
        if len(self.headers) > MAX_HEADERS:
            self.send_400_response("Too many headers.")
            raise TooMuch

    def on_headers_complete(self) -> None:
        """The head is there."""
        self._head = False
        self._head_bytes = 0
        self._stop_timer()
        if len(self.pipeline) >= MAX_PIPELINED:
            self.transport.abort()
            raise TooMuch
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        """Refuse what it sent, and close; once."""
        if not self.transport.is_closing():
            super().send_400_response(msg)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:  # noqa: ANN401 - an ASGI application
        self._running = cycle
        if cycle is self.cycle and cycle.more_body and self._at_once:
            self._unread_body = cycle
        else:
            super()._start_asgi_task(cycle, app)

    def on_body(self, body: bytes) -> None:
        """A part of its body: a chunk of it, or what a read holds of it."""
        self._pieces += 1
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is there."""
        super().on_message_complete()
        cycle = self._unread_body
        if cycle is not None:
            self._at_once -= 1
            if cycle.flow.write_paused:
                self._start(self.app)
                return
            try:
                app = self._web.at_once(cast("Scope", cycle.scope), bytes(cycle.body))
            except Exception as error:
                app = partial(_raise, error)
            self._start(app)

    def _start(self, app: Any) -> None:  # noqa: ANN401 - an ASGI application
        """Go on with the request whose rest was waited for."""
        cycle, self._unread_body = self._unread_body, None
        if cycle is not None and app is not None and not self.transport.is_closing():
            super()._start_asgi_task(cycle, app)

    def pause_writing(self) -> None:
        """The client does not read."""
        super().pause_writing()
        self._look_again()

    def resume_writing(self) -> None:
        """It reads again."""
        self._stop_stuck_timer()
        super().resume_writing()

    def _unset_keepalive_if_required(self) -> None:
        self._idle_since = None

    def on_response_complete(self) -> None:
        """A request is answered. As uvicorn's, but without a timer for each: one looks now and then."""
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
            return
        self._idle_since = self.loop.time()
        if self._idle_timer is None:
            self._idle_timer = self.loop.call_later(KEEP_ALIVE_SECONDS, self._look_whether_idle)

    def _look_whether_idle(self) -> None:
        self._idle_timer = None
        if self._idle_since is None:
            return
        left = self._idle_since + KEEP_ALIVE_SECONDS - self.loop.time()
        if left > 0:
            self._idle_timer = self.loop.call_later(left, self._look_whether_idle)
        elif self.transport.get_write_buffer_size():  # closing would wait for a client that does not read
            self.transport.abort()
        else:
            self.transport.close()

    def handle_websocket_upgrade(self) -> None:
        """Somebody else goes on with the connection. Ends the cycle with the parser: the collector comes late."""
        del self.app_state["whole"]
        super().handle_websocket_upgrade()
        self.parser = None  # type: ignore[assignment]  # as connection_lost leaves it
        self.scope = None  # type: ignore[assignment]  # likewise; its state is a copy

    def _send_whole(self, scope: Scope, head: bytes, body: bytes) -> bool:
        """Send an answer that is there as a whole in one write, where two messages would be two system calls.

        One method for all requests of the connection: a function for each, in its scope, would be a cycle that only
        the collector ends.

        Args:
            scope: of the request.
            head: status line and headers, without the body's length and without the empty line.
            body: the body.

        Returns:
            False if the answer has to go the ordinary way.
        """
        cycle = self._running
        if cycle is None or cycle.scope is not scope:  # it was answered, or nobody is there
            return False
        if cycle.response_started or cycle.flow.write_paused or scope["method"] == "HEAD":
            return False
        cycle.response_started = cycle.response_complete = True
        cycle.waiting_for_100_continue = False
        if not (cycle.disconnected or self.transport.is_closing()):
            end = b"\r\n\r\n" if cycle.keep_alive else b"\r\nconnection: close\r\n\r\n"
            self.transport.write(b"%bcontent-length: %d%b%b" % (head, len(body), end, body))
            cycle.message_event.set()
            if not cycle.keep_alive:
                self.transport.close()
            cycle.on_response()
        return True

    def _look_again(self) -> None:
        self._unread = self.transport.get_write_buffer_size()
        self._stuck_timer = self.loop.call_later(STUCK_SECONDS, self._still_stuck)

    def _still_stuck(self) -> None:
        if self.transport.get_write_buffer_size() >= self._unread:
            self.transport.abort()
        else:
            self._look_again()

    def _stop_stuck_timer(self) -> None:
        if self._stuck_timer is not None:
            self._stuck_timer.cancel()
            self._stuck_timer = None

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


async def _raise(error: Exception, *_: object) -> None:
    """An application that fails, so that uvicorn answers and tells of it as always."""
    raise error


class Web:
    """The HTTP door's listener."""

    def __init__(
        self,
        application: Any,  # noqa: ANN401 - an ASGI application
        room: Callable[[], bool],
        after_others: Callable[[Patient], None],
        at_once: AtOnce | None = None,
    ) -> None:
        """Build it.

        Args:
            application: what answers.
            room: asked by each new connection, which is counted already, whether there is room for it.
            after_others: see `flashq.transports.base.Turns`.
            at_once: what is asked first, with requests that came as a whole; it need not know what to do.
        """
        logging.getLogger("uvicorn.error").setLevel(logging.ERROR)  # whatever strangers send is no news
        self.config = Config(
            application,
            http=HttpToolsProtocol,
            ws=cast("type[asyncio.Protocol]", partial(ListenerSocket, after_others)),
            ws_max_size=FRAME_BYTES,
            ws_ping_interval=PING_SECONDS,
            ws_ping_timeout=PING_SECONDS,
            ws_per_message_deflate=False,
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
        )
        self.config.load()
        self.state = ServerState()
        self.room = room
        self.after_others = after_others
        self.at_once = at_once or (lambda _, __: application)
        self.loop = asyncio.get_running_loop()
        self.handshakes: set[asyncio.BaseProtocol] = set()
        self._listener: asyncio.Server | TlsListener | None = None

    async def listen(self, host: str, port: int, tls: SSLContext | None = None) -> None:
        """Open the door.

        Raises:
            OSError: the address cannot be listened on.
        """
        if tls is None:
            self._listener = await self.loop.create_server(lambda: HttpConnection(self), host, port, backlog=BACKLOG)
            return
        listener = TlsListener(lambda: HttpConnection(self), self.room, tls, handshake_s=HEAD_SECONDS)
        self.handshakes = listener.handshakes
        self._listener = await listener.listen(host, port, BACKLOG)

    @property
    def connected(self) -> int:
        """How many connections there are, those included that are still being made."""
        return len(self.state.connections) + len(self.handshakes)

    @property
    def port(self) -> int:
        """The real port; 0 while the door is shut."""
        if self._listener is None or not self._listener.sockets:
            return 0
        port: int = self._listener.sockets[0].getsockname()[1]
        return port

    def close(self) -> None:
        """Take no more connections; those that wait for nothing are closed, the others after their answer."""
        if self._listener is not None:
            self._listener.close()
        for connection in list(self.state.connections):
            connection.shutdown()

    def settled(self) -> bool:
        """Whether every request was answered."""
        return not self.state.tasks and not self.state.connections

    def abort(self) -> None:
        """Cut off who is left."""
        for task in list(self.state.tasks):
            task.cancel()
        for connection in list(self.state.connections):
            connection.transport.abort()
