"""Unit tests of `flashq.server.web`: one listener on the loopback, and clients that do not behave."""

import asyncio
import gc
import itertools
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tests.fakes.transport import FakeTransport

from flashq.server import web as module
from flashq.server.web import (
    FINE_BYTES,
    HEAD_BYTES,
    MAX_AT_ONCE,
    MAX_HEADERS,
    MAX_PIECES,
    MAX_PIPELINED,
    Flow,
    HttpConnection,
    Web,
)
from flashq.transports.base import BREATH_BYTES, Patient

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
GET = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n"
HEAD = b"HTTP/1.1 200 OK\r\na: b\r\n"
POST = b"POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 3\r\n\r\nabc"
CHUNKED = b"POST / HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n"
CHUNK = b"1\r\nx\r\n"
LAST = POST.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n")
ANSWER = HEAD + b"content-length: %d\r\n\r\n%b"
LAST_ANSWER = HEAD + b"content-length: %d\r\nconnection: close\r\n\r\n%b"


class Application:
    """Answers with ``body``; in one write where the server knows how to."""

    def __init__(self, body: bytes = b"hello") -> None:
        self.body = body
        self.wholes = 0
        self.hold = asyncio.Event()
        self.hold.set()

    async def __call__(
        self, scope: dict[str, Any], receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]
    ) -> None:
        """Answer."""
        while (await receive()).get("more_body"):
            pass
        await self.hold.wait()
        if scope["state"]["whole"](scope, HEAD, self.body):
            self.wholes += 1
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": self.body})


class AtOnce:
    """Answers requests that came as a whole with their body, or leaves them to ``instead``."""

    def __init__(self, instead: object = None) -> None:
        self.instead = instead
        self.asked = 0

    def __call__(self, scope: dict[str, Any], body: bytes) -> object:
        """Answer."""
        self.asked += 1
        if isinstance(self.instead, Exception):
            raise self.instead
        if self.instead is None:
            assert scope["state"]["whole"](scope, HEAD, body)
        return self.instead


@asynccontextmanager
async def opened(
    application: Callable[..., Awaitable[None]],
    room: Callable[[], bool] = lambda: True,
    at_once: AtOnce | None = None,
    after_others: Callable[[Patient], None] | None = None,
) -> AsyncIterator[Web]:
    """A listener."""
    soon = asyncio.get_running_loop().call_soon
    web = Web(application, room, after_others or (lambda patient: soon(patient.go_on)), at_once)
    await web.listen("127.0.0.1", 0)
    try:
        yield web
    finally:
        web.close()
        web.abort()
        async with asyncio.timeout(30):
            while web.state.connections:
                await asyncio.sleep(0.001)


async def connect(web: Web) -> Streams:
    """A client."""
    return await asyncio.open_connection("127.0.0.1", web.port)


async def read(streams: Streams) -> bytes:
    """Everything until the server closes."""
    async with asyncio.timeout(30):
        try:
            found = await streams[0].read(-1)
        except ConnectionError:
            found = b""
    streams[1].close()
    return found


def ring(timer: asyncio.TimerHandle | None, seconds: float) -> None:
    """Do now what a timer will do at the latest in so many seconds."""
    assert timer is not None
    assert timer.when() <= asyncio.get_running_loop().time() + seconds
    timer._run()
    timer.cancel()


async def test_a_whole_answer() -> None:
    """Head, length, body; the connection goes on unless the client wants it closed."""
    application = Application()
    async with opened(application) as web:
        streams = await connect(web)
        streams[1].write(GET + GET.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n"))
        first = HEAD + b"content-length: 5\r\n\r\nhello"
        assert await read(streams) == first + HEAD + b"content-length: 5\r\nconnection: close\r\n\r\nhello"
        assert application.wholes == 2


async def test_a_question_for_the_head_alone_goes_the_ordinary_way() -> None:
    """It has no body to be sent with."""
    application = Application()
    async with opened(application) as web:
        streams = await connect(web)
        streams[1].write(b"HEAD / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        said = await read(streams)
        assert said.startswith(b"HTTP/1.1 200 OK")
        assert said.endswith(b"\r\n\r\n")
        assert application.wholes == 0


@pytest.mark.parametrize("said", [b"", b"GET / HT"])
async def test_a_head_that_takes_too_long(monkeypatch: pytest.MonkeyPatch, said: bytes) -> None:
    """From the connection to the empty line."""
    monkeypatch.setattr(module, "HEAD_SECONDS", 0.05)
    async with opened(Application()) as web:
        streams = await connect(web)
        streams[1].write(said)
        assert await read(streams) == b""


async def test_a_later_head_that_takes_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """From its first byte to the empty line. The request before it, with which it has begun to come, is answered."""
    async with opened(Application()) as web:
        streams = await connect(web)
        async with asyncio.timeout(30):
            while not web.state.connections:
                await asyncio.sleep(0.001)
        monkeypatch.setattr(module, "HEAD_SECONDS", 0.05)  # the first head has the usual time
        streams[1].write(GET + b"GET / HTTP/1.1\r\nx: ")
        assert (await read(streams)).count(b"hello") == 1


async def test_a_head_that_is_too_long() -> None:
    """It is refused as soon as it is, and nothing of it is kept."""
    async with opened(Application()) as web:
        streams = await connect(web)
        streams[1].write(b"GET / HTTP/1.1\r\nx: " + b"x" * HEAD_BYTES)
        assert (await read(streams)).startswith(b"HTTP/1.1 400")


@pytest.mark.parametrize("many", [MAX_HEADERS, MAX_HEADERS + 1, 1_000])
async def test_a_head_of_too_many_headers(many: int) -> None:
    """It is refused once, however many more stand in the read; those that stand for one too few are taken."""
    async with opened(Application()) as web:
        streams = await connect(web)
        streams[1].write(GET.removesuffix(b"\r\n") + b"a:b\r\n" * (many - 2) + b"connection: close\r\n\r\n")
        answer = await read(streams)
        refused = many > MAX_HEADERS
        assert answer.startswith(b"HTTP/1.1 400 " if refused else b"HTTP/1.1 200 ")
        assert answer.endswith(b"\r\n\r\nToo many headers." if refused else b"hello")
        assert answer.count(b"HTTP/1.1 ") == 1


async def test_a_connection_is_read_when_nothing_stands_against_it() -> None:
    """Neither uvicorn nor the others, in whatever order they speak; and it is told only what is new to it."""
    for steps in itertools.product(("pause_reading", "resume_reading", "breathe", "go_on"), repeat=5):
        wire = FakeTransport()
        flow = Flow(wire)
        paused = breathing = False
        for step in steps:
            if step == "go_on" and not breathing:
                continue
            getattr(flow, step)()
            paused = {"pause_reading": True, "resume_reading": False}.get(step, paused)
            breathing = {"breathe": True, "go_on": False}.get(step, breathing)
            assert wire.reading == (not (paused or breathing)), steps


@pytest.fixture
async def listening() -> AsyncIterator[tuple[HttpConnection, FakeTransport, list[Patient]]]:
    """A connection whose requests are never answered, its wire, and who waits for a turn."""
    application = Application()
    application.hold.clear()
    waiting: list[Patient] = []
    web, wire = Web(application, lambda: True, waiting.append), FakeTransport()
    connection = HttpConnection(web)
    connection.connection_made(wire)
    yield connection, wire, waiting
    if web.state.connections:
        connection.connection_lost(None)
    web.abort()
    await asyncio.wait(web.state.tasks) if web.state.tasks else None


Listening = tuple[HttpConnection, FakeTransport, list[Patient]]
LARGE = 4 * BREATH_BYTES
LARGE_POST = POST.replace(b"3\r\n\r\nabc", b"%d\r\n\r\n" % LARGE) + b"x" * LARGE


async def test_a_large_read_is_taken_in_portions(listening: Listening) -> None:
    """Between two of them the others have their turn, and nothing more is read."""
    connection, wire, waiting = listening
    connection.data_received(LARGE_POST)
    left = LARGE
    while waiting:
        assert not wire.reading
        taken = len(connection.cycle.body)
        assert 0 < taken <= BREATH_BYTES
        connection.cycle.body.clear()
        connection.flow.resume_reading()  # as uvicorn does when it is asked for more
        left -= taken
        waiting.pop().go_on()
        assert len(waiting) == (left > BREATH_BYTES)
    assert len(connection.cycle.body) == left
    assert not connection.cycle.more_body
    assert wire.reading


async def test_who_sends_small_chunks_is_read_in_small_portions(listening: Listening) -> None:
    """From then on; a few small ones are nothing."""
    connection, _, waiting = listening
    connection.data_received(CHUNKED + CHUNK * MAX_PIECES)
    connection.data_received(CHUNK * (FINE_BYTES // len(CHUNK) + 1))
    assert not waiting
    taken = len(connection.cycle.body)
    connection.data_received(CHUNK * FINE_BYTES)
    assert len(waiting) == 1
    assert len(connection.cycle.body) <= taken + FINE_BYTES // len(CHUNK) + 1


@pytest.mark.parametrize("ending", ["close", "lose", "upgrade"])
async def test_who_leaves_between_two_portions(listening: Listening, ending: str) -> None:
    """The rest of a large read is thrown away, and nothing is made of it."""
    connection, wire, waiting = listening
    connection.data_received(LARGE_POST)
    if ending == "close":
        wire.close()
    elif ending == "lose":
        connection.connection_lost(None)
    else:
        connection.parser = None  # somebody else goes on with the connection
    waiting.pop().go_on()
    assert not waiting
    assert wire.reading == (ending == "upgrade")
    if ending != "lose":
        assert len(connection.cycle.body) <= BREATH_BYTES


@pytest.mark.parametrize("data", [b"nonsense " * BREATH_BYTES, b"GET / HTTP/1.1\r\n" + b"a:b\r\n" * BREATH_BYTES])
async def test_what_is_refused_is_refused_once(listening: Listening, data: bytes) -> None:
    """Of a large read that cannot be taken nothing more is looked at."""
    connection, wire, waiting = listening
    connection.data_received(data)
    waiting.pop().go_on()
    assert not waiting
    assert wire.written.count(b"HTTP/1.1 400 ") == 1


async def test_a_client_that_does_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is cut off, and what it did not read is let go."""
    monkeypatch.setattr(module, "STUCK_SECONDS", 0.05)
    async with opened(Application(b"x" * 50_000_000)) as web:
        _, writer = await connect(web)
        writer.write(GET)
        async with asyncio.timeout(30):
            while not web.state.connections:
                await asyncio.sleep(0.001)
            while web.state.connections:
                await asyncio.sleep(0.001)
        writer.close()


async def test_a_pipeline_without_end() -> None:
    """So many requests may stand behind one that is not answered, and no more are taken apart."""
    application = Application()
    application.hold.clear()
    async with opened(application) as web:
        some, many = await connect(web), await connect(web)
        some[1].write(GET * MAX_PIPELINED)
        many[1].write(GET * 5_000)
        assert await read(many) == b""
        application.hold.set()
        async with asyncio.timeout(30):
            for _ in range(MAX_PIPELINED):
                assert (await some[0].readuntil(b"hello")).endswith(b"content-length: 5\r\n\r\nhello")
        some[1].close()


async def test_a_client_that_leaves_a_pipeline_behind(caplog: pytest.LogCaptureFixture) -> None:
    """The request that is carried out learns of it, though others stand behind it; nothing is logged."""
    application = Application()
    application.hold.clear()
    async with opened(application) as web:
        _, writer = await connect(web)
        writer.write(GET * 3)
        async with asyncio.timeout(30):
            while not web.state.tasks:
                await asyncio.sleep(0.001)
            writer.transport.abort()
            while web.state.connections:
                await asyncio.sleep(0.001)
            application.hold.set()
            while web.state.tasks:
                await asyncio.sleep(0.001)
    assert not caplog.records


async def test_there_is_room_or_there_is_not() -> None:
    """A connection too many is closed without a word."""
    async with opened(Application(), lambda: False) as web:
        assert await read(await connect(web)) == b""


async def test_who_waits_is_answered_when_the_door_closes() -> None:
    """Idle connections are closed at once, the others after their answer."""
    application = Application()
    application.hold.clear()
    async with opened(application) as web:
        idle, waiting = await connect(web), await connect(web)
        waiting[1].write(GET)
        async with asyncio.timeout(30):
            while not web.state.tasks:
                await asyncio.sleep(0.001)
        web.close()
        assert await read(idle) == b""
        assert not web.settled()
        application.hold.set()
        assert (await read(waiting)).endswith(b"connection: close\r\n\r\nhello")
        async with asyncio.timeout(30):
            while not web.settled():
                await asyncio.sleep(0.001)


async def test_an_idle_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is closed some time after its last answer, and never while a request is under way."""
    application = Application()
    async with opened(application) as web, asyncio.timeout(30):
        streams = await connect(web)
        streams[1].write(GET)
        assert await streams[0].readexactly(len(ANSWER % (5, b"hello"))) == ANSWER % (5, b"hello")
        (connection,) = web.state.connections
        application.hold.clear()
        streams[1].write(GET)
        while connection._idle_since is not None:
            await asyncio.sleep(0.001)
        ring(connection._idle_timer, module.KEEP_ALIVE_SECONDS)
        assert connection._idle_timer is None
        application.hold.set()
        assert await streams[0].readexactly(len(ANSWER % (5, b"hello"))) == ANSWER % (5, b"hello")
        ring(connection._idle_timer, module.KEEP_ALIVE_SECONDS)  # too early: it looks again
        assert not connection.transport.is_closing()
        monkeypatch.setattr(module, "KEEP_ALIVE_SECONDS", 0.05)
        ring(connection._idle_timer, 5)
        assert await read(streams) == b""


async def test_a_request_that_came_as_a_whole_needs_no_task() -> None:
    """It is answered before the next one of the same read is looked at, in their order, and the connection goes on."""
    application, at_once = Application(), AtOnce()
    async with opened(application, at_once=at_once) as web:
        streams = await connect(web)
        streams[1].write(POST + GET + LAST)
        assert await read(streams) == ANSWER % (3, b"abc") + ANSWER % (0, b"") + LAST_ANSWER % (3, b"abc")
        assert at_once.asked == 3
        assert application.wholes == 0


@pytest.mark.parametrize("cut", range(1, len(LAST)))
async def test_a_request_that_comes_in_two_pieces(cut: int) -> None:
    """Wherever it is cut, it is answered once: with a task, unless only its head was cut."""
    application, at_once = Application(b"abc"), AtOnce()
    async with opened(application, at_once=at_once) as web:
        streams = await connect(web)
        streams[1].write(LAST[:cut])
        async with asyncio.timeout(30):
            while not any(c._head_bytes or c._running for c in web.state.connections):
                await asyncio.sleep(0)
        streams[1].write(LAST[cut:])
        assert await read(streams) == LAST_ANSWER % (3, b"abc")
        assert at_once.asked + application.wholes == 1
        assert at_once.asked == (cut < len(LAST) - len(b"abc"))


async def test_many_requests_of_one_read_are_not_answered_in_one_go() -> None:
    """Others wait meanwhile: the rest goes by tasks, and all answers come in order."""
    application, at_once = Application(), AtOnce()
    async with opened(application, at_once=at_once) as web:
        streams = await connect(web)
        streams[1].write(POST * (MAX_AT_ONCE + 20) + LAST)
        said = await read(streams)
        assert said.startswith(ANSWER % (3, b"abc") * MAX_AT_ONCE + ANSWER % (5, b"hello") * 20)
        assert said.endswith(LAST_ANSWER % (5, b"hello"))
        assert at_once.asked == MAX_AT_ONCE


async def test_a_pipelined_request_is_asked_for_its_body() -> None:
    """One whose head came while another was answered waits to hear that it may go on; it hears it in its turn."""
    application, at_once = Application(), AtOnce(Application())
    assert isinstance(at_once.instead, Application)
    at_once.instead.hold.clear()
    async with opened(application, at_once=at_once) as web:
        streams = await connect(web)
        head, body = LAST[:-3].replace(b"\r\n\r\n", b"\r\nexpect: 100-continue\r\n\r\n"), LAST[-3:]
        streams[1].write(POST + head)
        async with asyncio.timeout(30):
            while not any(connection.pipeline for connection in web.state.connections):
                await asyncio.sleep(0)
            at_once.instead.hold.set()
            await streams[0].readuntil(b"HTTP/1.1 100 Continue\r\n\r\n")
        streams[1].write(body)
        assert await read(streams) == LAST_ANSWER % (5, b"hello")


async def test_what_cannot_be_answered_at_once_goes_on_with_what_is_named() -> None:
    """With an application of its own or the whole one, and with its body; one behind it waits for its turn."""
    application, other = Application(), Application(b"other")
    async with opened(application, at_once=AtOnce(other)) as web:
        streams = await connect(web)
        streams[1].write(POST + LAST)
        assert await read(streams) == ANSWER % (5, b"other") + LAST_ANSWER % (5, b"hello")


async def test_a_failure_at_once_is_answered_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    """As one in a task is; it tells the client nothing."""
    async with opened(Application(), at_once=AtOnce(ArithmeticError("secret"))) as web:
        streams = await connect(web)
        streams[1].write(LAST)
        said = await read(streams)
    assert said.startswith(b"HTTP/1.1 500")
    assert b"secret" not in said
    assert "ArithmeticError" in caplog.text


@pytest.mark.parametrize("at_once", [None, AtOnce(), AtOnce(Application())])
async def test_requests_and_connections_are_freed_without_the_collector(at_once: AtOnce | None) -> None:
    """It comes late, and the more it finds the longer everybody waits: of ten objects a request, seconds of them."""
    async with opened(Application(b"abc"), at_once=at_once) as web:
        streams = await connect(web)

        async def ask() -> None:
            streams[1].write(POST)
            await streams[0].readuntil(b"\r\n\r\n")
            await streams[0].readuntil(b"o" if at_once is not None and at_once.instead else b"abc")

        async with asyncio.timeout(30):
            await ask()
            gc.collect()
            gc.disable()
            try:
                scopes = []
                for _ in range(20):
                    await ask()
                    (connection,) = web.state.connections
                    scopes.append(weakref.ref(connection._running))
                assert [scope() for scope in scopes[:-1]] == [None] * 19
                gone = weakref.ref(connection)
                del connection
                streams[1].close()
                while gone() is not None:
                    await asyncio.sleep(0.001)
                assert scopes[-1]() is None
            finally:
                gc.enable()
