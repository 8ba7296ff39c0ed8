"""Traces: one from the code that enqueues to the code that runs, however many jobs are between."""

import asyncio
import sys
from collections.abc import Callable

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from tests.unit.contrib.conftest import Work

from flashq import App, Context, Middleware, Reject, Retry, Snooze
from flashq.contrib.otel import OpenTelemetryMiddleware
from flashq.tasks.context import NO_LINK
from flashq.tasks.outcome import Done, Failed, Outcome
from flashq.tasks.run import Prepared, prepare, run_async, run_plain
from flashq.testing import LocalServer

Join = Callable[[App], App]


class Traced:
    """A program whose spans are kept."""

    def __init__(self, join: Join) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.middleware = OpenTelemetryMiddleware(self.provider)
        self.app = join(App(default_queue="mails", middlewares=[self.middleware]))

    def spans(self, kind: SpanKind | None = None) -> list[ReadableSpan]:
        """The spans that have ended, in the order of their beginning."""
        ended = [span for span in self.exporter.get_finished_spans() if kind in (None, span.kind)]
        return sorted(ended, key=lambda span: span.start_time or 0)

    def attempt(self) -> ReadableSpan:
        """The only attempt."""
        [span] = self.spans(SpanKind.CONSUMER)
        return span


@pytest.fixture
def traced(join: Join) -> Traced:
    """A program whose spans are kept."""
    return Traced(join)


def parent(span: ReadableSpan) -> int | None:
    """The id of a span's parent."""
    return None if span.parent is None else span.parent.span_id


def facts(span: ReadableSpan) -> dict[str, object]:
    """Its attributes."""
    return dict(span.attributes or {})


def test_one_trace_over_two_programs(join: Join, work: Work) -> None:
    """The worker's span belongs to the trace of the program that enqueued, though all it knows is the job."""
    shop, worker = Traced(join), Traced(join)
    for program in (shop, worker):

        @program.app.task(name="send")
        def send(to: str) -> str:
            return to

    with shop.provider.get_tracer("test").start_as_current_span("request"):
        job = shop.app.tasks["send"].delay("ada")
    work(worker.app)
    request, create = shop.spans()
    process = worker.attempt()
    assert (create.name, create.kind, parent(create)) == ("create mails", SpanKind.PRODUCER, request.context.span_id)
    assert (process.name, process.context.trace_id, parent(process)) == (
        "process mails",
        request.context.trace_id,
        create.context.span_id,
    )
    assert facts(create) == {
        "messaging.system": "flashq",
        "messaging.operation.name": "create",
        "messaging.operation.type": "create",
        "messaging.destination.name": "mails",
        "messaging.flashq.task": "send",
    }
    assert facts(process) == {
        "messaging.system": "flashq",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": "mails",
        "messaging.flashq.task": "send",
        "messaging.message.id": str(job.id),
        "messaging.flashq.attempt": 1,
        "messaging.flashq.outcome": "done",
    }
    assert process.status.status_code is StatusCode.UNSET


@pytest.mark.parametrize("coroutine", [False, True])
def test_what_a_task_enqueues_and_traces_is_inside_its_span(traced: Traced, work: Work, coroutine: bool) -> None:
    """A task that enqueues a task continues its trace, in plain functions and in coroutines."""
    app, tracer = traced.app, traced.provider.get_tracer("test")

    @app.task
    def inner() -> None:
        pass

    def plain() -> None:
        with tracer.start_as_current_span("query"):
            inner.delay()

    async def coro() -> None:
        with tracer.start_as_current_span("query"):
            await inner.adelay()

    app.task(coro if coroutine else plain).delay()
    work(app)
    work(app)
    spans = traced.spans()
    assert [span.name for span in spans] == [
        "create mails",
        "process mails",
        "query",
        "create mails",
        "process mails",
    ]
    assert [parent(span) for span in spans] == [None, *(span.context.span_id for span in spans[:-1])]


def test_each_job_of_a_batch_has_a_context_of_its_own(traced: Traced, work: Work) -> None:
    """Jobs of one `map` and of one composition can be told apart, and all belong to the trace of who made them."""

    @traced.app.task
    def double(x: int) -> int:
        return 2 * x

    with traced.provider.get_tracer("test").start_as_current_span("request") as request:
        double.map([1, 2, 3])
    for _ in range(3):
        work(traced.app)
    created = [span.context.span_id for span in traced.spans(SpanKind.PRODUCER)]
    attempts = traced.spans(SpanKind.CONSUMER)
    assert sorted(map(parent, attempts)) == sorted(created)
    assert len(set(created)) == 3
    assert {span.context.trace_id for span in attempts} == {request.get_span_context().trace_id}


@pytest.mark.parametrize(
    ("error", "facts_wanted", "status"),
    [
        (ValueError("no"), {"outcome": "retry", "error.type": "ValueError"}, "ValueError: no"),
        (KeyError("no"), {"outcome": "dead", "error.type": "KeyError"}, "KeyError: 'no'"),
        (Reject("never"), {"outcome": "dead", "error.type": "flashq.tasks.control.Reject"}, "never"),
        (
            Retry("busy", in_=500),
            {"outcome": "retry", "delay_ms": 500, "error.type": "flashq.tasks.control.Retry"},
            "busy",
        ),
        (Snooze(900), {"outcome": "snoozed", "delay_ms": 900}, None),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_outcomes(
    traced: Traced, work: Work, error: Exception, facts_wanted: dict[str, object], status: str | None
) -> None:
    """What becomes of a job that did not succeed stands in its span: outcome, delay, exception and status."""

    @traced.app.task(never_retry=[KeyError])
    def fail() -> None:
        raise error

    fail.delay()
    work(traced.app)
    span = traced.attempt()
    seen = {name.removeprefix("messaging.flashq."): value for name, value in facts(span).items()}
    assert {
        name: value for name, value in seen.items() if name in {"outcome", "delay_ms", "error.type"}
    } == facts_wanted
    assert span.status.description == status
    assert span.status.status_code is (StatusCode.UNSET if status is None else StatusCode.ERROR)
    assert [event.name for event in span.events] == ([] if status is None else ["exception"])


def test_attempts_are_siblings_and_the_last_one_is_dead(traced: Traced, work: Work) -> None:
    """Each attempt has its number; the one that sends the job to the dead letters says so."""

    @traced.app.task(max_attempts=2, backoff=0)
    def fail() -> None:
        raise ValueError

    fail.delay()
    work(traced.app)
    work(traced.app)
    attempts = traced.spans(SpanKind.CONSUMER)
    assert [
        (facts(span)["messaging.flashq.attempt"], facts(span)["messaging.flashq.outcome"]) for span in attempts
    ] == [(1, "retry"), (2, "dead")]
    [create] = traced.spans(SpanKind.PRODUCER)
    assert {parent(span) for span in attempts} == {create.context.span_id}


def test_a_failure_without_an_exception(traced: Traced, work: Work) -> None:
    """A result that cannot be written is a failure too, though nothing was raised."""

    @traced.app.task
    def strange() -> object:
        return object()

    strange.delay()
    work(traced.app)
    span = traced.attempt()
    assert (facts(span)["error.type"], facts(span)["messaging.flashq.outcome"]) == ("_OTHER", "dead")
    assert span.status.status_code is StatusCode.ERROR


@pytest.mark.parametrize(("reason", "status"), [("cancelled", StatusCode.UNSET), ("Job timed out", StatusCode.ERROR)])
async def test_an_attempt_that_the_server_ended(
    traced: Traced, server: LocalServer, reason: str, status: StatusCode
) -> None:
    """Why it was ended is noted; only what nobody wanted counts as an error."""
    running = await started(traced, server)
    running.prepared.context.cancel(reason)
    running.task.cancel()
    await running.task
    span = traced.attempt()
    assert (facts(span)["messaging.flashq.outcome"], facts(span)["messaging.flashq.reason"]) == ("ended", reason)
    assert span.status.status_code is status


async def test_a_worker_that_stops_ends_the_span(traced: Traced, server: LocalServer) -> None:
    """No outcome will come, and no span is kept for ever."""
    running = await started(traced, server)
    running.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running.task
    assert facts(traced.attempt())["messaging.flashq.outcome"] == "interrupted"
    assert traced.middleware._attempts == {}


def test_jobs_without_a_context_begin_a_trace(traced: Traced, server: LocalServer, work: Work) -> None:
    """A schedule's jobs and those of other programs carry no context: their attempts are traces of their own."""

    @traced.app.task(name="tick")
    def tick() -> None:
        pass

    with server.client() as client:
        client.push("mails", {"task": "tick"})
    assert work(traced.app) == Done()
    assert traced.attempt().parent is None


def test_a_middleware_further_out_that_fails(join: Join, server: LocalServer) -> None:
    """An attempt that never came as far as this middleware has no span, and its end no error."""

    class Refusing(Middleware):
        def around_run(self, context: Context) -> object:
            raise RuntimeError("refused")

    traced = Traced(join)
    traced.app.middlewares.insert(0, Refusing())

    @traced.app.task
    def send() -> None:
        pass

    send.delay()
    outcome = run_plain(pulled(traced, server))
    assert isinstance(outcome, Failed)
    assert traced.spans(SpanKind.CONSUMER) == []


def test_without_the_extra_the_import_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names what to install."""
    monkeypatch.delitem(sys.modules, "flashq.contrib.otel")
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(ImportError, match=r"pip install 'flashq-server\[otel\]'"):
        __import__("flashq.contrib.otel")


class Running:
    """A coroutine task's job under way."""

    def __init__(self, prepared: Prepared) -> None:
        self.prepared = prepared
        self.task: asyncio.Task[Outcome] = asyncio.create_task(run_async(prepared))


def pulled(traced: Traced, server: LocalServer) -> Prepared:
    """The next job, ready to run."""
    with server.client() as client:
        record = client.pull("mails", timeout=0)
        assert record is not None
    prepared = prepare(traced.app, record, NO_LINK)
    assert isinstance(prepared, Prepared)
    return prepared


async def started(traced: Traced, server: LocalServer) -> Running:
    """A job whose coroutine waits for ever."""
    begun = asyncio.Event()

    @traced.app.task
    async def wait() -> None:
        begun.set()
        await asyncio.Event().wait()

    await wait.adelay()
    running = Running(pulled(traced, server))
    await begun.wait()
    return running
