"""`RunningServer`: a real server on a free port of this machine, for tests that need sockets and real time.

It runs in a thread of the test's process, which starts far sooner than a process of its own; so every test can have one
that is new and empty. It remembers nothing on disk.
"""

import asyncio
import gc
import threading
from concurrent.futures import Future
from types import TracebackType

from flashq.client import AsyncFlashQ, FlashQ
from flashq.config import Config
from flashq.server.app import Server

START_SECONDS = 10
"""A server that is not up by then will not be: it has nothing to load."""


class RunningServer:
    """A server that runs until `close`.

    Args:
        config: its settings; None: a free port of the loopback interface, nothing on disk.

    Attributes:
        url: where it is.
        port: where it is.

    Raises:
        OSError: it cannot listen there.
    """

    def __init__(self, config: Config | None = None) -> None:
        self._config = config or Config(port=0, http=False, database_url="memory://")
        self._began: Future[tuple[asyncio.AbstractEventLoop, Server]] = Future()
        self._collector = gc.get_threshold()  # a server sets it for its process, which here is the test's
        self._thread = threading.Thread(target=self._run, name="flashq-server", daemon=True)
        self._thread.start()
        self._loop, self._server = self._began.result(START_SECONDS)
        host, self.port = self._server.address
        self.url = f"flashq://{host}:{self.port}"

    def __enter__(self) -> "RunningServer":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def client(self) -> FlashQ:
        """A plain client of it; whoever asked for it closes it."""
        return FlashQ(self.url)

    def aclient(self) -> AsyncFlashQ:
        """An async client of it."""
        return AsyncFlashQ(self.url)

    def close(self) -> None:
        """Stop it in good order. Stopping twice is no mistake."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._server.stop)
            self._thread.join()
            gc.set_threshold(*self._collector)

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        server = Server(self._config)
        try:
            await server.start()
        except BaseException as error:
            self._began.set_exception(error)
            return
        self._began.set_result((asyncio.get_running_loop(), server))
        await server.run()
