"""A pull's answer that is lost on its way: its jobs must not stay with a worker that never saw them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from tests.fakes.server_process import MEMORY, ServerProcess

from flashq import App
from flashq.worker import Worker

LIMIT_MS = 20_000


class Cutter:
    """Stands between workers and the server; cuts a connection instead of passing on jobs, as often as it is told.

    Attributes:
        cuts: how often it will still do so.
    """

    def __init__(self, port: int, cuts: int) -> None:
        self.cuts = cuts
        self._port = port
        self._serving: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass on what comes, both ways, until one end or this one has had enough."""
        here = asyncio.current_task()
        assert here is not None
        self._serving.add(here)
        onward_reader, onward_writer = await asyncio.open_connection("127.0.0.1", self._port)
        up = asyncio.create_task(self._copy(reader, onward_writer, b""))
        down = asyncio.create_task(self._copy(onward_reader, writer, b'"jobs":[{'))
        await asyncio.wait({up, down}, return_when=asyncio.FIRST_COMPLETED)
        for task in (up, down):
            task.cancel()
        await asyncio.gather(up, down, return_exceptions=True)
        for each in (writer, onward_writer):
            each.close()
            with suppress(ConnectionError):
                await each.wait_closed()
        self._serving.discard(here)

    async def until_idle(self) -> None:
        """Wait until both ends of every connection have gone."""
        while self._serving:
            await asyncio.wait(set(self._serving))

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, unwanted: bytes) -> None:
        while data := await reader.read(65_536):
            if self.cuts and unwanted and unwanted in data:
                self.cuts -= 1
                return
            writer.write(data)


@asynccontextmanager
async def cutting(port: int, cuts: int) -> AsyncIterator[tuple[Cutter, int]]:
    """A cutter, and the port where it listens."""
    cutter = Cutter(port, cuts)
    async with await asyncio.start_server(cutter.serve, "127.0.0.1", 0) as listening:
        yield cutter, listening.sockets[0].getsockname()[1]
        await cutter.until_idle()


async def test_jobs_of_a_lost_answer_run_all_the_same(tmp_path: Path) -> None:
    """Each once, and well before any lease ends: the worker tells what it holds and is given the others again."""
    ran: list[int] = []
    with ServerProcess(tmp_path / "server", url=MEMORY) as server:
        async with cutting(server.port, cuts=3) as (cutter, port):
            app = App(f"flashq://127.0.0.1:{port}")

            @app.task
            async def note(n: int) -> int:
                await asyncio.sleep(0)
                ran.append(n)
                return n

            worker = Worker(app, concurrency=20)
            running = asyncio.create_task(worker.run())
            jobs = await note.amap(range(100))
            assert [await job.aresult(LIMIT_MS) for job in jobs] == list(range(100))
            assert cutter.cuts == 0
            assert sorted(ran) == list(range(100))
            assert (await app.aclient.stats()).processing == 0
            worker.stop()
            await running
            await app.aclose()
