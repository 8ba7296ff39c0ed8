"""Events over HTTP on real sockets: server-sent events and WebSockets of a real server."""

import json
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.event_source import EndOfStream, EventSource
from tests.fakes.server_process import MEMORY, LineClient, ServerProcess
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from flashq.observe.streams import LINGER_SECONDS, STUCK_SECONDS
from flashq.security.tokenfile import change, make_row
from flashq.server.app import DRAIN_SECONDS
from flashq.transports.http.events import RETRY_MS

TOKEN = "a token that nobody guesses"
_numbers = count(1)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """One for all tests that leave it standing."""
    with ServerProcess(tmp_path_factory.mktemp("streams")) as running:
        yield running


@pytest.fixture
def lines(server: ServerProcess) -> Iterator[LineClient]:
    """Somebody who makes things happen."""
    with server.client() as client:
        yield client


@pytest.fixture
def queue() -> str:
    """A queue that nobody else uses."""
    return f"queue-{next(_numbers)}"


def sse(server: ServerProcess, path: str = "/events", **options: Any) -> EventSource:
    """Listen by server-sent events."""
    return EventSource(server.http_port, path, **options)


def websocket(server: ServerProcess, path: str = "/ws", **options: Any) -> ClientConnection:
    """Listen by a WebSocket."""
    return connect(f"ws://127.0.0.1:{server.http_port}{path}", proxy=None, **options)


def frame(listener: ClientConnection) -> Any:
    """The next text frame, decoded."""
    text = listener.recv(20)
    assert isinstance(text, str)
    return json.loads(text)


def all_of(listener: EventSource) -> None:
    """Read to the end."""
    while listener.next():
        pass


def finish(lines: LineClient, queue: str, *, ok: bool = True) -> int:
    """A job's whole life."""
    id: int = lines.ok("PUSH", queue=queue, data={"n": 1}, max_attempts=1)["id"]
    lines.ok("PULL", queue=queue)
    lines.ok("ACK" if ok else "FAIL", id=id)
    return id


def test_server_sent_events(server: ServerProcess, lines: LineClient, queue: str) -> None:
    """Type, id and the event on one line; headers that keep caches and proxies away."""
    with sse(server, f"/events/{queue}") as listener:
        assert listener.status == 200
        assert listener.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert listener.headers["cache-control"] == "no-store"
        assert listener.headers["x-accel-buffering"] == "no"
        assert listener.headers["x-content-type-options"] == "nosniff"
        id = finish(lines, queue)
        told = [listener.next() for _ in range(3)]
        assert [message.event for message in told] == ["pushed", "active", "completed"]
        assert [message.json["event_type"] for message in told] == ["pushed", "active", "completed"]
        assert {(message.json["queue"], message.json["job_id"]) for message in told} == {(queue, id)}
        assert told[0].json["data"] == {"n": 1}
        numbers = [int(str(message.id).partition("-")[2]) for message in told]
        assert numbers == sorted(set(numbers))


def test_websocket_frames(server: ServerProcess, lines: LineClient, queue: str) -> None:
    """One text frame an event, nothing else around it, no compression."""
    with websocket(server, f"/ws/{queue}") as listener:
        assert listener.response is not None
        assert "Sec-WebSocket-Extensions" not in listener.response.headers
        id = finish(lines, queue, ok=False)
        told = [frame(listener) for _ in range(3)]
        assert [event["event_type"] for event in told] == ["pushed", "active", "failed"]
        assert set(told[0]) == {"event_type", "queue", "job_id", "timestamp", "data"}
        assert {event["job_id"] for event in told} == {id}


@pytest.mark.parametrize("scoped", [True, False])
def test_only_what_was_asked_for(server: ServerProcess, lines: LineClient, queue: str, *, scoped: bool) -> None:
    """By queue and by type, over both."""
    path = f"/{queue}" if scoped else ""
    with (
        sse(server, f"/events{path}?types=completed,failed") as one,
        websocket(server, f"/ws{path}?types=completed,%20failed") as other,
    ):
        first = finish(lines, queue)
        finish(lines, f"{queue}-other") if scoped else None
        second = finish(lines, queue, ok=False)
        assert [(message.event, message.json["job_id"]) for message in (one.next(), one.next())] == [
            ("completed", first),
            ("failed", second),
        ]
        assert [(event["event_type"], event["job_id"]) for event in (frame(other), frame(other))] == [
            ("completed", first),
            ("failed", second),
        ]


def test_one_who_comes_back(server: ServerProcess, lines: LineClient, queue: str) -> None:
    """It is told what it missed, by header or query, and then what happens; nothing twice."""
    with sse(server, f"/events/{queue}?types=pushed") as listener:
        first = finish(lines, queue)
        message = listener.next()
        assert message.json["job_id"] == first
    missed = [finish(lines, queue) for _ in range(3)]
    with (
        sse(server, f"/events/{queue}?types=pushed", Last_Event_ID=str(message.id)) as one,
        sse(server, f"/events/{queue}?types=pushed&last_event_id={message.id}") as other,
        websocket(server, f"/ws/{queue}?types=pushed&last_event_id={message.id}") as third,
    ):
        newest = finish(lines, queue)
        for listener in (one, other):
            assert [listener.next().json["job_id"] for _ in range(4)] == [*missed, newest]
        assert [frame(third)["job_id"] for _ in range(4)] == [*missed, newest]


def test_one_who_heard_nothing_yet_comes_back(server: ServerProcess, lines: LineClient, queue: str) -> None:
    """The stream says where it begins, so that nothing is lost between two connections."""
    with sse(server, f"/events/{queue}") as listener:
        block = listener.next_block()
        assert block.data == []
        start = block.id
        assert start is not None
    with websocket(server, f"/ws/{queue}?last_event_id=") as other:
        begins = frame(other)["id"]
    id = finish(lines, queue)
    with sse(server, f"/events/{queue}", Last_Event_ID=start) as listener:
        assert listener.next().json["job_id"] == id
    with websocket(server, f"/ws/{queue}?last_event_id={begins}") as other:
        event = frame(other)
        assert event["job_id"] == id
        again = event["id"]
    with websocket(server, f"/ws/{queue}?last_event_id={again}") as other:
        assert frame(other)["event_type"] == "active"


@pytest.mark.parametrize("last", ["0-0", "zzz", "1-99999999999999999999999999", "-", "1-1 OR 1", "x" * 500])
def test_an_id_that_means_nothing_here(server: ServerProcess, lines: LineClient, queue: str, last: str) -> None:
    """The listener is told to look at the whole again, once, and hears what happens from then on."""
    with sse(server, f"/events/{queue}", Last_Event_ID=last) as listener:
        reset = listener.next()
        assert (reset.event, reset.json) == ("reset", {"reset": True})
        id = finish(lines, queue)
        message = listener.next()
        assert (message.event, message.json["job_id"]) == ("pushed", id)
    with sse(server, f"/events/{queue}", Last_Event_ID=str(message.id)) as listener:
        assert listener.next().event == "active"


def test_another_boot_is_recognised(tmp_path: Path) -> None:
    """The numbers begin again with each start: the id of another one is not taken for ours."""
    with ServerProcess(tmp_path) as server:
        with server.client() as lines, sse(server) as listener:
            finish(lines, "q")
            seen = listener.next().id
        server.stop()
        server.start()
        with server.client() as lines, sse(server, Last_Event_ID=str(seen)) as listener:
            assert listener.next().event == "reset"
            finish(lines, "q")
            assert listener.next().event == "pushed"


def test_a_payload_of_several_lines(server: ServerProcess, lines: LineClient, queue: str) -> None:
    """It cannot end the line of data and begin an event of its own."""
    with sse(server, f"/events/{queue}") as listener:
        lines.send_raw(b'{"cmd":"PUSH","queue":"%b","data":[1,\r"event: failed\\n\\n"]}\n' % queue.encode())
        assert lines.receive()["ok"]
        message = listener.next()
        assert message.event == "pushed"
        assert message.json["data"] == [1, "event: failed\n\n"]


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("?types=nonsense", 400, "bad_request"),
        ("/bad%20name", 400, "bad_request"),
        ("/a/b", 404, "not_found"),
        ("?" + "&".join(f"a{n}=1" for n in range(60)), 400, "bad_request"),
    ],
)
def test_what_is_refused(server: ServerProcess, path: str, status: int, code: str) -> None:
    """With the answers of every other request, over both."""
    with sse(server, f"/events{path}") as listener:
        assert listener.status == status
        assert json.loads(listener.body)["code"] == code
    refused = websocket_refusal(server, f"/ws{path}")
    assert refused.status_code in {status, 403}  # of a path that is not there a WebSocket is told this
    assert "Traceback" not in server.errors()
    assert "handshake" not in server.errors()


def websocket_refusal(server: ServerProcess, path: str = "/ws", **options: Any) -> Any:
    """The answer to a handshake that must fail."""
    with pytest.raises(InvalidStatus) as refused, websocket(server, path, **options):
        pass
    return refused.value.response


def test_other_methods_find_nothing(server: ServerProcess) -> None:
    """A HEAD would never end, and there is nothing to post."""
    for method in ("HEAD", "POST"):
        for path in ("/events", "/events/q", "/ws"):
            with sse(server, path, method=method, Connection="close") as listener:
                assert (listener.status, listener.headers["allow"]) == (405, "GET")
    with sse(server, "/ws", Connection="close") as plain:
        assert plain.status == 426


def test_pages_of_other_sites_hear_nothing(server: ServerProcess) -> None:
    """A browser names the page that asks; ours is let in, others are not."""
    ours = f"http://127.0.0.1:{server.http_port}"
    with sse(server, Origin=ours) as listener:
        assert listener.status == 200
    with websocket(server, origin=ours):  # type: ignore[arg-type]
        pass
    for origin in ("https://evil.example", "null", f"http://127.0.0.1:{server.http_port + 1}"):
        with sse(server, Origin=origin) as listener:
            assert listener.status == 403
        refused = websocket_refusal(server, origin=origin)
        assert refused.status_code == 403
        assert json.loads(refused.body)["code"] == "forbidden"
    with sse(server, Sec_Fetch_Site="cross-site") as listener:
        assert listener.status == 403


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server that asks for a token and lets one other site's pages in."""
    environment = {"AUTH_TOKENS": TOKEN, "CORS_ALLOW_ORIGIN": "https://tools.example"}
    with ServerProcess(tmp_path_factory.mktemp("guarded"), url=MEMORY, environment=environment) as running:
        yield running


def test_tokens(guarded: ServerProcess) -> None:
    """By header or, as browsers can send no header here, in the query; on no other path does the query count."""
    query = TOKEN.replace(" ", "%20")
    with sse(guarded) as none, sse(guarded, "/events?token=wrong") as wrong:
        assert (none.status, wrong.status) == (401, 401)
    assert websocket_refusal(guarded).status_code == 401
    assert websocket_refusal(guarded, "/ws?token=wrong").status_code == 401
    with sse(guarded, Authorization=f"Bearer {TOKEN}") as header, sse(guarded, f"/events/q?token={query}") as asked:
        assert (header.status, asked.status) == (200, 200)
    with websocket(guarded, f"/ws/q?token={query}"):
        pass
    with sse(guarded, f"/stats?token={query}") as stats:
        assert stats.status == 401
    assert TOKEN not in guarded.errors()


def test_a_token_that_is_withdrawn(tmp_path: Path) -> None:
    """Its streams hear of its queues only, and end in good order within seconds; those of another token go on."""
    process = ServerProcess(tmp_path, url=MEMORY)
    few = make_row("few", "viewer", ("a*",), "canary-few", 1)
    others = [
        make_row(name, role, None, f"canary-{name}", 1) for name, role in (("all", "viewer"), ("maker", "producer"))
    ]
    change(process.data / "tokens.json", lambda _: [few, *others])
    with (
        process as server,
        sse(server, "/events?token=canary-few") as one,
        websocket(server, "/ws?token=canary-few") as other,
        websocket(server, "/ws?token=canary-all") as third,
    ):
        with sse(server, "/events/b?token=canary-few") as refused:
            assert refused.status == 403
        with server.client() as lines:
            lines.ok("AUTH", token="canary-maker")
            lines.ok("PUSH", queue="b", data=1)
            lines.ok("PUSH", queue="a-1", data=1)
        assert one.next().json["queue"] == "a-1"
        assert frame(other)["queue"] == "a-1"
        assert [frame(third)["queue"] for _ in range(2)] == ["b", "a-1"]
        withdrawn = time.monotonic()
        change(server.data / "tokens.json", lambda _: others)
        with pytest.raises(EndOfStream):
            one.next()
        with pytest.raises(ConnectionClosed) as closed:
            other.recv(20)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1008
        assert time.monotonic() - withdrawn < 5
        third.ping().wait(20)
        assert "canary" not in server.errors()


def test_a_page_that_was_let_in(guarded: ServerProcess) -> None:
    """The site that is named may listen, and its browser is told so."""
    with sse(guarded, Origin="https://tools.example", Authorization=f"Bearer {TOKEN}") as listener:
        assert listener.status == 200
        assert listener.headers["access-control-allow-origin"] == "https://tools.example"
    headers = {"Authorization": f"Bearer {TOKEN}"}
    with websocket(guarded, origin="https://tools.example", additional_headers=headers):
        pass


def test_what_a_client_says_ends_its_websocket(server: ServerProcess) -> None:
    """Commands have a door of their own: who sends some here must learn that nobody reads them."""
    for message in ("PING", b"\x00"):
        with websocket(server) as listener:
            listener.send(message)
            with pytest.raises(ConnectionClosed) as closed:
                listener.recv(20)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1003


def test_a_message_that_is_too_large(server: ServerProcess) -> None:
    """It is refused by its length, before it is there."""
    with websocket(server) as listener:
        listener.send("x" * 5_000)
        with pytest.raises(ConnectionClosed) as closed:
            listener.recv(20)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1009


def test_a_server_that_stops_says_so(tmp_path: Path) -> None:
    """Streams end in good order, what was told before arrives, and the stop does not wait for them."""
    with ServerProcess(tmp_path, url=MEMORY) as server:
        with server.client() as lines, sse(server) as one, websocket(server) as other:
            finish(lines, "q")
            lines.close()
            began = time.monotonic()
            server.signal(signal.SIGTERM)
            assert [one.next().event for _ in range(3)] == ["pushed", "active", "completed"]
            with pytest.raises(EndOfStream):
                one.next()
            assert [frame(other)["event_type"] for _ in range(3)] == ["pushed", "active", "completed"]
            with pytest.raises(ConnectionClosed) as closed:
                other.recv(20)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1001
            assert server.wait() == 0
            assert time.monotonic() - began < DRAIN_SECONDS - 2
        assert server.errors() == ""


def test_nothing_is_told_that_a_crash_could_undo(tmp_path: Path) -> None:
    """Whatever a stream told is found again after the server was killed the moment it arrived."""
    server = ServerProcess(tmp_path)
    for _ in range(4):
        with server.start(), sse(server) as listener, server.client() as lines:
            lines.send("PUSH", queue="q", data=1)
            told = listener.next().json
            server.kill()
        with server.start(), server.client() as lines:
            assert lines.ok("GETSTATE", id=told["job_id"])["state"] == "waiting"
            server.kill()


def test_a_batch_is_heard_whole(server: ServerProcess, lines: LineClient, queue: str) -> None:
    """Ten thousand events at once are no reason to lose any, as long as they are read."""
    with sse(server, f"/events/{queue}") as one, websocket(server, f"/ws/{queue}") as other:
        ids = lines.ok("PUSHB", queue=queue, jobs=[{"data": 1}] * 10_000)["ids"]
        assert [one.next().json["job_id"] for _ in ids] == ids
        assert [frame(other)["job_id"] for _ in ids] == ids


def test_a_listener_that_does_not_read_slows_nobody(server: ServerProcess, lines: LineClient, queue: str) -> None:
    """It loses the oldest and is told how many; whoever else listens hears everything meanwhile."""
    batches, each = 30, 1_000
    path = f"/events/{queue}?types=pushed"
    with sse(server, path, receive_buffer=4_096) as slow, sse(server, path) as quick:
        pushed: list[int] = []
        for _ in range(batches):
            ids = lines.ok("PUSHB", queue=queue, jobs=[{"data": "x" * 300}] * each)["ids"]
            assert [quick.next().json["job_id"] for _ in ids] == ids
            pushed += ids
        heard: list[int] = []
        lagged = 0
        while len(heard) + lagged < len(pushed):
            message = slow.next()
            if message.event == "lagged":
                lagged += message.json["lagged"]
            else:
                heard.append(message.json["job_id"])
        assert lagged > 0
        assert heard == sorted(set(heard))
        assert heard[-1] == pushed[-1]
        last = lines.ok("PUSH", queue=queue, data=1)["id"]
        assert slow.next().json["job_id"] == last


def test_listeners_that_vanish_are_forgotten(server: ServerProcess, lines: LineClient, queue: str) -> None:
    """However they go, nothing is logged, and what they took is free again."""
    for _ in range(10):
        one = sse(server, f"/events/{queue}")
        with socket.create_connection(("127.0.0.1", server.http_port)) as other:
            other.sendall(
                b"GET /ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
            )
            other.recv(100)
        one.close()
        finish(lines, queue)
    assert server.errors() == ""


@pytest.mark.slow
def test_listeners_that_never_read_are_let_go(server: ServerProcess, lines: LineClient, queue: str) -> None:
    """Half a minute without progress, then the word for it, then the end; meanwhile everything goes on as quickly."""
    payload = "x" * 50_000
    with (
        sse(server, f"/events/{queue}", receive_buffer=4_096) as one,
        socket.socket() as other,
    ):
        other.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        other.connect(("127.0.0.1", server.http_port))
        other.sendall(
            b"GET /ws/%b HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n" % queue.encode()
        )
        began = time.monotonic()
        for n in range(100_000):
            id = lines.ok("PUSH", queue=queue, data=payload if n < 200 else n)["id"]
            lines.ok("PULL", queue=queue)
            lines.ok("ACK", id=id)
            if n > 200:
                assert lines.silent(0.05)
            if time.monotonic() - began > STUCK_SECONDS + LINGER_SECONDS + 5:
                break
        with pytest.raises(ConnectionResetError):
            all_of(one)
        other.settimeout(5)
        with suppress(ConnectionResetError):
            while other.recv(1 << 20):  # what was on its way, then the end
                pass
    assert "Traceback" not in server.errors()


def test_how_soon_a_browser_comes_back(server: ServerProcess) -> None:
    """The stream says so first."""
    with sse(server) as listener:
        assert f"retry: {RETRY_MS}\n" in listener._chunk()
