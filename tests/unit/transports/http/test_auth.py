"""Unit tests of `flashq.transports.http.auth`."""

import pytest
from tests.unit.transports.test_calls import Rig

from flashq.errors import BadRequest, Forbidden, NotFound, Unauthorized
from flashq.model import Instant
from flashq.security.access import Access
from flashq.transports.http.auth import ANY, Gatekeeper, local_names, query_of


def gate(rig: Rig, *, origins: tuple[str, ...] = (), hosts: tuple[str, ...] = (ANY,)) -> Gatekeeper:
    """A gatekeeper of this door."""
    return Gatekeeper(rig.calls.context, rig.turns.clock, origins=origins, hosts=hosts)


FROM = {"client": ("10.0.0.1", 5)}


async def test_a_token_is_asked_for_where_there_are_any() -> None:
    """Without one, with a wrong one, and with one of another kind."""
    rig = Rig()
    rig.calls.context.access = Access(["right"])
    asked = gate(rig)
    for headers in ({}, {b"authorization": b"Basic right"}, {b"authorization": b"right"}):
        with pytest.raises(Unauthorized, match="Authentication required"):
            asked.session(FROM, headers)
    with pytest.raises(Unauthorized, match="Invalid token"):
        asked.session(FROM, {b"authorization": b"Bearer wrong"})
    session = asked.session(FROM, {b"authorization": b"bearer  right"})
    assert session.identity is not None
    assert (session.identity.name, session.peer) == ("auth-token-1", "10.0.0.1")
    assert asked.session(FROM, {}, "right").identity is session.identity
    everybody = gate(Rig()).session(FROM, {}).identity
    assert everybody is not None
    assert everybody.name == "anonymous"


async def test_a_request_speaks_for_a_worker() -> None:
    """One that has said hello; another is not there."""
    rig = Rig()
    worker = rig.engine.control.hello("w", ["q"], 1, None, None, Instant(1_700_000_000_000, 1_000))
    assert gate(rig).session(FROM, {b"flashq-worker": b"w"}).worker is worker
    with pytest.raises(NotFound, match="Worker 'v' not found"):
        gate(rig).session(FROM, {b"flashq-worker": b"v"})


@pytest.mark.parametrize(
    ("headers", "foreign"),
    [
        ({}, False),
        ({b"sec-fetch-site": b"same-origin"}, False),
        ({b"sec-fetch-site": b"none"}, False),
        ({b"sec-fetch-site": b"cross-site"}, True),
        ({b"sec-fetch-site": b"same-site"}, True),
        ({b"origin": b"http://here:6790", b"host": b"here:6790"}, False),
        ({b"origin": b"http://here:80", b"host": b"here:6790"}, True),
        ({b"origin": b"https://evil", b"host": b"here:6790"}, True),
        ({b"origin": b"null", b"host": b"here:6790"}, True),
        ({b"origin": b"", b"host": b"here"}, True),
        ({b"origin": b"https://friend", b"host": b"here:6790"}, False),
        ({b"origin": b"https://friend", b"host": b"here:6790", b"sec-fetch-site": b"cross-site"}, False),
    ],
)
async def test_other_sites_pages_change_nothing(headers: dict[bytes, bytes], foreign: bool) -> None:
    """A program sends no origin; a browser cannot but send the page's."""
    asked = gate(Rig(), origins=("https://friend",))
    if foreign:
        with pytest.raises(Forbidden, match="CORS_ALLOW_ORIGIN"):
            asked.check_site(headers)
    else:
        asked.check_site(headers)


async def test_any_page_may_where_the_operator_says_so() -> None:
    """A star is a star."""
    gate(Rig(), origins=("*",)).check_site({b"origin": b"https://evil", b"host": b"here"})


async def test_a_request_is_asked_in_order() -> None:
    """For the host, then the site, then the token: who was sent here by a page learns nothing of tokens."""
    rig = Rig()
    rig.calls.context.access = Access(["right"])
    asked = gate(rig, hosts=local_names("127.0.0.1"))
    here, foreign = {b"host": b"localhost"}, {b"origin": b"https://evil"}
    scope = {**FROM, "query_string": b"token=right"}
    with pytest.raises(Forbidden, match="ALLOWED_HOSTS"):
        asked.admit(scope, {b"host": b"evil", **foreign}, same_site=True)
    with pytest.raises(Forbidden, match="CORS_ALLOW_ORIGIN"):
        asked.admit(scope, {**here, **foreign}, same_site=True, token_in_query=True)
    with pytest.raises(Unauthorized):
        asked.admit(scope, here, same_site=True)
    for session in (
        asked.admit(scope, here, same_site=True, token_in_query=True),
        asked.admit(scope, {**here, **foreign, b"authorization": b"Bearer right"}),
    ):
        assert session.identity is not None
        assert session.identity.name == "auth-token-1"


@pytest.mark.parametrize("host", [b"localhost", b"localhost:6790", b"127.0.0.1:6790", b"[::1]:6790", b"LOCALHOST"])
async def test_a_local_server_answers_to_its_names(host: bytes) -> None:
    """With and without a port."""
    gate(Rig(), hosts=local_names("127.0.0.1")).check_host({b"host": host})


@pytest.mark.parametrize(
    "host",
    [b"evil.example", b"evil.example:6790", b"127.0.0.1.evil.example", b"[::2]", b"evil[::1]", b"@", b"[x]", b"["],
)
async def test_a_local_server_answers_to_no_other_name(host: bytes) -> None:
    """Behind another name is a page that was pointed here."""
    with pytest.raises(Forbidden, match="ALLOWED_HOSTS"):
        gate(Rig(), hosts=local_names("127.0.0.1")).check_host({b"host": host})


def test_names() -> None:
    """Only loopback addresses have names of their own."""
    assert "localhost" in local_names("::1")
    assert "localhost" in local_names("localhost")
    assert local_names("0.0.0.0") == (ANY,)
    assert local_names("queue.internal") == (ANY,)


def test_a_query() -> None:
    """Decoded once, the last of a name counts, and bounded."""
    assert query_of({"query_string": b"a=1&b=%41%2f&a=2&c="}) == {"a": "2", "b": "A/", "c": ""}
    assert query_of({"query_string": b""}) == {}
    with pytest.raises(BadRequest, match="too many members"):
        query_of({"query_string": b"a=1&" * 51})
