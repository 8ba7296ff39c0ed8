"""The blocking connection: shared between threads, replaced when lost, never confused by late or strange answers."""

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.line_server import HANG_UP, OK, RESET, SILENCE, LineServer, Request, line

from flashq.client import calls, sync_connection
from flashq.client.address import Address, parse
from flashq.client.encoding import Pull, encode
from flashq.client.pipeline import Unreachable
from flashq.client.sync_connection import SocketWire, SyncConnection
from flashq.errors import CallTimeout, ConnectionLost, FlashQError, Unauthorized

PING = encode(calls.ping().request)


@pytest.fixture
def closing() -> Iterator[Any]:
    """Makes connections and closes them after the test."""
    made: list[SyncConnection] = []

    def connection(url: str, connect_timeout_ms: int | None = 5000) -> SyncConnection:
        made.append(SyncConnection(parse(url), connect_timeout_ms))
        return made[-1]

    yield connection
    for each in made:
        each.close()


def in_thread(run: Any, *arguments: Any) -> "tuple[threading.Thread, list[Any]]":
    """Run something beside the test; the list gets its result or its error."""
    outcome: list[Any] = []

    def noting() -> None:
        try:
            outcome.append(run(*arguments))
        except FlashQError as error:
            outcome.append(error)

    thread = threading.Thread(target=noting)
    thread.start()
    return thread, outcome


def test_one_thread_keeps_to_one_connection(closing: Any) -> None:
    """Call after call goes over the same connection."""
    with LineServer() as server:
        connection = closing(server.url)
        for _ in range(5):
            calls.read_ok(connection.ask(PING, 5000))
        assert server.connections == 1


def test_unix_socket(closing: Any, tmp_path: Path) -> None:
    """The same over a Unix socket."""
    with LineServer(path=tmp_path / "s") as server:
        calls.read_ok(closing(server.url).ask(PING, 5000))
        assert server.commands() == ["PING"]


@pytest.mark.parametrize("size", [10, 70_000, 300_000])
def test_answers_of_any_size(closing: Any, size: int) -> None:
    """An answer that comes in many pieces is one answer."""
    with LineServer(lambda request: line(ok=True, result="x" * size)) as server:
        assert calls.result(1).read(closing(server.url).ask(PING, 5000)) == "x" * size


def test_a_waiting_thread_hinders_nobody(closing: Any) -> None:
    """While one thread waits for a job, others call over a connection of their own."""

    def answer(request: Request) -> bytes | None:
        return SILENCE if request["cmd"] == "PULL" else OK

    with LineServer(answer) as server:
        connection = closing(server.url)
        thread, outcome = in_thread(connection.wait, Pull(queue="q"), None, 5000)
        server.next_request()
        for _ in range(3):
            connection.ask(PING, 5000)
        assert server.connections == 2
        server.hang_up()
        thread.join()
        assert isinstance(outcome[0], ConnectionLost)


def test_many_threads(closing: Any) -> None:
    """Threads that call at the same time each get their own answers."""
    with LineServer(lambda request: line(ok=True, id=request["id"], state=str(request["id"]))) as server:
        connection = closing(server.url)

        def ask(start: int) -> bool:
            numbers = range(start, start + 50)
            states = [calls.state(n).read(connection.ask(encode(calls.state(n).request), 5000)) for n in numbers]
            return states == [str(n) for n in numbers]

        running = [in_thread(ask, start) for start in range(0, 400, 50)]
        for thread, _ in running:
            thread.join()
        assert [outcome for _, outcome in running] == [[True]] * 8
        assert server.connections <= 8


def test_a_late_answer_reaches_nobody(closing: Any) -> None:
    """After a timeout the connection is given up, so the next call cannot get the late answer."""
    # By what is asked, not by the order: each connection is served by a thread, and the later one may be the faster.
    answers = {"PING": SILENCE, "GETSTATE": line(ok=True, id=2, state="active")}
    with LineServer(lambda request: answers[request["cmd"]]) as server:
        connection = closing(server.url)
        with pytest.raises(CallTimeout, match="in time"):
            connection.ask(PING, 20)
        assert calls.state(2).read(connection.ask(encode(calls.state(2).request), 5000)) == "active"
        assert server.connections == 2


def test_a_dribbling_answer_times_out(closing: Any) -> None:
    """An answer that begins and does not end is late too."""
    with LineServer(lambda request: b'{"ok":') as server, pytest.raises(CallTimeout):
        closing(server.url).ask(PING, 20)


def test_pulls_have_their_own_time_on_top(closing: Any) -> None:
    """A pull may take its waiting time and then the time of a call."""
    with LineServer(lambda request: SILENCE) as server:
        began = time.monotonic()
        with pytest.raises(CallTimeout):
            closing(server.url).wait(Pull(queue="q", timeout=30), 30, 30)
        assert time.monotonic() - began >= 0.06


def test_a_lost_answer(closing: Any) -> None:
    """A server that hangs up instead of answering leaves the outcome unknown, and that is said."""
    with LineServer(lambda request: HANG_UP) as server, pytest.raises(ConnectionLost, match="ended"):
        closing(server.url).ask(PING, 5000)


@pytest.mark.parametrize("answer", [OK + OK, OK + b'{"ok"'])
def test_an_answer_too_many(closing: Any, answer: bytes) -> None:
    """A server that says more than it was asked is not trusted any further."""
    with LineServer(lambda request: answer) as server, pytest.raises(ConnectionLost, match="nobody asked"):
        closing(server.url).ask(PING, 5000)


def test_an_idle_connection_is_looked_at_before_use(closing: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that restarted while the client was idle costs no call: the dead connection is noticed before."""
    monkeypatch.setattr(sync_connection, "IDLE_MS", -1.0)
    with LineServer() as server:
        connection = closing(server.url)
        connection.ask(PING, 5000)
        connection.ask(PING, 5000)
        assert server.connections == 1
        wire = connection._idle[-1]
        server.hang_up()
        while not wire.stale():
            pass
        calls.read_ok(connection.ask(PING, 5000))
        assert server.connections == 2


def test_an_unasked_word_makes_an_idle_connection_useless(closing: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What came while nothing was asked cannot become the next call's answer."""
    monkeypatch.setattr(sync_connection, "IDLE_MS", -1.0)
    with LineServer() as server:
        connection = closing(server.url)
        connection.connect()
        wire = connection._idle[-1]
        server.send(OK)
        while not wire.stale():
            pass
        connection.ask(PING, 5000)
        assert server.connections == 2


def test_nobody_there(closing: Any) -> None:
    """Without a server the call fails within its time, says where it looked, and that nothing was sent."""
    with LineServer() as server:
        port = server.port
    began = time.monotonic()
    with pytest.raises(Unreachable, match=f"{port}.*not sent"):
        closing(f"flashq://127.0.0.1:{port}", connect_timeout_ms=150).ask(PING, 60_000)
    assert time.monotonic() - began < 30


def test_a_server_that_comes_a_little_later(closing: Any) -> None:
    """A call made before the server is there waits for it."""
    with LineServer() as server:
        port = server.port
    connection = closing(f"flashq://127.0.0.1:{port}", connect_timeout_ms=10_000)
    thread, outcome = in_thread(connection.ask, PING, 10_000)
    with LineServer(port=port):
        thread.join()
    assert outcome == [OK]


def test_threads_do_not_add_up_their_failures(closing: Any) -> None:
    """Eight threads that look for a server each wait as one would, not as after eight times as many failures."""
    with LineServer() as server:
        port = server.port
    connection = closing(f"flashq://127.0.0.1:{port}", connect_timeout_ms=50)
    running = [in_thread(connection.ask, PING, 5000) for _ in range(8)]
    for thread, outcome in running:
        thread.join()
        assert isinstance(outcome[0], Unreachable)
    assert not connection._backoff.failures


def test_the_token_is_presented_first(closing: Any) -> None:
    """Every connection begins with AUTH when a token is known."""
    with LineServer() as server:
        connection = closing(server.url.replace("//", "//secret@"))
        connection.ask(PING, 5000)
        assert server.requests[0] == {"cmd": "AUTH", "token": "secret", "reqId": None}
        assert server.commands() == ["AUTH", "PING"]


def test_a_wrong_token_is_no_reason_to_try_again(closing: Any) -> None:
    """A refused token shows at once and by its name."""
    refusal = line(ok=False, error="Invalid token", code="unauthorized")
    with LineServer(lambda request: refusal) as server:
        with pytest.raises(Unauthorized, match="Invalid token"):
            closing(server.url.replace("//", "//wrong@")).connect()
        assert server.commands() == ["AUTH"]


def test_greetings_are_said_on_every_connection(closing: Any) -> None:
    """After HELLO no connection is used that has not said it, and new ones say it, until the worker leaves."""
    with LineServer() as server:
        connection = closing(server.url)
        connection.greet(calls.hello("w", ["q"], 1).request, 5000)
        connection.ask(PING, 5000)
        connection.ask(PING, 5000)
        assert server.commands() == ["HELLO", "HELLO", "PING", "PING"]
        connection.forget_greeting()
        connection.ask(PING, 5000)
        assert server.commands()[4:] == ["PING"]


def test_a_refused_token_is_not_kept(closing: Any) -> None:
    """A new token counts only once the server has taken it."""
    refusal = line(ok=False, error="Invalid token", code="unauthorized")
    with LineServer(lambda request: refusal if request.get("token") == "wrong" else OK) as server:
        connection = closing(server.url)
        with pytest.raises(Unauthorized):
            connection.authenticate("wrong", 5000)
        connection.authenticate("right", 5000)
        connection.ask(PING, 5000)
        assert [request.get("token") for request in server.requests] == ["wrong", "right", "right", None]


def test_many_at_once(closing: Any) -> None:
    """Requests and answers far beyond the sockets' buffers pass without either side waiting for the other."""
    with LineServer(lambda request: line(ok=True, id=request["id"], result="y" * 2000)) as server:
        lines = [encode(calls.state(n).request)[:-2] + b',"pad":"%s"}\n' % (b"x" * 2000) for n in range(3000)]
        outcomes = closing(server.url).ask_all(lines, 60_000)
        assert [calls.result(1).read(each) for each in outcomes] == ["y" * 2000] * 3000


def test_many_at_once_and_the_end(closing: Any) -> None:
    """What was answered before the connection ended has its answer, the rest the error; the connection is replaced."""

    def answer(request: Request) -> bytes | None:
        return HANG_UP if request.get("id") == 3 else OK

    with LineServer(answer) as server:
        connection = closing(server.url)
        outcomes = connection.ask_all([encode(calls.state(n).request) for n in range(6)], 5000)
        assert outcomes[:3] == [OK.rstrip()] * 3
        assert all(isinstance(each, ConnectionLost) for each in outcomes[3:])
        calls.read_ok(connection.ask(PING, 5000))
        assert server.connections == 2


def test_many_at_once_too_late(closing: Any) -> None:
    """The time of a pipeline is the time of all its answers together."""
    with LineServer(lambda request: OK if request["id"] == 0 else SILENCE) as server:
        connection = closing(server.url)
        for time_ms in (50, 500, 5_000):  # enough for the first answer, however busy the machine is
            outcomes = connection.ask_all([encode(calls.state(n).request) for n in range(3)], time_ms)
            assert [type(each) for each in outcomes[1:]] == [CallTimeout, CallTimeout]
            if outcomes[0] == OK.rstrip():
                break
        assert outcomes[0] == OK.rstrip()


def test_an_interrupted_call_leaves_no_trace(closing: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in the middle of a call gives up its connection, so that its answer cannot become another's."""
    with LineServer() as server:
        connection = closing(server.url)
        connection.ask(PING, 5000)

        def interrupt(*_: object) -> bytes:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(sync_connection.SocketWire, "ask", interrupt)
            with pytest.raises(KeyboardInterrupt):
                connection.ask(PING, 5000)
        calls.read_ok(connection.ask(PING, 5000))
        assert server.connections == 2
        assert not connection._busy


def test_closing_wakes_who_waits(closing: Any) -> None:
    """A thread that waits for a job when the client is closed is told, and nothing can be asked afterwards."""
    with LineServer(lambda request: SILENCE) as server:
        connection = closing(server.url)
        thread, outcome = in_thread(connection.wait, Pull(queue="q"), None, None)
        server.next_request()
        connection.close()
        thread.join()
        assert isinstance(outcome[0], ConnectionLost)
        with pytest.raises(Unreachable, match="closed"):
            connection.ask(PING, 5000)
        connection.close()


def test_closing_wakes_who_connects(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that still tries to connect when the client is closed does not try on."""
    tried = threading.Event()

    def nobody(*_: object, **__: object) -> None:
        tried.set()
        raise ConnectionRefusedError

    monkeypatch.setattr(sync_connection.socket, "create_connection", nobody)
    monkeypatch.setattr(sync_connection, "random", lambda: 1.0)
    connection = SyncConnection(Address(), None)
    thread, outcome = in_thread(connection.ask, PING, None)
    tried.wait(5)
    connection.close()
    thread.join(5)
    assert not thread.is_alive()
    assert isinstance(outcome[0], Unreachable)


class PartsFirst:
    """A stream on which something is there to read before it can be read, as a part of a TLS record is."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self.empty = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)

    def recv(self, most: int, flags: int = 0) -> bytes:
        """Every other time nothing yet."""
        self.empty += 1
        if self.empty % 2:
            raise BlockingIOError
        return self._socket.recv(most, flags)


def test_a_pipeline_over_parts_of_records() -> None:
    """A stream that is ready, and then has not enough for a single byte, is no lost one."""
    with LineServer() as server:
        stream = PartsFirst(socket.create_connection(("127.0.0.1", server.port)))
        wire = SocketWire(stream, server.url, 0)
        assert wire.ask_all([PING] * 500, 5000) == [OK.rstrip()] * 500
        assert stream.empty
        wire.close()


def test_events_and_answers_on_one_wire(closing: Any) -> None:
    """On a subscription's connection events wait their turn while an answer is looked for, and keep their order."""
    events = [b'{"event":{"n":%d}}\n' % n for n in range(4)]
    with LineServer(lambda request: events[0] + events[1] + OK + events[2]) as server:
        wire = closing(server.url).open_wire(5000)
        try:
            assert wire.ask_beside_events(PING, 5000) == OK.rstrip()
            server.send(events[3])
            assert [wire.next_event(5000) + b"\n" for _ in range(4)] == events
            with pytest.raises(CallTimeout, match="no event"):
                wire.next_event(10)
            server.hang_up()
            with pytest.raises(ConnectionLost):
                wire.next_event(5000)
        finally:
            wire.close()


def test_events_that_were_left_out(closing: Any) -> None:
    """A subscriber who was too slow is told so, after the events that came before, and not left with a gap."""
    with LineServer(lambda request: OK) as server:
        wire = closing(server.url).open_wire(5000)
        wire.ask_beside_events(PING, 5000)
        server.send(b'{"event":{"n":1}}\n{"lagged":3}\n{"event":{"n":5}}\n')
        assert wire.next_event(5000) == b'{"event":{"n":1}}'
        with pytest.raises(ConnectionLost, match="events were lost"):
            wire.next_event(5000)
        assert wire.next_event(5000) == b'{"event":{"n":5}}'
        wire.close()


def test_a_reset_connection(closing: Any) -> None:
    """A connection that breaks in the middle is a lost one in every kind of call."""
    with LineServer(lambda request: RESET) as server:
        connection = closing(server.url)
        with pytest.raises(ConnectionLost):
            connection.ask(PING, 5000)
        outcomes = connection.ask_all([PING, PING], 5000)
        assert [type(each) for each in outcomes] == [ConnectionLost, ConnectionLost]
        wire = connection.open_wire(5000)
        with pytest.raises(ConnectionLost):
            wire.ask_beside_events(PING, 5000)
        with pytest.raises(ConnectionLost):
            wire.next_event(5000)
        wire.close()


def test_a_mute_subscription(closing: Any) -> None:
    """A request beside events has its time like any other."""
    with LineServer(lambda request: SILENCE) as server:
        wire = closing(server.url).open_wire(5000)
        with pytest.raises(CallTimeout):
            wire.ask_beside_events(PING, 20)
        wire.close()


@pytest.mark.parametrize("where", ["tcp", "unix"])
def test_an_unreachable_subscription(closing: Any, tmp_path: Path, where: str) -> None:
    """Opening a subscription's connection fails like any other, over TCP and over a Unix socket."""
    with LineServer(path=tmp_path / "s" if where == "unix" else None) as server:
        url = server.url
    with pytest.raises(Unreachable, match="not sent"):
        closing(url).open_wire(500)


def test_a_connection_made_while_closing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that gets its connection when the client is already closed does not use it."""
    with LineServer() as server:
        connection = SyncConnection(parse(server.url), 5000)
        dial = connection._dial

        def late(*arguments: Any) -> Any:
            wire = dial(*arguments)
            connection.close()
            return wire

        monkeypatch.setattr(connection, "_dial", late)
        with pytest.raises(Unreachable, match="closed"):
            connection.ask(PING, 5000)
        assert server.requests == []


def test_a_call_that_ends_after_closing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that comes back when the client is closed is closed too, and no call takes it."""
    with LineServer() as server:
        connection = SyncConnection(parse(server.url), 5000)
        connection.connect()
        wire = connection._idle_wire()
        assert wire is not None
        connection._busy.discard(wire)
        connection.close()
        connection._put_back(wire)
        with pytest.raises(Unreachable, match="closed"):
            connection.ask(PING, 5000)
        assert wire.stale()


def test_a_dribble_that_never_ends(closing: Any) -> None:
    """Bytes that keep coming do not keep a call alive beyond its time."""
    dribbling = threading.Event()

    def dribble(server: LineServer) -> None:
        while not dribbling.wait(0.002):
            server.send(b" ")

    with LineServer(lambda request: b'{"ok":') as server:
        thread = threading.Thread(target=dribble, args=(server,))
        wire = closing(server.url).open_wire(5000)
        thread.start()
        with pytest.raises(CallTimeout):
            wire.ask(b'{"cmd":"PING"}\n', 30)
        # In this order: who dribbles into a closed connection gets an error.
        dribbling.set()
        thread.join()
        wire.close()


def test_an_interrupted_pipeline_leaves_no_trace(closing: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in the middle of a pipeline gives up its connection."""
    with LineServer() as server:
        connection = closing(server.url)

        def interrupt(*_: object) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(sync_connection.SocketWire, "_exchange", interrupt)
            with pytest.raises(KeyboardInterrupt):
                connection.ask_all([PING], 5000)
        calls.read_ok(connection.ask(PING, 5000))
        assert server.connections == 2
