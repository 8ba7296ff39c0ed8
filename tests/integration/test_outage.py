"""A storage that does not answer for a while, seen from outside: clients over both doors, a worker, and the operator.

The storage is one whose commits wait until the test lets them go on; everything else is the server as it is.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from threading import Event
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from flashq import App, AsyncFlashQ
from flashq.config import Config
from flashq.errors import StorageError
from flashq.server import app as app_module
from flashq.server import runtime as runtime_module
from flashq.server.app import Server
from flashq.server.runtime import EXIT_STORAGE, LOOK_MS
from flashq.storage.memory import MemoryStorage
from flashq.worker import Worker

QUICK_LOOK_MS = LOOK_MS // 50
AWAY = "The storage does not answer: this was not carried out; ask again in a second"


class Outage(MemoryStorage):
    """A storage that can be away.

    Args:
        look_every: told how often, in ms, the server is to look after it. While it is away that is fifty times as often
            as otherwise; a commit that is only slow, on a machine that has much to do, is not taken for an outage.

    Attributes:
        there: whether commits return.
        given_up: whether the server has left without it.
        lets_go: whether it obeys that.
    """

    def __init__(self, look_every: Callable[[int], None]) -> None:
        super().__init__()
        self.there = Event()
        self.there.set()
        self.given_up = False
        self.lets_go = True
        self._look_every = look_every

    def leave(self) -> None:
        """No commit returns from now on."""
        self._look_every(QUICK_LOOK_MS)
        self.there.clear()

    def come_back(self) -> None:
        """Those that wait return, and those that come."""
        self._look_every(LOOK_MS)
        self.there.set()

    def commit(self, number: int, blob: bytes) -> None:
        """Wait for as long as it takes."""
        self.there.wait()
        if self.given_up:
            raise StorageError("given up")
        super().commit(number, blob)

    def give_up(self) -> None:
        """Whoever waits fails."""
        self.given_up = True
        if self.lets_go:
            self.there.set()


@pytest.fixture
def storage(monkeypatch: pytest.MonkeyPatch) -> Iterator[Outage]:
    """What the server gets for its storage."""
    made = Outage(lambda ms: monkeypatch.setattr(runtime_module, "LOOK_MS", ms))
    monkeypatch.setattr(app_module, "storage_for", lambda *_, **__: made)
    yield made
    made.there.set()


@pytest.fixture
async def server(storage: Outage) -> AsyncIterator[Server]:
    """A server on it."""
    server = Server(Config(port=0, http_port=0, database_url="sqlite://unused"))
    await server.start()
    yield server
    storage.there.set()
    server.stop()
    await server.run()


async def eventually(condition: Callable[[], bool]) -> None:
    """Return when it holds; half a minute is enough for everything."""
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.005)


class Line:
    """A connection to the door of lines."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer

    async def ask(self, cmd: str, **members: Any) -> dict[str, Any]:
        """One command and its answer."""
        self.say(cmd, **members)
        return await self.hear()

    def say(self, cmd: str, **members: Any) -> None:
        """One command."""
        self.writer.write(json.dumps({"cmd": cmd, **members}).encode() + b"\n")

    async def hear(self) -> dict[str, Any]:
        """The next answer."""
        answer: dict[str, Any] = json.loads(await asyncio.wait_for(self._reader.readline(), 30))
        return answer


async def line_to(server: Server) -> Line:
    """Connect."""
    return Line(*await asyncio.open_connection(*server.address))


async def http(server: Server, path: str, body: Any = None) -> tuple[int, dict[str, str], Any]:
    """Status, headers and body."""

    def ask() -> tuple[int, dict[str, str], bytes]:
        data = None if body is None else json.dumps(body).encode()
        try:
            with urlopen(Request(f"http://127.0.0.1:{server.http_port}{path}", data), timeout=30) as answer:
                return answer.status, dict(answer.headers), answer.read()
        except HTTPError as error:
            with error:
                return error.code, dict(error.headers), error.read()

    status, headers, answer = await asyncio.to_thread(ask)
    return status, headers, json.loads(answer) if answer.startswith(b"{") else answer


async def test_an_outage_as_clients_see_it(server: Server, storage: Outage) -> None:
    """What was under way is unknown, what comes is refused at once; a parked pull outlives it, and so does the push."""
    pulling, pushing = await line_to(server), await line_to(server)
    pulling.say("PULL", queue="q")
    await pushing.ask("PING")
    storage.leave()
    over_http = asyncio.create_task(http(server, "/queues/other/jobs", {"data": 1}))
    unknown = await pushing.ask("PUSH", queue="q", data=1)
    assert unknown["code"] == "storage_error"
    assert "not known" in unknown["error"]
    status, headers, refused = await over_http
    assert (status, refused["code"], headers["retry-after"]) == (503, "storage_error", "1")

    assert await pushing.ask("PUSH", queue="q", data=2) == {"ok": False, "error": AWAY, "code": "storage_error"}
    assert (await pushing.ask("GETJOB", id=1))["code"] == "storage_error"
    assert (await pushing.ask("STATS"))["ok"]
    status, headers, refused = await http(server, "/queues/q/jobs", {"data": 2})
    assert (status, refused["error"], headers["retry-after"]) == (503, AWAY, "1")

    storage.come_back()
    # The pull was delivered the job while its push was not durable: it was refused then, and the job went back.
    assert (await pulling.hear())["code"] == "storage_error"
    await eventually(lambda: not server._runtime.away)
    answer = await pulling.ask("PULL", queue="q")
    assert (answer["job"]["id"], answer["job"]["attempts"]) == (1, 0)
    assert (await pushing.ask("PUSH", queue="q", data=3))["ok"]
    for line in (pulling, pushing):
        line.writer.close()


async def test_a_pull_that_waits_outlives_an_outage(server: Server, storage: Outage) -> None:
    """It gets the next job, without having to ask again."""
    pulling, pushing = await line_to(server), await line_to(server)
    pulling.say("PULL", queue="q")
    await pushing.ask("PING")
    storage.leave()
    assert (await pushing.ask("PUSH", queue="other", data=1))["code"] == "storage_error"
    storage.come_back()
    await eventually(lambda: not server._runtime.away)
    assert (await pushing.ask("PUSH", queue="q", data=1))["ok"]
    assert (await pulling.hear())["job"]["data"] == 1
    for line in (pulling, pushing):
        line.writer.close()


async def test_an_outage_as_operators_see_it(server: Server, storage: Outage) -> None:
    """It lives, it is not ready and says why, and the gauge is up; afterwards all of it is as before."""
    line = await line_to(server)
    storage.leave()
    await line.ask("PUSH", queue="q", data=1)
    status, _, answer = await http(server, "/ready")
    assert (status, answer["data"]["status"]) == (503, "storage_away")
    status, _, answer = await http(server, "/health")
    assert (status, answer["data"]["status"]) == (200, "storage_away")
    assert b"\nflashq_storage_away 1.0\n" in (await http(server, "/metrics/prometheus"))[2]
    storage.come_back()
    await eventually(lambda: not server._runtime.away)
    assert (await http(server, "/ready"))[2]["data"]["status"] == "ok"
    assert not (await server._gauges.figures()).storage_away
    line.writer.close()


async def test_a_worker_lives_through_an_outage(
    server: Server, storage: Outage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its attempts end well although they could not be told for a while, and nothing runs twice."""
    monkeypatch.setattr("flashq.client.async_client.STORAGE_PAUSE_MS", 60_000)  # beyond the time of any call
    host, port = server.address
    tasks = App(f"flashq://{host}:{port}", default_queue="q")
    ran: list[int] = []
    begun, go_on = asyncio.Event(), asyncio.Event()

    @tasks.task(name="note")
    async def note(number: int) -> int:
        ran.append(number)
        begun.set()
        await go_on.wait()
        return number

    worker = Worker(tasks, queues=["q"], concurrency=2)
    running = asyncio.create_task(worker.run())
    async with AsyncFlashQ(f"flashq://{host}:{port}") as client:
        first = await note.adelay(1)
        await asyncio.wait_for(begun.wait(), 30)
        storage.leave()
        with pytest.raises(StorageError):
            await client.push("other", 1, job_id="mine")
        go_on.set()
        await eventually(lambda: server._runtime.away)
        storage.come_back()
        await eventually(lambda: not server._runtime.away)
        second = await note.adelay(2)
        assert await first.aresult(30_000) == 1
        assert await second.aresult(30_000) == 2
        again = await client.push("other", 1, job_id="mine")
        assert (await client.stats()).queued == 1
        assert again
    assert sorted(ran) == [1, 2]
    worker.stop()
    await asyncio.wait_for(running, 30)
    await tasks.aclose()


async def test_a_server_that_leaves_gives_its_storage_up(
    server: Server, storage: Outage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waits as long as a stop may take, and ends with the exit code that says that not everything was saved."""
    monkeypatch.setattr(app_module, "DRAIN_SECONDS", 0.1)
    line = await line_to(server)
    storage.leave()
    assert (await line.ask("PUSH", queue="q", data=1))["code"] == "storage_error"
    server.stop()
    assert await asyncio.wait_for(server.run(), 30) == EXIT_STORAGE
    assert storage.given_up
    assert storage.groups == []
    line.writer.close()


async def test_a_server_that_leaves_waits_for_its_storage(server: Server, storage: Outage) -> None:
    """If it comes back in time, everything is saved."""
    line = await line_to(server)
    storage.leave()
    assert (await line.ask("PUSH", queue="q", data=1))["code"] == "storage_error"
    server.stop()
    asyncio.get_running_loop().call_soon(storage.come_back)
    assert await asyncio.wait_for(server.run(), 30) == 0
    assert len(storage.groups) == 1
    line.writer.close()


async def test_a_disk_that_hangs_does_not_hold_the_process(
    server: Server, storage: Outage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is no way to make it let go: the thread is left behind, and ends with the process."""
    monkeypatch.setattr(app_module, "DRAIN_SECONDS", 0.1)
    monkeypatch.setattr(app_module, "LET_GO_SECONDS", 0.1)
    storage.lets_go = False
    line = await line_to(server)
    storage.leave()
    await line.ask("PUSH", queue="q", data=1)
    server.stop()
    assert await asyncio.wait_for(server.run(), 30) == EXIT_STORAGE
    line.writer.close()
