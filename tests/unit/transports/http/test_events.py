"""Unit tests of `flashq.transports.http.events`."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from tests.unit.transports.test_calls import Rig as Calls
from tests.unit.transports.test_calls import push

from flashq.model import Event
from flashq.observe.streams import BEAT_SECONDS, LINGER_SECONDS, STUCK_SECONDS, Streams
from flashq.security.identity import Identity, Scope
from flashq.transports.http.auth import Gatekeeper
from flashq.transports.http.endpoints import Door
from flashq.transports.http.events import Events, WebSockets


class Wire:
    """The transport under a connection."""

    def __init__(self) -> None:
        self.unread = 0
        self.written = b""
        self.closed = self.aborted = False

    def get_write_buffer_size(self) -> int:
        """As the test says."""
        return self.unread

    def write(self, data: bytes) -> None:
        """Past the usual way."""
        self.written += data

    def close(self) -> None:
        """In good order."""
        self.closed = True

    def abort(self) -> None:
        """At once."""
        self.aborted = True


class Listener:
    """One connection, as an ASGI server has it: what is sent piles up, and sending waits when the test says so."""

    def __init__(self, rig: "Rig", kind: str, query: str = "", queue: str | None = None, **headers: str) -> None:
        self.sent: list[dict[str, Any]] = []
        self.wire = Wire()
        self.writable = asyncio.Event()
        self.writable.set()
        self.incoming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        if kind == "websocket":
            self.incoming.put_nowait({"type": "websocket.connect"})
        self.scope = {
            "type": kind,
            "client": ("127.0.0.1", 5),
            "headers": [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()],
            "query_string": query.encode(),
            "path_params": {"queue": queue} if queue else {},
            "state": {"transport": self.wire},
        }
        self.task = asyncio.get_running_loop().create_task(self._run(rig.endpoints[kind]))
        rig.listeners.append(self)

    async def _run(self, endpoint: Any) -> None:
        await endpoint(self.scope, self.incoming.get, self._send)

    async def _send(self, message: dict[str, Any]) -> None:
        await self.writable.wait()
        self.sent.append(message)

    @property
    def text(self) -> str:
        """The body so far."""
        return b"".join(each["body"] for each in self.sent if each["type"] == "http.response.body").decode()

    @property
    def frames(self) -> list[Any]:
        """The frames so far."""
        return [json.loads(each["text"]) for each in self.sent if each["type"] == "websocket.send"]


class Rig:
    """The endpoints over a hub, with the test as clock."""

    def __init__(self, *, lazy: bool = False) -> None:
        self.calls = Calls(lazy=lazy)
        self.hub = self.calls.turns.hub
        self.due: list[Callable[[], None]] = []
        self.streams = Streams(self.hub, self)
        door = Door(self.calls.calls, Gatekeeper(self.calls.calls.context, self.calls.turns.clock))
        self.endpoints = {"http": Events(door, self.streams), "websocket": WebSockets(door, self.streams)}
        self.listeners: list[Listener] = []

    def call_later(self, _: float, callback: Callable[[], None]) -> None:
        """As a loop does; the test is the clock."""
        self.due.append(callback)

    def call_soon(self, callback: Callable[[], None]) -> None:
        """As a loop does."""
        asyncio.get_running_loop().call_soon(callback)

    async def seconds(self, count: int) -> None:
        """Time passes."""
        for _ in range(count):
            due, self.due = self.due, []
            for call in due:
                call()
        await settle()

    async def push(self, *ids: int, queue: str = "q") -> None:
        """Events."""
        self.hub.publish([Event("pushed", queue, id, 5) for id in ids])
        await settle()


async def settle(turns: int = 10) -> None:
    """Let everything happen that can."""
    for _ in range(turns):
        await asyncio.sleep(0)


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    """Endpoints; connections that the test leaves open end with it."""
    made = Rig()
    yield made
    for listener in made.listeners:
        listener.task.cancel()
        await asyncio.wait([listener.task])


EVENT = '{"event_type":"pushed","queue":"q","job_id":%d,"timestamp":5}'


async def test_the_shape_of_server_sent_events(rig: Rig) -> None:
    """When to come back and where the stream begins, then blocks of type, id and data."""
    listener = Listener(rig, "http")
    await settle()
    assert listener.text == "retry: 2000\nid: 1-1\n\n"
    await rig.push(7)
    assert listener.text.endswith(f"\n\nevent: pushed\nid: 1-2\ndata: {EVENT % 7}\n\n")
    await rig.seconds(BEAT_SECONDS)
    assert listener.text.endswith("\n\n: still here\nid: 1-2\n\n")
    await rig.push(*range(10_005))
    await settle(1_000)
    assert '\n\nevent: lagged\ndata: {"lagged":5}\n\nevent: pushed\nid: 1-8\n' in listener.text


async def test_the_shape_of_frames(rig: Rig) -> None:
    """The event and nothing else; with ids for those who name one, and then the first says where the stream begins."""
    plain, numbered = Listener(rig, "websocket"), Listener(rig, "websocket", "last_event_id=")
    again = Listener(rig, "websocket", "last_event_id=9-9")
    await settle()
    await rig.push(7)
    event = json.loads(EVENT % 7)
    assert plain.frames == [event]
    assert numbered.frames == [{"id": "1-1"}, {"id": "1-2", **event}]
    assert again.frames[0]["reset"] is True
    assert again.frames[1] == {"id": "1-2", **event}
    await rig.seconds(BEAT_SECONDS)
    assert len(plain.frames) == 1
    await rig.push(*range(10_005))
    await settle(1_000)
    assert plain.frames[1] == {"lagged": 5}
    assert len(plain.frames) == 1 + 10_001


async def test_an_idle_listener_has_one_task(rig: Rig) -> None:
    """The one that its server gave it; another lives only while there is something to send."""
    before = len(asyncio.all_tasks())
    for kind in ("http", "websocket"):
        Listener(rig, kind)
    await settle()
    assert len(asyncio.all_tasks()) == before + 2
    await rig.push(1)
    assert len(asyncio.all_tasks()) == before + 2


async def test_nothing_is_lost_while_sending_waits(rig: Rig) -> None:
    """What happens meanwhile is sent behind it, once and in order."""
    listener = Listener(rig, "websocket")
    await settle()
    listener.writable.clear()
    await rig.push(1)
    await rig.push(2, 3)
    assert listener.frames == []
    listener.writable.set()
    await settle()
    assert [frame["job_id"] for frame in listener.frames] == [1, 2, 3]


async def test_events_from_before_the_handshake_was_over(rig: Rig) -> None:
    """They come behind it, not in front of it, and none is missing."""
    listener = Listener(rig, "http")
    listener.writable.clear()
    await settle()
    await rig.push(1)
    assert listener.sent == []
    listener.writable.set()
    await settle()
    assert listener.sent[0]["type"] == "http.response.start"
    assert listener.text == f"retry: 2000\n\nevent: pushed\nid: 1-2\ndata: {EVENT % 1}\n\n"


async def test_a_listener_that_goes_leaves_nothing(rig: Rig) -> None:
    """No subscription, no task, also when it goes while something is being sent."""
    before = len(asyncio.all_tasks())
    one, other = Listener(rig, "http"), Listener(rig, "websocket")
    await settle()
    other.writable.clear()
    await rig.push(1)
    one.incoming.put_nowait({"type": "http.disconnect"})
    other.incoming.put_nowait({"type": "websocket.disconnect"})
    await settle()
    assert len(asyncio.all_tasks()) == before
    assert len(rig.streams) == 0
    assert rig.hub._topics == {}


async def test_one_that_is_refused_leaves_nothing(rig: Rig) -> None:
    """Neither a stream nor a subscription, whatever it was refused for."""
    for kind in ("http", "websocket"):
        for query, queue, headers in (
            ("types=none", None, {}),
            ("", "bad name", {}),
            ("", None, {"origin": "https://evil.example"}),
        ):
            listener = Listener(rig, kind, query, queue, **headers)
            await settle()
            start = listener.sent[0]
            assert start["status"] in (400, 403)
            listener.incoming.put_nowait({"type": "refused"})
            listener.incoming.put_nowait({"type": "closed"})
            await settle()
            assert listener.task.done()
    assert len(rig.streams) == 0
    assert rig.hub._topics == {}


async def test_what_a_client_says_is_refused(rig: Rig) -> None:
    """A message ends the WebSocket; a body sent with a GET is only dropped."""
    one, other = Listener(rig, "http"), Listener(rig, "websocket")
    one.incoming.put_nowait({"type": "http.request", "body": b"x"})
    other.incoming.put_nowait({"type": "websocket.receive", "text": "PING"})
    await settle()
    await rig.push(1)
    assert '"job_id":1' in one.text
    assert other.frames == []
    assert (other.sent[-1]["type"], other.sent[-1]["code"]) == ("websocket.close", 1003)


async def test_a_server_that_leaves_ends_both(rig: Rig) -> None:
    """What was told goes first."""
    one, other = Listener(rig, "http"), Listener(rig, "websocket")
    await settle()
    rig.hub.publish([Event("pushed", "q", 1, 5)])
    rig.streams.end()
    await settle()
    assert '"job_id":1' in one.text
    assert one.sent[-1] == {"type": "http.response.body", "body": b"", "more_body": False}
    assert [frame["job_id"] for frame in other.frames] == [1]
    assert (other.sent[-1]["type"], other.sent[-1]["code"]) == ("websocket.close", 1001)
    rig.streams.end()
    await rig.seconds(1)
    assert [each["type"] for each in other.sent].count("websocket.close") == 1


async def test_a_token_taken_back(rig: Rig) -> None:
    """The streams of its identity end within a second, without another event; those of others go on."""
    identity = Identity("guest", "viewer")
    rig.calls.calls.context.access.anonymous = identity
    one, other = Listener(rig, "http"), Listener(rig, "websocket")
    await settle()
    rig.calls.calls.context.access.anonymous = Identity("host")
    third = Listener(rig, "websocket")
    await settle()
    identity.revoked = True
    await rig.seconds(1)
    await rig.push(1)
    assert one.sent[-1]["more_body"] is False
    assert "pushed" not in one.text
    assert (other.sent[-1]["type"], other.sent[-1]["code"]) == ("websocket.close", 1008)
    assert [frame["job_id"] for frame in third.frames] == [1]


async def test_a_token_of_some_queues(rig: Rig) -> None:
    """It hears of those only, also of what it missed, and may not ask for another by its name."""
    rig.calls.calls.context.access.anonymous = Identity("guest", "viewer", scope=Scope(("mine*",)))
    first = Listener(rig, "http")
    await settle()
    await rig.push(1, queue="mine-1")
    await rig.push(2, queue="theirs")
    back = Listener(rig, "http", last_event_id="1-1")
    refused = Listener(rig, "http", queue="theirs")
    await settle()
    for listener in (first, back):
        assert '"job_id":1' in listener.text
        assert "theirs" not in listener.text
    assert refused.sent[0]["status"] == 403


@pytest.mark.parametrize(("kind", "farewell"), [("http", b""), ("websocket", b"\x88\x14\x03\xf5reading too slowly")])
async def test_one_that_does_not_read(rig: Rig, kind: str, farewell: bytes) -> None:
    """It is told past the usual way, which waits for it, and cut off when it does not read that either."""
    listener = Listener(rig, kind)
    await settle()
    listener.writable.clear()
    listener.wire.unread = 70_000
    await rig.push(1)
    await rig.seconds(STUCK_SECONDS - 1)
    assert not listener.wire.closed
    await rig.seconds(1)
    assert listener.wire.closed
    assert listener.wire.written == farewell
    assert not listener.wire.aborted
    await rig.seconds(LINGER_SECONDS)
    assert listener.wire.aborted


async def test_a_stream_opens_when_its_answer_is_durable() -> None:
    """Its opening tells where the events stand: what that depends on comes first."""
    rig = Rig(lazy=True)
    rig.calls.begin(push())
    listener = Listener(rig, "http")
    await settle()
    assert listener.sent == []
    rig.calls.turns.sync()
    await settle()
    assert listener.sent[0]["status"] == 200
    listener.task.cancel()
    await asyncio.wait([listener.task])
