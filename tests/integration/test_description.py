"""The description that a real server gives of itself, compared with what that server does."""

import asyncio
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.routing import Route, WebSocketRoute
from tests.fakes.http_client import HttpClient
from tests.fakes.server_process import MEMORY, ServerProcess

from flashq import __version__
from flashq.config import Config
from flashq.server.app import Server
from flashq.server.httpdoor import HttpDoor
from flashq.transports.http.documentation import FILES, POLICY

TOKEN = "a token that nobody guesses"
PAGES = {("GET", path) for path in ("/", *FILES)}
"""For people: whoever writes programs needs no description of them."""


@pytest.fixture(scope="module", params=["open", "secured"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """One that asks for no token, and one that does."""
    environment = {"AUTH_TOKENS": TOKEN} if request.param == "secured" else {}
    with ServerProcess(tmp_path_factory.mktemp("http"), url=MEMORY, environment=environment) as running:
        yield running


async def test_what_the_router_knows_is_what_is_described(tmp_path: Path) -> None:
    """Both ways: nothing that answers is left out, nothing is promised that does not answer."""
    server = Server(Config(port=0, http_port=0, database_url="memory://", data_dir=str(tmp_path)))
    await server.start()
    (door,) = (door for door in server._doors if isinstance(door, HttpDoor))
    router = door._web.config.app._rest  # type: ignore[union-attr]
    answers = set()
    for route in router.routes:
        if isinstance(route, WebSocketRoute):
            answers.add(("GET", route.path))
        else:
            assert isinstance(route, Route)
            answers |= {(method, route.path) for method in (route.methods or ()) if method != "HEAD"}
    described = await _described(server)
    server.stop()
    await server.run()
    assert answers - PAGES == described


async def _described(server: Server) -> set[tuple[str, str]]:
    def ask() -> dict[str, dict[str, object]]:
        with HttpClient(server.http_port) as web:
            paths: dict[str, dict[str, object]] = web.ask("GET", "/openapi.json").json["paths"]
            return paths

    paths = await asyncio.to_thread(ask)
    return {(method.upper(), path) for path, methods in paths.items() for method in methods}


def test_it_is_given_to_those_who_may_use_the_server(server: ServerProcess) -> None:
    """With a token where one is asked for, and then it says so; it holds no version."""
    secured = "AUTH_TOKENS" in server.environment
    with HttpClient(server.http_port) as web:
        if secured:
            assert web.refused("GET", "/openapi.json")[:2] == (401, "unauthorized")
        answer = web.ask("GET", "/openapi.json", Authorization=f"Bearer {TOKEN}")
    assert answer.headers["content-type"] == "application/json"
    assert answer.json["openapi"] == "3.1.0"
    assert ("security" in answer.json) is secured
    assert __version__ not in answer.body.decode()


@pytest.mark.parametrize("server", ["open"], indirect=True)
def test_another_host_gets_none(server: ServerProcess) -> None:
    """A page that was pointed at this machine reads nothing of a server that trusts whoever reaches it."""
    with HttpClient(server.http_port) as web:
        assert web.refused("GET", "/openapi.json", Host="evil.example")[:2] == (403, "forbidden")


def test_every_path_that_is_described_is_there(server: ServerProcess) -> None:
    """None is answered as one that the router does not know, whatever else is wrong with the request."""
    with HttpClient(server.http_port, TOKEN) as web:
        paths = web.ask("GET", "/openapi.json").json["paths"]
        for path, methods in paths.items():
            if "get" not in methods or path.startswith(("/events", "/ws")):  # those do not end by themselves
                continue
            answer = web.ask("GET", re.sub("{.*?}", "1", path))
            assert str(answer.status) in methods["get"]["responses"], (path, answer)
            assert b"Nothing is at" not in answer.body
            if answer.headers["content-type"] == "application/json":
                json.loads(answer.body)


def test_the_page_is_given_to_everybody(server: ServerProcess) -> None:
    """A browser cannot send a token when it opens a page. The address alone leads to it."""
    with HttpClient(server.http_port) as web:
        front = web.ask("GET", "/")
        assert (front.status, front.headers["location"]) == (302, "/docs")
        for path, (_, kind) in FILES.items():
            answer = web.ask("GET", path)
            assert answer.status == 200
            assert answer.headers["content-type"] == kind.decode()
            assert answer.headers["content-security-policy"] == POLICY.decode()
            assert answer.headers["x-content-type-options"] == "nosniff"
        for path in ("/docs/", "/docs/../docs/docs.js", "/docs/%2e%2e/app.py", "/docs/docs.html"):
            assert web.ask("GET", path).status == 404


@pytest.mark.parametrize("server", ["open"], indirect=True)
def test_the_page_has_no_other_name(server: ServerProcess) -> None:
    """Nor is it shown under a name that somebody else pointed at this machine."""
    with HttpClient(server.http_port) as web:
        for path in ("/", *FILES):
            assert web.refused("GET", path, Host="evil.example")[:2] == (403, "forbidden")
