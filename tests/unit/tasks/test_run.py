"""Running one job: whatever a task does becomes an outcome."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any

import pytest
from msgspec import Raw, json

from flashq import App, Cancelled, Context, JobRecord, Middleware, Reject, Retry, Snooze, current_job
from flashq.protocol.limits import MAX_ERROR_BYTES, MAX_RESULT_BYTES
from flashq.tasks.context import NO_LINK
from flashq.tasks.outcome import Done, Failed, Gone, Outcome, Snoozed
from flashq.tasks.run import Prepared, describe, prepare, run_async, run_plain


def record(payload: Any, **members: Any) -> JobRecord:
    """A pulled job."""
    return JobRecord(1, "q", Raw(json.encode(payload)), **members)


def ready(app: App, task: Any, *args: Any, **members: Any) -> Prepared:
    """A job of a task, prepared."""
    prepared = prepare(app, record({"task": task.name, "args": args}, **members), NO_LINK)
    assert isinstance(prepared, Prepared)
    return prepared


def run(app: App, task: Any, *args: Any, **members: Any) -> Outcome:
    """What a job of a task comes to."""
    prepared = ready(app, task, *args, **members)
    return asyncio.run(run_async(prepared)) if prepared.is_async else run_plain(prepared)


def raising(error: BaseException) -> list[Any]:
    """An app with a plain and a coroutine task that raise this."""
    app = App()

    @app.task(never_retry=[KeyError])
    def plain() -> None:
        raise error

    @app.task(never_retry=[KeyError])
    async def coroutine() -> None:
        raise error

    return [(app, plain), (app, coroutine)]


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (Retry("busy", in_=5), Failed("busy", delay=5)),
        (Retry("busy"), Failed("busy")),
        (Reject("no such user"), Failed("no such user", dead=True)),
        (Snooze(60), Snoozed(60)),
        (Retry("half \ud800"), Failed("half ?")),
        (Reject("half \ud800"), Failed("half ?", dead=True)),
        (Reject("x" * (MAX_ERROR_BYTES + 1)), Failed("x" * MAX_ERROR_BYTES, dead=True)),
    ],
)
def test_what_a_task_raises_steers_its_job(error: BaseException, outcome: Outcome) -> None:
    """In plain functions and coroutines alike."""
    assert [run(*each) for each in raising(error)] == [outcome, outcome]


def test_an_exception_is_a_failed_attempt() -> None:
    """With its sentence first and the place where it happened."""
    for each in raising(ValueError("no good")):
        outcome = run(*each)
        assert isinstance(outcome, Failed)
        assert outcome.error.startswith("ValueError: no good\n")
        assert "raise error" in outcome.error
        assert (outcome.delay, outcome.dead) == (None, False)


def test_some_exceptions_are_final() -> None:
    """As the task's decorator says."""
    for each in raising(KeyError("x")):
        outcome = run(*each)
        assert isinstance(outcome, Failed)
        assert outcome.dead


def test_results_are_json() -> None:
    """None is nothing; what cannot be written is final, since another attempt returns the same."""
    app = App()
    give = app.task(name="give")(lambda what=None: {"none": None, "list": [1], "lock": object()}.get(what, what))
    big = app.task(name="big")(lambda: "x" * MAX_RESULT_BYTES)
    assert run(app, give, "none") == Done()
    assert run(app, give, "list") == Done(b"[1]")
    refused = run(app, give, "lock")
    assert isinstance(refused, Failed)
    assert (refused.dead, "cannot be written as JSON" in refused.error) == (True, True)
    assert run(app, big) == Failed(
        f"result too large ({MAX_RESULT_BYTES + 2} bytes, max {MAX_RESULT_BYTES})", dead=True
    )


def test_an_unknown_task_is_left_to_others() -> None:
    """A worker of a newer release may know it: tried again as usual."""
    outcome = prepare(App(), record({"task": "nosuch"}), NO_LINK)
    assert isinstance(outcome, Failed)
    assert (outcome.dead, "unknown task 'nosuch'" in outcome.error) == (False, True)


@pytest.mark.parametrize(
    ("payload", "text"),
    [
        (["not", "a", "task"], "not that of a task"),
        ({"task": "add", "args": ["one"]}, r"do not fit: .*ValidationError: Expected `int`, got `str` - at `\$\[0\]`"),
        ({"task": "add"}, "missing a required argument"),
        ({"task": "add", "args": [1], "kwargs": {"c": 2}}, "unknown field `c`"),
    ],
)
def test_what_does_not_fit_is_final(payload: object, text: str) -> None:
    """No attempt will ever make it fit."""
    app = App()

    def add(a: int, b: int = 0) -> int:
        return a + b

    app.task(name="add")(add)
    outcome = prepare(app, record(payload), NO_LINK)
    assert isinstance(outcome, Failed)
    assert outcome.dead
    with pytest.raises(AssertionError, match=text):
        raise AssertionError(outcome.error)


def test_results_of_parents_come_first() -> None:
    """One of them, or their list; each as its annotation says."""
    app = App()

    def first(a: int, b: int) -> list[int]:
        return [a, b]

    def all_(results: list[int | None], b: int) -> list[Any]:
        return [results, b]

    one, many = app.task(name="one")(first), app.task(name="many")(all_)
    inputs = [Raw(b"5"), Raw(b"null")]
    for task, use, expected in ((one, "first", b"[5,1]"), (many, "list", b"[[5,null],1]")):
        prepared = prepare(app, record({"task": task.name, "args": [1], "use": use}, inputs=inputs), NO_LINK)
        assert isinstance(prepared, Prepared)
        assert run_plain(prepared) == Done(expected)


def test_the_context_is_there_while_the_job_runs() -> None:
    """As a parameter and by `current_job`, and gone afterwards."""
    app = App()

    @app.task
    def plain(context: Context) -> list[int]:
        return [context.id, current_job().attempt]

    @app.task
    async def coroutine(*, job: Context) -> list[int]:
        await asyncio.sleep(0)
        return [job.id, current_job().attempt]

    assert run(app, plain, attempts=2) == run(app, coroutine, attempts=2) == Done(b"[1,3]")
    with pytest.raises(LookupError):
        current_job()


def test_a_cancelled_plain_function_is_gone_whatever_it_does() -> None:
    """The server has ended the attempt: a return, an error and a `Cancelled` are all told to nobody."""
    app = App()

    @app.task
    def work(context: Context, how: str) -> str:
        context.cancel("cancelled")
        if how == "check":
            context.check()
        if how == "raise":
            raise ValueError(how)
        return how

    assert [run(app, work, how) for how in ("check", "raise", "return")] == [Gone()] * 3


def test_cancelled_without_a_cancellation_is_a_failure() -> None:
    """A task that raises it by itself has failed."""
    for each in raising(Cancelled("why")):
        outcome = run(*each)
        assert isinstance(outcome, Failed)
        assert "Cancelled: why" in outcome.error


async def test_a_cancelled_coroutine_is_gone() -> None:
    """Its ``finally`` runs, and nothing is told."""
    app, cleaned = App(), []

    @app.task
    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cleaned.append(True)

    prepared = ready(app, work)
    running = asyncio.create_task(run_async(prepared))
    await asyncio.sleep(0)
    prepared.context.cancel("cancelled")
    running.cancel()
    assert await running == Gone()
    assert cleaned == [True]


async def test_a_cancellation_of_the_worker_passes_through() -> None:
    """It is not the job's outcome."""
    app = App()

    @app.task
    async def work() -> None:
        await asyncio.Event().wait()

    running = asyncio.create_task(run_async(ready(app, work)))
    await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_a_coroutine_that_awaits_something_cancelled_has_failed() -> None:
    """Nobody cancelled the job: its own code did something to itself."""
    app = App()

    @app.task
    async def work() -> None:
        future = asyncio.get_running_loop().create_future()
        future.cancel()
        await future

    outcome = await run_async(ready(app, work))
    assert isinstance(outcome, Failed)
    assert "CancelledError" in outcome.error


class Tracing(Middleware):
    """Notes the order of things."""

    def __init__(self, name: str, seen: list[str]) -> None:
        self.name = name
        self.seen = seen

    @contextmanager
    def around_run(self, context: Context) -> Iterator[None]:
        self.seen.append(f"{self.name} in {current_job().id}")
        try:
            yield
        finally:
            self.seen.append(f"{self.name} out")

    def after_run(self, context: Context, outcome: Outcome) -> None:
        self.seen.append(f"{self.name} {outcome}")


class Awaiting(Tracing):
    """Awaits where it can."""

    @asynccontextmanager
    async def aaround_run(self, context: Context) -> AsyncIterator[None]:
        await asyncio.sleep(0)
        with self.around_run(context):
            yield


def test_middlewares_are_around_the_function() -> None:
    """The first is the outermost; each sees the outcome."""
    for kind in (Tracing, Awaiting):
        seen: list[str] = []
        app = App(middlewares=[kind("a", seen), kind("b", seen)])

        @app.task(name="plain")
        def plain(seen: Any = seen) -> None:
            seen.append("run")

        @app.task(name="coroutine")
        async def coroutine(seen: Any = seen) -> None:
            seen.append("run")

        expected = ["a in 1", "b in 1", "run", "b out", "a out", "a Done(result=None)", "b Done(result=None)"]
        assert run(app, plain) == run(app, coroutine) == Done()
        assert seen == expected * 2


class Translating(Middleware):
    """Replaces one exception by another, and fails afterwards."""

    @contextmanager
    def around_run(self, context: Context) -> Iterator[None]:
        try:
            yield
        except ValueError as error:
            raise Reject("translated") from error

    def after_run(self, context: Context, outcome: Outcome) -> None:
        raise RuntimeError("broken hook")


def test_a_middleware_may_replace_an_exception(caplog: pytest.LogCaptureFixture) -> None:
    """And one that breaks afterwards changes nothing: it is logged."""
    for app, task in raising(ValueError("x")):
        app.middlewares[:] = [Translating()]
        with caplog.at_level(logging.ERROR):
            assert run(app, task) == Failed("translated", dead=True)
    assert [record.exc_info is not None for record in caplog.records] == [True] * 2


def test_an_end_of_the_process_is_not_swallowed() -> None:
    """Whoever runs the process decides."""
    app, task = raising(SystemExit(3))[0]
    with pytest.raises(SystemExit):
        run(app, task)


def test_descriptions_are_bounded() -> None:
    """The beginning says most; characters stay whole."""
    text = describe(ValueError("é" * MAX_ERROR_BYTES))
    assert len(text.encode()) <= MAX_ERROR_BYTES
    assert text.startswith("ValueError: éé")


def test_a_plain_function_that_lets_a_cancellation_out_has_failed() -> None:
    """A loop of its own inside a plain function may be cancelled; that must not look like the end of the worker."""
    [(app, plain), _] = raising(asyncio.CancelledError())
    outcome = run(app, plain)
    assert isinstance(outcome, Failed)
    assert "CancelledError" in outcome.error


def test_a_failure_shows_the_code_of_the_task() -> None:
    """Not the way to it, which is the same for every job and would push out the frames that matter."""
    for each in raising(ValueError("x")):
        outcome = run(*each)
        assert isinstance(outcome, Failed)
        sentence, first, *_ = outcome.error.splitlines()
        assert sentence == "ValueError: x"
        assert __file__ in first


def test_the_context_has_the_arguments() -> None:
    """Middlewares see them as the function does, and without the context itself."""
    app = App()

    @app.task
    def send(to: str, job: Context, *, urgent: bool = False) -> list[Any]:
        return [to, list(job.args), dict(job.kwargs)]

    prepared = prepare(app, record({"task": send.name, "args": ["ada"], "kwargs": {"urgent": True}}), NO_LINK)
    assert isinstance(prepared, Prepared)
    assert run_plain(prepared) == Done(b'["ada",["ada"],{"urgent":true}]')
    assert prepared.context.kwargs == {"urgent": True}


def test_a_middleware_may_swallow_a_failure() -> None:
    """Then the job is completed, without a result; plain functions and coroutines alike."""

    class Lenient(Middleware):
        """Lets nothing through."""

        def around_run(self, context: Context) -> Any:
            return suppress(ValueError)

    for app, task in raising(ValueError("no good")):
        app.middlewares.append(Lenient())
        assert run(app, task) == Done()
