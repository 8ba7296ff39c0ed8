"""Unit tests of `flashq.server.websocket`: a client that listens may say a little, and no more."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tests.unit.server.test_web import Streams, connect, opened, ring

from flashq.server import web as module
from flashq.server.websocket import FRAME_BYTES, HEARD_BYTES, PORTION_BYTES, ListenerSocket
from flashq.transports.base import Patient

HELLO = (
    b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
    b"sec-websocket-version: 13\r\nsec-websocket-key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n"
)
PING, PONG = b"\x89\x80\0\0\0\0", b"\x8a\0"
MESSAGE = b"\x81\x81\0\0\0\0x"
TOO_LARGE = b"\x03\xf1"
"""1009, as the frame that closes a connection says it."""


async def listens(
    _: dict[str, Any], receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]
) -> None:
    """Accept, and wait until the client is gone."""
    await send({"type": "websocket.accept"})
    while (await receive())["type"] != "websocket.disconnect":
        pass


@asynccontextmanager
async def connected(after_others: Callable[[Patient], None] | None = None) -> AsyncIterator[Streams]:
    """A WebSocket over the loopback, from its first frame on."""
    async with opened(listens, after_others=after_others) as web:
        reader, writer = await connect(web)
        try:
            async with asyncio.timeout(30):
                writer.write(HELLO)
                await reader.readuntil(b"\r\n\r\n")
                yield reader, writer
        finally:
            writer.close()


async def test_some_pings_are_answered() -> None:
    """As many as there is room for, in one read."""
    count = HEARD_BYTES // len(PING)
    async with connected() as (reader, writer):
        writer.write(PING * count)
        assert await reader.readexactly(len(PONG) * count) == PONG * count


@pytest.mark.parametrize("portions", [1, 10])
async def test_more_of_them_end_the_connection(portions: int) -> None:
    """However they are sent; no more of them are looked at."""
    async with connected() as (reader, writer):
        for _ in range(portions):
            writer.write(PING * (2 * HEARD_BYTES // len(PING) // portions))
            await asyncio.sleep(0)
        try:
            answered = await reader.read(-1)
        except ConnectionError:
            return
        assert len(answered) <= HEARD_BYTES // len(PING) * len(PONG)


async def test_between_two_portions_the_others_have_their_turn() -> None:
    """What comes meanwhile, as uvicorn reads on for an application that asks for more, stays behind it."""
    waiting: list[Patient] = []
    count = PORTION_BYTES // len(PING)
    async with connected(waiting.append) as (reader, writer):
        writer.write(MESSAGE + PING * count)
        while not waiting:
            await asyncio.sleep(0.001)
        (socket,) = waiting
        assert isinstance(socket, ListenerSocket)
        before = len(socket._later)
        assert 0 < before < PORTION_BYTES
        writer.write(b"\x89\x81\0\0\0\0z" * 2 * count)
        while len(socket._later) == before:
            await asyncio.sleep(0.001)
        assert len(waiting) == 1
        while waiting:
            waiting.pop().go_on()
        answers = PONG * count + b"\x8a\1z" * 2 * count
        assert await reader.readexactly(len(answers)) == answers


async def test_our_own_ping_makes_room_for_more() -> None:
    """What was said before it does not count any more."""
    sockets: list[Patient] = []

    def after_others(socket: Patient) -> None:
        sockets[:] = [socket]
        asyncio.get_running_loop().call_soon(socket.go_on)

    count = HEARD_BYTES // len(PING) - 2
    async with connected(after_others) as (reader, writer):
        for _ in range(3):
            writer.write(PING * count)
            assert await reader.readexactly(len(PONG) * count) == PONG * count
            (socket,) = sockets
            assert isinstance(socket, ListenerSocket)
            ring(socket.ping_timer, module.PING_SECONDS)
            asked = await reader.readexactly(6)
            assert asked[:2] == b"\x89\x04"
            writer.write(b"\x8a\x84\0\0\0\0" + asked[2:])


@pytest.mark.parametrize("size", [FRAME_BYTES + 1, 60_000])
async def test_a_message_too_long_is_told_so(size: int) -> None:
    """By its head: the rest of it need not come."""
    async with connected() as (reader, writer):
        writer.write(b"\x82\xfe" + size.to_bytes(2, "big") + bytes(4) + bytes(size))
        assert TOO_LARGE in await reader.read(-1)
