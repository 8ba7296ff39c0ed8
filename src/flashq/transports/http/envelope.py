"""What every answer over HTTP looks like: an envelope, a status that fits, and headers that make browsers careful."""

from typing import Final

from starlette.responses import Response

from flashq.errors import BadRequest, FlashQError, LimitReached, NotFound, Overloaded, ShuttingDown, StorageError
from flashq.protocol.codec import encode, failure

Headers = list[tuple[bytes, bytes]]

NULL: Final = b'{"ok":true,"data":null}'

RETRY_AFTER: Final = (b"retry-after", b"1")
"""Seconds. What stands in the way is gone in milliseconds or needs a person; nothing is won by a cleverer number."""

_RETRY: Final = (Overloaded, LimitReached, ShuttingDown, StorageError)

SAFE: Final[Headers] = [
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
]
"""On everything: answers are nobody's to keep, to guess the type of, to put into a frame or to tell others about."""

JSON: Final[Headers] = [(b"content-type", b"application/json"), *SAFE]


class Encoded(BadRequest):
    """The body is compressed, which none may be."""

    http_status = 415
    """The code is that of everything that has to be mended; HTTP has a status of its own for this."""


def head_of(headers: Headers) -> bytes:
    """The head of a good answer with these headers as it is sent, up to those that differ from answer to answer."""
    return b"HTTP/1.1 200 OK\r\n" + b"".join(b"%b: %b\r\n" % header for header in headers)


def success(data: bytes, more: bytes = b"") -> bytes:
    """An envelope.

    Args:
        data: JSON.
        more: further members of the envelope, each with a comma before it.
    """
    return b'{"ok":true,"data":%b%b}' % (data, more)


def refusal(error: FlashQError) -> tuple[int, bytes, Headers]:
    """Status, body and headers of an error."""
    headers = JSON
    if isinstance(error, _RETRY):
        headers = [*JSON, RETRY_AFTER]
    elif error.http_status == 401:
        headers = [*JSON, (b"www-authenticate", b"Bearer")]
    elif isinstance(error, Encoded):
        headers = [*JSON, (b"accept-encoding", b"identity")]
    return error.http_status, encode(failure(error)), headers


def sized(headers: Headers, body: bytes) -> Headers:
    """The headers, with how long the body is."""
    return [*headers, (b"content-length", b"%d" % len(body))]


def response(status: int, body: bytes, headers: Headers) -> Response:
    """A whole answer for the router, with these headers and none of its own."""
    made = Response(body, status)
    made.raw_headers = sized(headers, body)
    return made


def not_found(path: str) -> NotFound:
    """There is nothing at this path."""
    return NotFound(f"Nothing is at {path[:200]}")
