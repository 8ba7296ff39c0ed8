"""TLS in front of a server that speaks none: decrypts, and hands the bytes on to a port of this machine."""

import asyncio
import ssl
import threading
from contextlib import suppress
from types import TracebackType

from tests.fakes.certificate import Certificate


class TlsFront:
    """Listens on a free port with TLS, in a thread of its own, for as long as the block lasts.

    Args:
        behind: the port of the plain server.
        certificate: what to show.

    Attributes:
        port: where it listens.
        refused: connections whose handshake failed.
    """

    def __init__(self, behind: int, certificate: Certificate) -> None:
        self._behind = behind
        self._context = certificate.server_context()
        self._loop = asyncio.new_event_loop()
        self._loop.set_exception_handler(self._failed)
        self.refused = 0
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(10)
        self.port: int = self._server.sockets[0].getsockname()[1]

    def __enter__(self) -> "TlsFront":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _listen(self) -> asyncio.Server:
        return await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._context)

    async def _end(self) -> None:
        self._server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for each in others:
            each.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    def _failed(self, _: asyncio.AbstractEventLoop, told: dict[str, object]) -> None:
        self.refused += isinstance(told.get("exception"), ssl.SSLError)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back, onward = await asyncio.open_connection("127.0.0.1", self._behind)
        ways = [asyncio.ensure_future(_carry(reader, onward)), asyncio.ensure_future(_carry(back, writer))]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            onward.close()
            writer.close()


async def _carry(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await source.read(65_536):
            sink.write(data)
            await sink.drain()
