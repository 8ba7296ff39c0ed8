"""Unit tests of `flashq.server.handshakes`: a listener on the loopback, and clients that do not shake hands."""

import asyncio
import errno
import select
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tests.fakes import certificate
from tests.fakes.certificate import Certificate

from flashq.server import handshakes as module
from flashq.server.handshakes import TlsListener


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """A certificate and its key."""
    return certificate.make(tmp_path_factory.mktemp("tls"))


class Door:
    """Greets whoever comes, and knows how many have."""

    def __init__(self, most: int = 1_000) -> None:
        self.most = most
        self.came = 0
        self.here: set[asyncio.BaseProtocol] = set()
        self.listener: TlsListener

    def factory(self) -> asyncio.Protocol:
        """For one connection."""
        door = self

        class Greeting(asyncio.Protocol):
            def connection_made(self, transport: Any) -> None:
                assert self in door.listener.handshakes
                door.listener.handshakes.discard(self)
                door.came += 1
                door.here.add(self)
                transport.write(b"hello")
                transport.close()

            def connection_lost(self, error: Exception | None) -> None:
                del error
                door.here.discard(self)

        return Greeting()

    def room(self) -> bool:
        """As many as there may be."""
        return self.came + len(self.listener.handshakes) <= self.most


@asynccontextmanager
async def opened(door: Door, made: Certificate, handshake_s: float = 20) -> AsyncIterator[TlsListener]:
    """Its listener."""
    door.listener = TlsListener(door.factory, door.room, made.server_context(), handshake_s=handshake_s)
    await door.listener.listen("127.0.0.1", 0, 100)
    try:
        yield door.listener
    finally:
        door.listener.close()
        await until(lambda: not door.here)


async def until(happened: Callable[[], bool]) -> None:
    """Let the loop turn until something is so."""
    async with asyncio.timeout(30):
        while not happened():
            await asyncio.sleep(0.001)


async def silent(listener: TlsListener) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A client that connects and says nothing."""
    return await asyncio.open_connection(*listener.sockets[0].getsockname())


async def greeted(listener: TlsListener, made: Certificate) -> bytes:
    """What a client hears that shakes hands."""
    context = ssl.create_default_context(cafile=str(made.cert))
    address = listener.sockets[0].getsockname()
    reader, writer = await asyncio.open_connection(*address, ssl=context, server_hostname="localhost")
    said = await reader.read()
    writer.close()
    return said


async def test_those_who_say_nothing_are_counted(made: Certificate) -> None:
    """From the moment they are accepted; one more than there may be is closed at once, and room made is used."""
    door = Door(most=3)
    async with opened(door, made) as listener:
        clients = [await silent(listener) for _ in range(3)]
        await until(lambda: len(listener.handshakes) == 3)
        async with asyncio.timeout(30):
            reader, writer = await silent(listener)
            assert await reader.read() == b""
        assert len(listener.handshakes) == 3
        for _, each in (*clients, (None, writer)):
            each.close()
        await until(lambda: not listener.handshakes)
        assert await greeted(listener, made) == b"hello"
        assert (door.came, len(listener.handshakes)) == (1, 0)


async def test_a_handshake_takes_its_time_and_no_longer(made: Certificate) -> None:
    """Who says nothing, or nothing that belongs to TLS, is cut off, and is no longer counted."""
    async with opened(Door(), made, handshake_s=0.05) as listener:
        clients = [await silent(listener) for _ in range(2)]
        clients[1][1].write(b"GET / HTTP/1.1\r\n\r\n")
        for reader, writer in clients:
            async with asyncio.timeout(30):
                try:
                    await reader.read()
                except ConnectionError:
                    pass
            writer.close()
        await until(lambda: not listener.handshakes)


async def test_what_is_not_made_when_it_closes_will_not_be(made: Certificate) -> None:
    """Nobody waits for a handshake when the server leaves."""
    async with opened(Door(), made) as listener:
        reader, writer = await silent(listener)
        await until(lambda: len(listener.handshakes) == 1)
        listener.close()
        async with asyncio.timeout(30):
            assert await reader.read() == b""
        await until(lambda: not listener.handshakes)
        writer.close()
        assert listener.sockets == []


async def test_one_that_was_accepted_in_the_turn_in_which_it_closes(made: Certificate) -> None:
    """Its handshake has not even begun; it is closed, and counted no more."""
    async with opened(Door(), made) as listener:
        (address,) = [each.getsockname() for each in listener.sockets]
        with socket.create_connection(address) as client:
            assert select.select(listener.sockets, [], [], 10)[0]  # the system may need a moment to hand it over
            listener._accept(listener.sockets[0])
            assert len(listener.handshakes) == 1
            listener.close()
            await until(lambda: not listener.handshakes)
            assert client.recv(1) == b""


async def test_no_room_for_another_file(
    made: Certificate, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The log says so once, and who came meanwhile is let in as soon as there is room."""
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.01)
    accept = socket.socket.accept
    full = [True, True]

    def accepts(listening: socket.socket) -> Any:
        if full:
            full.pop()
            raise OSError(errno.EMFILE, "Too many open files")
        return accept(listening)

    monkeypatch.setattr(socket.socket, "accept", accepts)
    async with opened(Door(), made) as listener:
        assert await greeted(listener, made) == b"hello"
    assert [record.getMessage() for record in caplog.records] == [
        "no connection can be accepted: Too many open files"
    ] * 2


async def test_a_name_with_addresses_that_are_not_here(made: Certificate, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others are listened on; without any the start fails, and so it does where one is taken."""
    here, elsewhere = ("127.0.0.1", 0), ("203.0.113.77", 0)
    found = [here, elsewhere]

    async def getaddrinfo(*_: Any, **__: Any) -> Any:
        return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", address) for address in found]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    listener = TlsListener(Door().factory, lambda: True, made.server_context(), handshake_s=1)
    await listener.listen("name", 0, 1)
    assert [each.getsockname()[0] for each in listener.sockets] == ["127.0.0.1"]
    found[:] = [here, listener.sockets[0].getsockname()]
    another = TlsListener(Door().factory, lambda: True, made.server_context(), handshake_s=1)
    with pytest.raises(OSError, match="in use"):
        await another.listen("name", 0, 1)
    found[:] = [elsewhere]
    with pytest.raises(OSError, match="assign"):
        await another.listen("name", 0, 1)
    listener.close()
