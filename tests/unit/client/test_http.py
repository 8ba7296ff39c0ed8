"""HTTP without a socket: what is written for lines, and what answers of every shape come to."""

import builtins
import itertools
import re
from collections import deque
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fakes.http_server import chunked, refusal, response

from flashq.client import calls, http
from flashq.client.address import Address, parse
from flashq.client.encoding import encode
from flashq.client.http import MAX_RETRY_AFTER_MS, Conversation, EventReader, Speaker, retry_after_ms, take_batch
from flashq.errors import BadRequest, ConnectionLost, FlashQError, NotFound, Overloaded, TooLarge, Unauthorized

ADDRESS = parse("http://queue.example:6790")
PING = encode(calls.ping().request)
AUTH = encode(calls.auth("new").request)
HELLO = encode(calls.hello("w1", ["q"], 4, None, None).request)
BYE = encode(calls.bye("w1").request)
OK = b'{"ok":true}\n'


def asked(*lines: bytes, speaker: Speaker | None = None, req_id: str | None = None) -> Conversation:
    """A conversation in which lines were sent."""
    conversation = Conversation(ADDRESS)
    conversation.post(lines or (PING,), speaker or Speaker(ADDRESS), req_id)
    return conversation


def error_of(line: bytes) -> FlashQError:
    """What a client raises for an answer."""
    with pytest.raises(FlashQError) as refused:
        calls.read_ok(line)
    return refused.value


@pytest.mark.parametrize(
    ("header", "ms"),
    [
        (b"7", 7_000),
        (b" 0 ", 0),
        (b"61", MAX_RETRY_AFTER_MS),
        (b"9" * 5_000, MAX_RETRY_AFTER_MS),
        (b"Sun, 06 Nov 1994 08:49:37 GMT", 7_000),
        (b"Sun, 06 Nov 1994 08:49:00 GMT", 0),
        (b"Sun, 06 Nov 9999 08:49:00 GMT", MAX_RETRY_AFTER_MS),
        *((wrong, 0) for wrong in (b"", b"-1", b"1.5", b"soon", b"\xb2", b"Sun, 99 Nov 1994 08:49:37 GMT")),
    ],
)
def test_how_long_to_wait(header: bytes, ms: int) -> None:
    """Seconds or a moment, up to a bound; what is neither asks for nothing."""
    assert retry_after_ms({b"retry-after": header, b"date": b"Sun, 06 Nov 1994 08:49:30 GMT"}) == ms


def test_a_moment_without_another() -> None:
    """Nobody knows how far away it is."""
    moment = b"Sun, 06 Nov 1994 08:49:37 GMT"
    assert retry_after_ms({b"retry-after": moment}) == 0
    assert retry_after_ms({b"retry-after": moment, b"date": b"Sun, 06 Nov 1994 08:49:30 -0000"}) == 0
    assert retry_after_ms({}) == 0


def test_a_request() -> None:
    """Lines are the body, without the last line break, which would make the longest line too long for the server."""
    written = Conversation(parse("http://t0ken@queue.example:6790/below/")).post(
        [PING, PING], Speaker(parse("http://t0ken@queue.example"))
    )
    head, _, body = written.partition(b"\r\n\r\n")
    assert head.split(b"\r\n") == [
        b"POST /below/commands HTTP/1.1",
        b"Host: queue.example:6790",
        b"Authorization: Bearer t0ken",
        b"Content-Type: application/x-ndjson",
        b"Content-Length: %d" % len(body),
    ]
    assert body == PING + PING.rstrip()


def test_an_answer() -> None:
    """The lines of the body are the answers, and the connection takes the next request."""
    conversation = asked(PING, PING)
    assert conversation.receive(response(OK + OK)) == [OK.rstrip(), OK.rstrip()]
    assert conversation.done
    assert conversation.reusable
    assert conversation.post([PING], Speaker(ADDRESS)).startswith(b"POST ")
    assert not conversation.done
    assert conversation.receive(response(OK)) == [OK.rstrip()]


SHAPES = {
    "plain": response(OK * 3),
    "without the last end": response((OK * 3).rstrip()),
    "in chunks": chunked(OK[:5], OK[5:] + OK, OK[:-1], b"\n"),
    "in chunks without the last end": chunked((OK * 3)[:-1]),
    "after 100 Continue": b"HTTP/1.1 100 Continue\r\n\r\n" + response(OK * 3),
    "after early hints": b"HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n" + response(OK * 3),
    "with headers of proxies": response(OK * 3, "200 OK", "Via: 1.1 x", "Set-Cookie: a=b", "Set-Cookie: c=d"),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_cut_at_every_byte(shape: str) -> None:
    """An answer of any shape is the same three lines, wherever it is cut."""
    whole = SHAPES[shape]
    for cut in range(len(whole) + 1):
        conversation = asked(PING, PING, PING)
        lines = [line for part in (whole[:cut], whole[cut:]) if part for line in conversation.receive(part)]
        assert lines == [OK.rstrip()] * 3
        assert conversation.reusable


@pytest.mark.parametrize("shape", SHAPES)
def test_ended_at_every_byte(shape: str) -> None:
    """A connection that ends anywhere inside an answer is a lost one: no part of an answer passes for a whole one."""
    whole = SHAPES[shape]
    for cut in range(len(whole)):
        conversation = asked(PING, PING, PING)
        if cut:
            conversation.receive(whole[:cut])
        with pytest.raises(ConnectionLost):
            conversation.receive(b"")


def test_an_answer_ended_by_the_connection() -> None:
    """An old proxy ends its answer by closing; the lines say whether it is whole, and nothing more is sent there."""
    old = b"HTTP/1.0 200 OK\r\n\r\n"
    conversation = asked(PING, PING)
    assert conversation.receive(old + OK + OK.rstrip()) == [OK.rstrip()]
    assert conversation.receive(b"") == [OK.rstrip()]
    assert not conversation.reusable
    conversation = asked(PING, PING)
    conversation.receive(old + OK)
    with pytest.raises(ConnectionLost, match="1 of 2"):
        conversation.receive(b"")


def test_a_connection_to_be_closed() -> None:
    """After ``Connection: close`` the answer counts and the connection does not."""
    conversation = asked()
    assert conversation.receive(response(OK, "200 OK", "Connection: close")) == [OK.rstrip()]
    assert conversation.done
    assert not conversation.reusable


@pytest.mark.parametrize(
    ("came", "why"),
    [
        (response(OK * 2), "2 of 1"),
        (response(b""), "0 of 1"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "no HTTP answer"),
        (OK, "no HTTP answer"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", "no HTTP answer"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "no HTTP answer"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000, "no HTTP answer"),
        (response(OK, "200 OK", "Content-Encoding: gzip"), "compressed"),
        (response(b"<html>", "502 Bad Gateway"), "status 502"),
        (response(b"", "504 Gateway Timeout"), "status 504"),
        (response(b"x" * 100_000, "403 Forbidden"), "over 65536"),
    ],
)
def test_answers_that_are_none(came: bytes, why: str) -> None:
    """What tells nothing about the commands is a lost connection, with the reason."""
    with pytest.raises(ConnectionLost, match=why):
        asked().receive(came)


def test_an_endless_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line that does not end is given up before it fills the memory, however it is cut."""
    monkeypatch.setattr(http, "MAX_UNENDED_BYTES", 1000)
    conversation = asked()
    conversation.receive(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n" + b"x" * 900)
    with pytest.raises(ConnectionLost, match="over 1000 bytes"):
        conversation.receive(b"x" * 101)
    conversation = asked(*[PING] * 4)
    conversation.receive(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n" + b"x" * 900)
    assert len(conversation.receive(b"\n" + b"x" * 900)) == 1


@pytest.mark.parametrize(
    ("came", "kind", "why"),
    [
        (refusal("401 Unauthorized", "unauthorized", "Invalid token"), Unauthorized, "Invalid token"),
        (refusal("429 Too Many Requests", "overloaded", "later"), Overloaded, "later"),
        (refusal("413 Content Too Large", "too_large", "Body too large"), TooLarge, "Body too large"),
        (refusal("404 Not Found", "not_found", "Nothing is at /commands"), NotFound, "Nothing"),
        (response(b"<html>", "401 Unauthorized"), Unauthorized, "HTTP status 401"),
        (response(b"", "413 Content Too Large"), TooLarge, "413"),
        (response(b"", "429 Too Many Requests"), Overloaded, "429"),
        (response(b"{}", "404 Not Found"), BadRequest, "is it a FlashQ server"),
        (response(b"[1]", "405 Method Not Allowed"), BadRequest, "405"),
        (response(b"", "301 Moved", "Location: https://queue.example/x"), BadRequest, r"redirect to .*queue.example/x"),
    ],
)
def test_refusals(came: bytes, kind: type[FlashQError], why: str) -> None:
    """A refused request refuses each of its commands, by our code or by what its status means."""
    conversation = asked(PING, PING)
    lines = conversation.receive(came)
    assert len(lines) == 2
    for line in lines:
        error = error_of(line)
        assert type(error) is kind
        assert re.search(why, str(error))


def test_a_refusal_finds_its_call() -> None:
    """The refusal of a call that waits carries its id; a duplicate's carries the other job's."""
    line = asked(PING, req_id="7").receive(refusal("401 Unauthorized", "unauthorized"))[0]
    assert b'"reqId":"7"' in line
    body = b'{"ok":false,"error":"x","code":"duplicate","id":12}'
    error = error_of(asked().receive(response(body, "409 Conflict"))[0])
    assert getattr(error, "id", None) == 12


def test_headers_of_a_session() -> None:
    """Token and name are said with every request once the server has accepted them, and not before."""
    speaker = Speaker(parse("http://old@queue.example"))
    assert speaker.headers() == [("Authorization", b"Bearer old")]
    assert speaker.headers(AUTH) == [("Authorization", b"Bearer new")]
    speaker.heard(AUTH, b'{"ok":false,"error":"x","code":"unauthorized"}')
    assert speaker.headers() == [("Authorization", b"Bearer old")]
    speaker.heard(AUTH, b'{"ok":true}')
    assert speaker.headers(HELLO) == [("Authorization", b"Bearer new")]
    speaker.heard(HELLO, b'{"ok":true}')
    assert speaker.headers(PING) == [("Authorization", b"Bearer new"), ("FlashQ-Worker", b"w1")]
    assert speaker.headers(HELLO) == speaker.headers(BYE) == [("Authorization", b"Bearer new")]
    speaker.heard(BYE, b'{"ok":true}')
    assert speaker.headers() == [("Authorization", b"Bearer new")]


def test_a_worker_that_the_server_has_forgotten() -> None:
    """A name that the server does not know any more ends the session as a connection, to be opened with HELLO."""
    speaker = Speaker(ADDRESS)
    speaker.heard(HELLO, b'{"ok":true}')
    with pytest.raises(ConnectionLost, match="Worker"):
        asked(speaker=speaker).receive(refusal("404 Not Found", "not_found", "Worker 'w1' not found"))


@pytest.mark.parametrize("token", ["a\nb", " a", "a\u20ac", "a\x00", "a\rb"])
def test_tokens_that_are_no_headers(token: str) -> None:
    """A token that HTTP cannot carry is refused by name, and nothing of it slips into another header."""
    with pytest.raises(BadRequest, match="token cannot be sent over HTTP"):
        Speaker(Address(http=True, token=token))
    with pytest.raises(BadRequest, match="token cannot"):
        asked(encode(calls.auth(token).request))
    if token.strip() == token:
        with pytest.raises(BadRequest, match="worker's name cannot"):
            asked(encode(calls.hello(token, [], 1, None, None).request))


def test_batches() -> None:
    """Lines go together up to the bounds; what changes the headers goes alone, and so does a line of any length."""
    subscribe = encode(calls.subscribe("q", []).request)
    lines = deque([PING, PING, AUTH, PING, HELLO, BYE, PING, subscribe])
    batches = []
    while lines[0] is not subscribe:
        batches.append(take_batch(lines))
    assert batches == [[PING, PING], [AUTH], [PING], [HELLO], [BYE], [PING]]
    many = deque([PING] * (http.BODY_LINES + 1))
    assert len(take_batch(many)) == http.BODY_LINES
    long = b"x" * (http.BODY_BYTES - 1)
    large = deque([long, b"x", b"y", long + b"xx", b"z"])
    assert [len(take_batch(large)) for _ in range(4)] == [2, 1, 1, 1]


def test_streams() -> None:
    """A subscription is a GET for its queue and kinds; its events come as lines of TCP's form."""
    speaker = Speaker(parse("http://t@queue.example"))
    speaker.heard(HELLO, b'{"ok":true}')
    conversation = Conversation(ADDRESS)
    written = conversation.stream("a.b", ["failed", "completed"], speaker)
    assert written.startswith(b"GET /events/a.b?types=failed%2Ccompleted HTTP/1.1\r\n")
    assert b"Authorization: Bearer t\r\n" in written
    assert b"FlashQ-Worker" not in written
    assert conversation.receive(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n") == []
    assert conversation.begun
    event = b'id: 1\nevent: failed\ndata: {"n":1}\n\n'
    assert conversation.receive(b"%x\r\n%b\r\n" % (len(event), event)) == [b'{"event":{"n":1}}']
    with pytest.raises(ConnectionLost, match="ended the stream"):
        conversation.receive(b"0\r\n\r\n")
    assert Conversation(ADDRESS).stream("*", [], speaker).startswith(b"GET /events HTTP/1.1\r\n")


def test_a_refused_stream() -> None:
    """A stream that is refused has one answer, which says why."""
    conversation = Conversation(ADDRESS)
    conversation.stream("q", ["no"], Speaker(ADDRESS))
    (line,) = conversation.receive(refusal("400 Bad Request", "bad_request", "unknown event"))
    assert conversation.done
    assert not conversation.begun
    assert isinstance(error_of(line), BadRequest)


STREAM = (
    b'retry: 1000\nid: a-0\n\n: still here\n\nevent: pushed\nid: a-1\ndata: {"n":1}\n\n'
    b'event: failed\r\ndata:{"n":2}\r\n\r\nevent: lagged\ndata: {"lagged":5}\n\ndata: {"n":3}\n\n'
)


@given(st.lists(st.integers(0, len(STREAM)), max_size=8))
def test_events_cut_anywhere(cuts: list[int]) -> None:
    """Comments and members that say nothing are no events, and events are the same wherever the stream is cut."""
    reader = EventReader()
    edges = [0, *sorted(cuts), len(STREAM)]
    lines: list[bytes] = []
    for start, end in itertools.pairwise(edges):
        lines += reader.feed(STREAM[start:end])
    assert lines == [b'{"event":{"n":1}}', b'{"event":{"n":2}}', b'{"lagged":5}', b'{"event":{"n":3}}']


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without h11, an http:// URL is refused with the words that install it."""
    real = builtins.__import__

    def missing(name: str, *rest: Any) -> Any:
        if name == "h11":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(BadRequest, match=r"pip install 'flashq-server\[http\]'"):
        http.library()
