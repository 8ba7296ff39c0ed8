"""Unit tests of `flashq.worker.fetch`."""

import asyncio
import logging
from collections.abc import Callable

import pytest
from tests.fakes.line_server import OK, SILENCE, LineServer, Request, line
from tests.unit.worker.jobs import job, until

from flashq import AsyncFlashQ, ConnectionLost, JobRecord, Unauthorized
from flashq.worker.fetch import AHEAD_MS, MAX_AHEAD, Fetch, Pace, Puller


def test_nothing_is_taken_ahead_before_anything_was_measured() -> None:
    """A worker that knows nothing of its jobs takes only what it can begin at once."""
    assert Pace(8).ahead() == 0


@pytest.mark.parametrize(
    ("duration_s", "ahead"), [(10.0, 0), (1.0, 0), (0.1, 8), (0.01, 80), (0.000_01, MAX_AHEAD), (0.0, MAX_AHEAD)]
)
def test_as_much_ahead_as_begins_soon(duration_s: float, ahead: int) -> None:
    """As many as eight places begin within the time that counts as soon, and never more than the bound."""
    pace = Pace(8)
    pace.ended(duration_s)
    assert pace.ahead() == ahead
    assert ahead in (MAX_AHEAD, int(8 * AHEAD_MS / max(duration_s * 1_000, 0.001)))


def test_the_newest_jobs_decide() -> None:
    """When jobs get slower the worker stops taking ahead within a few looks; a single slow one changes little."""
    pace = Pace(8)
    for _ in range(1_000):
        pace.ended(0.001)
    assert pace.ahead() == 800
    for _ in range(30):
        pace.ended(2.0)
        pace.ahead()
    assert pace.ahead() == 0


def test_somebody_knows_better() -> None:
    """A number that was given is not measured away."""
    pace = Pace(8, prefetch=3)
    pace.ended(0.000_1)
    assert (pace.ahead(), pace.fixed, Pace(8).fixed) == (3, True, False)


class Source:
    """A puller whose pulls the test answers.

    Attributes:
        asked: the counts that were asked for.
    """

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.given_up = 0
        self.missed = 0
        self.parked: asyncio.Future[list[JobRecord]] | None = None

    async def miss(self) -> None:
        self.missed += 1

    async def pull(self, count: int) -> list[JobRecord]:
        assert self.parked is None or self.parked.done(), "two pulls at once"
        self.asked.append(count)
        self.parked = asyncio.get_running_loop().create_future()
        return await self.parked

    async def give_up(self) -> None:
        self.given_up += 1
        assert self.parked is not None
        self.parked.set_result([job(99)])

    async def answer(self, answer: list[JobRecord] | Exception) -> None:
        """Answer the parked pull, and let what follows happen."""
        await until(lambda: self.parked is not None and not self.parked.done())
        assert self.parked is not None
        if isinstance(answer, Exception):
            self.parked.set_exception(answer)
        else:
            self.parked.set_result(answer)


def fetching(room: Callable[[], int]) -> tuple[Fetch, Source, list[JobRecord]]:
    """A fetch from such a source, and what came."""
    source, came = Source(), list[JobRecord]()
    fetch = Fetch(source, room, came.extend, source.miss)  # type: ignore[arg-type]  # has what it needs of a Puller
    return fetch, source, came


async def test_one_parked_pull_for_the_free_places() -> None:
    """The next pull leaves when the last was answered, for what is free then."""
    came: list[JobRecord] = []
    source = Source()
    fetch = Fetch(source, lambda: 5 - len(came), came.extend, source.miss)  # type: ignore[arg-type]
    fetch.start()
    await source.answer([job(1), job(2)])
    await source.answer([])
    await source.answer([job(3)])
    await until(lambda: len(source.asked) == 4)
    assert source.asked == [5, 3, 3, 2]
    assert [record.id for record in came] == [1, 2, 3]
    await fetch.stop(5)


async def test_no_room_no_pull() -> None:
    """A worker that is full asks for nothing until it hears that there is room; then at once."""
    room = 0
    fetch, source, _ = fetching(lambda: room)
    fetch.start()
    await until(lambda: fetch.hungry)
    assert source.asked == []
    room = 2
    fetch.wake()
    await until(lambda: source.asked == [2])
    assert not fetch.hungry
    await fetch.stop(5)


async def test_no_pull_is_larger_than_a_batch() -> None:
    """Ten thousand is the most the server gives in one answer."""
    fetch, source, _ = fetching(lambda: 50_000)
    fetch.start()
    await until(lambda: source.asked == [10_000])
    await fetch.stop(5)


async def test_what_a_stop_brings_is_handed_on() -> None:
    """The parked pull is given up, and a job that was on its way is not lost."""
    fetch, source, came = fetching(lambda: 1)
    fetch.start()
    await until(lambda: source.asked)
    await fetch.stop(5)
    assert source.given_up == 1
    assert [record.id for record in came] == [99]
    await asyncio.sleep(0)
    assert source.asked == [1]


async def test_a_stop_while_there_is_no_room() -> None:
    """Nothing is parked then, so nothing is to be given up."""
    fetch, source, _ = fetching(lambda: 0)
    task = fetch.start()
    await until(lambda: fetch.hungry)
    await fetch.stop(5)
    assert task.done()
    assert source.asked == []


async def test_a_stop_does_not_wait_for_a_dead_server() -> None:
    """A pull that is never answered is left after the limit."""

    class Deaf(Source):
        async def give_up(self) -> None:
            raise ConnectionLost("gone")

    source = Deaf()
    fetch = Fetch(source, lambda: 1, lambda _: None, source.miss)  # type: ignore[arg-type]
    task = fetch.start()
    await until(lambda: source.asked)
    await fetch.stop(0.01)
    assert task.cancelled()


async def test_a_stop_before_the_start() -> None:
    """A worker that was told to stop while it said hello has pulled nothing."""
    fetch, source, _ = fetching(lambda: 1)
    await fetch.stop(5)
    assert source.asked == []


async def test_a_lost_server_is_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    """Pulling goes on until it works; the log says once that it does not, and that it does again."""
    fetch, source, came = fetching(lambda: 1)
    with caplog.at_level(logging.INFO, "flashq.worker"):
        fetch.start()
        for _ in range(3):
            await source.answer(ConnectionLost("gone"))
        await source.answer([job(1)])
        await until(lambda: came)
    assert [(record.levelname, record.message) for record in caplog.records] == [
        ("WARNING", "cannot pull, trying again until it works: gone"),
        ("INFO", "the server answers again"),
    ]
    await fetch.stop(5)


async def test_what_may_have_been_lost_is_missed_before_the_next_pull() -> None:
    """Once for each pull without an answer, never for one that was answered; and again when that was lost, too."""
    fetch, source, came = fetching(lambda: 1)
    fetch.start()
    await source.answer([job(1)])
    await source.answer(ConnectionLost("gone"))
    await until(lambda: len(source.asked) == 3)
    assert source.missed == 1
    await source.answer(ConnectionLost("gone"))
    await source.answer([job(2)])
    await until(lambda: len(came) == 2)
    assert source.missed == 2
    await fetch.stop(5)


async def test_a_burst_ends_with_an_empty_answer_when_nothing_is_left() -> None:
    """Not before: what still runs may enqueue more."""
    source, came, idle = Source(), list[JobRecord](), [False]
    fetch = Fetch(source, lambda: 1, came.extend, source.miss, lambda: idle[0])  # type: ignore[arg-type]
    task = fetch.start()
    await source.answer([])
    await source.answer([job(1)])
    await source.answer([])
    await until(lambda: len(source.asked) == 4)
    assert not task.done()
    idle[0] = True
    await source.answer([job(2)])
    await source.answer([])
    await task
    assert [record.id for record in came] == [1, 2]


async def test_a_worker_that_may_not_pull_ends() -> None:
    """No waiting makes a wrong token right."""
    fetch, source, _ = fetching(lambda: 1)
    task = fetch.start()
    await source.answer(Unauthorized("Invalid token"))
    with pytest.raises(Unauthorized):
        await task


async def test_a_pull_is_cut_by_a_command_behind_it() -> None:
    """The pull has no reqId, so that giving it up makes the server answer it at once, with what was on its way."""
    pulled = line(ok=True, jobs=[{"id": 7, "queue": "b", "data": 1, "token": "t"}])
    answers = {"PULLANY": SILENCE, "PING": pulled + OK}
    with LineServer(lambda request: answers[request["cmd"]]) as server:
        async with AsyncFlashQ(server.url) as client:
            puller = Puller(client, ["a", "b"])
            pulling = asyncio.create_task(puller.pull(12))
            await until(lambda: server.requests)
            await puller.give_up()
            assert [record.id for record in await pulling] == [7]
    assert server.requests[0] == {"cmd": "PULLANY", "queues": ["a", "b"], "count": 12, "timeout": 60_000}


async def test_a_pull_says_what_the_server_said() -> None:
    """An error is raised as it is, and a lost connection is known as such."""

    def refuse(request: Request) -> bytes:
        return line(ok=False, error="Invalid token", code="unauthorized")

    with LineServer(refuse) as server:
        async with AsyncFlashQ(server.url) as client:
            with pytest.raises(Unauthorized):
                await Puller(client, ["a"]).pull(1)
