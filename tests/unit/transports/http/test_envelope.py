"""Unit tests of `flashq.transports.http.envelope`."""

import json

import pytest

from flashq.errors import BY_CODE, Duplicate, FlashQError, NotFound, Overloaded, Unauthorized
from flashq.transports.http.envelope import RETRY_AFTER, Encoded, head_of, not_found, refusal, response, success


@pytest.mark.parametrize("error", BY_CODE.values())
def test_every_error_has_a_status(error: type[FlashQError]) -> None:
    """The status that the error names, its code and its sentence."""
    status, body, headers = refusal(error("why"))
    assert (status, json.loads(body)) == (error.http_status, {"ok": False, "error": "why", "code": error.code})
    assert 400 <= status < 600
    assert (b"cache-control", b"no-store") in headers


def test_what_may_be_tried_again_says_when() -> None:
    """And what may not does not."""
    assert RETRY_AFTER in refusal(Overloaded("full"))[2]
    assert RETRY_AFTER not in refusal(NotFound("no"))[2]
    assert (b"accept-encoding", b"identity") in refusal(Encoded("gzip"))[2]
    assert (b"www-authenticate", b"Bearer") in refusal(Unauthorized("who?"))[2]


def test_a_duplicate_names_the_job() -> None:
    """As it does over lines."""
    assert json.loads(refusal(Duplicate("there is one", 7))[1])["id"] == 7


def test_success_and_nothing_there() -> None:
    """Further members stand beside the data; a path is not repeated at any length."""
    assert json.loads(success(b"[1]", b',"id":2')) == {"ok": True, "data": [1], "id": 2}
    assert len(str(not_found("/" * 10_000))) < 300


def test_a_head_is_what_is_sent() -> None:
    """Everything up to the headers that differ, each with its end."""
    assert head_of([(b"a", b"b"), (b"c", b"d")]) == b"HTTP/1.1 200 OK\r\na: b\r\nc: d\r\n"


def test_an_answer_for_the_router() -> None:
    """It has the headers that it is given, and how long it is; nothing that the router would add."""
    made = response(404, b"body", [(b"a", b"b")])
    assert (made.status_code, made.body) == (404, b"body")
    assert made.raw_headers == [(b"a", b"b"), (b"content-length", b"4")]
