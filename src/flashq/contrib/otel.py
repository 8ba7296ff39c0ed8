"""Traces with OpenTelemetry: one trace from the code that enqueues a job to the code that runs it.

The W3C context travels in the job's headers, so a job pushed by a program in another language continues its trace as
well. Names and attributes are those of OpenTelemetry's conventions for messaging: ``create QUEUE`` where a job is made
(its request is a span of whoever makes it), ``process QUEUE`` for each attempt. The attempts of one job are siblings:
each is a child of the span that made the job.

An attempt's span ends when its outcome is known, which is after the function; what the server is told is part of it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from msgspec import Struct

from flashq.tasks.context import Context
from flashq.tasks.middleware import Middleware
from flashq.tasks.outcome import Done, Failed, Gone, Outcome, Snoozed
from flashq.tasks.outgoing import Outgoing
from flashq.tasks.run import interrupted

try:
    from opentelemetry import trace
    from opentelemetry.propagate import extract, inject
    from opentelemetry.trace import Span, SpanKind, Status, StatusCode, TracerProvider
except ImportError as error:
    raise ImportError("flashq.contrib.otel needs OpenTelemetry: pip install 'flashq-server[otel]'") from error

UNKNOWN_ERROR: Final = "_OTHER"
"""What the conventions ask for where a failure has no exception, such as a result that is too large."""

Attributes = dict[str, str | int]


class OpenTelemetryMiddleware(Middleware):
    """Makes spans of jobs and carries their context along.

    ::

        app = flashq.App(middlewares=[OpenTelemetryMiddleware()])

    To be listed first, so that the spans of other middlewares are inside.

    Args:
        tracer_provider: None: the global one.
    """

    def __init__(self, tracer_provider: TracerProvider | None = None) -> None:
        self._tracer = trace.get_tracer("flashq", tracer_provider=tracer_provider)
        self._attempts: dict[int, _Attempt] = {}
        """What runs now, by the identity of its context."""

    def before_enqueue(self, job: Outgoing) -> None:
        """A span for the making of the job; its context goes into the headers."""
        attributes = _attributes("create", job.options.queue, job.task)
        with self._tracer.start_as_current_span(
            f"create {job.options.queue}", kind=SpanKind.PRODUCER, attributes=attributes
        ):
            inject(job.headers)

    @contextmanager
    def around_run(self, context: Context) -> Iterator[None]:
        """A span for the attempt, current while the function runs."""
        span = self._tracer.start_span(
            f"process {context.queue}",
            context=extract(context.headers),
            kind=SpanKind.CONSUMER,
            attributes=_attributes("process", context.queue, context.task)
            | {"messaging.message.id": str(context.id), "messaging.flashq.attempt": context.attempt},
        )
        attempt = self._attempts[id(context)] = _Attempt(span)
        try:
            with trace.use_span(span, record_exception=False, set_status_on_exception=False):
                yield
        except BaseException as error:
            attempt.error = error
            if interrupted(context, error):
                self._end(context, "interrupted")
            raise

    def after_run(self, context: Context, outcome: Outcome) -> None:
        """The outcome, and the end of the attempt's span."""
        attempt = self._attempts.get(id(context))
        if attempt is None:  # a middleware further out failed before this one was entered
            return
        if isinstance(outcome, Failed):
            _note_failure(attempt, outcome)
        if isinstance(outcome, Failed | Snoozed) and outcome.delay is not None:
            attempt.span.set_attribute("messaging.flashq.delay_ms", outcome.delay)
        if isinstance(outcome, Gone) and context.reason is not None:
            attempt.span.set_attribute("messaging.flashq.reason", context.reason)
            if context.reason != "cancelled":  # somebody wanted that; a timeout or a lost worker nobody did
                attempt.span.set_status(Status(StatusCode.ERROR, context.reason))
        self._end(context, _word(context, outcome))

    def _end(self, context: Context, outcome: str) -> None:
        span = self._attempts.pop(id(context)).span
        span.set_attribute("messaging.flashq.outcome", outcome)
        span.end()


class _Attempt(Struct):
    span: Span
    error: BaseException | None = None


def _attributes(operation: str, queue: str, task: str) -> Attributes:
    return {
        "messaging.system": "flashq",
        "messaging.operation.name": operation,
        "messaging.operation.type": operation,
        "messaging.destination.name": queue,
        "messaging.flashq.task": task,
    }


def _note_failure(attempt: _Attempt, failed: Failed) -> None:
    span, error = attempt.span, attempt.error
    span.set_status(Status(StatusCode.ERROR, failed.error.partition("\n")[0]))
    span.set_attribute("error.type", UNKNOWN_ERROR if error is None else _name(type(error)))
    if error is not None:
        span.record_exception(error)


def _word(context: Context, outcome: Outcome) -> str:
    """One word for an outcome: done, retry, dead, snoozed or ended (by the server)."""
    if isinstance(outcome, Done):
        return "done"
    if isinstance(outcome, Failed):
        return "dead" if outcome.dead or context.is_last else "retry"
    return "snoozed" if isinstance(outcome, Snoozed) else "ended"


def _name(kind: type[BaseException]) -> str:
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
