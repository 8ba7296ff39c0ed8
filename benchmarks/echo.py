"""A bare uvloop server that sends back what it gets: what the machine, the loop and the sockets alone cost.

The yardstick of `benchmarks.latency`: nothing that answers over a socket from this loop can be faster.
"""

import asyncio
import subprocess
import sys
from asyncio import BaseTransport, Protocol, Transport
from types import TracebackType
from typing import Self, cast

import uvloop

from benchmarks.machine import pin_server


class EchoServer:
    """The echo in a process of its own, on the server's core; a context manager.

    Attributes:
        port: where it listens.
        unix_socket, http_port: it has none; here to be a place to connect to.
    """

    unix_socket = ""
    http_port = 0

    def __init__(self) -> None:
        self._process = subprocess.Popen([sys.executable, "-m", "benchmarks.echo"], stdout=subprocess.PIPE)
        pin_server(self._process.pid)
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()


class _Echo(Protocol):
    def connection_made(self, transport: BaseTransport) -> None:
        self._transport = cast("Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._transport.write(data)


async def _serve() -> None:
    server = await asyncio.get_running_loop().create_server(_Echo, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve())
