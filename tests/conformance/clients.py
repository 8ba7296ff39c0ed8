"""What every client must do against a real server: one list of cases for async and sync, over each carrier.

Each case gets a client (a plain one with awaitable methods) and a queue's name of its own, so that all of them share
one server. They prove the commands of the wire contract as a user of the client meets them.
"""

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

import pytest
from msgspec import Raw

from flashq import (
    BadRequest,
    CallTimeout,
    Duplicate,
    FlowJob,
    JobSpec,
    NotActive,
    NotFound,
    StaleAttempt,
    TooLarge,
)
from flashq.reasons import Ahead, Completed, NoWorker, Paused, Running

Case = Callable[[Any, str], Awaitable[None]]

CASES: Final[list[Case]] = []


def case(check: Case) -> Case:
    """Put a case on the list."""
    CASES.append(check)
    return check


@dataclass
class Mail:
    """A payload of a program's own type."""

    to: str
    copies: int = 1


async def pulled(client: Any, queue: str) -> Any:
    """A job that must be there."""
    job = await client.pull(queue, timeout=5000)
    assert job is not None
    return job


@case
async def a_job_goes_through(client: Any, queue: str) -> None:
    """Push, pull, ack: the payload arrives, the state follows, the result can be asked for."""
    id = await client.push(queue, {"to": "ada"}, priority=3, tags=["a", "b"], max_attempts=5, backoff=10)
    assert await client.state(id) == "waiting"
    job = await pulled(client, queue)
    assert (job.id, job.queue, job.data, job.priority, job.tags) == (id, queue, {"to": "ada"}, 3, ["a", "b"])
    assert (job.attempts, job.max_attempts, job.backoff) == (0, 5, 10)
    assert job.token
    assert await client.state(job) == "active"
    await client.ack(job, {"sent": True})
    assert await client.state(id) == "completed"
    assert await client.result(id) == {"sent": True}
    done = await client.job(id)
    assert (done.id, done.state, done.data) == (id, "completed", {"to": "ada"})


@case
async def payloads_come_back_as_they_were(client: Any, queue: str) -> None:
    """Any JSON value, a type of one's own, and JSON already written, byte for byte."""
    written = b'{"b":1.0, "a" : [1e2,"\\u00e9"]}'
    for payload, seen in (
        (None, None),
        ("é\n", "é\n"),
        ([1, 2.5], [1, 2.5]),
        (Mail("ada"), {"to": "ada", "copies": 1}),
    ):
        await client.push(queue, payload)
        job = await pulled(client, queue)
        assert job.data == seen
        await client.ack(job)
    assert job.decode(Mail) == Mail("ada")
    await client.push(queue, Raw(written))
    job = await pulled(client, queue)
    assert job.raw == written
    await client.ack(job, Raw(b"[ 1 ]"))
    assert await client.result(job) == [1]


@case
async def large_payloads(client: Any, queue: str) -> None:
    """A payload near its limit goes through; one above is refused, and the connection stays."""
    await client.push(queue, "x" * 1_000_000)
    job = await pulled(client, queue)
    assert len(job.data) == 1_000_000
    await client.ack(job)
    with pytest.raises(TooLarge, match="too large"):
        await client.push(queue, "x" * 1_100_000)
    await client.ping()


@case
async def batches(client: Any, queue: str) -> None:
    """Many jobs in, many out, many acknowledged, results aligned."""
    ids = await client.push_batch(queue, [{"n": n} for n in range(100)])
    assert len(ids) == 100
    assert ids == sorted(ids)
    jobs = await client.pull_batch(queue, 100, timeout=5000)
    assert [job.id for job in jobs] == ids
    assert [job.data["n"] for job in jobs] == list(range(100))
    acked = await client.ack_batch(jobs, [job.data["n"] * 2 for job in jobs])
    assert (acked.count, acked.stale) == (100, [])
    assert await client.result(ids[7]) == 14
    assert await client.pull_batch(queue, 5, timeout=0) == []


@case
async def batches_of_specs(client: Any, queue: str) -> None:
    """Options go with each job of a batch; one bad job refuses all; known keys and ids are told."""
    with pytest.raises(BadRequest):
        await client.push_batch(queue, [JobSpec(data=1), JobSpec(data=2, depends_on=[2**53 - 1])])
    assert await client.pull(queue, timeout=0) is None
    name = f"{queue}-known"
    first = await client.push_batch(queue, [JobSpec(data="low"), JobSpec(data="high", priority=9), "plain"])
    assert [(await pulled(client, queue)).data for _ in first] == ["high", "low", "plain"]
    ids = await client.push_batch(queue, [JobSpec(data=1, unique_key=name), JobSpec(data=2, job_id=name)])
    again = await client.push_batch(queue, [JobSpec(data=1, unique_key=name), JobSpec(data=2, job_id=name)])
    assert again == ids
    assert (again.duplicates, again.replayed) == ([0], [1])
    assert (ids.duplicates, ids.replayed) == ([], [])


@case
async def pulls_of_several_queues(client: Any, queue: str) -> None:
    """The first queue that has jobs gives them; without any, the pull waits in all of them."""
    names = [f"{queue}-urgent", queue, f"{queue}-later"]
    first = await client.push(names[2], "later")
    second = await client.push(names[1], "now")
    jobs = await client.pull_any(names, 5)
    assert [job.id for job in jobs] == [second, first]
    assert (await client.ack_batch(jobs)).count == 2
    assert await client.pull_any(names, timeout=0) == []
    assert await client.pull_any(names, timeout=20) == []
    waiting = asyncio.ensure_future(client.pull_any(names, 5, timeout=10_000))
    await client.ping()
    await client.push(names[0], "urgent")
    assert [job.data for job in await waiting] == ["urgent"]
    with pytest.raises(BadRequest, match=r"queues\[1\]"):
        await client.pull_any([queue, "a b"])


@case
async def waiting_for_a_job(client: Any, queue: str) -> None:
    """Its ending comes as soon as it has ended, with result or error; without one in time, its state."""
    id = await client.push(queue, 1)
    assert (await client.wait_job(id, timeout=0)).state == "waiting"
    assert (await client.wait_job(id, timeout=20)).ended is False
    waiting = asyncio.ensure_future(client.wait_job(id))
    await client.ping()
    await client.ack(await pulled(client, queue), {"sent": 2})
    ending = await waiting
    assert (ending.id, ending.state, ending.result, ending.error) == (id, "completed", {"sent": 2}, None)
    assert ending.decode(dict[str, int]) == {"sent": 2}
    await client.push(queue, 1, max_attempts=1)
    job = await pulled(client, queue)
    waiting = asyncio.ensure_future(client.wait_job(job, timeout=10_000))
    await client.fail(job, "boom")
    assert ((await waiting).state, (await waiting).result, (await waiting).error) == ("failed", None, "boom")
    assert (await client.wait_job(2**53 - 1)).state == "unknown"


@case
async def a_beat_that_waits(client: Any, queue: str) -> None:
    """A worker hears of an attempt that was cancelled under it, without asking again and again."""
    await client.hello(queue, [queue])
    await client.push(queue, 1)
    job = await pulled(client, queue)
    assert await client.beat(queue) == []
    assert await client.beat(queue, wait=20) == []
    waiting = asyncio.ensure_future(client.beat(queue, wait=10_000))
    await client.ping()
    await client.cancel(job)
    assert [(each.id, each.token, each.reason) for each in await waiting] == [(job.id, job.token, "cancelled")]
    await client.bye(queue)


@case
async def pulls_wait(client: Any, queue: str) -> None:
    """A pull on an empty queue waits for a job, or for its time; other calls go on meanwhile."""
    assert await client.pull(queue, timeout=0) is None
    assert await client.pull(queue, timeout=20) is None
    waiting = asyncio.ensure_future(client.pull(queue))
    waiting_batch = asyncio.ensure_future(client.pull_batch(f"{queue}-b", 5, timeout=10_000))
    for _ in range(10):
        await client.ping()
    assert not waiting.done()
    id = await client.push(queue, 1)
    assert (await waiting).id == id
    await client.push(f"{queue}-b", 2)
    assert [job.data for job in await waiting_batch] == [2]


@case
async def delays_and_priorities(client: Any, queue: str) -> None:
    """A delayed job waits and hides nobody; a higher priority comes first."""
    delayed = await client.push(queue, "much later", delay=3_600_000)
    assert await client.state(delayed) == "delayed"
    await client.push(queue, "low")
    await client.push(queue, "high", priority=5)
    assert [(await pulled(client, queue)).data for _ in range(2)] == ["high", "low"]
    assert await client.pull(queue, timeout=0) is None
    await client.push(queue, "later", delay=150)
    assert (await pulled(client, queue)).data == "later"


@case
async def failures(client: Any, queue: str) -> None:
    """A failed job is tried again, then lies with the dead letters, from where it can be run or removed."""
    id = await client.push(queue, 1, max_attempts=2, backoff=0)
    await client.fail(await pulled(client, queue), "first")
    job = await pulled(client, queue)
    assert (job.attempts, job.progress_msg) == (1, "first")
    await client.fail(job, "second")
    assert await client.state(id) == "failed"
    dead = await client.dead_letters(queue)
    assert [(each.id, each.state, each.progress_msg) for each in dead] == [(id, "failed", "second")]
    assert await client.retry_dead_letters(queue, id) == 1
    assert (await pulled(client, queue)).attempts == 0
    assert await client.retry_dead_letters(queue) == 0
    await client.fail(id)
    await client.fail(await pulled(client, queue))
    assert await client.dead_letters(queue, 1) != []
    assert await client.purge_dead_letters(queue) == 1
    assert await client.dead_letters(queue) == []


@case
async def errors_have_names(client: Any, queue: str) -> None:
    """Each refusal is its own exception with the server's sentence."""
    with pytest.raises(BadRequest, match="Queue name cannot be empty"):
        await client.push("", 1)
    with pytest.raises(NotFound, match="Job 9007199254740991 not found"):
        await client.ack(2**53 - 1)
    with pytest.raises(NotFound):
        await client.get_progress(2**53 - 1)
    id = await client.push(queue, 1, unique_key="k")
    with pytest.raises(Duplicate, match="Duplicate job with key: k") as duplicate:
        await client.push(queue, 2, unique_key="k")
    assert duplicate.value.id == id
    with pytest.raises(NotActive):
        await client.ack(id)
    with pytest.raises(NotActive):
        await client.progress(id, 5)
    assert await client.job(2**53 - 1) is None
    assert await client.state(2**53 - 1) == "unknown"
    assert await client.result(2**53 - 1) is None


@case
async def attempts_are_fenced(client: Any, queue: str) -> None:
    """A token that is not the live attempt's changes nothing; the same ack twice is fine."""
    await client.push(queue, 1, backoff=0)
    first = await pulled(client, queue)
    await client.fail(first)
    second = await pulled(client, queue)
    for call in (client.ack(first), client.fail(first), client.progress(first, 1), client.heartbeat(first)):
        with pytest.raises(StaleAttempt, match="Stale attempt"):
            await call
    assert (await client.ack_batch([first])).stale == [first.id]
    await client.heartbeat(second)
    await client.ack(second, "done")
    await client.ack(second, "again")
    assert await client.result(second) == "done"


@case
async def progress(client: Any, queue: str) -> None:
    """What a worker says of its progress can be asked for, also after the end."""
    await client.push(queue, 1)
    job = await pulled(client, queue)
    await client.progress(job, 40, "almost half")
    seen = await client.get_progress(job)
    assert (seen.id, seen.progress, seen.message) == (job.id, 40, "almost half")
    await client.progress(job, 200)
    await client.ack(job)
    assert (await client.get_progress(job.id)).progress == 100


@case
async def jobs_are_listed_by_pages(client: Any, queue: str) -> None:
    """A page at a time, or all of them one by one; each with its state, newest first."""
    ids = await client.push_batch(queue, range(5))
    await client.fail(await pulled(client, queue), "no", dead=True)
    page = await client.jobs(queue, limit=2)
    assert [(job.id, job.data, job.state) for job in page.jobs] == [(ids[4], 4, "waiting"), (ids[3], 3, "waiting")]
    page = await client.jobs(queue, limit=10, cursor=page.next)
    assert ([job.id for job in page.jobs], page.next) == (ids[2::-1], None)
    assert [job.id async for job in client.all_jobs(queue, "waiting")] == ids[:0:-1]
    assert [job.id async for job in client.all_jobs(queue, limit=3)] == ids[:1:-1]
    assert [(job.id, job.progress_msg) async for job in client.all_jobs(queue, "failed")] == [(ids[0], "no")]
    with pytest.raises(BadRequest):
        await client.jobs(queue, cursor="nonsense!")


@case
async def a_job_is_explained(client: Any, queue: str) -> None:
    """Why it waits, as typed reasons; what never was is not found."""
    first, second = await client.push_batch(queue, [{"n": 1}, {"n": 2}])
    await client.pause(queue)
    why = await client.explain(second)
    assert (why.id, why.queue, why.state) == (second, queue, "waiting")
    assert why.reasons == [Paused(), Ahead(1, exact=True), NoWorker(0, None)]
    await client.resume(queue)
    job = await pulled(client, queue)
    (running,) = (await client.explain(job)).reasons
    assert isinstance(running, Running)
    assert running.since == job.started_at
    assert running.deadline > running.since
    await client.ack(job, 5)
    assert (await client.explain(first)).reasons == [Completed(job.started_at, 0, result=True)]
    with pytest.raises(NotFound):
        await client.explain(2**53 - 1)


@case
async def failing_in_ones_own_way(client: Any, queue: str) -> None:
    """A failure says when the job is tried again, or that it never is."""
    id = await client.push(queue, 1, backoff=60_000)
    await client.fail(await pulled(client, queue), "busy", delay=5)
    job = await pulled(client, queue)
    assert (job.id, job.attempts, job.progress_msg) == (id, 1, "busy")
    await client.fail(job, "no use", dead=True)
    assert [(letter.id, letter.attempts) for letter in await client.dead_letters(queue)] == [(id, 2)]


@case
async def giving_back(client: Any, queue: str) -> None:
    """A released job runs again, at once or later, and no attempt is counted; the old token is stale."""
    id = await client.push(queue, 1, max_attempts=1)
    job = await pulled(client, queue)
    await client.release(job)
    with pytest.raises(StaleAttempt):
        await client.release(job)
    job = await pulled(client, queue)
    await client.release(job, delay=3_600_000)
    assert await client.state(id) == "delayed"
    assert (await client.job(id)).attempts == 0


@case
async def ids_of_ones_own(client: Any, queue: str) -> None:
    """A push with a job_id is the same push however often it is sent, and is found by it."""
    mine = f"{queue}-mine"
    id = await client.push(queue, {"n": 1}, job_id=mine)
    assert await client.push(queue, {"n": 2}, job_id=mine) == id
    found = await client.job_by_custom_id(mine)
    assert (found.id, found.custom_id, found.data, found.state) == (id, mine, {"n": 1}, "waiting")
    assert await client.job_by_custom_id(f"{mine}-not") is None


@case
async def safe_retry(client: Any, queue: str) -> None:
    """Pushes that the client made safe are ordinary jobs with an id each."""
    safe = client.with_options(safe_retry=True)
    first, second = await safe.push(queue, 1), await safe.push(queue, 1)
    assert first != second
    job = await client.job(first)
    assert job.custom_id
    assert (await client.job_by_custom_id(job.custom_id)).id == first


@case
async def dependencies_and_cancelling(client: Any, queue: str) -> None:
    """A child waits for its parents; a cancelled job is gone and says so."""
    parent = await client.push(queue, "parent")
    child = await client.push(queue, "child", depends_on=[parent])
    assert await client.state(child) == "waiting-children"
    assert (await client.job(child)).depends_on == [parent]
    await client.ack(await pulled(client, queue))
    assert (await pulled(client, queue)).id == child
    await client.cancel(child)
    with pytest.raises((NotActive, NotFound)):
        await client.cancel(child)
    with pytest.raises(NotActive):
        await client.cancel(parent)


@case
async def flows(client: Any, queue: str) -> None:
    """Jobs that wait for each other are pushed in one step; the last is given what the others returned."""
    ids = await client.push_flow(
        [
            FlowJob(queue=queue, data="a"),
            FlowJob(queue=queue, data="b"),
            FlowJob(queue=f"{queue}-merge", data=Mail("ada"), after=[0, 1], collect=True),
        ]
    )
    assert ids == list(range(ids[0], ids[0] + 3))
    assert (ids.duplicates, ids.replayed) == ([], [])
    jobs = await client.pull_batch(queue, 2, timeout=5000)
    assert [job.inputs for job in jobs] == [None, None]
    await client.ack_batch(jobs, [{"n": 1}, None])
    job = await pulled(client, f"{queue}-merge")
    assert (job.id, job.depends_on, job.data) == (ids[2], list(ids[:2]), {"to": "ada", "copies": 1})
    assert [bytes(one) for one in job.inputs] == [b'{"n":1}', b"null"]
    with pytest.raises(Duplicate):
        await client.push_flow([FlowJob(queue=queue, data=n, unique_key="k") for n in range(2)])
    safe = client.with_options(safe_retry=True)
    (id,) = await safe.push_flow([FlowJob(queue=queue, data=1)])
    assert (await client.job(id)).custom_id


@case
async def settings_of_a_queue(client: Any, queue: str) -> None:
    """Pause, rate limit and concurrency are set, shown, obeyed and taken back."""
    await client.push_batch(queue, range(3))
    await client.pause(queue)
    assert await client.pull(queue, timeout=0) is None
    await client.set_rate_limit(queue, 1000)
    await client.set_concurrency(queue, 1)
    shown = next(each for each in await client.queues() if each.name == queue)
    assert (shown.paused, shown.rate_limit, shown.concurrency_limit, shown.pending) == (True, 1000, 1, 3)
    await client.resume(queue)
    job = await pulled(client, queue)
    assert await client.pull(queue, timeout=0) is None
    await client.clear_concurrency(queue)
    await client.clear_rate_limit(queue)
    assert len(await client.pull_batch(queue, 5, timeout=0)) == 2
    await client.ack(job)
    shown = next(each for each in await client.queues() if each.name == queue)
    assert (shown.paused, shown.rate_limit, shown.concurrency_limit, shown.completed) == (False, None, None, 1)
    with pytest.raises(BadRequest):
        await client.set_rate_limit(queue, 0)


@case
async def schedules(client: Any, queue: str) -> None:
    """Schedules are set, listed with their payload, replaced, fired and removed."""
    await client.set_cron(queue, queue, "0 30 4 * * *", {"n": 1}, priority=2, timezone="Europe/Rome")
    shown = next(each for each in await client.crons() if each.name == queue)
    assert (shown.queue, shown.data, shown.priority, shown.timezone) == (queue, {"n": 1}, 2, "Europe/Rome")
    assert shown.next_run > 0
    assert shown.last_run is None
    await client.set_cron(queue, queue, "*/1", {"n": 2})
    assert (await pulled(client, queue)).data == {"n": 2}
    await client.delete_cron(queue)
    assert all(each.name != queue for each in await client.crons())
    with pytest.raises(NotFound, match="Cron job not found"):
        await client.delete_cron(queue)
    with pytest.raises(BadRequest, match="Invalid"):
        await client.set_cron(queue, queue, "not a schedule")


@case
async def webhooks(client: Any, queue: str) -> None:
    """Webhooks are registered, listed without their secrets, and removed."""
    id = await client.add_webhook("https://example.org/hook", ["failed"], queue=queue, secret="hush")
    shown = next(each for each in await client.webhooks() if each.id == id)
    assert (shown.url, shown.events, shown.queue) == ("https://example.org/hook", ["failed"], queue)
    assert (shown.has_secret, shown.pending, shown.last_error) == (True, 0, None)
    await client.delete_webhook(id)
    assert all(each.id != id for each in await client.webhooks())
    with pytest.raises(NotFound, match="Webhook not found"):
        await client.delete_webhook(id)
    with pytest.raises(BadRequest, match="Invalid"):
        await client.add_webhook("http://10.0.0.1/")


@case
async def figures(client: Any, queue: str) -> None:
    """Statistics and metrics count what was done."""
    before = await client.stats()
    await client.push(queue, 1)
    await client.push(queue, 1, delay=3_600_000)
    await client.ack(await pulled(client, queue))
    after = await client.stats()
    assert after.completed == before.completed + 1
    assert after.delayed == before.delayed + 1
    metrics = await client.metrics()
    assert metrics.total_pushed >= metrics.total_completed >= 1
    assert any(each.name == queue for each in metrics.queues)


@case
async def pipelines(client: Any, queue: str) -> None:
    """Thousands of calls in one go, all kinds mixed, each with its own outcome."""
    async with client.pipeline(keep_errors=True) as p:
        ids = [p.push(queue, {"n": n}) for n in range(3000)]
        refused = p.ack(2**53 - 1)
        stats = p.stats()
    numbers = [each.result() for each in ids]
    assert numbers == list(range(numbers[0], numbers[0] + 3000))
    assert isinstance(refused.error, NotFound)
    assert stats.result().queued >= 3000
    jobs = list(itertools.chain.from_iterable([await client.pull_batch(queue, 1500, timeout=0) for _ in range(2)]))
    async with client.pipeline() as p:
        for job in jobs:
            p.ack(job, job.data["n"])
    assert await client.result(numbers[-1]) == 2999


@case
async def calls_at_the_same_time(client: Any, queue: str) -> None:
    """Many calls at once each get their own answers."""

    async def round_trip(n: int) -> bool:
        id = await client.push(f"{queue}-{n}", n)
        job = await client.pull(f"{queue}-{n}", timeout=5000)
        await client.ack(job, n)
        return bool(job.id == id and job.data == n and await client.result(id) == n)

    assert all(await asyncio.gather(*(round_trip(n) for n in range(40))))


@case
async def events(client: Any, queue: str) -> None:
    """A subscriber sees what happens to the jobs of his queues, and of no others."""
    async with client.subscribe(queue) as watching:
        await client.push(f"{queue}-other", 1)
        id = await client.push(queue, {"n": 1}, max_attempts=1)
        await client.fail(await pulled(client, queue), "why")
        seen = [await watching.next(5000) for _ in range(3)]
        assert [each.event_type for each in seen] == ["pushed", "active", "failed"]
        assert {each.job_id for each in seen} == {id}
        assert {each.queue for each in seen} == {queue}
        assert seen[2].error == "why"
        assert seen[0].timestamp > 0
        await watching.add(f"{queue}-other", ["completed"])
        await watching.drop(queue)
        await client.push(queue, 1)
        await client.ack(await pulled(client, f"{queue}-other"))
        event = await watching.next(5000)
        assert (event.event_type, event.queue) == ("completed", f"{queue}-other")
        with pytest.raises(CallTimeout):
            await watching.next(20)


@case
async def refused_subscriptions(client: Any, queue: str) -> None:
    """A kind of event that does not exist is refused when subscribing."""
    with pytest.raises(BadRequest):
        async with client.subscribe(queue, ["no-such-event"]):
            pass


@case
async def workers(client: Any, queue: str) -> None:
    """A worker says hello, is listed with what it holds, keeps it alive, and gives it back when it leaves."""
    await client.push(queue, 1)
    await client.hello(queue, [queue], 4, host="here", pid=77)
    job = await pulled(client, queue)
    shown = next(each for each in await client.workers() if each.id == queue)
    assert (shown.queues, shown.concurrency, shown.host, shown.pid, shown.active) == ([queue], 4, "here", 77, 1)
    await client.beat(queue)
    await client.bye(queue)
    assert all(each.id != queue for each in await client.workers())
    again = await pulled(client, queue)
    assert (again.id, again.attempts) == (job.id, 0)
    with pytest.raises(StaleAttempt):
        await client.ack(job)
    await client.release(again)
    await client.hello(queue)
    await pulled(client, queue)
    await client.bye(queue, error="killed")
    assert (await client.job(job.id)).progress_msg == "killed"
