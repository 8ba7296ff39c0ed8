"""Sentry: what is reported of a job, how often, and what is not."""

import asyncio
import logging
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sentry_sdk
from sentry_sdk.envelope import Envelope
from sentry_sdk.transport import Transport
from tests.unit.contrib.conftest import Work

from flashq import App, Cancelled, Middleware, Reject, Retry, Snooze
from flashq.contrib.sentry import SentryMiddleware
from flashq.tasks.context import NO_LINK
from flashq.tasks.outcome import Gone
from flashq.tasks.run import Prepared, prepare, run_async
from flashq.testing import LocalServer

Join = Callable[[App], App]
SECRET = "ada@example.org"


class Kept(Transport):
    """A transport that keeps what it should send."""

    def __init__(self) -> None:
        super().__init__()
        self.envelopes: list[Envelope] = []

    def capture_envelope(self, envelope: Envelope) -> None:
        self.envelopes.append(envelope)

    @property
    def errors(self) -> list[dict[str, Any]]:
        """The error events."""
        return [event for envelope in self.envelopes if (event := envelope.get_event()) is not None]

    @property
    def error(self) -> dict[str, Any]:
        """The only error event."""
        [error] = self.errors
        return error

    @property
    def transactions(self) -> list[dict[str, Any]]:
        """The transactions, in the order of their ends."""
        found = [envelope.get_transaction_event() for envelope in self.envelopes]
        return [transaction for transaction in found if transaction is not None]


Start = Callable[..., Kept]


@pytest.fixture
def sentry() -> Iterator[Start]:
    """Starts the SDK with a transport that keeps everything."""

    def start(**options: Any) -> Kept:
        kept = Kept()
        sentry_sdk.init(
            dsn="http://key@localhost/1",
            transport=kept,
            auto_enabling_integrations=False,
            **{"traces_sample_rate": 1.0, **options},
        )
        return kept

    with sentry_sdk.isolation_scope():
        yield start
    sentry_sdk.get_global_scope().set_client(None)


@pytest.fixture
def app(join: Join) -> App:
    """An app that reports."""
    return join(App(default_queue="mails", middlewares=[SentryMiddleware()]))


def failing(app: App, error: BaseException, **options: Any) -> Any:
    """A task that raises this."""

    @app.task(name="fail", **options)
    def fail(to: str = "") -> None:
        raise error

    return fail


@pytest.mark.parametrize("coroutine", [False, True])
def test_a_failure_is_one_event_with_the_job(app: App, sentry: Start, work: Work, coroutine: bool) -> None:
    """The exception comes once, says which job, and begins in the task's function."""
    kept = sentry()

    def plain(to: str) -> None:
        raise ValueError("no such user")

    async def coro(to: str) -> None:
        raise ValueError("no such user")

    job = app.task(name="send")(coro if coroutine else plain).delay("ada")
    work(app)
    event = kept.error
    [exception] = event["exception"]["values"]
    assert (exception["type"], exception["value"]) == ("ValueError", "no such user")
    assert exception["mechanism"] == {"type": "flashq", "handled": False}
    assert [frame["function"] for frame in exception["stacktrace"]["frames"]] == ["coro" if coroutine else "plain"]
    assert event["tags"] == {
        "flashq.job": str(job.id),
        "flashq.task": "send",
        "flashq.queue": "mails",
        "flashq.attempt": "1",
    }
    assert event["transaction"] == "send"


def test_arguments_stay_here(app: App, sentry: Start, work: Work) -> None:
    """Unless the SDK's options ask for them no argument is sent, in whatever frame of ours it stands."""
    kept = sentry(include_local_variables=True)

    @app.task
    def send(to: str) -> None:
        del to
        raise ValueError("no")

    send.delay(SECRET)
    work(app)
    assert SECRET not in str(kept.errors + kept.transactions)


@pytest.mark.filterwarnings("ignore:The send_default_pii option is deprecated")
@pytest.mark.parametrize("wanted", [{"data_collection": {"queues": True}}, {"send_default_pii": True}])
def test_arguments_are_sent_where_that_is_wanted(
    app: App, sentry: Start, work: Work, wanted: dict[str, object]
) -> None:
    """Where the SDK's options ask for them they are part of the event."""
    kept = sentry(**wanted)
    failing(app, ValueError("no")).delay(to=SECRET)
    work(app)
    assert kept.error["contexts"]["flashq"]["kwargs"] == {"to": SECRET}


@pytest.mark.parametrize(
    ("error", "reported", "status"),
    [
        (ValueError("no"), True, "internal_error"),
        (Reject("no"), True, "internal_error"),
        (Retry("busy"), False, "aborted"),
        (Snooze(60), False, "ok"),
        (Cancelled("why"), True, "aborted"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_an_error(
    app: App, sentry: Start, work: Work, error: BaseException, reported: bool, status: str
) -> None:
    """What a task raises to say how its job goes on is no error; `Cancelled` out of nowhere is."""
    kept = sentry()
    failing(app, error).delay()
    work(app)
    assert bool(kept.errors) is reported
    [transaction] = kept.transactions
    assert transaction["contexts"]["trace"]["status"] == status


def test_the_last_retry_is_an_error(app: App, sentry: Start, work: Work) -> None:
    """A job that is out of attempts is among the dead letters, however politely it was put there."""
    kept = sentry()
    failing(app, Retry("busy", in_=0), max_attempts=2).delay()
    work(app)
    assert kept.errors == []
    work(app)
    assert kept.error["exception"]["values"][-1]["value"] == "busy"


def test_only_the_last_attempt(join: Join, sentry: Start, work: Work) -> None:
    """With ``only_last`` a job is reported when it goes to the dead letters."""
    kept = sentry()
    app = join(App(middlewares=[SentryMiddleware(only_last=True)]))
    failing(app, ValueError("no"), max_attempts=2, backoff=0).delay()
    work(app)
    assert kept.errors == []
    work(app)
    assert kept.error["tags"]["flashq.attempt"] == "2"


def test_a_failure_without_an_exception(app: App, sentry: Start, work: Work) -> None:
    """A result that cannot be written is reported as what it is."""
    kept = sentry()

    @app.task
    def strange() -> object:
        return object()

    strange.delay()
    work(app)
    assert "cannot be written as JSON" in kept.error["message"]


def test_jobs_do_not_mix(app: App, sentry: Start, work: Work) -> None:
    """Tags and breadcrumbs of one job are not in the event of the next, nor outside."""
    kept = sentry()
    logging.getLogger("before").warning("outside")

    @app.task(name="first")
    def first() -> None:
        sentry_sdk.set_tag("mine", "first")
        logging.getLogger("first").warning("inside")

    first.delay()
    work(app)
    failing(app, ValueError("no")).delay()
    work(app)
    assert "mine" not in kept.error["tags"]
    assert kept.error.get("breadcrumbs", {}).get("values", []) == []
    sentry_sdk.capture_message("outside")
    assert "flashq.job" not in kept.errors[-1].get("tags", {})


def test_one_trace(app: App, sentry: Start, work: Work) -> None:
    """The attempt, and the error in it, belong to the trace of the request that enqueued."""
    kept = sentry()
    fail = failing(app, ValueError("no"))
    with sentry_sdk.start_transaction(name="request") as request:
        fail.delay()
    work(app)
    asked, attempt = kept.transactions
    [publish] = asked["spans"]
    trace = attempt["contexts"]["trace"]
    assert (publish["op"], publish["description"]) == ("queue.publish", "fail")
    assert (trace["op"], trace["trace_id"], trace["parent_span_id"]) == (
        "queue.process",
        request.trace_id,
        publish["span_id"],
    )
    error = kept.error["contexts"]["trace"]
    assert (error["trace_id"], error["span_id"]) == (request.trace_id, trace["span_id"])


def test_errors_are_linked_without_tracing(app: App, sentry: Start, work: Work) -> None:
    """A program that measures nothing still sees that two errors belong together."""
    kept = sentry(traces_sample_rate=None)
    failing(app, ValueError("no")).delay()
    sentry_sdk.capture_message("in the request")
    work(app)
    asked, failed = kept.errors
    assert kept.transactions == []
    assert asked["contexts"]["trace"]["trace_id"] == failed["contexts"]["trace"]["trace_id"]


def test_the_baggage_of_others_stays(join: Join, sentry: Start, server: LocalServer) -> None:
    """A middleware further out may have written baggage; ours is added."""
    sentry()

    class Other(Middleware):
        def before_enqueue(self, job: Any) -> None:
            job.headers["baggage"] = "tenant=7"

    app = join(App(middlewares=[Other(), SentryMiddleware()]))
    failing(app, ValueError("no")).delay()
    with server.client() as client:
        record = client.pull("default", timeout=0)
    assert record is not None
    baggage = record.data["headers"]["baggage"]
    assert baggage.startswith("tenant=7,")
    assert "sentry-trace_id=" in baggage


def test_nothing_happens_without_the_sdk_running(app: App, server: LocalServer, work: Work) -> None:
    """A program that never called ``init``, such as a test, carries no headers and runs its jobs."""
    fail = failing(app, ValueError("no"))
    fail.delay()
    with server.client() as client:
        record = client.pull("mails", timeout=0)
    assert record is not None
    assert "headers" not in record.data
    fail.delay()
    work(app)


@pytest.mark.parametrize(
    ("reason", "status"), [("cancelled", "cancelled"), ("Job timed out", "deadline_exceeded"), (None, "aborted")]
)
async def test_an_attempt_that_was_ended(
    app: App, sentry: Start, server: LocalServer, reason: str | None, status: str
) -> None:
    """By the server or by the end of the worker: that is no error, and nothing is kept of it."""
    kept, begun = sentry(), asyncio.Event()

    @app.task
    async def wait() -> None:
        begun.set()
        await asyncio.Event().wait()

    await wait.adelay()
    with server.client() as client:
        record = client.pull("mails", timeout=0)
    assert record is not None
    prepared = prepare(app, record, NO_LINK)
    assert isinstance(prepared, Prepared)
    running = asyncio.create_task(run_async(prepared))
    await begun.wait()
    if reason is not None:
        prepared.context.cancel(reason)
    running.cancel()
    if reason is None:
        with pytest.raises(asyncio.CancelledError):
            await running
    else:
        assert await running == Gone()
    assert kept.errors == []
    assert kept.transactions[-1]["contexts"]["trace"]["status"] == status
    [middleware] = app.middlewares
    assert isinstance(middleware, SentryMiddleware)
    assert middleware._attempts == {}


def test_without_the_extra_the_import_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names what to install."""
    monkeypatch.delitem(sys.modules, "flashq.contrib.sentry")
    monkeypatch.setitem(sys.modules, "sentry_sdk", None)
    with pytest.raises(ImportError, match=r"pip install 'flashq-server\[sentry\]'"):
        __import__("flashq.contrib.sentry")
