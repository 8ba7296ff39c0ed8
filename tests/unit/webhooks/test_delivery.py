"""Unit tests of `flashq.webhooks.delivery`: a real engine, a clock set by hand, receivers that obey."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest
from msgspec import Raw

from flashq.engine.engine import Engine
from flashq.engine.records import Record
from flashq.engine.settings import Settings
from flashq.engine.webhooks import Call
from flashq.errors import StorageError
from flashq.model import Instant, JobSpec
from flashq.security.signing import sign
from flashq.transports.base import Gated
from flashq.webhooks import delivery
from flashq.webhooks.delivery import MAX_IN_FLIGHT, MAX_PER_WEBHOOK, TRIES, WAITS_S, Deliveries

NOW = Instant(1_700_000_000_000, 1_000)
URL = "https://example.org/secret-path"


class Loop:
    """The running loop with a clock and timers of which the test is the master."""

    def __init__(self) -> None:
        self.now = 100.0
        self.timers: list[tuple[float, Callable[[], None], asyncio.Event]] = []
        self.create_task = asyncio.get_running_loop().create_task

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Callable[[], None]) -> Any:
        cancelled = asyncio.Event()
        self.timers.append((when, callback, cancelled))
        return type("Handle", (), {"cancel": staticmethod(cancelled.set)})

    def armed(self) -> list[float]:
        """Seconds until each timer that is set."""
        return [round(when - self.now, 3) for when, _, cancelled in self.timers if not cancelled.is_set()]

    def pass_time(self, seconds: float) -> None:
        """Time goes by, and what is due is done."""
        self.now += seconds
        due = [timer for timer in self.timers if timer[0] <= self.now]
        self.timers = [timer for timer in self.timers if timer[0] > self.now]
        for _, callback, cancelled in due:
            if not cancelled.is_set():
                callback()


class Receivers:
    """Take calls, and answer each when the test says so."""

    def __init__(self) -> None:
        self.opened = 0
        self.closed = False
        self.calls: list[tuple[str, dict[str, str], bytes]] = []
        self.open: list[asyncio.Future[str | None]] = []
        self.answer: str | None = None
        self.hang: set[str] = set()
        self.cancelled = 0

    async def connect(self) -> "Receivers":
        self.opened += 1
        await asyncio.sleep(0)
        return self

    async def post(self, url: str, headers: dict[str, str], body: bytes) -> str | None:
        self.calls.append((url, headers, body))
        if "*" not in self.hang and url not in self.hang:
            return self.answer
        answer: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
        self.open.append(answer)
        try:
            return await answer
        except asyncio.CancelledError:
            self.cancelled += 1
            raise

    async def close(self) -> None:
        self.closed = True


class Stage:
    """An engine whose turns become durable when the test says so, and its deliveries."""

    def __init__(self, engine: Engine | None = None) -> None:
        self.engine = engine or Engine(Settings(), nonce=iter("abcdefghijklmnopqrstuvwxyz").__next__, now=NOW)
        self.loop = Loop()
        self.receivers = Receivers()
        self.durable = self.tail = 0
        self.instant = True
        self.gated: list[Gated] = []
        self.records: list[Record] = []
        self.deliveries = Deliveries(
            self.engine.webhooks,
            self,
            self.receivers.connect,
            self.loop,  # type: ignore[arg-type]
            spread=lambda: 0.5,
        )

    def gather(self) -> int:
        self.records += self.engine.outbox.take_records()
        self.tail += 1
        if self.instant:
            self.durable = self.tail
        return self.tail

    def wait(self, gated: Gated) -> None:
        self.gated.append(gated)

    def commit(self, number: int) -> None:
        """Groups up to this one are durable."""
        self.durable = number
        waiting, self.gated = self.gated, []
        for gated in waiting:
            gated.release(number)

    def add(self, url: str = URL, **members: Any) -> str:
        """Register a webhook for pushes."""
        return self.engine.webhooks.add(url, ["pushed"], members.get("queue"), members.get("secret"), NOW.wall)

    def push(self, queue: str = "q", data: bytes = b"1") -> None:
        """A job comes, and its turn ends."""
        self.engine.intake.push(self.engine.queues.make(queue), JobSpec(data=Raw(data)), data, NOW)
        self.engine.outbox.take_events()
        self.deliveries.owed(self.gather())

    def owed(self) -> list[Call]:
        """What is not over."""
        return list(self.engine.webhooks.owed.values())

    async def settle(self) -> None:
        """Let tasks go as far as they can."""
        for _ in range(200):
            await asyncio.sleep(0)


@pytest.fixture
async def stage() -> Stage:
    """A stage within a loop."""
    return Stage()


async def test_without_webhooks_nothing_is_opened(stage: Stage) -> None:
    """No client, no task, no timer."""
    stage.deliveries.start()
    stage.push()
    await stage.settle()
    assert (stage.receivers.opened, stage.deliveries.busy, stage.loop.timers) == (0, False, [])


async def test_a_call_is_delivered(stage: Stage) -> None:
    """With its id, signed when there is a secret, and then it is over."""
    signed, plain = stage.add(secret="hush"), stage.add("https://example.org/2")
    stage.push()
    one, two = stage.owed()
    body = one.body
    await stage.settle()
    assert stage.receivers.calls == [
        (
            URL,
            {
                "Content-Type": "application/json",
                "X-FlashQ-Delivery": one.id,
                "X-FlashQ-Signature": sign("hush", body),
            },
            body,
        ),
        ("https://example.org/2", {"Content-Type": "application/json", "X-FlashQ-Delivery": two.id}, body),
    ]
    assert one.id.startswith(signed + "-")
    assert two.id.startswith(plain + "-")
    assert stage.owed() == []
    assert stage.receivers.opened == 1


async def test_nothing_leaves_before_it_is_durable(stage: Stage) -> None:
    """Calls wait for their own group, and for no later one."""
    stage.instant = False
    stage.add()
    stage.push("one")
    stage.push("two")
    await stage.settle()
    assert stage.receivers.calls == []
    stage.commit(1)
    await stage.settle()
    assert [b'"queue":"one"' in body for _, _, body in stage.receivers.calls] == [True]
    stage.commit(2)
    await stage.settle()
    assert len(stage.receivers.calls) == 2
    assert stage.gated == []


async def test_events_that_nobody_asked_for_are_not_waited_for(stage: Stage) -> None:
    """Many turns without a call may pass while one is held back: they leave nothing to keep."""
    stage.instant = False
    stage.add(queue="q")
    stage.push("q")
    for _ in range(10):
        stage.push("other")
    assert len(stage.deliveries._held) == 1
    stage.commit(1)
    await stage.settle()
    assert len(stage.receivers.calls) == 1


async def test_a_call_outlasts_a_storage_that_does_not_answer(stage: Stage) -> None:
    """Nobody waits for an answer here: it begins when its change is durable, however late that is, and not before."""
    stage.instant = False
    stage.add()
    stage.push()
    stage.deliveries.refuse(StorageError("away"))
    await stage.settle()
    assert stage.receivers.calls == []
    stage.commit(1)
    await stage.settle()
    assert len(stage.receivers.calls) == 1


async def test_five_tries_and_their_waits(stage: Stage) -> None:
    """Each wait is as documented; after the last try the call is given up, and counted."""
    stage.receivers.answer = "HTTP status 500"
    stage.add()
    stage.push()
    (call,) = stage.owed()
    for wait in WAITS_S:
        await stage.settle()
        assert stage.loop.armed() == [wait]
        stage.loop.pass_time(wait - 0.001)
        await stage.settle()
        assert stage.loop.armed() == [0.001]
        stage.loop.pass_time(0.001)
    await stage.settle()
    assert [headers["X-FlashQ-Delivery"] for _, headers, _ in stage.receivers.calls] == [call.id] * TRIES
    assert (stage.owed(), stage.loop.armed()) == ([], [])
    (view,) = stage.engine.webhooks.views()
    assert (view.failed, view.delivered, view.last_error) == (1, 0, "HTTP status 500")


@pytest.mark.parametrize(("spread", "wait"), [(0.0, 0.8), (1.0, 1.2)])
async def test_waits_are_spread(stage: Stage, spread: float, wait: float) -> None:
    """By a fifth in both directions."""
    stage.deliveries._spread = lambda: spread
    stage.receivers.answer = "no"
    stage.add()
    stage.push()
    await stage.settle()
    assert stage.loop.armed() == [wait]


async def test_a_try_that_succeeds_ends_it(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    """The error is forgotten; the log tells of both changes once, and names neither path nor secret."""
    caplog.set_level(logging.INFO, logger="flashq")
    stage.receivers.answer = "HTTP status 500"
    stage.add(secret="hush")
    stage.push()
    stage.push()
    await stage.settle()
    stage.receivers.answer = None
    stage.loop.pass_time(1)
    await stage.settle()
    assert len(stage.receivers.calls) == 4
    (view,) = stage.engine.webhooks.views()
    assert (view.delivered, view.failed, view.pending, view.last_error) == (2, 0, 0, None)
    assert [record.getMessage() for record in caplog.records] == [
        "webhook a: calls to example.org fail: HTTP status 500",
        "webhook a: calls to example.org succeed again",
    ]


async def test_a_receiver_that_hangs_holds_up_its_own_calls_only(stage: Stage) -> None:
    """It gets so many at once, and those behind it go past."""
    dead = "https://dead.example.org/"
    stage.receivers.hang = {dead}
    stage.add(dead)
    stage.add()
    for _ in range(20):
        stage.push()
    await stage.settle()
    called = [url for url, _, _ in stage.receivers.calls]
    assert (called.count(dead), called.count(URL)) == (MAX_PER_WEBHOOK, 20)
    stage.receivers.open[0].set_result(None)
    await stage.settle()
    assert [url for url, _, _ in stage.receivers.calls].count(dead) == MAX_PER_WEBHOOK + 1


async def test_so_many_are_under_way_and_all_get_their_turn(stage: Stage) -> None:
    """With more webhooks than places, each place that becomes free goes to whoever has waited longest."""
    stage.receivers.hang = {"*"}
    urls = [f"https://{number}.example.org/" for number in range(12)]
    for url in urls:
        stage.add(url)
    for _ in range(8):
        stage.push()
    await stage.settle()
    assert len(stage.receivers.calls) == MAX_IN_FLIGHT
    called = [url for url, _, _ in stage.receivers.calls]
    assert {called.count(url) for url in urls} == {2, 3}
    for answer in list(stage.receivers.open):
        answer.set_result(None)
    await stage.settle()
    called = [url for url, _, _ in stage.receivers.calls]
    assert {called.count(url) for url in urls} == {5, 6}


async def test_calls_begin_in_the_order_of_their_events(stage: Stage) -> None:
    """One after the other while none fails."""
    stage.add()
    for number in range(10):
        stage.push(data=b"%d" % number)
    await stage.settle()
    assert [body[body.index(b'"data":') + 7 :][:1] for _, _, body in stage.receivers.calls] == [
        b"%d" % number for number in range(10)
    ]


async def test_a_webhook_that_goes_is_called_no_more(stage: Stage) -> None:
    """Neither what waits for its turn nor what waits for its next try."""
    stage.receivers.answer = "no"
    id = stage.add()
    stage.push()
    await stage.settle()
    stage.receivers.hang = {"*"}
    for _ in range(MAX_PER_WEBHOOK + 1):
        stage.push()
    await stage.settle()
    before = len(stage.receivers.calls)
    stage.engine.webhooks.delete(id)
    for answer in stage.receivers.open:
        answer.set_result("no")
    await stage.settle()
    stage.loop.pass_time(1_000)
    await stage.settle()
    assert len(stage.receivers.calls) == before
    assert (stage.deliveries._lines, stage.deliveries._kept) == ({}, 0)


async def test_what_was_owed_at_the_start_is_delivered() -> None:
    """A restart loses nothing, and the id stays."""
    before = Stage()
    before.receivers.hang = {"*"}
    before.add()
    before.push()
    await before.settle()
    (call,) = before.owed()
    await before.deliveries.close()
    assert (before.receivers.cancelled, before.receivers.closed, before.owed()) == (1, True, [call])
    after = Stage(before.engine)
    after.deliveries.start()
    await after.settle()
    assert [headers["X-FlashQ-Delivery"] for _, headers, _ in after.receivers.calls] == [call.id]
    assert after.owed() == []


async def test_after_stop_nothing_begins(stage: Stage) -> None:
    """What is under way comes to its end and is recorded; the rest stays owed, without a timer."""
    stage.receivers.hang = {"*"}
    stage.add()
    for _ in range(MAX_PER_WEBHOOK + 2):
        stage.push()
    await stage.settle()
    stage.deliveries.stop()
    assert stage.deliveries.busy
    for place, answer in enumerate(stage.receivers.open):
        answer.set_result("no" if place else None)
    await stage.settle()
    assert not stage.deliveries.busy
    assert len(stage.owed()) == MAX_PER_WEBHOOK + 1
    assert stage.loop.armed() == []
    assert len(stage.receivers.calls) == MAX_PER_WEBHOOK


async def test_an_error_of_ours_is_a_failed_try(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    """It is logged whole, told by its name only, and the others go on."""

    async def fail() -> Receivers:
        raise RuntimeError("a secret")

    stage.deliveries._open_post = fail
    stage.add()
    stage.push()
    await stage.settle()
    (view,) = stage.engine.webhooks.views()
    assert (view.last_error, stage.loop.armed(), stage.deliveries.busy) == ("internal: RuntimeError", [1], False)
    assert "could not be called" in caplog.text


async def test_calls_that_were_dropped_are_let_go(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A receiver that hangs while events pour in does not fill the memory with calls that are over."""
    monkeypatch.setattr(delivery, "MAX_CALLS", 10)
    monkeypatch.setattr("flashq.engine.webhooks.MAX_CALLS", 10)
    stage.receivers.hang = {"*"}
    stage.add()
    for _ in range(200):
        stage.push()
        await asyncio.sleep(0)
        assert stage.deliveries._kept <= 20
    await stage.settle()
    (line,) = stage.deliveries._lines.values()
    assert len(line.waiting) == stage.deliveries._kept <= 20
    assert stage.engine.webhooks.views()[0].dropped == 190
    for answer in stage.receivers.open:
        answer.set_result(None)
    stage.receivers.hang = set()
    await stage.settle()
    assert stage.owed() == []
    assert len(stage.receivers.calls) == MAX_PER_WEBHOOK + 10
