"""TLS under both clients: who is believed, who is not, and a stream that hides no byte from whoever polls."""

import select
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from tests.fakes import certificate
from tests.fakes.awaited import Awaited
from tests.fakes.certificate import Certificate
from tests.fakes.line_server import OK, SILENCE, LineServer, line
from tests.fakes.tls_front import TlsFront

from flashq import AsyncFlashQ, CallTimeout, ConnectionLost, FlashQ
from flashq.client import calls, tls
from flashq.client.address import Address, resolve
from flashq.client.encoding import encode
from flashq.client.pipeline import Unreachable
from flashq.client.sync_connection import SyncConnection
from flashq.client.tls import TlsStream
from flashq.errors import BadRequest

PING = encode(calls.ping().request)


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """A certificate for this machine."""
    return certificate.make(tmp_path_factory.mktemp("ours"))


def made(flavour: str, *arguments: Any, **options: Any) -> Any:
    """A client of either kind, with the async face."""
    return AsyncFlashQ(*arguments, **options) if flavour == "async" else Awaited(FlashQ(*arguments, **options))


both = pytest.mark.parametrize("flavour", ["async", "sync"])


@both
async def test_calls_inside_tls(flavour: str, ours: Certificate) -> None:
    """Calls, large ones and long pipelines go through TLS as they go without."""
    with (
        LineServer(lambda request: line(ok=True, id=request["id"], state="x" * 100_000)) as server,
        TlsFront(server.port, ours) as front,
    ):
        async with made(flavour, f"flashqs://localhost:{front.port}", ca=str(ours.cert)) as client:
            assert await client.state(7) == "x" * 100_000
            async with client.pipeline() as p:
                states = [p.state(n) for n in range(100)]
            assert {len(each.result()) for each in states} == {100_000}
        assert server.connections == 1


@both
async def test_an_unknown_certificate(flavour: str, ours: Certificate) -> None:
    """A server that nobody vouches for is refused at once, before a token is shown to it, and not tried again."""
    with LineServer() as server, TlsFront(server.port, ours) as front:
        client = made(flavour, f"flashqs://secret@localhost:{front.port}", connect_timeout_ms=60_000)
        with pytest.raises(Unreachable, match="CERTIFICATE_VERIFY_FAILED"):
            await client.ping()
        await client.close()
        assert server.requests == []


@both
async def test_a_certificate_for_another_name(flavour: str, tmp_path: Path) -> None:
    """A certificate that is believed, but was made for another host, is refused."""
    other = certificate.make(tmp_path, "DNS:other.example")
    with LineServer() as server, TlsFront(server.port, other) as front:
        client = made(flavour, f"flashqs://localhost:{front.port}", ca=str(other.cert), connect_timeout_ms=60_000)
        with pytest.raises(Unreachable, match="CERTIFICATE_VERIFY_FAILED"):
            await client.ping()
        await client.close()
        assert server.requests == []


@both
async def test_a_server_without_tls(flavour: str, ours: Certificate) -> None:
    """A server that answers in plain lines is not spoken to in plain lines."""
    heard: list[bytes] = []

    def answer_plainly(listener: socket.socket) -> None:
        while True:
            connection, _ = listener.accept()
            with connection, suppress(OSError):
                if said := connection.recv(65_536):  # a client whose time is over may leave without a word
                    heard.append(said)
                    connection.sendall(OK)

    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        thread = threading.Thread(target=suppressed, args=(answer_plainly, listener))
        thread.start()
        client = made(flavour, f"flashqs://t@localhost:{listener.getsockname()[1]}", connect_timeout_ms=300)
        while not heard:  # on a busy machine the time may be over before the client has said anything
            with pytest.raises(Unreachable):
                await client.ping()
        await client.close()
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(5)
    assert all(each.startswith(b"\x16\x03") and b"cmd" not in each for each in heard)


def suppressed(run: Any, *arguments: Any) -> None:
    """Run until the socket is closed."""
    with suppress(OSError):
        run(*arguments)


@both
async def test_the_variable_names_certificates(
    flavour: str, ours: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FLASHQ_CA is believed as the argument is; IP addresses are checked like names."""
    monkeypatch.setenv("FLASHQ_CA", str(ours.cert))
    with LineServer() as server, TlsFront(server.port, ours) as front:
        async with made(flavour, f"flashqs://127.0.0.1:{front.port}") as client:
            await client.auth("t")


@both
async def test_a_lost_connection(flavour: str, ours: Certificate) -> None:
    """A TLS connection that ends in the middle is a lost one."""
    with (
        LineServer(lambda request: None if request["cmd"] == "PUSH" else OK) as server,
        TlsFront(server.port, ours) as front,
    ):
        async with made(flavour, f"flashqs://localhost:{front.port}", ca=str(ours.cert)) as client:
            with pytest.raises(ConnectionLost):
                await client.push("q", 1)
            async with client.pipeline(keep_errors=True) as p:
                pending = [p.push("q", n) for n in range(3)]
            assert {type(each.error) for each in pending} == {ConnectionLost}


def test_missing_certificates() -> None:
    """A file that is not there is told when the client is made, by its name."""
    for kind in (FlashQ, AsyncFlashQ):
        with pytest.raises(BadRequest, match=r"no-such\.pem"):
            kind("flashqs://localhost", ca="no-such.pem")


def test_no_tls_no_context() -> None:
    """A plain address costs no look at the system's certificates."""
    assert tls.context(Address()) is None


def test_what_is_asked_of_a_server(ours: Certificate) -> None:
    """Certificate and name are checked, and nothing older than TLS 1.2 is spoken."""
    context = tls.context(resolve("flashqs://localhost", ca=str(ours.cert)))
    assert context is not None
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2


@contextmanager
def connected(ours: Certificate, port: int) -> Iterator[TlsStream]:
    """A stream to a front."""
    context = tls.context(resolve("flashqs://localhost", ca=str(ours.cert)))
    assert context is not None
    with closing(TlsStream(socket.create_connection(("127.0.0.1", port)), context, "localhost", 5)) as stream:
        yield stream


def test_reading_leaves_nothing_behind(ours: Certificate) -> None:
    """One read takes all that has been received, however little was asked for: poll() would not see the rest."""
    with (
        LineServer(lambda request: OK * 1000) as server,
        TlsFront(server.port, ours) as front,
        connected(ours, front.port) as stream,
    ):
        stream.setblocking(True)
        stream.sendall(PING)
        seen = b""
        ready = select.poll()
        ready.register(stream, select.POLLIN)
        while len(seen) < len(OK) * 1000:
            assert ready.poll(5000)
            seen += stream.recv(1)
        stream.setblocking(False)
        with pytest.raises(BlockingIOError):
            stream.recv(1)


def test_writing_without_waiting(ours: Certificate) -> None:
    """What is offered again after a write that did not go whole is sent once: no byte twice, none missing."""
    lines = b"".join(b'{"cmd":"PING","n":%d,"pad":"%s"}\n' % (n, b"x" * 1000) for n in range(2000))
    with (
        LineServer(lambda request: SILENCE) as server,
        TlsFront(server.port, ours) as front,
        connected(ours, front.port) as stream,
    ):
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, (4096).to_bytes(4, "little"))
        stream.setblocking(False)
        unsent = memoryview(lines)
        ready = select.poll()
        ready.register(stream, select.POLLOUT)
        partly = 0
        while unsent:
            assert ready.poll(5000)
            written = stream.send(unsent[:262_144])
            partly += written == 0
            unsent = unsent[written:]
        assert partly
        assert [server.next_request()["n"] for _ in range(2000)] == list(range(2000))


def test_a_silent_server_inside_tls(ours: Certificate) -> None:
    """The system keeps the time of a call through TLS as it does without."""
    with LineServer(lambda request: SILENCE) as server, TlsFront(server.port, ours) as front:
        address = resolve(f"flashqs://localhost:{front.port}", ca=str(ours.cert))
        connection = SyncConnection(address, 5000)
        connection.connect()  # or the handshake would count, which a busy machine does not end within the time
        with pytest.raises(CallTimeout):
            connection.ask(PING, 30)
        connection.close()


def test_a_mute_handshake() -> None:
    """A peer that accepts and says nothing does not hold up connecting beyond its time."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        raw = socket.create_connection(listener.getsockname())
        with pytest.raises(TimeoutError):
            TlsStream(raw, ssl.create_default_context(), "localhost", 0.03)
        assert raw.fileno() == -1


def test_closing_wakes_who_waits_inside_tls(ours: Certificate) -> None:
    """A thread that waits for an answer when its client is closed is told."""
    with LineServer(lambda request: SILENCE) as server, TlsFront(server.port, ours) as front:
        connection = SyncConnection(resolve(f"flashqs://localhost:{front.port}", ca=str(ours.cert)), 5000)
        outcome: list[BaseException] = []

        def wait() -> None:
            with pytest.raises(ConnectionLost) as lost:
                connection.ask(PING, None)
            outcome.append(lost.value)

        thread = threading.Thread(target=wait)
        thread.start()
        server.next_request()
        connection.close()
        thread.join(5)
        assert len(outcome) == 1


def test_an_idle_connection_is_not_stale(ours: Certificate) -> None:
    """A connection that has seen nothing but TLS's own words is usable; one that the server has left is not."""
    with LineServer() as server, TlsFront(server.port, ours) as front:
        connection = SyncConnection(resolve(f"flashqs://localhost:{front.port}", ca=str(ours.cert)), 5000)
        connection.connect()
        wire = connection._idle[0]
        assert not wire.stale()
        connection.ask(PING, 5000)
        assert not wire.stale()
        server.hang_up()
        ready = select.poll()
        ready.register(wire._socket, select.POLLIN)
        assert ready.poll(5000)
        assert wire.stale()
        connection.close()
