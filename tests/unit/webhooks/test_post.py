"""Unit tests of `flashq.webhooks.post`: real sockets on this machine, names that resolve to what a test says."""

import asyncio
import json
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.fakes import certificate
from tests.fakes.ports import free_port

from flashq.webhooks import post
from flashq.webhooks.post import MAX_ANSWER_BYTES, Addresses, NotPublic, Poster

HERE = "127.0.0.1"
OTHER = "127.0.0.2"
BODY = json.dumps({"event": "pushed", "data": "ä"}).encode()
HEADERS = {"Content-Type": "application/json", "X-FlashQ-Delivery": "w-1"}
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Receiver:
    """Keeps the requests that it reads, and answers each with the next of its answers; the last one stays."""

    def __init__(self, *answers: bytes) -> None:
        self.answers = list(answers)
        self.requests: list[bytes] = []
        self.connections = 0
        self.ended = asyncio.Event()
        self.sent = 0
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = next(
                    int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-len")
                )
                self.requests.append(head + await reader.readexactly(length))
                await self.answer(writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.ended.set()
            writer.close()

    async def answer(self, writer: asyncio.StreamWriter) -> None:
        """Write the next answer."""
        writer.write(self.answers.pop(0) if len(self.answers) > 1 else self.answers[0])
        await writer.drain()

    @property
    def url(self) -> str:
        return f"http://receiver.example:{self.port}/hook?x=%20y"


class Endless(Receiver):
    """Its answer does not end."""

    async def answer(self, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n")
        while True:
            writer.write(b"x" * 65_536)
            await writer.drain()
            self.sent += 65_536


class Silent(Receiver):
    """It never answers."""

    async def answer(self, writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()


class Plain(Receiver):
    """It speaks before it is spoken to, and without TLS."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self.answer(writer)
        writer.close()


@asynccontextmanager
async def listening(receiver: Receiver, host: str = HERE, tls: ssl.SSLContext | None = None) -> AsyncIterator[Receiver]:
    """A receiver at a port of its own."""
    receiver.port = receiver.port or free_port(host)
    server = await asyncio.start_server(receiver.serve, host, receiver.port, ssl=tls)
    try:
        yield receiver
    finally:
        server.close()


def resolving(*answers: list[str]) -> Callable[[str, int], Awaitable[Addresses]]:
    """A resolver that gives these addresses, one list a question; the last one stays."""
    left = list(answers)

    async def look_up(host: str, port: int) -> Addresses:
        assert host == "receiver.example"
        found = left.pop(0) if len(left) > 1 else left[0]
        return [(socket.AF_INET6 if ":" in address else socket.AF_INET, address) for address in found]

    return look_up


@asynccontextmanager
async def poster(*answers: list[str], private: bool = True) -> AsyncIterator[Poster]:
    """A poster for which the receiver's name resolves to these."""
    made = Poster(private=private, look_up=resolving(*(answers or ([HERE],))))
    try:
        yield made
    finally:
        await made.close()


async def test_what_is_sent() -> None:
    """The body to the byte, the target as it was registered, the name as host, and no more headers than needed."""
    async with listening(Receiver(OK)) as receiver, poster() as calls:
        assert await calls.post(receiver.url, HEADERS, BODY) is None
        (request,) = receiver.requests
        head, _, body = request.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        assert (first, body) == ("POST /hook?x=%20y HTTP/1.1", BODY)
        assert sorted(line.lower() for line in lines) == sorted((
            f"host: receiver.example:{receiver.port}", "user-agent: flashq", "accept: */*",
            "accept-encoding: identity", "content-type: application/json", "x-flashq-delivery: w-1",
            f"content-length: {len(BODY)}",
        ))  # fmt: skip


async def test_a_connection_serves_the_next_call() -> None:
    """Without being resolved or opened again."""
    async with listening(Receiver(OK)) as receiver, poster() as calls:
        for _ in range(3):
            assert await calls.post(receiver.url, HEADERS, BODY) is None
        assert (receiver.connections, len(receiver.requests)) == (1, 3)


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
async def test_every_2xx_is_taken(status: int) -> None:
    """Whatever it says beyond that."""
    async with (
        listening(Receiver(b"HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n" % status)) as receiver,
        poster() as calls,
    ):
        assert await calls.post(receiver.url, HEADERS, BODY) is None


@pytest.mark.parametrize("status", [300, 400, 404, 410, 429, 500, 503])
async def test_other_statuses_are_refusals(status: int) -> None:
    """And are told by their number only; a body might say anything."""
    answer = b"HTTP/1.1 %d X\r\nContent-Length: 6\r\nConnection: close\r\n\r\nsecret" % status
    async with listening(Receiver(answer)) as receiver, poster() as calls:
        why = await calls.post(receiver.url, HEADERS, BODY)
        assert why is not None
        assert "secret" not in why
        assert str(status) in why


async def test_redirects_are_not_followed() -> None:
    """Wherever they lead."""
    async with listening(Receiver(OK)) as inner:
        answer = b"HTTP/1.1 307 X\r\nLocation: http://%s:%d/\r\nContent-Length: 0\r\n\r\n" % (HERE.encode(), inner.port)
        async with listening(Receiver(answer)) as receiver, poster() as calls:
            assert await calls.post(receiver.url, HEADERS, BODY) == "HTTP status 307; redirects are not followed"
        assert inner.connections == 0


async def test_an_endless_answer_is_cut_off() -> None:
    """Its status counts; of the rest as much is read as there may be, and the connection ends."""
    async with listening(Endless()) as receiver, poster() as calls:
        assert await calls.post(receiver.url, HEADERS, BODY) is None
        await asyncio.wait_for(receiver.ended.wait(), 10)
        assert receiver.sent < 100 * MAX_ANSWER_BYTES


async def test_a_packed_answer_is_not_unpacked() -> None:
    """What a few bytes unpack to is not our concern."""
    answer = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nnope"
    async with listening(Receiver(answer)) as receiver, poster() as calls:
        assert await calls.post(receiver.url, HEADERS, BODY) is None


async def test_a_receiver_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Is given up after the time that a try may take, and the connection with it."""
    monkeypatch.setattr(post, "TIMEOUT_S", 0.2)
    async with listening(Silent()) as receiver, poster() as calls:
        tries = 0
        while not receiver.requests:  # a try may be over before it has come so far
            assert await calls.post(receiver.url, HEADERS, BODY) == "no answer within 0.2 s"
            tries += 1
        assert len(receiver.requests) <= tries


@pytest.mark.parametrize("answer", [
    b"\x00\x01\x02garbage\r\n\r\n", b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 10_000 + b"\r\n",
    b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000 + b"\r\n\r\n", b"HTTP/1.1 abc\r\n\r\n", b"SSH-2.0-OpenSSH\r\n\r\n",
])  # fmt: skip
async def test_answers_that_make_no_sense(answer: bytes) -> None:
    """Are failed tries, and nothing of them is told."""
    async with listening(Receiver(answer)) as receiver, poster() as calls:
        why = await calls.post(receiver.url, HEADERS, BODY)
        assert why is not None
        assert why.startswith("the connection broke or the answer made no sense: ")


async def test_nobody_listens() -> None:
    """The sentence says so, and holds no URL."""
    async with listening(Receiver(OK)) as receiver:
        url = receiver.url
    async with poster() as calls:
        why = await calls.post(url, HEADERS, BODY)
        assert why is not None
        assert why.startswith("connecting failed: ")
        assert "hook" not in why


@pytest.mark.parametrize("inward", [[HERE], ["1.1.1.1", HERE], [HERE, "1.1.1.1"], ["::1"], ["::ffff:127.0.0.1"]])
async def test_a_name_that_leads_inward(inward: list[str]) -> None:
    """Any address that is not public is enough, wherever it stands, and nothing is connected to."""
    async with listening(Receiver(OK)) as receiver, poster(inward, private=False) as calls:
        why = await calls.post(receiver.url, HEADERS, BODY)
        assert why in {f"{address} is not a public address" for address in inward}
        assert receiver.connections == 0


@pytest.mark.parametrize(
    "host", [HERE, "[::1]", "127.1", "0x7f000001", "2130706433", "[::ffff:127.0.0.1]", "localhost"]
)
async def test_an_address_in_the_url_that_leads_inward(host: str) -> None:
    """It was refused when it was registered, unless the rules have changed; it is not called either."""
    async with listening(Receiver(OK)) as receiver:
        calls = Poster()
        assert await calls.post(f"http://{host}:{receiver.port}/", HEADERS, BODY) is not None
        assert receiver.connections == 0
        await calls.close()


async def test_a_name_that_changes_its_mind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each connection is judged anew, and goes to the address that was judged."""
    monkeypatch.setattr(post, "is_public", lambda address: address == OTHER)
    answer = OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    outer, inner = Receiver(answer), Receiver(OK)
    outer.port = inner.port = free_port(OTHER, HERE)
    async with listening(outer, OTHER):
        async with listening(inner, HERE), poster([OTHER], [HERE], [OTHER], private=False) as calls:
            assert await calls.post(outer.url, HEADERS, BODY) is None
            assert await calls.post(outer.url, HEADERS, BODY) == f"{HERE} is not a public address"
            assert await calls.post(outer.url, HEADERS, BODY) is None
        assert (outer.connections, inner.connections) == (2, 0)


async def test_the_last_judgement_is_of_the_socket() -> None:
    """Whatever came between: no socket is made for an address that is not public."""
    calls = Poster()
    with pytest.raises(NotPublic, match=r"^10\.0\.0\.1 is not a public address$"):
        calls._socket((socket.AF_INET, socket.SOCK_STREAM, 0, "", ("10.0.0.1", 80)))
    calls._socket((socket.AF_INET, socket.SOCK_STREAM, 0, "", ("1.1.1.1", 80))).close()
    await calls.close()


async def test_a_name_that_is_none() -> None:
    """Not resolved, or resolved to nothing."""

    async def fail(host: str, port: int) -> Addresses:
        raise socket.gaierror(-2, "Name or service not known")

    async def nothing(host: str, port: int) -> Addresses:
        return []

    for look_up in (fail, nothing):
        calls = Poster(private=True, look_up=look_up)
        assert await calls.post("http://receiver.example/", HEADERS, BODY) == "the name cannot be resolved"
        await calls.close()


async def test_the_system_resolves() -> None:
    """Names of the machine, and the errors of names that are none."""
    found = await post._look_up("localhost", 80)
    assert {address for _, address in found} <= {HERE, "::1"}
    assert found
    with pytest.raises(OSError):  # noqa: PT011 - every system has its own words
        await post._look_up("x" * 70 + ".invalid", 80)


async def test_a_certificate_that_nobody_believes(tmp_path: Path) -> None:
    """No call is made over it."""
    made = certificate.make(tmp_path, "DNS:receiver.example")
    async with listening(Receiver(OK), tls=made.server_context()) as receiver, poster() as calls:
        why = await calls.post(receiver.url.replace("http:", "https:"), HEADERS, BODY)
        assert why is not None
        assert why.startswith("TLS failed: ")
        assert receiver.requests == []


async def test_no_tls_where_it_is_asked_for() -> None:
    """A receiver that speaks plainly is not spoken to plainly."""
    async with listening(Plain(OK)) as receiver, poster() as calls:
        why = await calls.post(receiver.url.replace("http:", "https:"), HEADERS, BODY)
        assert why is not None
        assert why.startswith("TLS failed: ")


async def test_a_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would be called in place of the address that was judged."""
    async with listening(Receiver(OK)) as proxy, listening(Receiver(OK)) as receiver:
        monkeypatch.setenv("http_proxy", f"http://{HERE}:{proxy.port}")
        async with poster() as calls:
            assert await calls.post(receiver.url, HEADERS, BODY) is None
        assert (proxy.connections, receiver.connections) == (0, 1)


async def test_cookies_are_not_kept() -> None:
    """A receiver cannot mark the server."""
    answer = OK.replace(b"\r\n\r\n", b"\r\nSet-Cookie: a=b\r\n\r\n")
    async with listening(Receiver(answer)) as receiver, poster() as calls:
        for _ in range(2):
            await calls.post(receiver.url, HEADERS, BODY)
        assert b"ookie" not in receiver.requests[1]


async def test_a_large_body_arrives_whole() -> None:
    """As large as an event with the largest payload."""
    body = b'"' + b"x" * (1_048_576 + 200) + b'"'
    async with listening(Receiver(OK)) as receiver, poster() as calls:
        assert await calls.post(receiver.url, HEADERS, body) is None
        assert receiver.requests[0].endswith(body)


async def test_a_url_that_cannot_be_read() -> None:
    """It cannot have been registered; if it comes nevertheless, the try fails."""
    async with poster() as calls:
        assert await calls.post("http://[::1", HEADERS, BODY) is not None
