"""Unit tests of `flashq.server.httpdoor`: the door of a server within this process, and a server without one."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from flashq.config import Config
from flashq.server.app import Server
from flashq.server.httpdoor import HttpDoor

ASKS = b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n"
LISTENS = b"GET /events HTTP/1.1\r\nhost: localhost\r\n\r\n"


@pytest.mark.parametrize("request_", [ASKS, LISTENS], ids=["asks", "listens"])
async def test_a_door_from_open_to_shut(tmp_path: Path, request_: bytes) -> None:
    """It counts who is there, and lets go of them when it is shut, also of who listens to a stream."""
    server = Server(Config(port=0, http_port=0, database_url="memory://", data_dir=str(tmp_path)))
    await server.start()
    (door,) = (door for door in server._doors if isinstance(door, HttpDoor))
    reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
    writer.write(request_)
    assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
    assert (door.connected, door.settled()) == (1, False)
    server.stop()
    assert await server.run() == 0
    assert (door.connected, door.settled(), door.port) == (0, True, 0)
    await reader.read()
    writer.close()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", server.http_port)


def test_a_server_without_it_loads_none_of_its_libraries() -> None:
    """They are a large part of what a start has to load."""
    libraries = {"starlette", "uvicorn", "prometheus_client", "websockets", "aiohttp"}
    code = (
        "import asyncio, sys\n"
        "from flashq.cli import serve\n"
        "async def main():\n"
        "    server = serve.Server(serve.Config(port=0, http=False, database_url='memory://'))\n"
        "    await server.start()\n"
        "    server.stop()\n"
        "    await server.run()\n"
        "asyncio.run(main())\n"
        f"print(sorted({libraries} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert (done.stdout, done.stderr) == ("[]\n", "")
