"""The decoder of commands: a typed request or BadRequest. What is taken is JSON for others, too, and comes back."""

import json
from collections.abc import Iterator
from typing import Final

from msgspec import Raw, structs
from tests.fuzz.endings import refused
from tests.fuzz.seeds import documented_json, literals

from flashq.errors import BadRequest
from flashq.protocol.codec import check_payload, compact, decode_request, encode, request_mark
from flashq.protocol.requests import REQUEST_TYPES

MEMBERS: Final = sorted({name for kind in REQUEST_TYPES for name in kind.__struct_encode_fields__})
WORDS: Final = (
    *(f'{{"cmd":"{kind.__struct_config__.tag}"' for kind in REQUEST_TYPES),
    *(f',"{name}":' for name in MEMBERS),
    *("null", "true", "false", "9007199254740992", "-1", "0.5", "1e400", "[]", "{}", '""', '"q"', "\\u0000", "\\ud800"),
)
MAX_BYTES: Final = 64 * 1024


def seeds() -> Iterator[bytes]:
    """What the documentation and the tests send, and each command with nothing else."""
    yield from documented_json()
    yield from literals("tests/unit/protocol/test_codec.py", "tests/unit/protocol/test_requests.py")
    for kind in REQUEST_TYPES:
        yield encode({"cmd": kind.__struct_config__.tag})
        yield encode({"cmd": kind.__struct_config__.tag, **dict.fromkeys(kind.__struct_encode_fields__, 1)})
        yield encode({"cmd": kind.__struct_config__.tag, **dict.fromkeys(kind.__struct_encode_fields__, "q")})


def read(data: bytes) -> str:
    """The input is one line."""
    mark = request_mark(data)
    try:
        request = decode_request(data)
    except BadRequest as error:
        return refused(error)
    again = encode(request)
    assert encode(decode_request(again)) == again, "what was read is read differently when it comes back"
    try:
        members = json.loads(data)
    except RecursionError:
        return "deep"
    assert members["cmd"] == request.__struct_config__.tag, "another command than others read"
    assert mark == request.req_id == members.get("reqId"), "another reqId than others read"
    payload = getattr(request, "data", None)
    if isinstance(payload, Raw):
        _check(bytes(payload), members.get("data"))
    named = [name for name in structs.fields(request) if name.encode_name in members]
    return f"{type(request).__name__} with {len(named)}"


def _check(payload: bytes, value: object) -> None:
    try:
        check_payload(payload)
    except BadRequest:
        return
    assert json.loads(compact(payload)) == json.loads(payload) == value, "a payload has changed"
