"""Errors and performance with Sentry: a failed job is an event that says which job, which task and which attempt.

Each attempt has an isolation scope of its own, so that tags and breadcrumbs of one job never stand in the event of
another, and is a transaction that continues the trace of whoever enqueued the job.

Whether a failure is the last one is known only after the function, so the exception is reported then and not where it
passes by. Frames of FlashQ itself are left out: they are the same in every event, and their variables hold the job's
arguments. Variables of your own frames are Sentry's affair (``include_local_variables``).
"""

import asyncio
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Final

from msgspec import Struct

from flashq.tasks.context import Context
from flashq.tasks.control import Cancelled, Retry, Snooze
from flashq.tasks.middleware import Middleware
from flashq.tasks.outcome import Failed, Outcome
from flashq.tasks.outgoing import Outgoing
from flashq.tasks.run import interrupted, where

try:
    import sentry_sdk
    from sentry_sdk.scope import Scope, should_send_default_pii, use_isolation_scope, use_scope
    from sentry_sdk.utils import event_from_exception
except ImportError as error:
    raise ImportError("flashq.contrib.sentry needs Sentry's SDK: pip install 'flashq-server[sentry]'") from error

ORIGIN: Final = "auto.queue.flashq"
BAGGAGE: Final = "baggage"


class SentryMiddleware(Middleware):
    """Reports failed jobs to Sentry.

    ::

        sentry_sdk.init(dsn=...)
        app = flashq.App(middlewares=[SentryMiddleware()])

    `Retry`, `Snooze` and attempts that the server ended (a cancelled job, a timeout) are no errors; a `Retry` of the
    last attempt is one. Arguments are sent where the SDK's options say so, by the rule of Sentry's own integrations:
    ``data_collection``, or the older ``send_default_pii``. Beside `OpenTelemetryMiddleware` it stands second in the
    list, because it adds to the baggage that the other one writes.

    Args:
        only_last: report a job only when it goes to the dead letters, not each failed attempt.
    """

    def __init__(self, *, only_last: bool = False) -> None:
        self._only_last = only_last
        self._attempts: dict[int, _Attempt] = {}
        """What runs now, by the identity of its context."""

    def before_enqueue(self, job: Outgoing) -> None:
        """A span for the making of the job; what continues its trace goes into the headers."""
        if not sentry_sdk.is_initialized():
            return
        with _publishing(job):
            headers = dict(sentry_sdk.get_current_scope().iter_trace_propagation_headers())
        known = job.headers.get(BAGGAGE)
        if known and BAGGAGE in headers:
            headers[BAGGAGE] = f"{known},{headers[BAGGAGE]}"
        job.headers.update(headers)

    @contextmanager
    def around_run(self, context: Context) -> Iterator[None]:
        """A scope and a transaction for the attempt."""
        with sentry_sdk.isolation_scope() as scope:
            _describe(context, scope)
            transaction = sentry_sdk.continue_trace(
                dict(context.headers), op="queue.process", name=context.task, source="task", origin=ORIGIN
            )
            with sentry_sdk.start_transaction(transaction) as span:
                # A copy, because the scope forgets its span when the transaction ends.
                attempt = _Attempt(scope, sentry_sdk.get_current_scope().fork())
                self._attempts[id(context)] = attempt
                _measure(context, span)
                try:
                    yield
                    span.set_status("ok")
                except BaseException as error:
                    attempt.error = error
                    span.set_status(_status(context, error))
                    if interrupted(context, error):
                        del self._attempts[id(context)]
            # Outside of the transaction, which would call every exception an internal error.
            if attempt.error is not None:
                raise attempt.error

    def after_run(self, context: Context, outcome: Outcome) -> None:
        """Report the failure, if it is one."""
        attempt = self._attempts.pop(id(context), None)
        if attempt is None or not isinstance(outcome, Failed):
            return
        final = outcome.dead or context.is_last
        if final or not (self._only_last or isinstance(attempt.error, Retry)):
            with use_isolation_scope(attempt.isolation), use_scope(attempt.current):
                _report(outcome, attempt.error)


class _Attempt(Struct):
    isolation: Scope
    current: Scope
    error: BaseException | None = None


def _publishing(job: Outgoing) -> AbstractContextManager[Any]:
    """A span for the making of a job, where something is measured that it can be a part of."""
    if sentry_sdk.get_current_span() is None:
        return nullcontext()
    span = sentry_sdk.start_span(op="queue.publish", name=job.task, origin=ORIGIN)
    span.set_data("messaging.system", "flashq")
    span.set_data("messaging.destination.name", job.options.queue)
    return span


def _describe(context: Context, scope: Scope) -> None:
    scope.clear_breadcrumbs()
    scope.set_tags(
        {
            "flashq.job": str(context.id),
            "flashq.task": context.task,
            "flashq.queue": context.queue,
            "flashq.attempt": str(context.attempt),
        }
    )
    job: dict[str, Any] = {"max_attempts": context.max_attempts, "tags": context.tags}
    if _arguments_wanted():
        job |= {"args": list(context.args), "kwargs": dict(context.kwargs)}
    scope.set_context("flashq", {**context.facts(), **job})


def _arguments_wanted() -> bool:
    """What Sentry's own integrations of queues go by."""
    collected = sentry_sdk.get_client().options.get("data_collection") or {}
    if collected.get("provided_by_user"):
        return bool(collected.get("queues"))
    return should_send_default_pii()


def _measure(context: Context, span: Any) -> None:  # noqa: ANN401 - a transaction, or what stands for one that is off
    span.set_data("messaging.system", "flashq")
    span.set_data("messaging.destination.name", context.queue)
    span.set_data("messaging.message.id", str(context.id))
    span.set_data("messaging.message.retry.count", context.attempt - 1)


def _status(context: Context, error: BaseException) -> str:
    """Sentry's word for how the attempt ended."""
    if context.cancelled:
        return "cancelled" if context.reason == "cancelled" else "deadline_exceeded"
    if isinstance(error, Snooze):
        return "ok"
    if isinstance(error, Retry | Cancelled | asyncio.CancelledError):
        return "aborted"
    return "internal_error"


def _report(failed: Failed, error: BaseException | None) -> None:
    if error is None:
        sentry_sdk.capture_message(failed.error, level="error")
        return
    event, hint = event_from_exception(
        (type(error), error, where(error.__traceback__)),
        client_options=sentry_sdk.get_client().options,
        mechanism={"type": "flashq", "handled": False},
    )
    sentry_sdk.capture_event(event, hint=hint)
