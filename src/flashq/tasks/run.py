"""Running one job: from what was pulled to what the server is told.

Knows neither connection nor executor, so a worker's loop, its threads, its child processes and a test all run a job in
the same way. Nothing a task does may end the worker: every exception becomes an `Outcome`.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, ExitStack
from traceback import format_exception_only, format_tb
from types import TracebackType
from typing import Any, Final

from msgspec import DecodeError, Raw, Struct

from flashq.client.results import JobRecord
from flashq.protocol.limits import MAX_ERROR_BYTES, MAX_RESULT_BYTES
from flashq.tasks.app import App
from flashq.tasks.context import Context, Link, enter, leave
from flashq.tasks.control import Cancelled, Reject, Retry, Snooze
from flashq.tasks.middleware import Middleware
from flashq.tasks.outcome import Done, Failed, Gone, Outcome, Snoozed
from flashq.tasks.payload import Use, read_envelope, to_json
from flashq.tasks.task import Task
from flashq.tasks.text import sendable

log = logging.getLogger("flashq.job")

TRACE_FRAMES: Final = 8
"""The innermost frames of a failure that are kept with the job: what is further out is the same for every failure."""


class Prepared(Struct):
    """A job that is ready to run.

    Attributes:
        task: what it runs.
        context: its attempt.
        args: positional arguments.
        kwargs: keyword arguments.
        middlewares: what goes along.
    """

    task: Task[Any, Any]
    context: Context
    args: list[Any]
    kwargs: dict[str, Any]
    middlewares: Sequence[Middleware] = ()

    @property
    def is_async(self) -> bool:
        """Whether `run_async` runs it, or `run_plain`."""
        return self.task.is_async


def prepare(app: App, record: JobRecord, link: Link) -> Prepared | Failed:
    """Find a job's task and read its arguments.

    Args:
        app: whose tasks.
        record: the job as it was pulled.
        link: how its context reaches the server.

    Returns:
        `Failed` for an unknown task (tried again as usual, since a worker of another release may know it), and for a
        payload or arguments that do not fit (never tried again).
    """
    try:
        received = read_envelope(record.payload)
    except DecodeError as error:
        return Failed(f"the payload is not that of a task: {error}", dead=True)
    task = app.tasks.get(received.task)
    if task is None:
        return Failed(f"unknown task {received.task!r}: this worker's app does not have it")
    try:
        args, kwargs = task.arguments.read(received.args, received.kwargs, _inputs(record, received.use))
    except Exception as error:
        return Failed(f"arguments of task {task.name!r} do not fit: {_sentence(error)}", dead=True)
    context = Context.of(record, task.name, received.headers, link, args, kwargs)
    return Prepared(task, context, args, kwargs, app.middlewares)


def run_plain(prepared: Prepared) -> Outcome:
    """Run a plain function's job in this thread.

    Raises:
        KeyboardInterrupt, SystemExit: the task raised it; whoever runs the process decides.
    """
    task, context = prepared.task, prepared.context
    middlewares = prepared.middlewares
    result: object = None  # and so it is where a middleware swallows what the function raised
    token = enter(context)
    try:
        if middlewares:
            with ExitStack() as around:
                for middleware in middlewares:
                    around.enter_context(middleware.around_run(context))
                result = task.call(context, prepared.args, prepared.kwargs)
        else:
            result = task.call(context, prepared.args, prepared.kwargs)
        outcome = _returned(context, result)
    except (Exception, Cancelled, asyncio.CancelledError) as error:
        outcome = judge(task, context, error)
    finally:
        leave(token)
    for middleware in middlewares:
        _safely(middleware.after_run, context, outcome)
    return outcome


async def run_async(prepared: Prepared) -> Outcome:
    """Run a coroutine function's job in this task of the event loop.

    A cancellation of that task ends the job: `Gone` if its context was cancelled before (the server has ended the
    attempt); otherwise it is a cancellation of the worker and passes through.
    """
    task, context = prepared.task, prepared.context
    middlewares = prepared.middlewares
    result: object = None  # and so it is where a middleware swallows what the function raised
    token = enter(context)
    try:
        if middlewares:
            async with AsyncExitStack() as around:
                for middleware in middlewares:
                    await around.enter_async_context(middleware.aaround_run(context))
                result = await task.call(context, prepared.args, prepared.kwargs)
        else:
            result = await task.call(context, prepared.args, prepared.kwargs)
        outcome = _returned(context, result)
    except (Exception, Cancelled, asyncio.CancelledError) as error:
        if interrupted(context, error):
            raise
        outcome = judge(task, context, error)
    finally:
        leave(token)
    for middleware in middlewares:
        await _asafely(middleware.aafter_run, context, outcome)
    return outcome


def interrupted(context: Context, error: BaseException) -> bool:
    """Whether whoever runs the attempt is being stopped: then it has no outcome, and no `Middleware.after_run`.

    Args:
        context: of the attempt.
        error: what the task's function raised.
    """
    if isinstance(error, asyncio.CancelledError):
        # If nobody cancels this task of the loop it is the function's own doing: it awaited something cancelled.
        return not context.cancelled and _being_cancelled()
    return not isinstance(error, (Exception, Cancelled))


def _being_cancelled() -> bool:
    try:
        here = asyncio.current_task()
    except RuntimeError:  # a plain function, in a thread
        return False
    return here is not None and here.cancelling() > 0


def judge(task: Task[Any, Any], context: Context, error: BaseException) -> Outcome:
    """What an exception of a task means for its job."""
    if context.cancelled:
        return Gone()
    if isinstance(error, Snooze):
        return Snoozed(error.delay_ms)
    if isinstance(error, Retry):
        return Failed(sendable(error, MAX_ERROR_BYTES), delay=error.delay_ms)
    if isinstance(error, Reject):
        return Failed(sendable(error, MAX_ERROR_BYTES), dead=True)
    return Failed(describe(error), dead=not task.retries(error))


def describe(error: BaseException) -> str:
    """A failure as it is kept with the job: the sentence first, then the innermost frames; bounded."""
    trace = "".join(format_tb(where(error.__traceback__))[-TRACE_FRAMES:])
    return sendable(f"{_sentence(error)}\n{trace}".rstrip(), MAX_ERROR_BYTES)


def where(trace: TracebackType | None) -> TracebackType | None:
    """A trace from the task's function on: our own frames around it tell nobody anything."""
    while trace is not None and trace.tb_frame.f_globals.get("__name__", "").startswith("flashq."):
        trace = trace.tb_next
    return trace


def _sentence(error: BaseException) -> str:
    return sendable("".join(format_exception_only(error)).strip(), MAX_ERROR_BYTES)


def _returned(context: Context, result: object) -> Outcome:
    if context.cancelled:
        return Gone()
    if result is None:
        return Done()
    try:
        written = to_json(result)
    except Exception as error:
        return Failed(f"what the task returned cannot be written as JSON: {_sentence(error)}", dead=True)
    if len(written) > MAX_RESULT_BYTES:
        return Failed(f"result too large ({len(written)} bytes, max {MAX_RESULT_BYTES})", dead=True)
    return Done(written)


def _inputs(record: JobRecord, use: Use | None) -> list[Raw]:
    """The results of the parents, as the arguments that come first."""
    inputs = record.inputs or []
    if use == "first":
        return inputs[:1] or [Raw(b"null")]
    if use == "list":
        return [Raw(to_json(inputs))]
    return []


def _safely(hook: Callable[[Context, Outcome], object], context: Context, outcome: Outcome) -> None:
    try:
        hook(context, outcome)
    except Exception:
        log.exception("a middleware failed after the job", extra={"flashq": context.facts()})


async def _asafely(hook: Callable[[Context, Outcome], Any], context: Context, outcome: Outcome) -> None:
    try:
        await hook(context, outcome)
    except Exception:
        log.exception("a middleware failed after the job", extra={"flashq": context.facts()})
