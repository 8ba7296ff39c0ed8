"""Lines to requests, replies to lines, and the checks that types cannot express.

Decoding is strict in what a FlashQ payload is: JSON as RFC 8259 has it, in valid UTF-8, not nested too deep. The
payload itself is never re-encoded.
"""

import re
from collections.abc import Callable
from typing import Any, Final

from msgspec import DecodeError, Raw, Struct, ValidationError, field
from msgspec.json import Decoder, Encoder
from msgspec.json import format as format_json

from flashq.errors import BadRequest, Duplicate, FlashQError, TooLarge
from flashq.protocol.limits import MAX_DEPTH, MAX_JOB_BYTES, MAX_RESULT_BYTES
from flashq.protocol.replies import Failed
from flashq.protocol.requests import AnyRequest

_MAX_REASON = 300
_SHALLOW: Final = 2 * MAX_DEPTH
"""A text no longer than this cannot be nested too deep: each level takes two characters."""
_STRING: Final = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)


class _Marked(Struct):
    req_id: str | None = field(default=None, name="reqId")


_decode = Decoder(AnyRequest).decode
_decode_mark = Decoder(_Marked).decode
encode: Final = Encoder().encode
"""A reply as a line, without its end."""


def decode_request(line: bytes) -> AnyRequest:
    """A line as a typed request.

    Raises:
        BadRequest: it is no request; the sentence says what is wrong and where.
    """
    request: AnyRequest = decode_with(_decode, line)
    return request


def decode_with(decode: Callable[[bytes], Any], line: bytes) -> Any:  # noqa: ANN401 - what the decoder makes
    """What ``decode`` makes of a JSON text.

    Raises:
        BadRequest: nothing; the sentence says what is wrong and where.
    """
    try:
        if not line.isascii():
            line.decode()
        return decode(line)
    except ValidationError as error:
        raise BadRequest(f"Invalid: {_reason(line, str(error))}") from None
    except UnicodeDecodeError as error:
        raise BadRequest(f"Invalid: not UTF-8 at byte {error.start}") from None
    except DecodeError as error:
        raise BadRequest(f"Invalid: {'empty line' if not line.strip() else str(error)[:_MAX_REASON]}") from None
    except RecursionError:
        raise BadRequest(f"Invalid: nested deeper than {MAX_DEPTH}") from None


def request_mark(line: bytes) -> str | None:
    """The ``reqId`` of a line that is no valid request, if it can be made out, so that even its error finds home."""
    try:
        return _decode_mark(line).req_id
    except (DecodeError, UnicodeDecodeError, RecursionError):
        return None


def failure(error: FlashQError) -> Failed:
    """An error as an answer."""
    reply = Failed(error=str(error), code=error.code)
    if isinstance(error, Duplicate) and error.id:
        reply.id = error.id
    return reply


def check_payload(data: bytes, where: str = "") -> None:
    """Refuse a payload that is too large or nested too deep; ``where`` names its place in a batch.

    Raises:
        TooLarge, BadRequest: it is.
    """
    if len(data) <= _SHALLOW:
        return
    _check_depth(data, where)
    if len(data) > MAX_JOB_BYTES:
        size = _compact_size(data, where)
        if size > MAX_JOB_BYTES:
            raise TooLarge(f"{where}Job data too large ({size} bytes, max {MAX_JOB_BYTES} bytes)")


def check_payloads(payloads: list[bytes]) -> None:
    """`check_payload` for a batch; costs next to nothing when all of them are short."""
    if max(map(len, payloads)) > _SHALLOW:
        for place, data in enumerate(payloads):
            check_payload(data, f"Invalid: jobs[{place}]: ")


def result_bytes(result: Raw) -> bytes | None:
    """A job's result as it is kept: None when the client sent nothing or null.

    Raises:
        TooLarge, BadRequest: it is too large or nested too deep.
    """
    data = bytes(result)
    if data == b"null":
        return None
    if len(data) > MAX_RESULT_BYTES:
        raise TooLarge(f"Result too large ({len(data)} bytes, max {MAX_RESULT_BYTES} bytes)")
    _check_depth(data, "")
    return data


def compact(data: bytes) -> bytes:
    """A JSON text without the white space between its parts."""
    return format_json(data, indent=-1)


def _check_depth(data: bytes, where: str) -> None:
    if len(data) <= _SHALLOW or data.count(b"[") + data.count(b"{") <= MAX_DEPTH:
        return
    depth = 0
    for byte in _STRING.sub(b"", data):
        if byte in b"[{":
            depth += 1
            if depth > MAX_DEPTH:
                raise _too_deep(where)
        elif byte in b"]}":
            depth -= 1


def _compact_size(data: bytes, where: str) -> int:
    try:
        return len(compact(data))
    except RecursionError:  # near the bound it depends on how deep the caller stands
        raise _too_deep(where) from None


def _too_deep(where: str) -> BadRequest:
    return BadRequest(f"{where or 'Invalid: '}nested deeper than {MAX_DEPTH}")


def _reason(line: bytes, text: str) -> str:
    if text.endswith("at `$.cmd`") and text.startswith("Invalid value"):
        return f"unknown command {text.removeprefix('Invalid value ').removesuffix(' - at `$.cmd`')[:_MAX_REASON]}"
    return text[:_MAX_REASON] if line.strip() else "empty line"
