"""Command lines over HTTP, without a socket: requests to write, and answer lines out of what was read.

``POST /commands`` takes the lines that TCP takes and answers with their answer lines, so the clients speak HTTP with
everything they have: only the carrier differs. `Conversation` is one connection's half of HTTP/1.1; ``async_http.py``
and ``sync_http.py`` move its bytes. What a line connection remembers of its client goes with every request: `Speaker`
makes ``AUTH`` and ``HELLO`` into the headers ``Authorization`` and ``FlashQ-Worker``. ``SUBSCRIBE`` becomes the event
stream of ``GET /events``.

HTTP itself is h11's: an answer cut in odd places, chunked by a proxy, preceded by ``100 Continue`` is nothing to write
again. It is imported when the first such client is made, since most clients never need it.

An answer of another status refuses the whole request before anything of it was carried out; it stands for the answer
of each line. Redirects are not followed: a token would go to whoever is named there.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from email.utils import parsedate_to_datetime
from typing import Any, Final
from urllib.parse import quote, urlencode

from msgspec import UNSET, DecodeError, Struct, UnsetType, field, json

from flashq.client.address import Address
from flashq.client.pipeline import LineSplitter
from flashq.errors import BadRequest, ConnectionLost, FlashQError
from flashq.protocol.limits import MAX_ANSWER_BYTES

BODY_BYTES: Final = 1024 * 1024
"""Lines sent in one request, unless one line alone is longer: enough that HTTP's own cost disappears beside them."""

BODY_LINES: Final = 1_000
"""The same in lines: the server lets that many wait for the disk together."""

MAX_HEAD_BYTES: Final = 64 * 1024
"""Status and headers of an answer: more than any server or proxy sends."""

MAX_REFUSAL_BYTES: Final = 64 * 1024
"""The body of an answer that is no success; an error's sentence is far shorter."""

MAX_UNENDED_BYTES: Final = 2 * MAX_ANSWER_BYTES
"""An answer line without an end: its payloads have a bound, and what stands around them is no longer than they."""

MAX_RETRY_AFTER_MS: Final = 60_000
"""The longest wait that a server or proxy may ask for: by then nobody knows any more whether it still holds."""

KEEP_MS: Final = 4_000
"""How long a connection may be idle before it is not used again: less than the five seconds after which the server
closes it, so that no request meets a connection that is being closed."""

OK_LINE: Final = b'{"ok":true}'

Header = tuple[str, str | bytes]


def library() -> Any:  # noqa: ANN401 - a module
    """What speaks HTTP.

    Raises:
        BadRequest: it is not installed.
    """
    try:
        import h11
    except ImportError:
        raise BadRequest("Invalid: http:// URLs need h11: pip install 'flashq-server[http]'") from None
    return h11


# --- lines that are more than a line --------------------------------------------------------------------------


class _Said(Struct):
    """What a line about the session itself says."""

    cmd: str = ""
    token: str = ""
    worker: str = ""
    queue: str = ""
    events: list[str] = []
    req_id: str | None = field(default=None, name="reqId")


_said = json.Decoder(_Said).decode
_SESSION: Final = (b'{"cmd":"AUTH"', b'{"cmd":"HELLO"', b'{"cmd":"BYE"')
_STREAM: Final = (b'{"cmd":"SUBSCRIBE"', b'{"cmd":"UNSUBSCRIBE"')


def req_id_of(line: bytes) -> str | None:
    """The ``reqId`` of a line of our own, which marks it as one whose answer may be held back."""
    return _said(line).req_id if b'"reqId":"' in line else None


def is_stream(line: bytes) -> bool:
    """Whether the line begins or ends an event stream."""
    return line.startswith(_STREAM)


def stream_of(line: bytes) -> tuple[bool, str, list[str]]:
    """Whether a stream is to begin, of which queue, and of what kinds of events (none: of all)."""
    said = _said(line)
    return said.cmd == "SUBSCRIBE", said.queue, said.events


def take_batch(lines: deque[bytes]) -> list[bytes]:
    """Take off the front what goes into one request: lines that need no header of their own, up to the bounds."""
    batch = [lines.popleft()]
    size = len(batch[0])
    if batch[0].startswith(_SESSION):
        return batch
    while lines and len(batch) < BODY_LINES and not lines[0].startswith(_SESSION + _STREAM):
        size += len(lines[0])
        if size > BODY_BYTES:
            break
        batch.append(lines.popleft())
    return batch


class Speaker:
    """Who speaks: what a line connection would know by now, for the headers of each request.

    Args:
        address: with the token that counts until another is presented.

    Raises:
        BadRequest: the token cannot stand in a header.
    """

    __slots__ = ("_token", "worker")

    def __init__(self, address: Address) -> None:
        self._token = None if address.token is None else _header("token", address.token)
        self.worker: bytes | None = None

    def headers(self, first: bytes = b"") -> list[Header]:
        """The headers of a request.

        Args:
            first: its first line; one that presents a token or a name stands alone in its request.

        Raises:
            BadRequest: the token that it presents cannot stand in a header.
        """
        token, worker = self._token, self.worker
        if first.startswith(_SESSION):
            said = _said(first)
            worker = None  # known only when this one is answered, or no more then
            if said.cmd == "AUTH":
                token = _header("token", said.token)
            elif said.cmd == "HELLO":
                _header("worker's name", said.worker)
        headers: list[Header] = []
        if token is not None:
            headers.append(("Authorization", b"Bearer " + token))
        if worker is not None:
            headers.append(("FlashQ-Worker", worker))
        return headers

    def heard(self, line: bytes, answer: bytes) -> None:
        """Note what a line has changed, if its answer says that it has."""
        if not line.startswith(_SESSION) or not answer.startswith(b'{"ok":true'):
            return
        said = _said(line)
        if said.cmd == "AUTH":
            self._token = _header("token", said.token)
        else:
            self.worker = _header("worker's name", said.worker) if said.cmd == "HELLO" else None


def _header(name: str, text: str) -> bytes:
    """Text as the value of a header.

    Raises:
        BadRequest: it cannot be one.
    """
    if text != text.strip() or not text.isprintable():
        raise BadRequest(
            f"Invalid: the {name} cannot be sent over HTTP: it begins or ends with a space, or is not text"
        )
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        raise BadRequest(f"Invalid: the {name} cannot be sent over HTTP: it has letters beyond Latin-1") from None


# --- one connection -------------------------------------------------------------------------------------------


class _Refusal(Struct, omit_defaults=True):
    """An answer line that refuses, as a line connection would have sent it."""

    ok: bool
    error: str = ""
    code: str = ""
    id: int | UnsetType = UNSET
    req_id: str | None = field(default=None, name="reqId")
    retry_after_ms: int = 0


_read_refusal = json.Decoder(_Refusal).decode


def refusal_line(error: FlashQError) -> bytes:
    """The answer line of an error that was found on this side."""
    return json.encode(_Refusal(ok=False, error=str(error), code=error.code))


_HTTP: Final = b"HTTP/"
"""How every answer begins."""

_CODES: Final = {401: "unauthorized", 403: "forbidden", 413: "too_large", 429: "overloaded"}
"""What a status means that comes without a word of ours: from a proxy, which has not passed the request on."""


class EventReader:
    """An event stream's bytes in, event lines out."""

    __slots__ = ("_data", "_kind", "_splitter")

    def __init__(self) -> None:
        self._splitter = LineSplitter()
        self._kind = b""
        self._data: list[bytes] = []

    def feed(self, data: bytes) -> list[bytes]:
        """Take in what was read and give what it completes: events, and the mark where events were left out."""
        events = []
        for ended in self._splitter.feed(data):
            line = ended.removesuffix(b"\r")
            if line.startswith(b"data:"):
                self._data.append(line[5:].removeprefix(b" "))
            elif line.startswith(b"event:"):
                self._kind = line[6:].strip()
            elif not line:
                events.extend(self._ended())
        return events

    def _ended(self) -> list[bytes]:
        """An empty line: what was gathered is one event. Without data it was a comment, or nothing."""
        data, self._data = b"\n".join(self._data), []
        kind, self._kind = self._kind, b""
        if not data:
            return []
        return [data if kind == b"lagged" else b'{"event":%b}' % data]


def retry_after_ms(headers: Mapping[bytes, bytes]) -> int:
    """How long whoever asks again has to wait.

    Args:
        headers: of an answer. ``Retry-After`` is in seconds or a moment, which is held against the answer's ``Date``:
            so only one clock counts.

    Returns:
        Milliseconds, at most `MAX_RETRY_AFTER_MS`; 0 without the header, or if it cannot be read.
    """
    text = headers.get(b"retry-after", b"").decode("latin-1").strip()
    if text.isascii() and text.isdigit():
        seconds = float(text[:10])
    else:
        try:
            said_at = parsedate_to_datetime(headers.get(b"date", b"").decode("latin-1"))
            seconds = (parsedate_to_datetime(text) - said_at).total_seconds()
        except (ValueError, TypeError, OverflowError):
            return 0
    return int(min(max(0.0, seconds) * 1_000, MAX_RETRY_AFTER_MS))


class Conversation:
    """Requests and answers over one connection, one after the other.

    Attributes:
        begun: the answer is a success, and its body has begun.
        done: the answer is complete.
        reusable: after that, whether the connection takes another request.
    """

    __slots__ = (
        "_asked",
        "_body",
        "_first",
        "_got",
        "_h11",
        "_head",
        "_host",
        "_lib",
        "_path",
        "_req_id",
        "_split",
        "_stream",
        "_unended",
        "_worker",
        "begun",
        "done",
    )

    def __init__(self, address: Address) -> None:
        self._lib = library()
        self._h11 = self._lib.Connection(self._lib.CLIENT, max_incomplete_event_size=MAX_HEAD_BYTES)
        self._host = address.netloc
        self._path = address.path
        self._req_id: str | None = None
        self._split: Callable[[bytes], list[bytes]] = LineSplitter().feed
        self._first = b""
        self._forget()

    def post(self, lines: Sequence[bytes], speaker: Speaker, req_id: str | None = None) -> bytes:
        """The bytes of a request.

        Args:
            lines: commands; each ended by a line break, or not.
            speaker: who asks.
            req_id: of the one line, if it has one; a refusal will carry it.
        """
        body = b"\n".join([line.removesuffix(b"\n") for line in lines])
        headers = [
            *speaker.headers(lines[0]),
            ("Content-Type", "application/x-ndjson"),
            ("Content-Length", str(len(body))),
        ]
        self._forget()
        self._asked = len(lines)
        self._req_id = req_id
        self._worker = any(name == "FlashQ-Worker" for name, _ in headers)
        return self._request("POST", "/commands", headers) + body + self._end(body)

    def stream(self, queue: str, events: Sequence[str], speaker: Speaker) -> bytes:
        """The bytes of a request for events.

        Args:
            queue: whose; ``*``: all.
            events: of what kinds; none: all.
            speaker: who asks.
        """
        target = "/events" if queue == "*" else f"/events/{quote(queue, safe='')}"
        if events:
            target += "?" + urlencode({"types": ",".join(events)})
        self._forget()
        self._stream = True
        self._split = EventReader().feed
        headers = [header for header in speaker.headers() if header[0] != "FlashQ-Worker"]
        return self._request("GET", target, [*headers, ("Accept", "text/event-stream")]) + self._end(b"")

    def receive(self, data: bytes) -> list[bytes]:
        """Take in what was read (nothing: the end of the connection), and give the whole answer lines in it.

        Raises:
            ConnectionLost: the connection ended before the answer did, or what came is no answer.
        """
        if len(self._first) < len(_HTTP):
            self._first += data[: len(_HTTP)]
            # The library would wait for the end of a head that never ends.
            if not self._first.startswith(_HTTP[: len(self._first)]):
                raise ConnectionLost(f"what came is no HTTP answer: {data[:100]!a}; is it HTTP's port?")
        try:
            self._h11.receive_data(data)
            return self._lines(ended=not data)
        except self._lib.RemoteProtocolError as error:
            raise ConnectionLost(f"what came is no HTTP answer: {ascii(str(error))[:200]}") from None

    @property
    def reusable(self) -> bool:
        """Whether the connection takes another request."""
        lib = self._lib
        return self.done and self._h11.our_state is lib.DONE and self._h11.their_state is lib.DONE

    # inside

    def _forget(self) -> None:
        self._asked = 0
        self._got = 0
        self._req_id = None
        self._worker = False
        self._stream = False
        self._head: Any = None
        self._body = bytearray()
        self._unended = 0
        self._split = LineSplitter().feed
        self.begun = False
        self.done = False

    def _request(self, method: str, target: str, headers: Sequence[Header]) -> bytes:
        if self._h11.our_state is self._lib.DONE:
            self._h11.start_next_cycle()
        request = self._lib.Request(method=method, target=self._path + target, headers=[("Host", self._host), *headers])
        written: bytes = self._h11.send(request)
        return written

    def _end(self, body: bytes) -> bytes:
        """Let the library count the body, which is written as it is."""
        if body:
            self._h11.send_with_data_passthrough(self._lib.Data(data=body))
        written: bytes = self._h11.send(self._lib.EndOfMessage()) or b""
        return written

    def _lines(self, *, ended: bool) -> list[bytes]:
        lib = self._lib
        lines: list[bytes] = []
        while not self.done:
            event = self._h11.next_event()
            kind = type(event)
            if kind is lib.Data:
                lines.extend(self._taken(bytes(event.data)))
            elif kind is lib.Response:
                self._headed(event)
            elif kind is lib.EndOfMessage:
                self.done = True
                lines.extend(self._last())
            elif kind is not lib.InformationalResponse:
                break
        if ended and not self.done:
            raise ConnectionLost("the server closed the connection")
        self._got += len(lines)
        if not self._stream and (self._got > self._asked or (self.done and self._got < self._asked)):
            raise ConnectionLost(f"the server answered {self._got} of {self._asked} commands")
        return lines

    def _headed(self, head: Any) -> None:  # noqa: ANN401 - the library's
        self._head = head
        self.begun = head.status_code == 200
        coding = dict(head.headers).get(b"content-encoding", b"identity")
        if coding != b"identity":
            raise ConnectionLost(f"the answer is compressed ({ascii(coding)[:40]}), which nobody asked for")

    def _taken(self, data: bytes) -> list[bytes]:
        """The lines that a part of the body completes; of a refusal, none."""
        if not self.begun:
            self._body += data
            if len(self._body) > MAX_REFUSAL_BYTES:
                raise ConnectionLost(f"status {self._head.status_code} with a body over {MAX_REFUSAL_BYTES} bytes")
            return []
        lines = self._split(data)
        last = data.rfind(b"\n")
        self._unended = len(data) - 1 - last if last >= 0 else self._unended + len(data)
        if self._unended > MAX_UNENDED_BYTES:
            raise ConnectionLost(f"an answer line over {MAX_UNENDED_BYTES} bytes")
        return lines

    def _last(self) -> list[bytes]:
        """What the end of the answer completes."""
        if self.begun:
            if self._stream:
                raise ConnectionLost("the server ended the stream")
            return self._split(b"\n") if self._unended else []
        after_ms = retry_after_ms(dict(self._head.headers))
        try:
            refusal = self._refusal()
        except ConnectionLost as lost:
            lost.retry_after_ms = after_ms
            raise
        refusal.req_id, refusal.retry_after_ms = self._req_id, after_ms
        return [json.encode(refusal)] * (1 if self._stream else self._asked)

    def _refusal(self) -> _Refusal:
        """What the answer's status and body say.

        Raises:
            ConnectionLost: nothing that would tell whether the commands were carried out; or the server does not know
                the worker any more that asked, and must be told by a new HELLO.
        """
        status = self._head.status_code
        try:
            refusal = _read_refusal(self._body)
        except DecodeError:
            return self._foreign(status)
        if refusal.ok or not refusal.code:
            return self._foreign(status)
        if refusal.code == "not_found" and self._worker:
            raise ConnectionLost(refusal.error)
        return refusal

    def _foreign(self, status: int) -> _Refusal:
        """What a status means without our envelope."""
        if status >= 500 or status == 408:
            raise ConnectionLost(f"status {status} from what stands before the server")
        text = f"HTTP status {status}"
        if 300 <= status < 400:
            where = dict(self._head.headers).get(b"location", b"elsewhere")
            text += f", a redirect to {ascii(where.decode('latin-1'))[:200]}, which is not followed: give that address"
        elif status not in _CODES:
            text += "; is it a FlashQ server that this address names?"
        return _Refusal(ok=False, error=text, code=_CODES.get(status, "bad_request"))
