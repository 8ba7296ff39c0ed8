"""The client's own decisions: what is sent again after a loss, options, pipelines, subscriptions.

Everything is played over the async client and over the plain one that is generated from it. What the commands do is
proved against a real server in tests/conformance.
"""

import asyncio
import inspect
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio
from tests.fakes.awaited import Awaited
from tests.fakes.line_server import HANG_UP, OK, SILENCE, LineServer, Request, line

from flashq.client import AsyncFlashQ, FlashQ, JobSpec, Unreachable
from flashq.client.pipeline import MAX_REPEATS
from flashq.errors import BadRequest, CallTimeout, ConnectionLost, FlashQError, NotFound, StorageError, StorageFull

JOB = {"id": 3, "queue": "q", "data": {"a": 1}, "token": "t"}


@pytest.fixture(params=["async", "sync"])
def flavour(request: pytest.FixtureRequest) -> str:
    """Which of the two clients."""
    return str(request.param)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reconnects wait for milliseconds: how long they wait in earnest is tested without a network."""
    monkeypatch.setattr("flashq.client.pipeline.BACKOFF_BASE_MS", 1)


@pytest_asyncio.fixture
async def connect(flavour: str) -> AsyncIterator[Callable[..., Any]]:
    """Makes clients of the flavour and closes them after the test."""
    made: list[Any] = []

    def client(server: LineServer | str, **options: Any) -> Any:
        url = server if isinstance(server, str) else server.url
        made.append(AsyncFlashQ(url, **options) if flavour == "async" else Awaited(FlashQ(url, **options)))
        return made[-1]

    yield client
    for each in made:
        await each.close()


class Losing:
    """A server that hangs up instead of answering, so many times, and then answers."""

    def __init__(self, times: int, answer: bytes = OK) -> None:
        self.left = times
        self.answer = answer

    def __call__(self, request: Request) -> bytes | None:
        """Hang up or answer."""
        if self.left:
            self.left -= 1
            return HANG_UP
        return self.answer


async def test_reads_are_sent_again(connect: Any) -> None:
    """A read whose answer was lost is asked again, and its caller notices nothing."""
    with LineServer(Losing(2, line(ok=True, id=1, state="active"))) as server:
        assert await connect(server).state(1) == "active"
        assert server.connections == 3


async def test_a_push_is_not_sent_twice(connect: Any) -> None:
    """A push whose answer was lost may have been done: the program is told, and the server asked no second time."""
    with LineServer(Losing(1)) as server:
        with pytest.raises(ConnectionLost) as lost:
            await connect(server).push("q", 1)
        assert not isinstance(lost.value, Unreachable)
        assert server.commands() == ["PUSH"]


async def test_a_push_with_an_id_is_sent_again(connect: Any) -> None:
    """The id makes the second push the same push."""
    with LineServer(Losing(1, line(ok=True, id=7, replayed=True))) as server:
        assert await connect(server).push("q", 1, job_id="mine") == 7
        assert [request["job_id"] for request in server.requests] == ["mine", "mine"]


async def test_safe_retry_gives_every_push_an_id(connect: Any) -> None:
    """With the option, pushes carry ids of their own, different ones, the same in the repetition."""
    with LineServer(Losing(1, line(ok=True, id=7))) as server:
        client = connect(server, safe_retry=True)
        await client.push("q", 1)
        await client.push("q", 1)
        first, again, second = [request["job_id"] for request in server.requests]
        assert first == again != second


async def test_safe_retry_in_batches_and_pipelines(connect: Any) -> None:
    """The option covers batches and pipelines too."""
    with LineServer(Losing(0, line(ok=True, id=7, ids=[7]))) as server:
        client = connect(server, safe_retry=True)
        await client.push_batch("q", [1, JobSpec(data=2, job_id="mine")])
        async with client.pipeline() as p:
            p.push("q", 1)
        batch, push = server.requests
        assert batch["jobs"][1]["job_id"] == "mine"
        assert batch["jobs"][0]["job_id"] != push["job_id"]


async def test_repeating_ends(connect: Any) -> None:
    """A call that loses every connection is given up after its repeats."""
    with LineServer(lambda request: HANG_UP) as server:
        with pytest.raises(ConnectionLost):
            await connect(server).ping()
        assert len(server.requests) == 1 + MAX_REPEATS


async def test_repeating_ends_with_the_budget(connect: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without budget nothing is sent again, neither a read nor a pull."""
    monkeypatch.setattr("flashq.client.pipeline.REPEAT_RESERVE", 0)
    with LineServer(lambda request: HANG_UP) as server:
        client = connect(server)
        for call in (client.ping(), client.pull("q")):
            with pytest.raises(ConnectionLost):
                await call
        assert server.commands() == ["PING", "PULL"]


async def test_a_pull_survives_a_lost_connection(connect: Any) -> None:
    """A worker that waits for a job goes on waiting at the restarted server, for what is left of its time."""
    times: list[Any] = []

    def answer(request: Request) -> bytes | None:
        times.append(request.get("timeout"))
        job = line(ok=True, job=JOB, **({"reqId": request["reqId"]} if "reqId" in request else {}))
        return HANG_UP if len(times) == 1 else job

    with LineServer(answer) as server:
        job = await connect(server).pull("q", timeout=60_000)
        assert (job.id, job.data, job.token) == (3, {"a": 1}, "t")
        assert times[0] == 60_000
        assert 50_000 < times[1] <= 60_000


AWAY = {"ok": False, "error": "The storage does not answer", "code": "storage_error"}


class Refusing:
    """A server that refuses, so many times, in words of its own, and then answers."""

    def __init__(self, times: int, answer: dict[str, Any], refusal: dict[str, Any]) -> None:
        self.left = times
        self.answer = answer
        self.refusal = refusal

    def __call__(self, request: Request) -> bytes:
        """Refuse or answer."""
        told = self.refusal if self.left else self.answer
        self.left -= self.left > 0
        return line(**told, **({"reqId": request["reqId"]} if "reqId" in request else {}))


async def test_what_a_server_could_not_save_is_sent_again(
    connect: Any, monkeypatch: pytest.MonkeyPatch, flavour: str
) -> None:
    """After a pause each time, if a repetition is safe; a push that names nothing is not, and its program is told."""
    monkeypatch.setattr(f"flashq.client.{flavour}_client.STORAGE_PAUSE_MS", 1)
    with LineServer(Refusing(5, {"ok": True, "id": 7}, AWAY)) as server:
        assert await connect(server).push("q", 1, job_id="mine") == 7
        assert [request["job_id"] for request in server.requests] == ["mine"] * 6
    with LineServer(Refusing(1, {"ok": True, "id": 7}, AWAY)) as server:
        with pytest.raises(StorageError, match="does not answer"):
            await connect(server).push("q", 1)
        assert server.commands() == ["PUSH"]


async def test_a_wait_is_asked_again_when_the_server_cannot_save(
    connect: Any, monkeypatch: pytest.MonkeyPatch, flavour: str
) -> None:
    """For what is left of its time; one that has none left says why."""
    monkeypatch.setattr(f"flashq.client.{flavour}_client.STORAGE_PAUSE_MS", 1)
    with LineServer(Refusing(2, {"ok": True, "job": JOB}, AWAY)) as server:
        job = await connect(server).pull("q", timeout=60_000)
        assert job.id == 3
        assert 50_000 < server.requests[2]["timeout"] <= 60_000
    with LineServer(Refusing(1, {"ok": True, "job": JOB}, AWAY)) as server, pytest.raises(StorageError):
        await connect(server).pull("q", timeout=0)


async def test_a_full_disk_is_told_at_once(connect: Any, monkeypatch: pytest.MonkeyPatch, flavour: str) -> None:
    """It does not go by itself; nor is a call sent again for which there is no time."""
    full = {**AWAY, "code": "storage_full"}
    with LineServer(Refusing(1, {"ok": True}, full)) as server, pytest.raises(StorageFull):
        await connect(server).ping()
    monkeypatch.setattr(f"flashq.client.{flavour}_client.STORAGE_PAUSE_MS", 60_000)
    with LineServer(Refusing(1, {"ok": True}, AWAY)) as server:
        with pytest.raises(StorageError):
            await connect(server).ping()
        assert server.commands() == ["PING"]


async def test_a_server_that_fails_and_leaves_is_believed(
    connect: Any, monkeypatch: pytest.MonkeyPatch, flavour: str
) -> None:
    """That there is no server any more says less than what it said last: the outcome is not known."""
    monkeypatch.setattr(f"flashq.client.{flavour}_client.STORAGE_PAUSE_MS", 1)
    answers = iter([line(**AWAY)])
    with LineServer(lambda _: next(answers, HANG_UP)) as server, pytest.raises(StorageError):
        await connect(server).push("q", 1, job_id="mine")


async def test_a_pull_for_ever_stays_one(connect: Any) -> None:
    """A pull without a limit is asked again without a limit."""
    answers = iter([HANG_UP])

    def answer(request: Request) -> bytes | None:
        jobs = line(ok=True, jobs=[JOB], **({"reqId": request["reqId"]} if "reqId" in request else {}))
        return next(answers, jobs)

    with LineServer(answer) as server:
        assert len(await connect(server).pull_batch("q", 5)) == 1
        assert [request.get("timeout") for request in server.requests] == [None, None]


async def test_timeouts(connect: Any) -> None:
    """A call has its time, of the client or of the options, and is not repeated when it is over."""
    with LineServer(lambda request: SILENCE) as server:
        client = connect(server, call_timeout_ms=20)
        await client.connect()  # or the time might be over before anything is sent
        for call in (client.ping, lambda: client.with_options(call_timeout_ms=30).pull("q", timeout=10)):
            with pytest.raises(CallTimeout):
                await call()
            await asyncio.to_thread(server.next_request)  # it is on its way, though nobody waits for it any more
        assert server.commands() == ["PING", "PULL"]


async def test_options_share_the_connection(connect: Any) -> None:
    """A view with other options speaks over the same connection and leaves the client as it was."""
    with LineServer() as server:
        client = connect(server)
        await client.ping()
        await client.with_options(call_timeout_ms=None, safe_retry=True).ping()
        await client.with_options().ping()
        assert server.connections == 1
        view = client.with_options(safe_retry=True)
        assert (getattr(view, "plain", view)._safe_retry, getattr(client, "plain", client)._safe_retry) == (True, False)


@pytest.mark.parametrize("options", [{"call_timeout_ms": 0}, {"connect_timeout_ms": -1}])
def test_times_that_make_no_sense(options: dict[str, int]) -> None:
    """No time at all is refused when the client is made, not at its first call."""
    for kind in (AsyncFlashQ, FlashQ):
        with pytest.raises(BadRequest, match="more than 0"):
            kind(**options)
        with pytest.raises(BadRequest):
            kind().with_options(call_timeout_ms=0)


async def test_nobody_there(connect: Any) -> None:
    """Without a server the error says that nothing was sent, and no call is repeated beyond the connect timeout."""
    with LineServer() as server:
        url = server.url
    for call in ("ping", "stats"):
        with pytest.raises(Unreachable, match="not sent"):
            await getattr(connect(url, connect_timeout_ms=50), call)()
    with pytest.raises(Unreachable):
        await connect(url, connect_timeout_ms=50).pull("q")
    with pytest.raises(Unreachable):
        async with connect(url, connect_timeout_ms=50):
            pass


async def test_a_server_that_does_not_come_back(connect: Any) -> None:
    """When the server is gone for good, the read that was to be repeated says that it is not there."""
    with LineServer(lambda request: gone()) as server:

        def gone() -> None:
            server._listener.shutdown(socket.SHUT_RDWR)

        with pytest.raises(Unreachable):
            await connect(server, connect_timeout_ms=50).ping()


async def test_with_connects_and_closes(connect: Any) -> None:
    """A `with` block connects at its beginning; afterwards nothing can be asked."""
    with LineServer() as server:
        async with connect(server) as client:
            await client.ping()
        assert server.connections == 1
        with pytest.raises(Unreachable, match="closed"):
            await client.ping()


async def test_pipelines(connect: Any) -> None:
    """A pipeline sends nothing before its end, then everything at once; each call has its own result."""
    with LineServer(lambda request: line(ok=True, id=request["id"], state=str(request["id"]))) as server:
        client = connect(server)
        async with client.pipeline() as p:
            pending = [p.state(n) for n in range(500)]
            assert server.requests == []
            assert not pending[0].done
        assert [each.result() for each in pending] == [str(n) for n in range(500)]
        assert server.connections == 1


async def test_pipelines_raise_the_first_error(connect: Any) -> None:
    """A refusal does not pass in silence; whoever wants to look at each call himself may."""

    def answer(request: Request) -> bytes | None:
        refusal = line(ok=False, error=f"Job {request.get('id')} not found", code="not_found")
        return refusal if request["cmd"] == "CANCEL" else OK

    with LineServer(answer) as server:
        client = connect(server)
        with pytest.raises(NotFound, match="Job 1 "):
            async with client.pipeline() as p:
                before, *_, after = p.ping(), p.cancel(1), p.cancel(2), p.ping()
        assert before.result() is None
        assert after.result() is None
        async with client.pipeline(keep_errors=True) as p:
            refused = p.cancel(3)
        assert isinstance(refused.error, NotFound)


async def test_a_pipeline_that_raises_sends_nothing(connect: Any) -> None:
    """An error in the block means that the program had not finished saying what it wants."""
    with LineServer() as server:
        client = connect(server)

        async def broken() -> None:
            async with client.pipeline() as p:
                p.push("q", 1)
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await broken()
        await client.ping()
        assert server.commands() == ["PING"]
        async with client.pipeline():
            pass
        assert server.commands() == ["PING"]


async def test_pipelines_repeat_what_is_safe(connect: Any) -> None:
    """When the connection is lost in a pipeline, reads are asked again and pushes have their error."""
    seen: list[str] = []

    def answer(request: Request) -> bytes | None:
        seen.append(request["cmd"])
        return HANG_UP if len(seen) == 2 else line(ok=True, id=1, state="active")

    with LineServer(answer) as server:
        async with connect(server).pipeline(keep_errors=True) as p:
            first, push, last = p.state(1), p.push("q", 1), p.state(2)
        assert (first.result(), last.result()) == ("active", "active")
        assert isinstance(push.error, ConnectionLost)
        assert seen.count("PUSH") == 1


async def test_a_pipeline_without_a_server(connect: Any) -> None:
    """All calls of a pipeline that could not be sent say so."""
    with LineServer() as server:
        url = server.url
    async with connect(url, connect_timeout_ms=50).pipeline(keep_errors=True) as p:
        pending = [p.ping(), p.push("q", 1)]
    assert [type(each.error) for each in pending] == [Unreachable, Unreachable]


EVENT = {"event_type": "completed", "queue": "q", "job_id": 3, "timestamp": 5, "data": {"a": 1}}


async def test_subscriptions(connect: Any) -> None:
    """Events come over a connection of their own, in order, until the block ends."""
    with LineServer(lambda request: OK if request["cmd"] == "PING" else OK + line(event=EVENT)) as server:
        client = connect(server)
        await client.ping()
        async with client.subscribe("q", ["completed"]) as events:
            event = await events.next(5000)
            assert (event.event_type, event.job_id, event.data) == ("completed", 3, {"a": 1})
            await events.add("other")
            await events.drop("q")
            assert [(await events.next(5000)).job_id for _ in range(2)] == [3, 3]
            with pytest.raises(CallTimeout):
                await events.next(10)
        assert server.commands() == ["PING", "SUBSCRIBE", "SUBSCRIBE", "UNSUBSCRIBE"]
        assert server.requests[1]["events"] == ["completed"]
        assert server.connections == 2


async def test_iterating_over_events(connect: Any) -> None:
    """Iteration gives event after event and raises when the connection ends: a gap must not be silent."""
    with LineServer(lambda request: OK + line(event=EVENT) * 3) as server:
        seen = []

        async def watch() -> None:
            async with connect(server).subscribe() as events:
                async for event in events:
                    seen.append(event.job_id)
                    if len(seen) == 3:
                        server.hang_up()

        with pytest.raises(ConnectionLost):
            await watch()
        assert seen == [3, 3, 3]


async def test_closing_ends_the_iteration(connect: Any) -> None:
    """Who iterates while somebody closes the subscription comes to the end, without an error."""
    with LineServer() as server:
        async with connect(server).subscribe() as events:

            async def watch() -> int:
                return len([event async for event in events])

            watching = asyncio.ensure_future(watch())
            for _ in range(3):
                await asyncio.sleep(0)
            await events.close()
            assert await watching == 0
            assert [event async for event in events] == []


async def test_a_refused_subscription(connect: Any) -> None:
    """A subscription that the server refuses leaves no connection behind."""
    refusal = line(ok=False, error="Queue name cannot be empty", code="bad_request")
    with LineServer(lambda request: refusal) as server:
        with pytest.raises(BadRequest, match="cannot be empty"):
            async with connect(server).subscribe(""):
                pass
        assert server.connections == 1


async def test_a_subscription_needs_its_block(connect: Any) -> None:
    """Outside of a `with` block there is no connection to ask."""
    with LineServer() as server, pytest.raises(FlashQError, match="with"):
        await connect(server).subscribe().next()


async def test_workers_say_hello_again(connect: Any) -> None:
    """A worker that lost its connection says who it is before it pulls again; after bye it does not."""
    with LineServer(Losing(0, line(ok=True, job=None))) as server:
        client = connect(server)
        await client.hello("w", ["q"], 4, host="h", pid=9)
        await client.beat("w")
        server.hang_up()
        await client.ping()
        *_, before, last = server.commands()
        assert (before, last) == ("HELLO", "PING")
        await client.bye("w")
        assert server.commands()[-1] == "BYE"


@pytest.mark.parametrize(("timeout", "asked"), [(None, [60_000, 60_000]), (90_000, [60_000, 30_000]), (50, [50])])
async def test_a_long_wait_for_a_job_is_asked_for_in_parts(
    connect: Any, timeout: int | None, asked: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No wait stays at the server for more than a minute after its caller; the last part is what is left."""

    def answer(request: Request) -> bytes:
        ended = len(server.requests) > 1
        more = {"reqId": request["reqId"]} if request.get("reqId") else {}
        return line(ok=True, id=7, state="completed" if ended else "active", result=[1], error=None, **more)

    with LineServer(answer) as server:
        client = connect(server)
        await client.connect()
        connection = getattr(client, "_client", client)._connection
        monkeypatch.setattr(connection, "now_ms", lambda: 60_000 * len(server.requests))
        ending = await client.wait_job(7, timeout)
        assert [request["timeout"] for request in server.requests if request["cmd"] == "WAITJOB"] == asked
        assert (ending.id, ending.result, ending.ended) == (7, [1], len(asked) > 1)


EVERYTHING = {
    "id": 1,
    "ids": [1],
    "state": "active",
    "job": JOB,
    "jobs": [JOB],
    "result": None,
    "error": None,
    "progress": {"id": 1, "progress": 5, "message": None},
    "count": 1,
    "next": None,
    "explain": {"id": 1, "queue": "q", "state": "waiting", "at": 9, "reasons": [{"type": "paused"}]},
    "crons": [],
    "webhooks": [],
    "history": [],
    "truncated": False,
    "audit": [],
    "cursor": None,
    "queues": [],
    "workers": [],
    "nodes": [],
    "backup": {"path": "", **dict.fromkeys(("bytes", "group", "took_ms"), 0)},
    "settings": {
        **dict.fromkeys(("version", "host", "storage", "durability"), ""),
        **dict.fromkeys(("port", "http_port", "uptime_ms"), 0),
        "unix_socket": None,
        **dict.fromkeys(("auth", "tls", "exposed"), False),
    },
    **dict.fromkeys(("queued", "processing", "delayed", "dlq", "completed", "waiting_children"), 0),
    "metrics": {
        **dict.fromkeys(("total_pushed", "total_completed", "total_failed", "jobs_per_second", "avg_latency_ms"), 0),
        "queues": [],
    },
}
"""An answer that fits every command."""


@pytest.mark.parametrize(
    ("method", "arguments", "command"),
    [
        ("push", ("q", 1), "PUSH"),
        ("push_batch", ("q", [1]), "PUSHB"),
        ("pull", ("q",), "PULL"),
        ("pull_batch", ("q", 5), "PULLB"),
        ("pull_any", (["q", "r"],), "PULLANY"),
        ("ack", (1,), "ACK"),
        ("ack_batch", ([1],), "ACKB"),
        ("fail", (1,), "FAIL"),
        ("progress", (1, 50), "PROGRESS"),
        ("heartbeat", (1,), "HEARTBEAT"),
        ("cancel", (1,), "CANCEL"),
        ("wait_job", (1, 0), "WAITJOB"),
        ("result", (1,), "GETRESULT"),
        ("job", (1,), "GETJOB"),
        ("job_by_custom_id", ("c",), "GETJOBBYCUSTOMID"),
        ("state", (1,), "GETSTATE"),
        ("jobs", (), "LISTJOBS"),
        ("explain", (1,), "EXPLAIN"),
        ("history", (1,), "HISTORY"),
        ("audit_log", (), "AUDITLOG"),
        ("get_progress", (1,), "GETPROGRESS"),
        ("dead_letters", ("q",), "DLQ"),
        ("retry_dead_letters", ("q",), "RETRYDLQ"),
        ("purge_dead_letters", ("q",), "PURGEDLQ"),
        ("queues", (), "LISTQUEUES"),
        ("pause", ("q",), "PAUSE"),
        ("resume", ("q",), "RESUME"),
        ("set_rate_limit", ("q", 5), "RATELIMIT"),
        ("clear_rate_limit", ("q",), "RATELIMITCLEAR"),
        ("set_concurrency", ("q", 5), "SETCONCURRENCY"),
        ("clear_concurrency", ("q",), "CLEARCONCURRENCY"),
        ("set_cron", ("n", "q", "*/5"), "CRON"),
        ("delete_cron", ("n",), "CRONDELETE"),
        ("crons", (), "CRONLIST"),
        ("delete_webhook", ("w",), "WEBHOOKDELETE"),
        ("webhooks", (), "WEBHOOKLIST"),
        ("stats", (), "STATS"),
        ("metrics", (), "METRICS"),
        ("ping", (), "PING"),
        ("auth", ("t",), "AUTH"),
        ("hello", ("w",), "HELLO"),
        ("beat", ("w",), "BEAT"),
        ("bye", ("w",), "BYE"),
        ("workers", (), "WORKERS"),
        ("settings", (), "SETTINGS"),
        ("nodes", (), "NODES"),
        ("shutdown", (), "SHUTDOWN"),
        ("restart", (), "RESTART"),
        ("backup", (), "BACKUP"),
    ],
)
async def test_each_method_is_its_command(connect: Any, method: str, arguments: Any, command: str) -> None:
    """A method sends its own command, once, and can read a good answer to it."""

    def answer(request: Request) -> bytes:
        return line(ok=True, **EVERYTHING, **({"reqId": request["reqId"]} if request.get("reqId") else {}))

    with LineServer(answer) as server:
        await getattr(connect(server), method)(*arguments)
        assert server.commands() == [command]


def test_the_token_is_not_shown(flavour: str) -> None:
    """A client's text names the server and not the token."""
    client = (AsyncFlashQ if flavour == "async" else FlashQ)("flashq://secret@queue.example")
    assert repr(client) == f"{type(client).__name__}('flashq://queue.example:6789')"


def test_both_clients_have_the_same_face() -> None:
    """Every public method of one is there in the other, with the same arguments."""

    def face(kind: type) -> dict[str, str]:
        return {
            name: str(inspect.signature(method)).replace("Async", "")
            for name, method in inspect.getmembers(kind, inspect.isfunction)
            if not name.startswith("_")
        }

    assert face(AsyncFlashQ) == face(FlashQ)
