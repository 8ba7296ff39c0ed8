"""HTTP under the plain client: what only it does. What both do alike is in test_async_http.py."""

import socket
import threading
from contextlib import closing
from typing import Any

import pytest
from tests.fakes.http_server import SILENCE, HttpServer, all_ok, refusal

from flashq import ConnectionLost, FlashQ, TooLarge
from flashq.client import calls
from flashq.client.address import parse
from flashq.client.encoding import encode
from flashq.client.http import KEEP_MS
from flashq.client.pipeline import Backoff
from flashq.client.sync_connection import SyncConnection

PING = encode(calls.ping().request)


class NeverBackoff(Backoff):
    """For a client that has no reason to wait before it connects."""

    def lost(self) -> None:
        """Would make the next call wait."""
        raise AssertionError("an idle connection was taken for a lost one")

    failed = lost


def test_threads_have_connections_of_their_own() -> None:
    """A thread that waits for a job hinders no other."""
    with HttpServer(lambda asked: SILENCE if asked.lines[0]["cmd"] == "PULL" else all_ok(asked)) as server:
        client = FlashQ(server.url)

        def pull() -> None:
            with pytest.raises(ConnectionLost):
                client.with_options(call_timeout_ms=None).pull("q")

        thread = threading.Thread(target=pull)
        thread.start()
        server.next_asked()
        client.ping()
        client.ping()
        assert server.connections == 2
        client.close()
        thread.join(5)
        assert not thread.is_alive()


def test_a_connection_that_the_server_will_close_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that was idle for nearly as long as servers allow is not used again, and that is no failure."""
    with HttpServer() as server:
        connection = SyncConnection(parse(server.url), 5000)
        connection.ask(PING, 5000)
        connection._idle[0].used_at -= KEEP_MS + 1
        monkeypatch.setattr(connection, "_backoff", NeverBackoff())
        connection.ask(PING, 5000)
        assert server.connections == 2
        connection.close()


def test_a_refusal_before_the_body_was_read() -> None:
    """A server that refuses a body by its length and leaves is heard, though it did not take the body."""
    answer = refusal("413 Content Too Large", "too_large", "Body too large", "Connection: close")

    def refuse(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(100)
            connection.sendall(answer)

    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        thread = threading.Thread(target=refuse, args=(listener,))
        thread.start()
        client = FlashQ(f"http://127.0.0.1:{listener.getsockname()[1]}")
        with client, pytest.raises(TooLarge, match="Body too large"):
            client.push_batch("q", ["x" * 1_000_000] * 12)
        thread.join(5)


def test_closing_wakes_a_subscriber() -> None:
    """Whoever iterates over events comes to the end when another thread closes the subscription."""
    with HttpServer(lambda asked: b"HTTP/1.1 200 OK\r\n\r\n") as server, FlashQ(server.url) as client:
        watching = client.subscribe("q").__enter__()
        seen: list[Any] = []
        thread = threading.Thread(target=lambda: seen.extend(watching))
        thread.start()
        watching.close()
        thread.join(5)
        assert not thread.is_alive()
        assert seen == []
