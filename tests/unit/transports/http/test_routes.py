"""Unit tests of `flashq.transports.http.routes`."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flashq.commands.table import COMMANDS
from flashq.errors import BadRequest, TooLarge
from flashq.protocol import requests
from flashq.transports.http.routes import HOT, ROUTES, Reader, Route

READERS = {(route.method, route.path): Reader(route) for route in ROUTES}


def read(method: str, path: str, members: dict[str, str], body: bytes = b"", **query: str) -> Any:
    """What a route makes of these."""
    return READERS[method, path].request(members, query, body)


def push(body: bytes) -> Any:
    """A push by this body."""
    return read("POST", "/queues/{queue}/jobs", {"queue": "q"}, body)


def test_no_two_routes_are_the_same() -> None:
    """The second would never be reached."""
    assert len(READERS) == len(ROUTES)


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_a_route_is_a_command_and_names_its_members(route: Route) -> None:
    """What stands in braces is a member of the request, and of no other type than the path can give."""
    assert route.request in COMMANDS
    named = [part[1:-1] for part in route.path.split("/") if part.startswith("{")]
    assert set(named) <= set(route.request.__struct_fields__)
    assert set(route.defaults) <= set(route.request.__struct_fields__)


def test_only_what_reads_may_be_asked_by_anybodys_page() -> None:
    """A GET changes nothing, but for the pull."""
    assert [route.path for route in ROUTES if route.changes and route.method == "GET"] == ["/queues/{queue}/jobs"]
    assert all(route.changes for route in ROUTES if route.method != "GET")


def test_members_of_a_body() -> None:
    """Payloads are kept as they came; the queue is that of the path."""
    request = push(b' {"data": {"x" : 1}, "priority": 3, "unknown": []} ')
    assert (bytes(request.data), request.priority, request.queue) == (b'{"x" : 1}', 3, "q")


@pytest.mark.parametrize("body", [b'{"data":1,"queue":"other"}', b'{"queue":"other","data":1}'])
def test_the_path_decides(body: bytes) -> None:
    """A token for one queue must not reach another by naming it twice."""
    assert push(body).queue == "q"


def test_a_body_of_several_lines_becomes_one() -> None:
    """A payload stands in one line of an answer over lines; its white space may be another."""
    assert bytes(push(b'{"data": [1,\r\n 2]}').data) == b"[1,   2]"
    request = read("POST", "/webhooks/incoming/{queue}", {"queue": "q"}, b'{\n"a": "b"}\n')
    assert bytes(request.data) == b'{ "a": "b"}'


@pytest.mark.parametrize(
    "body",
    [
        b'{"data":"abc}', b'{"data":"abc\\}', b'{"data":{"x":1}', b'{"data":1}}', b'{"data":1,}', b'{,"data":1}', b"{",
        b'{"data":1} {"priority":3}', b"[]", b'"x"', b'{"data":"a\nb"}', b'{"data":\xff}', b"null", b"", b"{}",
    ],
)  # fmt: skip
def test_a_body_that_is_no_object_stays_none(body: bytes) -> None:
    """Adding members to it does not make it one."""
    with pytest.raises(BadRequest):
        push(body)


@given(st.binary(max_size=30).map(lambda junk: b'{"data":1' + junk + b"}"))
def test_adding_members_makes_nothing_valid(body: bytes) -> None:
    """Whatever is taken with the path's members would have been taken as an object without them."""
    try:
        push(body)
    except BadRequest:
        return
    assert isinstance(json.loads(body), dict)


def test_defaults_of_http() -> None:
    """One job, and now; what is said goes before."""
    path, members = "/queues/{queue}/pull", {"queue": "q"}
    request = read("POST", path, members)
    assert (request.count, request.timeout) == (1, 0)
    request = read("POST", path, members, b'{"count":7,"timeout":50}')
    assert (request.count, request.timeout) == (7, 50)
    request = read("GET", "/queues/{queue}/jobs", members, count="5")
    assert (request.count, request.timeout, request.queue) == (5, 0, "q")


def test_the_query_cannot_override_the_path() -> None:
    """Neither by name nor by order."""
    assert read("GET", "/queues/{queue}/jobs", {"queue": "q"}, queue="other").queue == "q"


@pytest.mark.parametrize("text", ["-1", "x", "1.5", "", "null", "99999999999999999999"])
def test_a_number_in_the_query(text: str) -> None:
    """It is one of its range, or refused."""
    with pytest.raises(BadRequest, match="Invalid"):
        read("GET", "/queues/{queue}/dlq", {"queue": "q"}, count=text) if text != "null" else read(
            "GET", "/queues/{queue}/jobs", {"queue": "q"}, count=text
        )


@pytest.mark.parametrize("text", ["-1", "x", "1.5", "", "٣", "9" * 30, "9007199254740992", "1 ", "6E0", "6.0"])
@pytest.mark.parametrize("route", [("GET", "/jobs/{id}"), ("POST", "/jobs/{id}/ack")])
def test_an_id_in_the_path(route: tuple[str, str], text: str) -> None:
    """It is an id, or refused."""
    with pytest.raises(BadRequest, match="Invalid"):
        read(*route, {"id": text})


def test_batches_are_smaller_than_over_lines() -> None:
    """And the error names the bound."""
    with pytest.raises(TooLarge, match=r"Batch too large \(1001 jobs, max 1000\)"):
        read(
            "POST", "/queues/{queue}/jobs/batch", {"queue": "q"}, b'{"jobs":[%b]}' % b",".join([b'{"data":1}'] * 1_001)
        )
    with pytest.raises(TooLarge, match=r"Batch too large \(1001 ids, max 1000\)"):
        read("POST", "/jobs/ack-batch", {}, b'{"ids":[%b]}' % b",".join([b"1"] * 1_001))
    assert read("GET", "/queues/{queue}/jobs", {"queue": "q"}, count="5000").count == 1_000


def test_the_hot_ones_are_few() -> None:
    """They are looked up by noun and verb: two segments around one name, or none at all."""
    for route in HOT:
        parts = route.path.split("/")
        assert [part for part in parts if "{" in part] in ([], [parts[2]])
    assert requests.Push in {route.request for route in HOT}
