"""Unit tests of `flashq.transports.http.metrics`."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from httpx import ASGITransport, AsyncClient
from tests.fakes.figures import figures, queue
from tests.unit.transports.test_calls import Rig

from flashq.commands.table import COMMANDS
from flashq.model import Instant, Stats
from flashq.observe.figures import Figures
from flashq.observe.history import Counted, History
from flashq.observe.prometheus import exposition
from flashq.protocol.requests import MetricsRequest
from flashq.security.access import Access
from flashq.security.identity import Identity, Scope
from flashq.transports.http.app import build
from flashq.transports.http.auth import Gatekeeper
from flashq.transports.http.endpoints import Door
from flashq.transports.http.metrics import KEPT_MS, Page, Watching

START = Instant(1_700_000_000_000, 1_000)


class Source:
    """Takes figures when the test lets it, and counts how often it was asked. The test is its clock too."""

    def __init__(self) -> None:
        self.now = START
        self.asked = 0
        self.may = asyncio.Event()
        self.may.set()
        self.broken = False

    async def figures(self) -> Figures:
        """Those of a server with one queue, which is called after the number of the call."""
        self.asked += 1
        await self.may.wait()
        if self.broken:
            raise RuntimeError("no figures today")
        return figures(queue(f"asked-{self.asked}"))

    def page(self) -> Page:
        """A page of these figures."""
        return Page(self.figures, lambda: self.now)

    def go_on(self, ms: int) -> None:
        """Time passes."""
        self.now = Instant(self.now.wall + ms, self.now.steady + ms)


async def test_a_page_is_good_for_a_second() -> None:
    """Whoever asks sooner gets the same one; later, another."""
    source = Source()
    page = source.page()
    first = await page.text()
    source.go_on(KEPT_MS - 1)
    assert await page.text() == first
    source.go_on(1)
    assert await page.text() != first
    assert source.asked == 2


async def test_all_who_wait_get_the_page_that_is_made() -> None:
    """A crowd costs one page; one of the crowd who leaves takes it from nobody."""
    source = Source()
    source.may.clear()
    page = source.page()
    crowd = [asyncio.create_task(page.text()) for _ in range(50)]
    await asyncio.sleep(0)
    crowd[0].cancel()
    await asyncio.sleep(0)
    source.may.set()
    texts = await asyncio.gather(*crowd[1:])
    assert crowd[0].cancelled()
    assert source.asked == 1
    assert len(set(texts)) == 1
    assert b"asked-1" in texts[0]


async def test_a_page_that_failed_is_tried_again() -> None:
    """One accident is told to those who waited, and is not kept for the others."""
    source = Source()
    page = source.page()
    source.broken = True
    with pytest.raises(RuntimeError, match="no figures today"):
        await page.text()
    source.broken = False
    assert b"asked-2" in await page.text()


async def test_a_slow_page_is_as_old_as_its_figures() -> None:
    """The second counts from when the figures were asked for, so that no page is older than it seems."""
    source = Source()
    source.may.clear()
    page = source.page()
    making = asyncio.create_task(page.text())
    while not source.asked:
        await asyncio.sleep(0)
    source.go_on(KEPT_MS)
    source.may.set()
    await making
    await page.text()
    assert source.asked == 2


class Watched:
    """The application over a door, and somebody who asks."""

    def __init__(self) -> None:
        rig = Rig()
        self.access: Access = rig.calls.context.access
        self.history = History(Counted(0, 0, 0), START)
        door = Door(rig.calls, Gatekeeper(rig.calls.context, rig.turns.clock, hosts=("here",)))
        watching = Watching(door, Source().page(), self.history)
        application = build(door, storage="memory", more=watching.routes()).whole
        self.client = AsyncClient(transport=ASGITransport(application), base_url="http://here")

    def is_one(self, **rights: object) -> None:
        """Whoever asks is this one."""
        self.access.anonymous = Identity("one", "viewer", **rights)  # type: ignore[arg-type]


@pytest.fixture
async def watched() -> AsyncIterator[Watched]:
    """One, whose client is closed at the end."""
    made = Watched()
    async with made.client:
        yield made


async def test_the_page(watched: Watched) -> None:
    """Text of the format 0.0.4, with the headers that everything has."""
    answer = await watched.client.get("/metrics/prometheus")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"
    ours = [line for line in answer.text.splitlines() if "process_" not in line]
    expected = exposition(figures(queue("asked-1"))).decode().splitlines()
    assert ours == [line for line in expected if "process_" not in line]


async def test_the_last_hour(watched: Watched) -> None:
    """A list of points in the envelope; empty at first."""
    answer = await watched.client.get("/metrics/history")
    assert answer.json() == {"ok": True, "data": []}
    watched.history.add(
        Instant(START.wall + 5_000, START.steady + 5_000), Counted(10, 5, 0), Stats(1, 2, 3, 4, 5, 6), 7.5, 8, 9
    )
    (point,) = (await watched.client.get("/metrics/history")).json()["data"]
    assert point == {
        "timestamp": START.wall + 5_000, "pushed_per_second": 2.0, "completed_per_second": 1.0,
        "failed_per_second": 0.0, "latency_ms": 7.5, "queued": 1, "processing": 2, "delayed": 3, "dlq": 4,
        "completed": 5, "waiting_children": 6, "workers": 8, "memory": 9,
    }  # fmt: skip


PATHS = ("/metrics/prometheus", "/metrics/history")


@pytest.mark.parametrize("path", PATHS)
async def test_who_may_look(watched: Watched, path: str) -> None:
    """Whoever may send METRICS, for all queues: with queues of its own one would learn of the others."""
    watched.is_one(allowed=frozenset({MetricsRequest}))
    assert (await watched.client.get(path)).status_code == 200
    watched.is_one(allowed=frozenset(COMMANDS) - {MetricsRequest})
    refused = await watched.client.get(path)
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    watched.is_one(scope=Scope(("mine*",)))
    refused = await watched.client.get(path)
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    watched.access.anonymous = None
    refused = await watched.client.get(path)
    assert (refused.status_code, refused.json()["code"]) == (401, "unauthorized")


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("rights", [{"allowed": frozenset(COMMANDS) - {MetricsRequest}}, {"scope": Scope(("mine*",))}])
async def test_who_may_not_look_is_in_the_log(
    watched: Watched, caplog: pytest.LogCaptureFixture, path: str, rights: dict[str, object]
) -> None:
    """A denial is written into the security log as that of the command, whichever of the two rights was missing."""
    watched.is_one(**rights)
    await watched.client.get(path)
    denied = [record.flashq for record in caplog.records if record.message == "denied"]  # type: ignore[attr-defined]
    assert denied == [{"name": "one", "peer": "127.0.0.1", "command": "METRICS"}]


@pytest.mark.parametrize("path", PATHS)
async def test_another_host_or_method(watched: Watched, path: str) -> None:
    """A page that was pointed here by name reads nothing; and there is nothing but to read."""
    refused = await watched.client.get(path, headers={"host": "evil.example"})
    assert refused.status_code == 403
    assert (await watched.client.post(path)).status_code == 405
