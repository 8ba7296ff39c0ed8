"""Plays the cases of clients.py with both clients: against a server over each carrier, and in process."""

import asyncio
import itertools
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from tests.conformance import clients
from tests.conformance.clients import CASES, Case
from tests.fakes import certificate
from tests.fakes.awaited import Awaited
from tests.fakes.ports import free_port
from tests.fakes.server_process import MEMORY, ServerProcess
from tests.fakes.tls_front import TlsFront

from flashq import AsyncFlashQ, FlashQ, Unauthorized
from flashq.testing import LocalServer

CARRIERS = ("tcp", "unix", "http", "local")

_numbers = itertools.count()


@contextmanager
def running(url: str | None = MEMORY, **environment: str) -> Iterator[ServerProcess]:
    """A server in a folder whose name is short enough for the path of a Unix socket."""
    with (
        tempfile.TemporaryDirectory(prefix="flashq-") as folder,
        ServerProcess(Path(folder), url=url, environment=environment, unix=True) as process,
    ):
        yield process


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    """One server for all cases: each has a queue of its own."""
    with running() as process:
        yield process


def made(flavour: str, **address: Any) -> Any:
    """A client of either kind, with the async face."""
    return AsyncFlashQ(**address) if flavour == "async" else Awaited(FlashQ(**address))


def address(carrier: str, server: ServerProcess) -> dict[str, Any]:
    """Where a server is, for a client that reaches it so."""
    ways: dict[str, dict[str, Any]] = {
        "tcp": {"port": server.port},
        "unix": {"unix_socket": str(server.socket_path)},
        "http": {"url": f"http://127.0.0.1:{server.http_port}"},
    }
    return ways[carrier]


@pytest_asyncio.fixture(
    params=[(f, c) for f in ("async", "sync") for c in ("tcp", "unix", "http", "local")], ids="-".join
)
async def client(request: pytest.FixtureRequest, server: ServerProcess) -> AsyncIterator[Any]:
    """Each kind of client, over each carrier."""
    flavour, carrier = request.param
    if carrier == "local":
        with LocalServer() as local:
            async with local.aclient() if flavour == "async" else Awaited(local.client()) as connected:
                yield connected
        return
    async with made(flavour, **address(carrier, server)) as connected:
        yield connected


@pytest.mark.parametrize("check", CASES, ids=lambda check: check.__name__)
async def test_case(client: Any, check: Case) -> None:
    """One case of the list; what it proves stands there."""
    await check(client, f"case-{next(_numbers)}")


@pytest.mark.parametrize("carrier", ["tcp", "http"])
async def test_a_cancelled_pull_loses_no_job(server: ServerProcess, carrier: str) -> None:
    """Waiting in short turns, as many programs do, delivers each job once and uses up no attempt."""
    queue = f"case-{next(_numbers)}"
    async with AsyncFlashQ(**address(carrier, server)) as client:
        for n in range(20):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(client.pull(queue), 0.002)
            if n % 2:
                id = await client.push(queue, n)
                job = await client.pull(queue)
                assert job is not None
                assert (job.id, job.attempts) == (id, 0)
                await client.ack(job)
        assert (await client.dead_letters(queue), await client.pull(f"{queue}-none", timeout=0)) == ([], None)


@pytest.mark.parametrize("carrier", ["tcp", "http"])
async def test_a_job_for_a_caller_who_has_gone_comes_back(server: ServerProcess, carrier: str) -> None:
    """A job that comes when nobody pulls any more is given back and runs again, long before its lease ends."""
    queue = f"case-{next(_numbers)}"
    where = address(carrier, server)
    async with AsyncFlashQ(**where) as gone, AsyncFlashQ(**where) as client:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(gone.pull(queue), 0.01)
        id = await client.push(queue, 1)
        job = await client.pull(queue, timeout=10_000)
        assert job is not None
        assert (job.id, job.attempts) == (id, 0)


both = pytest.mark.parametrize("flavour", ["async", "sync"])


@both
@pytest.mark.parametrize("scheme", ["flashqs", "https"])
async def test_inside_tls(flavour: str, scheme: str, server: ServerProcess, tmp_path: Path) -> None:
    """What moves many bytes, waits, or streams goes through TLS as it goes without, over lines and over HTTP."""
    shown = certificate.make(tmp_path)
    with TlsFront(server.port if scheme == "flashqs" else server.http_port, shown) as front:
        where = {"url": f"{scheme}://localhost:{front.port}", "ca": str(shown.cert)}
        for check in (clients.large_payloads, clients.waiting_for_a_job, clients.pipelines, clients.events):
            async with made(flavour, **where) as client:
                await check(client, f"case-{next(_numbers)}")


@both
@pytest.mark.parametrize("carrier", ["tcp", "http"])
async def test_tokens(flavour: str, carrier: str) -> None:
    """With a token all goes as without; a wrong one, or none, is refused by its name."""
    with running(AUTH_TOKENS="right,other") as server:
        where = address(carrier, server)
        async with made(flavour, **where, token="right") as client:
            await client.push("q", 1)
            with pytest.raises(Unauthorized):
                await client.auth("wrong")
            await client.auth("other")
            async with client.subscribe("q") as events:
                await client.push("q", 2)
                assert (await events.next(5000)).event_type == "pushed"
        for token, why in (("wrong", "Invalid token"), (None, "Authentication required")):
            refused = made(flavour, **where, token=token)
            with pytest.raises(Unauthorized, match=why):
                await refused.stats()
            await refused.close()


two_ways = pytest.mark.parametrize(
    ("flavour", "carrier"),
    [
        ("async", "http"),
        ("sync", "unix"),
        pytest.param("async", "unix", marks=pytest.mark.slow),
        pytest.param("sync", "http", marks=pytest.mark.slow),
    ],
)
"""Each flavour and each way once, and the others where there is time."""


@two_ways
async def test_a_restarted_server_is_found_again(flavour: str, carrier: str) -> None:
    """A client outlives its server: what waited goes on waiting, what was confirmed is there, reads notice nothing."""
    with running(url=None, HTTP_PORT=str(free_port())) as server:
        async with made(flavour, **address(carrier, server), connect_timeout_ms=30_000) as client:
            kept = await client.push("kept", 1)
            waiting = asyncio.ensure_future(client.pull("q"))
            await client.ping()
            await asyncio.to_thread(server.restart)
            assert await client.state(kept) == "waiting"
            id = await client.push("q", 2)
            job = await waiting
            assert job.id == id
            await client.ack(job)
            assert await client.state(id) == "completed"


@two_ways
async def test_safe_pushes_through_a_kill(flavour: str, carrier: str) -> None:
    """With safe_retry, pushes in flight while the server is killed are all done, each exactly once."""
    with running(url=None, HTTP_PORT=str(free_port())) as server:
        options = {"connect_timeout_ms": 30_000, "safe_retry": True}
        async with made(flavour, **address(carrier, server), **options) as client:
            ids: list[int] = []
            under_way = asyncio.Event()

            async def push(some: range) -> None:
                for n in some:
                    ids.append(await client.push("q", n))
                    if len(ids) == 100:
                        under_way.set()

            pushing = [asyncio.ensure_future(push(range(start, start + 100))) for start in range(0, 400, 100)]
            await under_way.wait()
            await asyncio.to_thread(server.restart)
            await asyncio.gather(*pushing)
            assert len(set(ids)) == 400
            jobs = await client.pull_batch("q", 1000, timeout=0)
            assert sorted(job.data for job in jobs) == list(range(400))
