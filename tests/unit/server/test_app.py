"""Unit tests of `flashq.server.app`: one server within this process, and its smaller parts."""

import asyncio
import json
from pathlib import Path

import pytest

from flashq.config import Config
from flashq.errors import StorageError
from flashq.server import app
from flashq.server.app import Server
from flashq.server.runtime import EXIT_STORAGE


async def ask(server: Server, *commands: dict[str, object]) -> list[dict[str, object]]:
    """The answers over a real connection."""
    reader, writer = await asyncio.open_connection(*server.address)
    writer.write(b"".join(json.dumps(command).encode() + b"\n" for command in commands))
    answers = [json.loads(await reader.readline()) for _ in commands]
    writer.close()
    await writer.wait_closed()
    return answers


def config(folder: Path, **more: object) -> Config:
    """Any free port, a database in the folder."""
    return Config(port=0, http_port=0, data_dir=str(folder), **more)  # type: ignore[arg-type]


async def test_from_start_to_stop_and_again(tmp_path: Path) -> None:
    """What one server confirmed the next one has."""
    server = Server(config(tmp_path))
    await server.start()
    (answer,) = await ask(server, {"cmd": "PUSH", "queue": "q", "data": [1]})
    assert answer == {"ok": True, "id": 1}
    server.stop()
    assert await server.run() == 0
    again = Server(config(tmp_path))
    await again.start()
    (answer,) = await ask(again, {"cmd": "GETJOB", "id": 1})
    assert answer["state"] == "waiting"
    again.stop()
    assert await again.run() == 0


async def test_too_many_connections(tmp_path: Path) -> None:
    """One more than there may be is told why and closed; room that becomes free is used."""
    server = Server(config(tmp_path, database_url="memory://"))
    await server.start()
    server._max_connections = 1
    first_reader, first = await asyncio.open_connection(*server.address)
    first.write(b'{"cmd":"PING"}\n')
    assert await first_reader.readline() == b'{"ok":true}\n'
    reader, second = await asyncio.open_connection(*server.address)
    refused = json.loads(await reader.readline())
    assert refused == {"ok": False, "error": "Too many connections", "code": "overloaded"}
    assert await reader.read() == b""
    second.close()
    first.close()
    await first_reader.read()
    while server._connected():
        await asyncio.sleep(0)
    assert await ask(server, {"cmd": "PING"}) == [{"ok": True}]
    server.stop()
    assert await server.run() == 0


async def test_the_first_exit_code_counts(tmp_path: Path) -> None:
    """A failure is not made a success by the signal that follows it."""
    server = Server(config(tmp_path, database_url="memory://"))
    await server.start()
    server._fail(StorageError("the disk failed"), EXIT_STORAGE)
    server.stop()
    assert await server.run() == EXIT_STORAGE


async def test_a_start_that_fails_lets_go_of_everything(tmp_path: Path) -> None:
    """The port is taken: the folder is free again, for one that finds a port."""
    first = Server(config(tmp_path / "a"))
    await first.start()
    taken = Server(Config(port=first.address[1], http_port=0, data_dir=str(tmp_path / "b")))
    with pytest.raises(OSError, match="address already in use"):
        await taken.start()
    other = Server(config(tmp_path / "b"))
    await other.start()
    for server in (first, other):
        server.stop()
        assert await server.run() == 0


async def test_storage_that_does_not_add_up_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is restored is checked, and a server that would serve nonsense does not start."""
    monkeypatch.setattr(app, "check", lambda _: ["a job is in two places", "and another"])
    server = Server(config(tmp_path))
    with pytest.raises(StorageError, match=r"does not add up: a job is in two places \(2 in all\)"):
        await server.start()
    monkeypatch.undo()
    again = Server(config(tmp_path))
    await again.start()
    again.stop()
    assert await again.run() == 0
