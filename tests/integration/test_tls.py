"""TLS on every door of a real server: the same answers inside it, and a certificate that is renewed meanwhile."""

import http.client
import json
import select
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.fakes import certificate
from tests.fakes.certificate import Certificate
from tests.fakes.server_process import MEMORY, LineClient, ServerProcess

from flashq.client import FlashQ
from flashq.protocol.limits import MAX_LINE_BYTES
from flashq.server.doors import SPARE_FILES
from flashq.transports.tcp import AUTH_SECONDS


@pytest.fixture(params=["uvloop", "asyncio"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ServerProcess]:
    """A server with a certificate, on either loop."""
    made = certificate.make(tmp_path / "tls")
    environment = {"TLS_CERT": str(made.cert), "TLS_KEY": str(made.key), "LOOP": request.param}
    with ServerProcess(tmp_path / "server", url=MEMORY, unix=True, environment=environment) as running:
        yield running


def files(server: ServerProcess) -> Certificate:
    """Its certificate."""
    return Certificate(Path(server.environment["TLS_CERT"]), Path(server.environment["TLS_KEY"]))


def connected(server: ServerProcess, believed: Path) -> LineClient:
    """A line connection inside TLS that believes one certificate.

    Raises:
        ssl.SSLCertVerificationError: the server shows another one.
    """
    client = server.client()
    try:
        context = ssl.create_default_context(cafile=str(believed))
        client.socket = context.wrap_socket(client.socket, server_hostname="localhost")
    except BaseException:
        client.close()
        raise
    return client


def await_said(server: ServerProcess, words: str) -> None:
    """Until the log says so."""
    deadline = time.monotonic() + 10
    while words not in server.errors():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_clients_that_connect_and_say_nothing(tmp_path: Path, loop: str) -> None:
    """They count as connections, on both doors together, and have not the files that the server needs for itself."""
    made = certificate.make(tmp_path / "tls")
    environment = {"TLS_CERT": str(made.cert), "TLS_KEY": str(made.key), "LOOP": loop}
    few = ("sh", "-c", f'ulimit -n {SPARE_FILES + 10} && exec "$@"', "sh")
    with ServerProcess(tmp_path / "server", environment=environment, before=few) as server:
        idle = server.open_files()
        silent = [socket.create_connection(("127.0.0.1", (server.port, server.http_port)[n % 2])) for n in range(30)]
        waiting = select.poll()
        for each in silent:
            waiting.register(each, select.POLLIN)
        closed: set[int] = set()
        deadline = time.monotonic() + AUTH_SECONDS - 2  # then those go that were let in
        while len(closed) < 20:
            assert time.monotonic() < deadline, f"{len(closed)} were turned away"
            closed |= {number for number, _ in waiting.poll(100)}
        loops_own = 2
        assert server.open_files() <= idle + 10 + loops_own
        for each in silent:
            each.close()
        while server.open_files() > idle + loops_own:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        with FlashQ(f"flashqs://localhost:{server.port}", ca=str(made.cert)) as q:
            assert q.push("q", 1) == 1


def test_a_session_inside_tls(server: ServerProcess) -> None:
    """A client of ours does its work, large payloads both ways included, and many calls at once."""
    with FlashQ(f"flashqs://localhost:{server.port}", ca=str(files(server).cert)) as q:
        data = "x" * 900_000
        ids = [q.push("q", data) for _ in range(5)]
        jobs = q.pull_batch("q", 5)
        assert [job.id for job in jobs] == ids
        assert all(job.data == data for job in jobs)
        assert q.ack_batch(jobs).count == 5
        with q.pipeline() as batch:
            for n in range(500):
                batch.push("many", n)
        assert q.stats().queued == 500


def test_http_inside_tls(server: ServerProcess) -> None:
    """The same port speaks HTTPS with the same certificate."""
    context = ssl.create_default_context(cafile=str(files(server).cert))
    connection = http.client.HTTPSConnection("localhost", server.http_port, timeout=20, context=context)
    for n in range(3):
        connection.request("POST", "/queues/q/jobs", json.dumps({"data": n}))
        response = connection.getresponse()
        assert response.status == 200
        assert json.loads(response.read())["data"]["data"] == n
    connection.close()


def test_who_speaks_plainly_is_not_answered(server: ServerProcess) -> None:
    """Nothing of the queue leaves unencrypted on an address; the Unix socket of the machine stays plain."""
    with server.client() as plain:
        plain.send("PING")
        assert b"ok" not in b"".join(iter(lambda: _received(plain), b""))
    with server.unix_client() as unix:
        assert unix.ask("PING") == {"ok": True}


def _received(client: LineClient) -> bytes:
    try:
        return client.socket.recv(4096)
    except ConnectionResetError:
        return b""


def test_last_words_arrive(server: ServerProcess) -> None:
    """A line that is too long is answered before the end, and so is a call that waits when the server leaves."""
    with connected(server, files(server).cert) as hasty:
        hasty.send_raw(b"x" * (MAX_LINE_BYTES + 10))
        assert [answer["code"] for answer in hasty.rest()] == ["too_large"]
    with connected(server, files(server).cert) as waiting:
        waiting.send("PULL", queue="q")
        assert waiting.ask("PING", reqId="behind it") == {"ok": True, "reqId": "behind it"}
        began = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - began < 8
        assert waiting.rest() == [{"ok": True, "job": None}]


def test_a_certificate_is_renewed_without_dropping_anybody(server: ServerProcess, tmp_path: Path) -> None:
    """Who is there goes on; who comes is shown the new one. A renewal that went wrong is told, and changes nothing."""
    current = files(server)
    old = tmp_path / "old.pem"
    old.write_bytes(current.cert.read_bytes())
    with connected(server, old) as early:
        assert early.ask("PING") == {"ok": True}
        certificate.make(current.cert.parent)
        await_said(server, "certificate reloaded")
        assert early.ask("PING") == {"ok": True}
        with pytest.raises(ssl.SSLCertVerificationError):
            connected(server, old)
        with connected(server, current.cert) as late:
            assert late.ask("PING") == {"ok": True}
        believed = tmp_path / "believed.pem"
        believed.write_bytes(current.cert.read_bytes())
        current.key.write_text("half of it")
        await_said(server, "certificate not reloaded, those from before stay")
        with connected(server, believed) as later:
            assert later.ask("PING") == {"ok": True}
        assert early.ask("PING") == {"ok": True}
