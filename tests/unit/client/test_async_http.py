"""HTTP under the async client, and what both clients do alike: one fake server that misbehaves on command."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from tests.fakes import certificate
from tests.fakes.awaited import Awaited
from tests.fakes.http_server import HANG_UP, LAST, SILENCE, Asked, HttpServer, all_ok, answered, refusal, response
from tests.fakes.line_server import OK, Request, line
from tests.fakes.tls_front import TlsFront

from flashq import AsyncFlashQ, CallTimeout, ConnectionLost, FlashQ, Forbidden, Overloaded, ShuttingDown, Unauthorized
from flashq.client import async_http, calls
from flashq.client.address import parse
from flashq.client.async_connection import AsyncConnection
from flashq.client.encoding import Pull, WaitJob, encode
from flashq.client.pipeline import Backoff, Unreachable
from flashq.client.sync_connection import SyncConnection
from flashq.errors import BadRequest, StorageError

PING = encode(calls.ping().request)
EVENTS = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"

both = pytest.mark.parametrize("flavour", ["async", "sync"])


def made(flavour: str, *arguments: Any, **options: Any) -> Any:
    """A client of either kind, with the async face."""
    return AsyncFlashQ(*arguments, **options) if flavour == "async" else Awaited(FlashQ(*arguments, **options))


@pytest_asyncio.fixture
async def closing() -> AsyncIterator[Any]:
    """Makes connections and closes them after the test."""
    opened: list[AsyncConnection] = []

    def connection(url: str, connect_timeout_ms: int | None = 5000) -> AsyncConnection:
        opened.append(AsyncConnection(parse(url), connect_timeout_ms))
        return opened[-1]

    yield connection
    for each in opened:
        await each.close()


async def noticed(client: Any) -> None:
    """Return when a client whose idle connection was closed can know it."""
    if isinstance(client, AsyncFlashQ):
        wire = client._connection._wire
        assert wire is not None
        async with asyncio.timeout(10):
            while not wire.ended:
                await asyncio.sleep(0.001)
    else:  # the plain one looks only at a connection that was idle for a while
        for each in client.plain._connection._idle:
            each.used_at -= 2000


async def seen(server: HttpServer) -> Asked:
    """The next request, without keeping the loop from running."""
    return await asyncio.to_thread(server.next_asked)


def event(n: int) -> bytes:
    """One event of a stream."""
    told = {"event_type": "pushed", "queue": "q", "job_id": n, "timestamp": 1}
    return b"event: pushed\nid: a-%d\ndata: %b\n\n" % (n, json.dumps(told).encode())


# --- both ---


@both
async def test_calls_on_one_connection(flavour: str) -> None:
    """Calls one after the other use one connection, and each gets its own answer."""
    with HttpServer(answered(lambda request: line(ok=True, id=request["id"], state=str(request["id"])))) as server:
        async with made(flavour, server.url) as client:
            assert [await client.state(n) for n in range(20)] == [str(n) for n in range(20)]
        assert server.connections == 1


@both
async def test_a_session_in_headers(flavour: str) -> None:
    """Token and worker go with every request from when the server has accepted them, on every connection."""
    with HttpServer() as server:
        async with made(flavour, server.url, token="first") as client:
            await client.push("q", 1)
            await client.hello("w1", ["q"])
            await client.push("q", 2)
            await client.auth("second")
            server.hang_up()
            await asyncio.to_thread(server.wait_until_left)
            await noticed(client)
            await client.push("q", 3)
            await client.bye("w1")
            await client.push("q", 4)
        pushes = {asked.lines[0]["data"]: asked.headers for asked in server.asked if asked.lines[0]["cmd"] == "PUSH"}
        shown = {n: (each["authorization"], each.get("flashq-worker")) for n, each in pushes.items()}
        assert shown == {
            1: ("Bearer first", None),
            2: ("Bearer first", "w1"),
            3: ("Bearer second", "w1"),
            4: ("Bearer second", None),
        }


@both
async def test_a_wrong_token(flavour: str) -> None:
    """A token that is refused shows when connecting; a later one that is refused leaves the former in force."""

    def judge(asked: Asked) -> bytes:
        right = asked.headers.get("authorization") == "Bearer right"
        return all_ok(asked) if right else refusal("401 Unauthorized", "unauthorized", "Invalid token")

    with HttpServer(judge) as server:
        client = made(flavour, server.url, token="wrong")
        with pytest.raises(Unauthorized, match="Invalid token"):
            await client.push("q", 1)
        await client.close()
        async with made(flavour, server.url, token="right") as client:
            with pytest.raises(Unauthorized):
                await client.auth("wrong")
            await client.push("q", 1)
    assert server.commands() == ["AUTH", "AUTH", "AUTH", "PUSH"]


@both
@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        ("403 Forbidden", "forbidden", Forbidden),
        ("429 Too Many Requests", "overloaded", Overloaded),
        ("503 Service Unavailable", "shutting_down", ShuttingDown),
    ],
)
async def test_refusals(flavour: str, status: str, code: str, kind: type[Exception]) -> None:
    """A request that is refused refuses all that was in it, by name; what comes after it goes on."""
    refused = threading.Event()

    def once(asked: Asked) -> bytes:
        if refused.is_set():
            return all_ok(asked)
        refused.set()
        return refusal(status, code, "because", "Retry-After: 1", "Connection: close") + LAST

    with HttpServer(once) as server:
        async with made(flavour, server.url) as client:
            async with client.pipeline(keep_errors=True) as p:
                pending = [p.pause("q") for _ in range(3)]
            assert {type(each.error) for each in pending} == {kind}
            await client.pause("q")


def empty(request: Request) -> bytes:
    """An answer that any call can read, also one that waited."""
    return line(ok=True, id=1, job=None, **({"reqId": request["reqId"]} if "reqId" in request else {}))


BUSY = response(b"busy", "503 Service Unavailable", "Retry-After: 7")
AWAY = refusal("503 Service Unavailable", "storage_error", "away", "Retry-After: 7")


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long clients paused before they asked again, which takes no time."""
    noted: list[float] = []

    async def pause(_: AsyncConnection, ms: float) -> None:
        noted.append(ms)

    monkeypatch.setattr(AsyncConnection, "pause", pause)
    monkeypatch.setattr(SyncConnection, "pause", lambda _, ms: noted.append(ms))
    return noted


@both
@pytest.mark.parametrize("refused", [BUSY, AWAY], ids=["by a proxy", "by the server"])
async def test_what_is_asked_again_waits_as_long_as_it_was_told(
    flavour: str, refused: bytes, pauses: list[float]
) -> None:
    """One call, one that waits, and calls that are sent together."""
    answers = [refused]

    def once(asked: Asked) -> bytes:
        return answers.pop() if answers else answered(empty)(asked)

    with HttpServer(once) as server:
        async with made(flavour, server.url) as client:
            await client.pause("q")
            answers.append(refused)
            assert await client.pull("q", timeout=60_000) is None
            assert pauses == [7_000, 7_000]
            if refused is BUSY:
                answers.append(refused)
                async with client.pipeline() as p:
                    p.pause("q")
                    p.pause("q")
                assert pauses == [7_000] * 3
    assert not answers


@both
@pytest.mark.parametrize(
    ("refused", "kind"),
    [(BUSY.replace(b": 7", b": 999"), ConnectionLost), (AWAY.replace(b": 7", b": 999"), StorageError)],
    ids=["by a proxy", "by the server"],
)
async def test_there_is_no_asking_again_after_a_calls_time(
    flavour: str, refused: bytes, kind: type[Exception], pauses: list[float]
) -> None:
    """Who is told to come back later than the call may last is told so at once."""
    with HttpServer(lambda _: refused) as server:
        async with made(flavour, server.url) as client:
            with pytest.raises(kind):
                await client.pause("q")
        assert (server.commands(), pauses) == (["PAUSE"], [])


@both
async def test_an_idle_connection_that_the_server_closed(flavour: str) -> None:
    """Servers close idle connections: the next call, though it cannot be repeated, goes over a new one at once."""
    with HttpServer(answered(lambda request: line(ok=True, id=1))) as server:
        async with made(flavour, server.url) as client:
            for n in range(1, 5):
                await client.push("q", n)
                server.hang_up()
                await asyncio.to_thread(server.wait_until_left)
                await noticed(client)
        assert [asked.lines[0]["data"] for asked in server.asked] == [1, 2, 3, 4]


@both
async def test_the_last_answer_of_a_connection(flavour: str) -> None:
    """A server that closes after each answer is asked over a new connection each time, and nothing is asked twice."""
    last = answered(lambda request: line(ok=True, id=1))

    def answer(asked: Asked) -> bytes:
        return last(asked).replace(b"200 OK\r\n", b"200 OK\r\nConnection: close\r\n") + LAST

    with HttpServer(answer) as server:
        async with made(flavour, server.url) as client:
            for n in range(5):
                await client.push("q", n)
        assert [asked.lines[0]["data"] for asked in server.asked] == list(range(5))


@both
async def test_a_connection_that_is_said_to_be_closed(flavour: str) -> None:
    """After ``Connection: close`` nothing is asked on a connection, though the server has not closed it yet."""
    with HttpServer(lambda asked: all_ok(asked).replace(b"200 OK\r\n", b"200 OK\r\nConnection: close\r\n")) as server:
        async with made(flavour, server.url) as client:
            for n in range(3):
                await client.push("q", n)
        assert server.connections == 3


@both
async def test_a_connection_lost_without_an_answer(flavour: str) -> None:
    """On a connection that had been of use as on a new one: what may be repeated is, and what may not is lost."""
    calls_seen = {"n": 0}

    def answer(asked: Asked) -> bytes | None:
        calls_seen["n"] += 1
        return HANG_UP if calls_seen["n"] in {2, 4} else response(b"".join(line(ok=True, id=7) for _ in asked.lines))

    with HttpServer(answer) as server:
        async with made(flavour, server.url) as client:
            await client.push("q", 1)
            with pytest.raises(ConnectionLost):
                await client.push("q", 2)
            await client.push("q", 3)
            assert await client.push("q", 4, job_id="mine") == 7
    assert [asked.lines[0]["data"] for asked in server.asked] == [1, 2, 3, 4, 4]


@both
@pytest.mark.parametrize("cut", [1, 20, -10, -1])
async def test_a_connection_lost_inside_an_answer(flavour: str, cut: int) -> None:
    """A part of an answer is no answer: the call is lost, and not sent again."""
    with HttpServer(lambda asked: all_ok(asked)[:cut] + LAST) as server:
        async with made(flavour, server.url) as client:
            with pytest.raises(ConnectionLost):
                await client.push("q", 1)
    assert server.commands() == ["PUSH"]


@both
async def test_a_worker_that_the_server_has_forgotten(flavour: str) -> None:
    """After a restart the server does not know the worker: it hears HELLO again, and then the call."""
    known = threading.Event()

    def answer(asked: Asked) -> bytes:
        if asked.lines[0]["cmd"] == "HELLO":
            known.set()
        if "flashq-worker" in asked.headers and not known.is_set():
            return refusal("404 Not Found", "not_found", "Worker 'w1' not found")
        return all_ok(asked)

    with HttpServer(answer) as server:
        async with made(flavour, server.url) as client:
            await client.hello("w1", ["q"])
            await client.ping()
            known.clear()
            await client.ping()
    assert server.commands()[-3:] == ["PING", "HELLO", "PING"]


@both
async def test_nobody_there(flavour: str) -> None:
    """Without a server a call says that nothing was sent, and names the address without its token."""
    with HttpServer() as server:
        url = f"http://secret@127.0.0.1:{server.port}"
    client = made(flavour, url, connect_timeout_ms=50)
    with pytest.raises(Unreachable, match=r"http://127\.0\.0\.1:\d+: .*not sent"):
        await client.push("q", 1)
    await client.close()


@both
async def test_a_server_that_comes_back(flavour: str) -> None:
    """A client that was idle while its server restarted notices nothing."""
    with HttpServer() as server:
        client = made(flavour, server.url)
        await client.pause("q")
    await noticed(client)
    with HttpServer(port=server.port) as again:
        await client.pause("q")
        await client.close()
    assert again.commands() == ["PAUSE"]


@both
async def test_a_silent_server(flavour: str) -> None:
    """A call over HTTP has its time like any other."""
    with HttpServer(lambda asked: SILENCE) as server:
        client = made(flavour, server.url, call_timeout_ms=30)
        with pytest.raises(CallTimeout):
            await client.push("q", 1)
        await client.close()


@both
async def test_not_an_http_server(flavour: str) -> None:
    """The port of the line door, given as HTTP's by mistake, is told as such at once."""
    with HttpServer(lambda asked: OK) as server:
        client = made(flavour, server.url)
        with pytest.raises(ConnectionLost, match="is it HTTP's port"):
            await client.push("q", 1)
        await client.close()


@both
async def test_inside_tls(flavour: str, tmp_path: Path) -> None:
    """https:// is the same inside TLS, with the certificate checked."""
    shown = certificate.make(tmp_path)
    with HttpServer() as server, TlsFront(server.port, shown) as front:
        url = f"https://localhost:{front.port}/below"
        async with made(flavour, url, ca=str(shown.cert)) as client:
            await client.pause("q")
            async with client.pipeline() as p:
                for _ in range(2500):
                    p.pause("q")
        stranger = made(flavour, url, connect_timeout_ms=60_000)
        with pytest.raises(Unreachable, match="CERTIFICATE_VERIFY_FAILED"):
            await stranger.ping()
        await stranger.close()
    assert {asked.target for asked in server.asked} == {"/below/commands"}
    assert [len(asked.lines) for asked in server.asked] in ([1, 1000, 1000, 500], [1, 1000, 1000, 500])


@both
async def test_subscriptions(flavour: str) -> None:
    """Each queue has a stream; another kind replaces it, and a queue that is dropped has none."""

    def answer(asked: Asked) -> bytes:
        if asked.target.endswith("types=no"):
            return refusal("400 Bad Request", "bad_request", "unknown event")
        return EVENTS + b": hello\n\n" + event(len(asked.target)) if asked.method == "GET" else all_ok(asked)

    with HttpServer(answer) as server:
        async with made(flavour, server.url) as client, client.subscribe("q") as watching:
            assert (await watching.next(5000)).job_id == len("/events/q")
            await watching.add("other", ["failed"])
            assert (await watching.next(5000)).job_id == len("/events/other?types=failed")
            with pytest.raises(BadRequest, match="unknown event"):
                await watching.add("q", ["no"])
            await watching.add("q", ["pushed", "failed"])
            assert (await watching.next(5000)).job_id == len("/events/q?types=pushed%2Cfailed")
            await watching.drop("other")
            await watching.drop("never")
            server.send(event(99))
            assert (await watching.next(5000)).job_id == 99
            with pytest.raises(CallTimeout):
                await watching.next(10)
        assert [asked.target for asked in server.asked if asked.method == "GET"] == [
            "/events/q",
            "/events/other?types=failed",
            "/events/q?types=no",
            "/events/q?types=pushed%2Cfailed",
        ]


@both
async def test_a_stream_that_ends(flavour: str) -> None:
    """A stream that ends, or from which events were left out, raises rather than to go on with a gap."""
    for told in (b'event: lagged\ndata: {"lagged":3}\n\n', b""):
        with HttpServer(lambda asked, told=told: EVENTS + event(1) + told + (b"" if told else LAST)) as server:
            async with made(flavour, server.url) as client, client.subscribe("q") as watching:
                assert (await watching.next(5000)).job_id == 1
                with pytest.raises(ConnectionLost, match="events were lost" if told else "ended"):
                    await watching.next(5000)


# --- the async one's connections ---


async def test_one_turn_is_one_request(closing: Any) -> None:
    """What is asked while a request is under way leaves together in the next one, in its order."""
    with HttpServer(answered(lambda request: line(ok=True, id=request["id"], state=str(request["id"])))) as server:
        connection = closing(server.url)
        await connection.connect()
        answers = await asyncio.gather(*(connection.ask(encode(calls.state(n).request), 5000) for n in range(1500)))
        assert [calls.state(1).read(each) for each in answers] == [str(n) for n in range(1500)]
        assert [len(asked.lines) for asked in server.asked] == [1000, 500]
        assert server.connections == 1


def parked(request: Request) -> bytes:
    """A server that parks pulls and waits, and answers the rest."""
    return SILENCE if request["cmd"] in {"PULL", "WAITJOB"} else OK


def parking(asked: Asked) -> bytes:
    """The same over HTTP."""
    return SILENCE if parked(asked.lines[0]) == SILENCE else all_ok(asked)


async def test_a_call_that_waits_hinders_nobody(closing: Any) -> None:
    """Calls that wait have connections of their own; the others go on, and each answer finds its call."""
    with HttpServer(parking) as server:
        connection = closing(server.url)
        pulls = []
        for n in range(3):
            pulls.append(asyncio.ensure_future(connection.wait(Pull(queue=f"q{n}"), None, 5000)))
            assert (await seen(server)).lines[0]["queue"] == f"q{n}"
        for _ in range(5):
            calls.read_ok(await connection.ask(PING, 5000))
        ids = {asked.lines[0]["queue"]: asked.lines[0]["reqId"] for asked in server.asked if "queue" in asked.lines[0]}
        assert not any(each.done() for each in pulls)
        server.send(response(line(ok=True, reqId=ids["q1"], job={"id": 5, "queue": "q1", "data": 1})), 1)
        assert calls.read_pulled(await pulls[1]).id == 5
        assert server.connections == 4
        for each in pulls:
            each.cancel()


async def test_more_waits_than_connections(closing: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls that wait beyond the bound stand in line, and go when another is answered."""
    monkeypatch.setattr(async_http, "MAX_WAITING", 3)
    with HttpServer(parking) as server:
        connection = closing(server.url)
        waits = [asyncio.ensure_future(connection.wait(WaitJob(id=n, timeout=1), 60_000, 5000)) for n in range(1, 8)]
        first = [await seen(server) for _ in range(3)]
        calls.read_ok(await connection.ask(PING, 5000))
        assert {asked.lines[0]["id"] for asked in first} == {1, 2, 3}
        await seen(server)
        by_id = {asked.lines[0]["id"]: asked.lines[0]["reqId"] for asked in first}
        # Which connection belongs to which call is the server's secret: one answer goes to each of them.
        waits[6].cancel()  # while it stands in line: it is never sent
        await asyncio.wait({waits[6]})
        for n in (1, 2, 3):
            waits[n - 1].cancel()
        later = [(await seen(server)).lines[0]["id"] for _ in range(3)]
        assert sorted(later) == [4, 5, 6]
        assert set(by_id) == {1, 2, 3}
        for each in waits:
            each.cancel()
        await asyncio.gather(*waits, return_exceptions=True)
        await asyncio.to_thread(wait_for_connections, server, 1)
        assert 7 not in {asked.lines[0].get("id") for asked in server.asked}


def wait_for_connections(server: HttpServer, most: int) -> None:
    """Return when no more than so many are connected."""
    with server._guard:
        assert server._guard.wait_for(lambda: len(server._open) <= most, 10)


async def test_an_abandoned_pull_keeps_its_connection(closing: Any) -> None:
    """A pull whose caller has gone is taken over by the next one, as over lines: its job may be on the way."""
    with HttpServer(parking) as server:
        connection = closing(server.url)
        await connection.connect()  # or the time might be over before anything is sent
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(connection.wait(Pull(queue="q"), None, 5000), 0.05)
        req_id = (await seen(server)).lines[0]["reqId"]
        again = asyncio.ensure_future(connection.wait(Pull(queue="q"), None, 5000))
        calls.read_ok(await connection.ask(PING, 5000))
        server.send(response(line(ok=True, reqId=req_id, job={"id": 5, "queue": "q", "data": 1})), 0)
        assert calls.read_pulled(await again).id == 5
        assert server.commands().count("PULL") == 1


class NeverBackoff(Backoff):
    """For a client that has no reason to wait before it connects."""

    def lost(self) -> None:
        """Would make the next call wait."""
        raise AssertionError("an idle connection that ended was taken for a lost one")

    failed = lost


async def test_a_connection_at_its_end_is_not_used(closing: Any) -> None:
    """An idle connection of which the server has said that it ends is given nothing to do, from that moment on."""
    with HttpServer() as server:
        connection = closing(server.url)
        await connection.connect()
        wire = connection._wire
        (lane,) = wire._transport._idle
        assert lane.eof_received() is False
        assert wire._transport._idle == []
        assert wire.ended
        lane.close()  # as the event loop does upon such an answer


async def test_idle_connections_are_closed_first(closing: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """An idle connection is closed from this side, before the server might do so under a request."""
    monkeypatch.setattr(async_http, "KEEP_MS", 20)
    with HttpServer() as server:
        connection = closing(server.url)
        await asyncio.gather(*(connection.ask(PING, 5000) for _ in range(3)))
        wire = connection._wire
        await asyncio.to_thread(server.wait_until_left)
        assert wire.ended
        monkeypatch.setattr(connection, "_backoff", NeverBackoff())
        calls.read_ok(await connection.ask(PING, 5000))
        assert server.connections == 2


async def test_a_lost_wait_ends_the_wire(closing: Any) -> None:
    """When one of the connections breaks under a call, all calls learn that the server may be gone."""
    with HttpServer(lambda asked: HANG_UP if asked.lines[0]["cmd"] == "PULL" else SILENCE) as server:
        connection = closing(server.url)
        ping = asyncio.ensure_future(connection.ask(PING, 5000))
        await seen(server)
        with pytest.raises(ConnectionLost):
            await connection.wait(Pull(queue="q"), None, 5000)
        with pytest.raises(ConnectionLost):
            await ping


async def test_what_was_asked_before_closing_is_carried_out(closing: Any) -> None:
    """Closing waits for ordinary calls that stand behind one under way: a job that is given back must go back."""
    held = threading.Event()

    def answer(asked: Asked) -> bytes:
        if not held.is_set():
            assert held.wait(10)
        return all_ok(asked)

    with HttpServer(answer) as server:
        connection = closing(server.url)
        await connection.connect()
        wire = connection._wire
        first = asyncio.ensure_future(connection.ask(PING, 5000))
        await seen(server)
        wire.ask(encode(calls.release(5, token="t").request)).add_done_callback(lambda done: done.exception())
        closing_it = asyncio.ensure_future(connection.close())
        await asyncio.sleep(0)
        held.set()
        await closing_it
        with pytest.raises(ConnectionLost):
            await first
        assert server.commands() == ["PING", "RELEASE"]


async def test_a_busy_lane_makes_callers_wait(closing: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What stands in line for a slow server does not fill the memory: callers wait, and go on when it is less."""
    monkeypatch.setattr(async_http, "HIGH_BYTES", 10 * len(PING))
    monkeypatch.setattr(async_http, "LOW_BYTES", len(PING))
    held = threading.Event()

    def answer(asked: Asked) -> bytes:
        assert held.wait(10)
        return all_ok(asked)

    with HttpServer(answer) as server:
        connection = closing(server.url)
        first = [asyncio.ensure_future(connection.ask(PING, 5000))]
        await seen(server)
        first += [asyncio.ensure_future(connection.ask(PING, 5000)) for _ in range(20)]
        while not connection._wire.choked:
            await asyncio.sleep(0)
        with pytest.raises(CallTimeout, match="takes no more"):
            await connection.ask(PING, 10)
        held.set()
        for each in await asyncio.gather(*first):
            calls.read_ok(each)
        calls.read_ok(await connection.ask(PING, 5000))


async def test_a_token_that_is_no_header(closing: Any) -> None:
    """A token that HTTP cannot carry is refused in its turn, and the connection goes on."""
    with pytest.raises(BadRequest, match="token cannot"):
        closing("http://a%0Ab@127.0.0.1:1")
    with HttpServer() as server:
        connection = closing(server.url)
        asked = [connection.ask(encode(calls.auth(token).request), 5000) for token in ("a\nb", "right")]
        first, second = await asyncio.gather(*asked)
        with pytest.raises(BadRequest, match="token cannot"):
            calls.read_ok(first)
        calls.read_ok(second)
        assert server.commands() == ["AUTH"]


async def test_slow_readers_of_events(closing: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A subscriber who does not take his events makes the stream wait, and goes on where he was."""
    monkeypatch.setattr("flashq.client.async_connection.EVENTS_HIGH", 3)
    monkeypatch.setattr("flashq.client.async_connection.EVENTS_LOW", 1)
    with HttpServer(lambda asked: EVENTS + b"".join(map(event, range(1, 6)))) as server:
        async with AsyncFlashQ(server.url) as client, client.subscribe("q") as watching:
            assert (await watching.next(5000)).job_id == 1
            paused = watching._wire._transport
            assert not paused._reading
            server.send(event(6))
            assert [(await watching.next(5000)).job_id for _ in range(5)] == [2, 3, 4, 5, 6]
            assert paused._reading
