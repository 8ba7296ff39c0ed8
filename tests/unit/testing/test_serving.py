"""A real server in a thread of the test's process."""

import gc
import threading

import pytest

from flashq.config import Config
from flashq.testing import RunningServer


def test_it_serves_and_goes_without_a_trace() -> None:
    """Jobs go through a real socket; afterwards neither its thread nor its setting of the collector is left."""
    before = gc.get_threshold(), set(threading.enumerate())
    with RunningServer() as server, server.client() as q:
        assert f":{server.port}" in server.url
        id = q.push("q", 1)
        job = q.pull("q", timeout=1_000)
        assert job is not None
        assert job.id == id
    server.close()
    assert gc.get_threshold() == before[0]
    assert set(threading.enumerate()) <= before[1]  # one of another test's may have ended meanwhile


async def test_its_async_client() -> None:
    """Each server is new and empty."""
    with RunningServer() as server:
        async with server.aclient() as q:
            assert await q.push("q", 1) == 1


def test_an_address_that_is_taken() -> None:
    """What keeps it from starting is raised where it is made."""
    with RunningServer() as server, pytest.raises(OSError, match="in use"):
        RunningServer(Config(port=server.port, http_port=0, database_url="memory://"))
