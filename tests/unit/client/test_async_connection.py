"""The asyncio connection: shared by all calls, replaced when lost, and gentle with pulls whose caller has gone."""

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import uvloop
from tests.fakes.line_server import HANG_UP, OK, RESET, SILENCE, LineServer, Request, line

from flashq.client import async_connection, calls, orphans
from flashq.client.address import parse
from flashq.client.async_connection import AsyncConnection
from flashq.client.encoding import Pull, PullAny, PullBatch, encode
from flashq.client.pipeline import Unreachable
from flashq.errors import CallTimeout, ConnectionLost, Unauthorized

PING = encode(calls.ping().request)
JOB = {"id": 3, "queue": "q", "data": 1, "token": "t"}


@pytest_asyncio.fixture
async def closing() -> AsyncIterator[Any]:
    """Makes connections and closes them after the test."""
    made: list[AsyncConnection] = []

    def connection(url: str, connect_timeout_ms: int | None = 5000) -> AsyncConnection:
        made.append(AsyncConnection(parse(url), connect_timeout_ms))
        return made[-1]

    yield connection
    for each in made:
        await each.close()


async def seen(server: LineServer) -> Request:
    """The next request, without keeping the loop from running."""
    return await asyncio.to_thread(server.next_request)


def mute_pulls(request: Request) -> bytes | None:
    """A server that parks pulls and answers the rest."""
    return SILENCE if request["cmd"].startswith("PULL") else OK


async def test_all_calls_share_one_connection(closing: Any) -> None:
    """A thousand calls at once need one connection, and each gets its own answer."""
    with LineServer(lambda request: line(ok=True, id=request["id"], state=str(request["id"]))) as server:
        connection = closing(server.url)
        asked = [connection.ask(encode(calls.state(n).request), 5000) for n in range(1000)]
        answers = await asyncio.gather(*asked)
        assert [calls.state(1).read(each) for each in answers] == [str(n) for n in range(1000)]
        assert server.connections == 1


async def test_one_turn_is_one_write(closing: Any) -> None:
    """What is asked in one turn of the loop goes out in one piece."""
    with LineServer() as server:
        connection = closing(server.url)
        await connection.connect()
        written: list[bytes] = []
        transport = connection._wire._transport
        real_write = transport.write
        connection._wire._transport = type(
            "Noting", (), {"write": lambda _, data: (written.append(data), real_write(data)), "close": transport.close}
        )()
        await asyncio.gather(*(connection.ask(PING, 5000) for _ in range(100)))
        assert written == [PING * 100]


async def test_unix_socket(closing: Any, tmp_path: Path) -> None:
    """The same over a Unix socket."""
    with LineServer(path=tmp_path / "s") as server:
        calls.read_ok(await closing(server.url).ask(PING, 5000))
        assert server.commands() == ["PING"]


async def test_a_waiting_pull_hinders_nobody(closing: Any) -> None:
    """A parked pull carries an id, so other answers overtake it and its own finds home when it comes."""
    with LineServer(mute_pulls) as server:
        connection = closing(server.url)
        pull = asyncio.ensure_future(connection.wait(Pull(queue="q"), None, 5000))
        req_id = (await seen(server))["reqId"]
        await asyncio.gather(*(connection.ask(PING, 5000) for _ in range(10)))
        assert not pull.done()
        server.send(line(ok=True, reqId=req_id, job=JOB))
        assert calls.read_pulled(await pull).id == 3
        assert server.connections == 1


async def test_a_late_answer_reaches_nobody(closing: Any) -> None:
    """After a timeout the connection goes on, and the late answer is dropped without a shift."""
    with LineServer(lambda request: SILENCE) as server:
        connection = closing(server.url)
        await connection.connect()  # or the time might be over before anything is sent
        with pytest.raises(CallTimeout, match="in time"):
            await connection.ask(PING, 20)
        asked = asyncio.ensure_future(connection.ask(PING, 5000))
        await seen(server)
        await seen(server)
        server.send(line(ok=True, id=1, state="late") + line(ok=True, id=2, state="mine"))
        assert calls.state(2).read(await asked) == "mine"
        assert server.connections == 1


async def test_the_shortest_time_ends_first(closing: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls with different times on one connection each end at their own, in any order of asking."""
    with LineServer(lambda request: SILENCE) as server:
        connection = closing(server.url)
        await connection.connect()
        ended: list[int] = []
        # The loop's clock stands still but for our steps: on a machine that halts, two times could be over at once.
        loop = asyncio.get_running_loop()
        began = loop.time()
        passed_ms = [0]
        monkeypatch.setattr(loop, "time", lambda: began + passed_ms[0] / 1000)

        async def ask(timeout_ms: int) -> None:
            with pytest.raises(CallTimeout):
                await connection.ask(PING, timeout_ms)
            ended.append(timeout_ms)

        asking = [asyncio.ensure_future(ask(timeout_ms)) for timeout_ms in (120, 20, 70)]
        for count, passed_ms[0] in enumerate((0, 19, 21, 69, 71, 119, 121)):
            for _ in range(10):
                await asyncio.sleep(0)
            assert ended == [20, 70, 120][: count // 2]
        await asyncio.gather(*asking)


async def test_a_cancelled_call_shifts_nobody(closing: Any) -> None:
    """A caller who gives up leaves an empty place in line."""
    with LineServer(lambda request: SILENCE) as server:
        connection = closing(server.url)
        first = asyncio.ensure_future(connection.ask(PING, 5000))
        await seen(server)
        second = asyncio.ensure_future(connection.ask(PING, 5000))
        await seen(server)
        first.cancel()
        server.send(line(ok=True, id=1, state="first") + line(ok=True, id=2, state="second"))
        assert calls.state(2).read(await second) == "second"
        assert first.cancelled() or first.cancelling()


async def test_a_lost_connection_tells_everybody(closing: Any) -> None:
    """All who wait when the connection ends are told; the next call opens a new one."""
    answers = iter([HANG_UP])
    with LineServer(lambda request: next(answers, OK)) as server:
        connection = closing(server.url)
        outcomes = await asyncio.gather(*(connection.ask(PING, 5000) for _ in range(3)), return_exceptions=True)
        assert [type(each) for each in outcomes] == [ConnectionLost] * 3
        calls.read_ok(await connection.ask(PING, 5000))
        assert server.connections == 2


async def test_an_unasked_word_ends_the_connection(closing: Any) -> None:
    """A server that says what nobody asked for is not trusted any further; the next call connects anew."""
    with LineServer() as server:
        connection = closing(server.url)
        await connection.ask(PING, 5000)
        wire = connection._wire
        server.send(OK)
        await wire.gone
        calls.read_ok(await connection.ask(PING, 5000))
        assert server.connections == 2


async def test_nobody_there(closing: Any) -> None:
    """Without a server all waiting calls fail within the connect timeout and say that nothing was sent."""
    with LineServer() as server:
        port = server.port
    connection = closing(f"flashq://127.0.0.1:{port}", connect_timeout_ms=150)
    outcomes = await asyncio.gather(*(connection.ask(PING, 5000) for _ in range(3)), return_exceptions=True)
    assert [type(each) for each in outcomes] == [Unreachable] * 3
    assert "not sent" in str(outcomes[0])


async def test_a_call_may_be_shorter_than_connecting(closing: Any) -> None:
    """A call with little time does not wait for the connection longer than that, nor stop others from waiting."""
    with LineServer() as server:
        port = server.port
    connection = closing(f"flashq://127.0.0.1:{port}", connect_timeout_ms=10_000)
    patient = asyncio.ensure_future(connection.ask(PING, 10_000))
    with pytest.raises(CallTimeout, match="not sent"):
        await connection.ask(PING, 20)
    with LineServer(port=port):
        calls.read_ok(await patient)


async def test_the_token_is_presented_first(closing: Any) -> None:
    """Every connection begins with AUTH when a token is known, then HELLO when the client is a worker."""
    with LineServer() as server:
        connection = closing(server.url.replace("//", "//secret@"))
        await connection.greet(calls.hello("w", ["q"], 1).request, 5000)
        wire = connection._wire
        server.hang_up()
        await wire.gone
        await connection.ask(PING, 5000)
        connection.forget_greeting()
        assert server.commands() == ["AUTH", "HELLO", "AUTH", "HELLO", "PING"]


async def test_a_wrong_token_is_no_reason_to_try_again(closing: Any) -> None:
    """A refused token shows at once and by its name, to all who wait."""
    refusal = line(ok=False, error="Invalid token", code="unauthorized")
    with LineServer(lambda request: refusal) as server:
        connection = closing(server.url.replace("//", "//wrong@"))
        outcomes = await asyncio.gather(*(connection.ask(PING, 5000) for _ in range(3)), return_exceptions=True)
        assert [type(each) for each in outcomes] == [Unauthorized] * 3
        assert server.commands() == ["AUTH"]


async def test_a_new_token_is_kept(closing: Any) -> None:
    """A token presented later is the one that later connections begin with."""
    with LineServer() as server:
        connection = closing(server.url)
        await connection.authenticate("right", 5000)
        wire = connection._wire
        server.hang_up()
        await wire.gone
        await connection.ask(PING, 5000)
        assert [request.get("token") for request in server.requests] == ["right", "right", None]


async def test_a_full_socket_makes_callers_wait(closing: Any) -> None:
    """While the server does not read, requests wait with their callers instead of filling the memory."""
    with LineServer() as server:
        connection = closing(server.url)
        await connection.connect()
        wire = connection._wire
        wire.pause_writing()
        waiting = asyncio.ensure_future(connection.ask(PING, 5000))
        with pytest.raises(CallTimeout, match="not sent"):
            await connection.ask(PING, 20)
        assert server.requests == []
        wire.resume_writing()
        calls.read_ok(await waiting)
        assert server.commands() == ["PING"]


async def test_many_at_once_and_the_end(closing: Any) -> None:
    """What was answered before the connection ended has its answer, the rest the error."""

    def answer(request: Request) -> bytes | None:
        return HANG_UP if request["id"] == 3 else OK

    with LineServer(answer) as server:
        outcomes = await closing(server.url).ask_all([encode(calls.state(n).request) for n in range(6)], 5000)
        assert outcomes[:3] == [OK.rstrip()] * 3
        assert all(isinstance(each, ConnectionLost) for each in outcomes[3:])


async def test_the_next_caller_takes_over_a_pull(closing: Any) -> None:
    """Pulling in a loop of short waits parks one pull at the server, and no job gets lost in between."""
    with LineServer(mute_pulls) as server:
        connection = closing(server.url)
        await connection.connect()  # or the time might be over before anything is sent
        for _ in range(5):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(connection.wait(Pull(queue="q"), None, 5000), 0.01)
        pull = asyncio.ensure_future(connection.wait(Pull(queue="q"), None, 5000))
        await connection.ask(PING, 5000)
        assert server.commands() == ["PULL", "PING"]
        server.send(line(ok=True, reqId=server.requests[0]["reqId"], job=JOB))
        assert calls.read_pulled(await pull).id == 3


async def test_a_job_for_nobody_is_given_back(closing: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job whose puller has gone and whom nobody follows goes back with its token."""
    monkeypatch.setattr(orphans, "HOLD_S", 0.01)
    with LineServer(mute_pulls) as server:
        connection = closing(server.url)
        await connection.connect()  # or the time might be over before anything is sent
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(connection.wait(PullBatch(queue="q", count=2), None, 5000), 0.01)
        pulled = await seen(server)
        server.send(line(ok=True, reqId=pulled["reqId"], jobs=[JOB, {**JOB, "id": 4}]))
        given_back = [await seen(server), await seen(server)]
        assert [(each["cmd"], each["id"], each["token"]) for each in given_back] == [
            ("RELEASE", 3, "t"),
            ("RELEASE", 4, "t"),
        ]


async def test_a_pull_of_several_queues_is_taken_over_by_its_like(closing: Any) -> None:
    """Only the same queues in the same order are the same pull."""
    with LineServer(mute_pulls) as server:
        connection = closing(server.url)
        await connection.connect()  # or the time might be over before anything is sent
        for request in (PullAny(queues=["a", "b"]), PullAny(queues=["b", "a"]), PullAny(queues=["a", "b"])):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(connection.wait(request, None, 5000), 0.01)
        await connection.ask(PING, 5000)  # what was sent before has arrived when this is answered
        assert server.commands() == ["PULLANY", "PULLANY", "PING"]
        assert len(connection._orphans) == 2


async def test_a_job_in_the_moment_of_cancelling_is_not_lost(closing: Any) -> None:
    """A caller cancelled in the very turn in which his job comes leaves it to the next one."""
    with LineServer(mute_pulls) as server:
        connection = closing(server.url)
        pull = asyncio.ensure_future(connection.wait(Pull(queue="q"), None, 5000))
        pulled = await seen(server)
        connection._wire.data_received(line(ok=True, reqId=pulled["reqId"], job=JOB))
        pull.cancel()
        with pytest.raises(asyncio.CancelledError):
            await pull
        assert calls.read_pulled(await connection.wait(Pull(queue="q"), 0, 5000)).id == 3
        assert server.commands() == ["PULL"]


async def test_closing_gives_back_and_tells_everybody(closing: Any) -> None:
    """At the end, held jobs go back, who waits is told, and nothing can be asked any more."""
    with LineServer(mute_pulls) as server:
        connection = closing(server.url)
        left = asyncio.ensure_future(connection.wait(Pull(queue="q"), None, 5000))
        pulled = await seen(server)
        waiting = asyncio.ensure_future(connection.wait(Pull(queue="other"), None, 5000))
        await seen(server)
        connection._wire.data_received(line(ok=True, reqId=pulled["reqId"], job=JOB))
        left.cancel()
        await asyncio.wait({left})
        await connection.close()
        with pytest.raises(ConnectionLost, match="closed"):
            await waiting
        with pytest.raises(Unreachable, match="closed"):
            await connection.ask(PING, 5000)
        assert (await seen(server))["cmd"] == "RELEASE"
        await connection.close()


async def test_closing_while_connecting(closing: Any) -> None:
    """Calls that wait for a connection when the client is closed are told."""
    with LineServer() as server:
        port = server.port
    connection = closing(f"flashq://127.0.0.1:{port}", connect_timeout_ms=None)
    waiting = asyncio.ensure_future(connection.ask(PING, None))
    while not connection._backoff.failures:
        await asyncio.sleep(0)
    await connection.close()
    with pytest.raises(Unreachable, match="closed"):
        await waiting


async def test_closing_does_not_wait_for_a_deaf_server(closing: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that reads nothing cannot keep the client from closing."""
    monkeypatch.setattr(async_connection, "CLOSE_LIMIT_S", 0.01)
    release = threading.Event()

    def deaf(request: Request) -> bytes | None:
        release.wait(30)
        return HANG_UP

    with LineServer(deaf) as server:
        connection = closing(server.url)
        await connection.connect()
        wire = connection._wire
        asked = asyncio.ensure_future(connection.ask(PING + b" " * 16_000_000 + b"\n", None))
        await seen(server)
        await connection.close()
        assert wire.gone.done()
        with pytest.raises(ConnectionLost):
            await asked
        release.set()


async def test_events_and_answers_on_one_wire(closing: Any) -> None:
    """On a subscription's connection events wait their turn, and the end comes after them."""
    events = [b'{"event":{"n":%d}}\n' % n for n in range(4)]
    with LineServer(lambda request: events[0] + events[1] + OK + events[2]) as server:
        wire = await closing(server.url).open_wire(5000)
        assert await wire.ask_beside_events(PING, 5000) == OK.rstrip()
        coming = [asyncio.ensure_future(wire.next_event(5000)) for _ in range(4)]
        server.send(events[3])
        assert [await each + b"\n" for each in coming] == events
        with pytest.raises(CallTimeout, match="no event"):
            await wire.next_event(10)
        server.hang_up()
        with pytest.raises(ConnectionLost):
            await wire.next_event(5000)
        await wire.close()


async def test_a_slow_subscriber_stops_reading(closing: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Events that nobody takes do not fill the memory: reading stops, and goes on when there is room."""
    monkeypatch.setattr(async_connection, "EVENTS_HIGH", 10)
    monkeypatch.setattr(async_connection, "EVENTS_LOW", 2)
    event = b'{"event":{"n":1}}\n'
    with LineServer() as server:
        wire = await closing(server.url).open_wire(5000)
        server.send(event * 10)
        first = await wire.next_event(5000)
        assert first + b"\n" == event
        assert not wire._transport.is_reading()
        server.send(event * 5)
        for _ in range(14):
            await wire.next_event(5000)
        assert wire._transport.is_reading()
        await wire.close()


async def test_an_unreachable_subscription(closing: Any) -> None:
    """Opening a subscription's connection fails like any other."""
    with LineServer() as server:
        port = server.port
    with pytest.raises(Unreachable):
        await closing(f"flashq://127.0.0.1:{port}").open_wire(500)


async def test_a_reset_connection(closing: Any) -> None:
    """A connection that breaks in the middle is a lost one, and an ended one takes no further request."""
    with LineServer(lambda request: RESET) as server:
        connection = closing(server.url)
        with pytest.raises(ConnectionLost):
            await connection.ask(PING, 5000)
        with pytest.raises(ConnectionLost):
            await connection._wire.ask(PING)


async def test_a_pipeline_waits_for_a_full_socket(closing: Any) -> None:
    """A pipeline larger than the socket takes goes out in parts, and ends in order."""
    with LineServer(lambda request: line(ok=True, id=request["id"], result="y" * 2000)) as server:
        lines = [encode(calls.state(n).request)[:-2] + b',"pad":"%s"}\n' % (b"x" * 2000) for n in range(1000)]
        connection = closing(server.url)
        await connection.connect()
        connection._wire._transport.set_write_buffer_limits(high=1000)
        outcomes = await connection.ask_all(lines, 60_000)
        assert [calls.result(1).read(each) for each in outcomes] == ["y" * 2000] * 1000


async def test_a_pipeline_that_is_cancelled(closing: Any) -> None:
    """A pipeline given up while the socket is full leaves no error that nobody looks at."""
    with LineServer(lambda request: SILENCE) as server:
        connection = closing(server.url)
        await connection.connect()
        asked = asyncio.ensure_future(connection.ask_all([PING, PING], 5000))
        await seen(server)
        connection._wire.pause_writing()
        stuck = asyncio.ensure_future(connection.ask_all([PING], 5000))
        for each in (asked, stuck):
            await asyncio.sleep(0)
            each.cancel()
            with pytest.raises(asyncio.CancelledError):
                await each


def test_on_uvloop() -> None:
    """The other event loop that people use gives the same, transports and timers of its own included."""

    async def use(server: LineServer) -> None:
        connection = AsyncConnection(parse(server.url), 5000)
        await asyncio.gather(*(connection.ask(PING, 5000) for _ in range(100)))
        with pytest.raises(CallTimeout):
            await connection.wait(Pull(queue="q", timeout=5), 5, 5)
        await connection.close()

    with LineServer(mute_pulls) as server, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(use(server))
        assert server.connections == 1


async def test_events_that_were_left_out(closing: Any) -> None:
    """A subscriber who was too slow is told so, after the events that came before, and not left with a gap."""
    with LineServer(lambda request: OK) as server:
        wire = await closing(server.url).open_wire(5000)
        await wire.ask_beside_events(PING, 5000)
        server.send(b'{"event":{"n":1}}\n{"lagged":3}\n{"event":{"n":5}}\n')
        assert await wire.next_event(5000) == b'{"event":{"n":1}}'
        with pytest.raises(ConnectionLost, match="events were lost"):
            await wire.next_event(5000)
        assert await wire.next_event(5000) == b'{"event":{"n":5}}'
        await wire.close()
