"""Webhooks of a real server: what is owed arrives, whatever happens to the server or the receiver meanwhile."""

import hashlib
import hmac
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Queue
from typing import Any, Final

import pytest
from tests.fakes.server_process import MEMORY, LineClient, ServerProcess
from tests.tidy.source import ROOT

ALLOWED: Final = {"WEBHOOK_ALLOW_PRIVATE": "1"}
SECONDS: Final = 20


class Receiver:
    """Takes calls on this machine.

    Attributes:
        calls: what came: (headers, body).
        status: what it answers to a call that comes.
        hang: it answers only once this is set.
    """

    def __init__(self) -> None:
        self.calls: Queue[tuple[dict[str, str], bytes]] = Queue()
        self.status = 200
        self.hang = threading.Event()
        self.hang.set()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._make_handler(), bind_and_activate=False)
        self._server.server_bind()  # the port is taken; connections are refused until `listening`
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/hook"

    def next(self) -> tuple[dict[str, str], Any]:
        """The next call: headers and what it says."""
        headers, body = self.calls.get(timeout=SECONDS)
        return headers, json.loads(body)

    def _make_handler(self) -> type[BaseHTTPRequestHandler]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status = receiver.status  # for what the test says once it has seen the call is of the next one
                receiver.calls.put((dict(self.headers), body))
                receiver.hang.wait(SECONDS)
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Nothing is logged."""

        return Handler

    @contextmanager
    def listening(self) -> Iterator["Receiver"]:
        """Take calls until the end."""
        self._server.server_activate()
        thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield self
        finally:
            self.hang.set()
            self._server.shutdown()
            self._server.server_close()
            thread.join()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A receiver that takes what comes."""
    with Receiver().listening() as receiver:
        yield receiver


def when(client: LineClient, **counts: int) -> dict[str, Any]:
    """The one webhook, once it has these counts."""
    event = threading.Event()
    for _ in range(SECONDS * 50):
        (hook,) = client.ok("WEBHOOKLIST")["webhooks"]
        if {name: hook[name] for name in counts} == counts:
            return dict(hook)
        event.wait(0.02)
    raise AssertionError(f"{hook} has not come to {counts}")


@pytest.mark.parametrize("url", [None, MEMORY])
def test_a_jobs_life_is_told(tmp_path: Path, receiver: Receiver, url: str | None) -> None:
    """In signed calls, with and without a database; the documented check accepts them and nothing else."""
    with ServerProcess(tmp_path, url=url, environment=ALLOWED) as server, server.client() as client:
        client.ok("WEBHOOK", url=receiver.url, events=["*"], queue="q", secret="hush")
        client.ok("PUSH", queue="other", data=0)
        id = client.ok("PUSH", queue="q", data={"ä": 1})["id"]
        client.ok("ACK", id=client.ok("PULL", queue="q")["job"]["id"], result=[7])
        told = {}
        for _ in range(3):
            headers, body = receiver.calls.get(timeout=SECONDS)
            assert _documented()("hush", body, headers["X-FlashQ-Signature"])
            assert not _documented()("hush", body + b" ", headers["X-FlashQ-Signature"])
            assert headers["X-FlashQ-Signature"] == hmac.new(b"hush", body, hashlib.sha256).hexdigest()
            said = json.loads(body)
            assert set(said) == {"event", "queue", "job_id", "timestamp", "data", "error"}
            told[said["event"]] = (said["queue"], said["job_id"], said["data"], said["error"])
        assert told == {
            "pushed": ("q", id, {"ä": 1}, None), "active": ("q", id, None, None), "completed": ("q", id, [7], None),
        }  # fmt: skip
        when(client, delivered=3, pending=0)
        assert server.stop() == 0


def test_a_failed_try_is_repeated_with_its_id(tmp_path: Path, receiver: Receiver) -> None:
    """500 and then 200: the same delivery, and the error is forgotten."""
    receiver.status = 500
    with ServerProcess(tmp_path, environment=ALLOWED) as server, server.client() as client:
        client.ok("WEBHOOK", url=receiver.url, events=["pushed"])
        client.ok("PUSH", queue="q", data=1)
        first, _ = receiver.next()
        assert when(client, pending=1, failed=0)["last_error"] in {None, "HTTP status 500"}
        receiver.status = 200
        second, _ = receiver.next()
        assert first["X-FlashQ-Delivery"] == second["X-FlashQ-Delivery"]
        assert when(client, delivered=1, pending=0)["last_error"] is None


@pytest.mark.parametrize("end", ["kill", "stop"])
def test_what_was_not_confirmed_comes_again(tmp_path: Path, receiver: Receiver, end: str) -> None:
    """The server ends while the receiver holds the call: after the next start it comes again, and then no more."""
    receiver.hang.clear()
    with ServerProcess(tmp_path, environment=ALLOWED) as server:
        with server.client() as client:
            client.ok("WEBHOOK", url=receiver.url, events=["pushed"], secret="hush")
            client.ok("PUSH", queue="q", data=1)
            first, body = receiver.next()
        getattr(server, end)()
        receiver.hang.set()
        server.start()
        second, again = receiver.next()
        assert (second["X-FlashQ-Delivery"], again) == (first["X-FlashQ-Delivery"], body)
        assert "X-FlashQ-Signature" in second
        with server.client() as client:
            when(client, delivered=1, pending=0)
            assert server.stop() == 0
        server.start()
        with server.client() as client:
            client.ok("PUSH", queue="q", data=2)
            assert receiver.next()[1]["data"] == 2
        assert receiver.calls.empty()


def test_what_happened_while_nobody_could_be_called(tmp_path: Path) -> None:
    """The receiver is away, the server is killed, and the receiver comes back at the same address."""
    receiver = Receiver()
    with ServerProcess(tmp_path, environment=ALLOWED) as server:
        with server.client() as client:
            client.ok("WEBHOOK", url=receiver.url, events=["pushed"])
            for number in range(50):
                client.ok("PUSH", queue="q", data=number)
            when(client, pending=50)
        server.kill()
        with receiver.listening():
            server.start()
            assert {receiver.next()[1]["data"] for _ in range(50)} == set(range(50))
            with server.client() as client:
                when(client, delivered=50, pending=0)


def test_a_deleted_webhook_is_not_called_after_a_restart(tmp_path: Path, receiver: Receiver) -> None:
    """Nor is what was owed to it."""
    receiver.status = 500
    with ServerProcess(tmp_path, environment=ALLOWED) as server:
        with server.client() as client:
            gone = client.ok("WEBHOOK", url=receiver.url, events=["pushed"])["id"]
            client.ok("PUSH", queue="q", data=1)
            receiver.next()
            client.ok("WEBHOOKDELETE", id=gone)
        server.restart()
        with server.client() as client:
            assert client.ok("WEBHOOKLIST")["webhooks"] == []
            client.ok("WEBHOOK", url=receiver.url, events=["pushed"])
            client.ok("PUSH", queue="q", data=2)
            assert receiver.next()[1]["data"] == 2
        assert receiver.calls.empty()


def test_what_leads_inward_is_not_called(tmp_path: Path, receiver: Receiver) -> None:
    """Registered while it was allowed, and called no more when it is not; a name is judged by its addresses."""
    port = receiver.url.split(":")[2]
    with ServerProcess(tmp_path, environment=ALLOWED) as server:
        with server.client() as client:
            client.ok("WEBHOOK", url=f"http://127.0.0.1:{port}", events=["pushed"])
        server.stop()
        server.environment["WEBHOOK_ALLOW_PRIVATE"] = "0"
        server.start()
        with server.client() as client:
            assert client.refused("WEBHOOK", url=receiver.url, events=["*"])[0] == "bad_request"
            assert client.refused("WEBHOOK", url=f"http://localhost:{port}/", events=["*"])[0] == "bad_request"
            client.ok("PUSH", queue="q", data=1)
            for _ in range(SECONDS * 50):
                (hook,) = client.ok("WEBHOOKLIST")["webhooks"]
                if hook["last_error"]:
                    break
                threading.Event().wait(0.02)
            assert hook["last_error"] == "127.0.0.1 is not a public address"
        server.stop()
        assert "calls to 127.0.0.1 fail: 127.0.0.1 is not a public address" in server.errors()
    assert receiver.calls.empty()


def test_who_has_no_webhooks_does_not_pay_for_them(tmp_path: Path, receiver: Receiver) -> None:
    """The HTTP client takes time and memory to load: it is loaded with the first call, and not before."""

    def loaded() -> bool:
        maps = Path(f"/proc/{server.pid}/maps")
        if not maps.exists():
            pytest.skip("only Linux tells what a process has loaded")
        return "aiohttp" in maps.read_text()

    with ServerProcess(tmp_path, environment=ALLOWED) as server, server.client() as client:
        client.ok("PUSH", queue="q", data=1)
        assert not loaded()
        client.ok("WEBHOOK", url=receiver.url, events=["pushed"])
        assert not loaded()
        client.ok("PUSH", queue="q", data=1)
        receiver.next()
        assert loaded()


def test_a_secret_is_never_told(tmp_path: Path, receiver: Receiver) -> None:
    """Not in a list, not in the log; and the database is for its owner only."""
    with ServerProcess(tmp_path, environment=ALLOWED | {"LOG_LEVEL": "debug"}) as server, server.client() as client:
        client.ok("WEBHOOK", url=receiver.url + "/path-secret", events=["pushed"], secret="hush-hush")
        receiver.status = 500
        client.ok("PUSH", queue="q", data=1)
        receiver.next()
        assert "hush-hush" not in json.dumps(client.ok("WEBHOOKLIST"))
        assert server.stop() == 0
        assert "hush-hush" not in server.errors()
        assert "path-secret" not in server.errors()
        assert server.data.joinpath("flashq.db").stat().st_mode & 0o777 == 0o600


def _documented() -> Any:
    """The check of signatures as docs/webhooks.md gives it."""
    text = (ROOT / "docs" / "webhooks.md").read_text(encoding="utf-8")
    (snippet,) = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    names: dict[str, Any] = {}
    exec(snippet, names)
    return names["is_genuine"]
