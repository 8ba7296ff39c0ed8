"""Servers that the tests of one module share, one for each kind of storage."""

from collections.abc import Iterator

import pytest
from tests.conformance.doors import Door
from tests.fakes.server_process import MEMORY, LineClient, ServerProcess


@pytest.fixture(scope="module", params=["memory", "sqlite"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A running server."""
    url = MEMORY if request.param == "memory" else None
    with ServerProcess(tmp_path_factory.mktemp(request.param), url=url) as process:
        yield process


@pytest.fixture
def door(server: ServerProcess) -> Iterator[Door]:
    """Connections to it over TCP, and a queue that no other test uses."""
    door = Door(server, "tcp")
    yield door
    door.close()


@pytest.fixture
def client(door: Door) -> LineClient:
    """One connection."""
    return door.client()


@pytest.fixture
def queue(door: Door) -> str:
    """A queue that no other test uses."""
    return door.queue
