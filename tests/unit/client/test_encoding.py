"""Requests as lines: short, complete, and never able to break the stream."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw, Struct
from msgspec.json import Decoder

from flashq.client import encoding
from flashq.client.encoding import JobSpec, encode
from flashq.errors import BadRequest, TooLarge
from flashq.protocol import requests
from flashq.protocol.limits import MAX_LINE_BYTES

read_push = Decoder(requests.Push).decode


@dataclass
class Mail:
    """A dataclass payload."""

    to: str


class Point(Struct):
    """A struct payload."""

    x: int


def test_defaults_are_left_out() -> None:
    """An ordinary push says nothing about what it does not set."""
    assert encode(encoding.Push(queue="q", data={"a": 1})) == b'{"cmd":"PUSH","data":{"a":1},"queue":"q"}\n'


@pytest.mark.parametrize("job", [encoding.Push(queue="q", data=1), JobSpec(data=1)])
def test_members_that_are_set_are_sent(job: requests.Push | JobSpec) -> None:
    """Zero is a value where the server has a default of its own."""
    job.max_attempts = 0
    job.backoff = 0
    sent = json.loads(encode(job))
    assert (sent["max_attempts"], sent["backoff"]) == (0, 0)


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (Mail("ada"), b'{"to":"ada"}'),
        (Point(3), b'{"x":3}'),
        (datetime(2026, 1, 2, tzinfo=UTC), b'"2026-01-02T00:00:00Z"'),
        (None, b"null"),
        ("line\nbreak", b'"line\\nbreak"'),
        (Raw(b'{ "kept" : 1.0 }'), b'{ "kept" : 1.0 }'),
        ((1, 2), b"[1,2]"),
    ],
)
def test_any_value_that_json_can_say(value: object, written: bytes) -> None:
    """Dataclasses, structs, datetimes and JSON already written are payloads; the last goes out byte for byte."""
    assert bytes(read_push(encode(encoding.Push(queue="q", data=value))).data) == written


def test_a_line_break_cannot_get_in() -> None:
    """Indented JSON would end the line in the middle; it is refused with the remedy."""
    with pytest.raises(BadRequest, match="line breaks"):
        encode(encoding.Push(queue="q", data=Raw(b'{\n"a": 1}')))


def test_a_line_the_server_would_not_read() -> None:
    """A request over the line limit is refused here: sent, it would end the connection for all other calls."""
    with pytest.raises(TooLarge, match=str(MAX_LINE_BYTES)):
        encode(encoding.Push(queue="q", data="x" * MAX_LINE_BYTES))


def test_numbers_that_json_lacks() -> None:
    """Infinity and NaN have no JSON form and become null, as the documentation of `push` says."""
    assert bytes(read_push(encode(encoding.Push(queue="q", data=[float("inf"), float("nan")]))).data) == b"[null,null]"


def test_what_json_cannot_say() -> None:
    """A value without a JSON form is the program's mistake, and Python's usual error says so."""
    with pytest.raises(TypeError):
        encode(encoding.Push(queue="q", data=object()))


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(json_values, st.text(), st.integers(-(2**31), 2**31 - 1))
def test_the_server_reads_what_was_said(value: object, queue: str, priority: int) -> None:
    """Every push is one line, and decodes with the server's own schema to what was given."""
    line = encode(encoding.Push(queue=queue, data=value, priority=priority))
    assert line.count(b"\n") == 1
    read = read_push(line)
    assert (json.loads(bytes(read.data)), read.queue, read.priority) == (value, queue, priority)


@pytest.mark.parametrize(
    "lean",
    [
        encoding.Push(queue="q", data=1, tags=["a"], depends_on=[1], job_id="j"),
        encoding.PushBatch(queue="q", jobs=[]),
        encoding.Pull(queue="q", timeout=0),
        encoding.PullBatch(queue="q", count=3),
        encoding.Ack(id=1, token="t"),
        encoding.Ack(id=1, result={"a": 1}),
        encoding.AckBatch(ids=[1], tokens=["t"], results=[None]),
        encoding.Fail(id=1, error="why"),
        encoding.Progress(id=1, progress=50),
        encoding.Cron(name="n", queue="q", schedule="*/5"),
    ],
    ids=lambda lean: type(lean).__name__,
)
def test_the_server_reads_every_lean_request(lean: Struct) -> None:
    """Each request of this module is the protocol's own, with nothing lost but defaults."""
    line = encode(lean)
    understood = json.loads(encode(Decoder(requests.AnyRequest).decode(line)))
    assert {name: understood[name] for name in json.loads(line)} == json.loads(line)


def test_half_a_character_is_refused_before_it_is_sent() -> None:
    """UTF-8 has no word for a lone surrogate; the caller gets an error of FlashQ, like for every wrong request."""
    with pytest.raises(BadRequest, match="UTF-8"):
        encode(encoding.Fail(id=1, error="\ud800"))
