"""Unit tests of `flashq.server.doors`."""

import asyncio
import resource
from pathlib import Path

import pytest
from tests.unit.transports.test_calls import Rig

from flashq.server.doors import MAX_CONNECTIONS, SPARE_FILES, LineDoor, connection_limit

PING, PONG = b'{"cmd":"PING"}\n', b'{"ok":true}\n'


async def test_a_door_from_open_to_shut(tmp_path: Path) -> None:
    """It counts who is there, by both ways in, lets them go when it is drained, and takes its socket's file along."""
    rig = Rig()
    path = tmp_path / "lines.sock"
    door = LineDoor(rig.calls.context, rig.turns, lambda: True)
    await door.listen("127.0.0.1", 0)
    await door.listen_unix(str(path))
    ways = (await asyncio.open_connection(*door.address), await asyncio.open_unix_connection(str(path)))
    for reader, writer in ways:
        writer.write(PING)
        assert await reader.readline() == PONG
    assert (door.connected, door.settled()) == (2, False)
    await door.close()
    assert not path.exists()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", ways[0][1].get_extra_info("peername")[1])
    door.drain()
    for reader, writer in ways:
        assert await reader.read() == b""
        writer.close()
    async with asyncio.timeout(30):
        while not door.settled():
            await asyncio.sleep(0)
    assert door.connected == 0


async def test_who_does_not_leave_is_cut_off() -> None:
    """A client that never goes by itself holds up nobody."""
    rig = Rig()
    door = LineDoor(rig.calls.context, rig.turns, lambda: True)
    await door.listen("127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*door.address)
    writer.write(PING)
    await reader.readline()
    await door.close()
    door.abort()
    async with asyncio.timeout(30):
        while not door.settled():
            await asyncio.sleep(0)
    writer.close()


async def test_a_file_that_is_no_socket_stays(tmp_path: Path) -> None:
    """A wrong path does not cost anybody a file."""
    rig = Rig()
    path = tmp_path / "precious"
    path.write_text("words")
    door = LineDoor(rig.calls.context, rig.turns, lambda: True)
    with pytest.raises(OSError, match="exists and is not a socket of ours"):
        await door.listen_unix(str(path))
    await door.close()
    assert path.read_text() == "words"


def test_room_for_connections_follows_the_descriptors() -> None:
    """As many as the system gives files, less those kept for the rest; never none."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        limit = connection_limit()
        raised, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        assert raised >= soft
        assert limit == max(1, min(MAX_CONNECTIONS, raised - SPARE_FILES))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
