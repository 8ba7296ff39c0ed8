"""The plainest HTTP client: one keep-alive connection of the standard library, nothing of ours."""

import http.client
import json
import socket
from types import TracebackType
from typing import Any, Final, NamedTuple

ANSWER_SECONDS: Final = 20


class HttpAnswer(NamedTuple):
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, decoded."""
        return json.loads(self.body)


class HttpClient:
    """One connection. It is opened again when the server has closed it."""

    def __init__(self, port: int, token: str = "", source: str = "127.0.0.1") -> None:
        """Args: ``source``: the address of this machine that it comes from; wrong tokens are counted for each."""
        self._connection = http.client.HTTPConnection(
            "127.0.0.1", port, timeout=ANSWER_SECONDS, source_address=(source, 0)
        )
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    def __enter__(self) -> "HttpClient":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def connect(self) -> "HttpClient":
        """Connect now; else the first request does."""
        self._connection.connect()
        return self

    def send(self, method: str, path: str, body: Any = None, **headers: str) -> None:
        """Send a request: ``body`` is JSON unless it is bytes. Underscores in a header's name are hyphens."""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self._connection.request(method, path, data, self._headers | named)

    def receive(self) -> HttpAnswer:
        """The answer."""
        response = self._connection.getresponse()
        return HttpAnswer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> HttpAnswer:
        """Send a request and wait for its answer."""
        self.send(method, path, body, **headers)
        return self.receive()

    def ok(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """The envelope of a request that must succeed, without its ``ok``."""
        answer = self.ask(method, path, body, **headers)
        assert answer.status == 200, f"{method} {path} was refused: {answer}"
        envelope = answer.json
        assert envelope.pop("ok") is True
        return envelope

    def data(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """What stands under ``data``; there is nothing else in the envelope."""
        envelope = self.ok(method, path, body, **headers)
        assert set(envelope) == {"data"}, envelope
        return envelope["data"]

    def refused(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, str, str]:
        """Status, code and sentence of a request that must be refused."""
        answer = self.ask(method, path, body, **headers)
        envelope = answer.json
        assert envelope["ok"] is False, f"{method} {path} was not refused: {answer}"
        return answer.status, envelope["code"], envelope["error"]

    @property
    def socket(self) -> socket.socket:
        """Of the connection."""
        return self._connection.sock

    def close(self) -> None:
        """Close it."""
        self._connection.close()
