"""`App`: where tasks are declared and enqueued.

Holds the tasks, the schedules and the middlewares of a program, and its clients: one `FlashQ` for the process, shared
by its threads, and one `AsyncFlashQ` for each event loop. Both connect when they are first needed, so that importing a
module with tasks costs nothing and needs no server.
"""

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from types import TracebackType
from typing import Any, Concatenate, Final, ParamSpec, Protocol, TypedDict, TypeVar, Unpack, overload
from weakref import WeakKeyDictionary

from msgspec import Raw, Struct

from flashq.client import AsyncFlashQ, FlashQ, JobSpec, PushedIds
from flashq.errors import BadRequest, Duplicate
from flashq.protocol.limits import MAX_BATCH, MAX_LINE_BYTES
from flashq.tasks.context import Context
from flashq.tasks.durations import Duration
from flashq.tasks.job import Job
from flashq.tasks.middleware import Middleware
from flashq.tasks.options import Options, Unique
from flashq.tasks.outgoing import Outgoing
from flashq.tasks.task import CoroutineTask, PlainTask, Task, task_of

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T", bound="Task[Any, Any]")

BATCH_BYTES: Final = MAX_LINE_BYTES // 2
"""Payloads in one request of `Task.map`: far enough from the longest line for what stands around them."""


class ClientOptions(TypedDict, total=False):
    """What `App` hands on to its clients; see `AsyncFlashQ`."""

    host: str | None
    port: int | None
    unix_socket: str | None
    token: str | None
    call_timeout_ms: int | None
    connect_timeout_ms: int | None
    safe_retry: bool


class CronEntry(Struct, frozen=True):
    """A schedule of an app; the worker registers it when it starts.

    Attributes:
        name: unique on the server.
        schedule: the expression.
        timezone: in which it is read; None: UTC.
        job: what is pushed at each instant.
        data: the job's payload, JSON.
    """

    name: str
    schedule: str
    timezone: str | None
    job: Outgoing
    data: bytes


class _Anything:
    """Stands for a type that nobody names.

    A function whose first parameter takes it takes any value there, the context included: it must not be mistaken for
    one that asks for the context.
    """


class Decorator(Protocol):
    """What `App.task` with options returns.

    The overloads: a first parameter that takes anything (arguments are then not checked), the context as first
    parameter (taken off), and everything else; coroutine functions first each time.
    """

    @overload
    def __call__(  # type: ignore[overload-overlap]
        self, function: Callable[Concatenate[_Anything, P], Coroutine[Any, Any, R]], /
    ) -> CoroutineTask[..., R]: ...
    @overload
    def __call__(self, function: Callable[Concatenate[_Anything, P], R], /) -> PlainTask[..., R]: ...
    @overload
    def __call__(  # type: ignore[overload-overlap]
        self, function: Callable[Concatenate[Context, P], Coroutine[Any, Any, R]], /
    ) -> CoroutineTask[P, R]: ...
    @overload
    def __call__(self, function: Callable[Concatenate[Context, P], R], /) -> PlainTask[P, R]: ...
    @overload
    def __call__(  # type: ignore[overload-overlap]
        self, function: Callable[P, Coroutine[Any, Any, R]], /
    ) -> CoroutineTask[P, R]: ...
    @overload
    def __call__(self, function: Callable[P, R], /) -> PlainTask[P, R]: ...


class App:
    """Tasks, schedules and middlewares of one program, and its way to the server.

    ::

        app = App("flashq://localhost:6789")

        @app.task(queue="emails", max_attempts=5)
        def send(to: str) -> int: ...

        send.delay("ada@example.org")

    Args:
        url: of the server, as for `FlashQ`; None: ``FLASHQ_URL``, else this machine.
        default_queue: for tasks that name none.
        middlewares: what goes along with every job, outermost first.
        client: further arguments of `FlashQ` and `AsyncFlashQ`.

    Attributes:
        tasks: by name.
        crons: schedules by name.
        middlewares: as given; may be added to before the first job.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        default_queue: str = "default",
        middlewares: Iterable[Middleware] = (),
        **client: Unpack[ClientOptions],
    ) -> None:
        self.default_queue = default_queue
        self.middlewares = list(middlewares)
        self.tasks: dict[str, Task[Any, Any]] = {}
        self.crons: dict[str, CronEntry] = {}
        self._make_client: Callable[[], FlashQ] = lambda: FlashQ(url, **client)
        self._make_aclient: Callable[[], AsyncFlashQ] = lambda: AsyncFlashQ(url, **client)
        self._client: FlashQ | None = None
        self._aclients: WeakKeyDictionary[asyncio.AbstractEventLoop, AsyncFlashQ] = WeakKeyDictionary()
        self._process = os.getpid()
        self._guard = threading.Lock()

    def __repr__(self) -> str:
        return f"<App with {len(self.tasks)} tasks>"

    # --- declaring ---

    @overload
    def task(  # type: ignore[overload-overlap]
        self, function: Callable[Concatenate[_Anything, P], Coroutine[Any, Any, R]], /
    ) -> CoroutineTask[..., R]: ...
    @overload
    def task(self, function: Callable[Concatenate[_Anything, P], R], /) -> PlainTask[..., R]: ...
    @overload
    def task(  # type: ignore[overload-overlap]
        self, function: Callable[Concatenate[Context, P], Coroutine[Any, Any, R]], /
    ) -> CoroutineTask[P, R]: ...
    @overload
    def task(self, function: Callable[Concatenate[Context, P], R], /) -> PlainTask[P, R]: ...
    @overload
    def task(  # type: ignore[overload-overlap]
        self, function: Callable[P, Coroutine[Any, Any, R]], /
    ) -> CoroutineTask[P, R]: ...
    @overload
    def task(self, function: Callable[P, R], /) -> PlainTask[P, R]: ...
    @overload
    def task(
        self,
        /,
        *,
        name: str | None = None,
        queue: str | None = None,
        priority: int = 0,
        delay: Duration | None = None,
        ttl: Duration | None = None,
        timeout: Duration | None = None,
        max_attempts: int | None = None,
        backoff: Duration | None = None,
        retry_on: Sequence[type[BaseException]] = (),
        never_retry: Sequence[type[BaseException]] = (),
        unique: Unique = False,
        tags: Sequence[str] | None = None,
    ) -> Decorator: ...
    def task(
        self,
        function: Callable[..., Any] | None = None,
        /,
        *,
        name: str | None = None,
        queue: str | None = None,
        priority: int = 0,
        delay: Duration | None = None,
        ttl: Duration | None = None,
        timeout: Duration | None = None,
        max_attempts: int | None = None,
        backoff: Duration | None = None,
        retry_on: Sequence[type[BaseException]] = (),
        never_retry: Sequence[type[BaseException]] = (),
        unique: Unique = False,
        tags: Sequence[str] | None = None,
    ) -> Any:
        """Make a task of a function; it stays callable.

        Args:
            function: plain or coroutine function. Parameters annotated `Context` get the job's context.
            name: what jobs call it; None: its module and name. To be kept while jobs of it may exist.
            queue: where its jobs go; None: the app's default.
            priority: higher runs first.
            delay: until its jobs may run. Durations are ms or timedelta.
            ttl: after which a job that waits disappears; one that runs may finish.
            timeout: how long one attempt may run.
            max_attempts: failed attempts until the dead letters; 0 = no bound, None = the server's default.
            backoff: before the first retry, doubled each time; 0 = at once, None = the server's default.
            retry_on: exceptions that are worth another attempt; empty: all. Others go to the dead letters.
            never_retry: exceptions that go to the dead letters at once.
            unique: at most one live job: True: for equal arguments; ``"user-{user_id}"``: for equal keys; or a
                function that makes the key of the arguments.
            tags: words for people.

        Raises:
            BadRequest: the name is taken, or an annotation names what JSON cannot carry.
        """

        def declare(function: Callable[..., Any]) -> Task[Any, Any]:
            defaults = Options(queue=self.default_queue if queue is None else queue).changed(
                priority=priority,
                delay=delay,
                ttl=ttl,
                timeout=timeout,
                max_attempts=max_attempts,
                backoff=backoff,
                tags=tags,
            )
            made = task_of(self, function, name, defaults, tuple(retry_on), tuple(never_retry), unique)
            if made.name in self.tasks:
                raise BadRequest(f"there are two tasks named {made.name!r}; give one of them another name")
            self.tasks[made.name] = made
            return made

        return declare if function is None else declare(function)

    def cron(
        self,
        schedule: str,
        *,
        timezone: str | None = None,
        name: str | None = None,
        args: Sequence[Any] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Callable[[T], T]:
        """Run a task on a schedule; stands above ``@app.task``, as often as there are schedules.

        A worker registers it when it starts, under its name: again and again, by as many workers as there are, it stays
        one schedule.

        Args:
            schedule: five fields, six with seconds first, or ``*/N`` for every N seconds.
            timezone: an IANA name; None: UTC.
            name: unique on the server; None: the task's name. A second schedule of a task needs one.
            args: positional arguments of the jobs.
            kwargs: keyword arguments of the jobs.

        Raises:
            BadRequest: the name is taken.
            TypeError: the arguments do not fit the function.
        """

        def declare(task: T) -> T:
            named = name or task.name
            if named in self.crons:
                raise BadRequest(f"there are two schedules named {named!r}; give one of them another name")
            job = task.outgoing(tuple(args), dict(kwargs or {}))
            self.crons[named] = CronEntry(named, schedule, timezone, job, job.payload())
            return task

        return declare

    @property
    def queues(self) -> list[str]:
        """The queues of all tasks, in the order of their first task."""
        return list(dict.fromkeys(task.defaults.queue for task in self.tasks.values()))

    # --- reaching the server ---

    @property
    def client(self) -> FlashQ:
        """The plain client: one for the process, made anew after a fork."""
        with self._guard:
            self._look_around()
            if self._client is None:
                self._client = self._make_client()
            return self._client

    @property
    def aclient(self) -> AsyncFlashQ:
        """The async client of the running event loop.

        Raises:
            RuntimeError: no loop runs here.
        """
        loop = asyncio.get_running_loop()
        client = self._aclients.get(loop)
        if client is None or self._process != os.getpid():
            with self._guard:
                self._look_around()
                # A client holds on to its loop, so nothing but this lets go of those whose loops have ended.
                for ended in [each for each in self._aclients if each.is_closed()]:
                    del self._aclients[ended]
                client = self._aclients[loop] = self._make_aclient()
        return client

    def new_client(self) -> FlashQ:
        """Another plain client of the same server, shared with nobody; whoever asks for it closes it."""
        return self._make_client()

    def new_aclient(self) -> AsyncFlashQ:
        """Another async client of the same server, shared with nobody; whoever asks for it closes it."""
        return self._make_aclient()

    def connect_with(
        self, client: Callable[[], FlashQ], aclient: Callable[[], AsyncFlashQ]
    ) -> tuple[Callable[[], FlashQ], Callable[[], AsyncFlashQ]]:
        """Make clients in another way from now on; those at hand are let go, not closed. For tests.

        Returns:
            How they were made before, to be put back.
        """
        with self._guard:
            before = self._make_client, self._make_aclient
            self._make_client, self._make_aclient = client, aclient
            self._client = None
            self._aclients.clear()
        return before

    def close(self) -> None:
        """Close the plain client; the next call opens another."""
        with self._guard:
            client, self._client = self._client, None
        if client is not None:
            client.close()

    async def aclose(self) -> None:
        """Close both clients; the next call opens others."""
        client = self._aclients.pop(asyncio.get_running_loop(), None)
        if client is not None:
            await client.close()
        self.close()

    def __enter__(self) -> "App":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> "App":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    # --- jobs ---

    def job(self, id: int, task: str | None = None, *, fresh: bool = True) -> Job[Any]:
        """A job by its id.

        Args:
            id: the server's id.
            task: the name of its task; then the result comes as the function's return annotation says.
            fresh: whether it was just enqueued.
        """
        known = None if task is None else self.tasks.get(task)
        return Job(self, id, task, None if known is None else known.arguments.result, fresh=fresh)

    def send(self, job: Outgoing) -> Job[Any]:
        """Enqueue one job; `Task.delay` makes it."""
        if job.options.job_id is not None:  # only the answer to a batch tells whether it was known
            return self.send_many([job])[0]
        for middleware in self.middlewares:
            middleware.before_enqueue(job)
        try:
            id = self.client.push(job.options.queue, Raw(job.payload()), **job.options.members())
        except Duplicate as duplicate:
            return self.job(duplicate.id, job.task, fresh=False)
        return self.job(id, job.task)

    async def asend(self, job: Outgoing) -> Job[Any]:
        """`send` for coroutines."""
        if job.options.job_id is not None:
            return (await self.asend_many([job]))[0]
        for middleware in self.middlewares:
            await middleware.abefore_enqueue(job)
        try:
            id = await self.aclient.push(job.options.queue, Raw(job.payload()), **job.options.members())
        except Duplicate as duplicate:
            return self.job(duplicate.id, job.task, fresh=False)
        return self.job(id, job.task)

    def send_many(self, jobs: Sequence[Outgoing]) -> list[Job[Any]]:
        """Enqueue many jobs in as few requests as possible; all or none holds for each request of up to 10,000.

        Raises:
            TypeError, TooLarge: one of them cannot be sent; then none was.
        """
        for job in jobs:
            for middleware in self.middlewares:
                middleware.before_enqueue(job)
        made: dict[int, Job[Any]] = {}
        for queue, places, specs in list(_batches(jobs)):  # all are written before the first is sent
            self._note(jobs, places, self.client.push_batch(queue, specs), made)
        return [made[place] for place in range(len(jobs))]

    async def asend_many(self, jobs: Sequence[Outgoing]) -> list[Job[Any]]:
        """`send_many` for coroutines."""
        for job in jobs:
            for middleware in self.middlewares:
                await middleware.abefore_enqueue(job)
        made: dict[int, Job[Any]] = {}
        for queue, places, specs in list(_batches(jobs)):  # all are written before the first is sent
            self._note(jobs, places, await self.aclient.push_batch(queue, specs), made)
        return [made[place] for place in range(len(jobs))]

    # --- inside ---

    def _note(self, jobs: Sequence[Outgoing], places: list[int], ids: PushedIds, made: dict[int, Job[Any]]) -> None:
        known = {*ids.duplicates, *ids.replayed}
        for number, (place, id) in enumerate(zip(places, ids, strict=True)):
            made[place] = self.job(id, jobs[place].task, fresh=number not in known)

    def _look_around(self) -> None:
        """After a fork the parent's connections must not be used: two processes would read each other's answers."""
        if self._process != os.getpid():
            self._process = os.getpid()
            self._client = None
            self._aclients.clear()


def _batches(jobs: Sequence[Outgoing]) -> Iterator[tuple[str, list[int], list[JobSpec]]]:
    """Jobs by queue, in slices that fit into one request: (queue, places in ``jobs``, what to push)."""
    open_: dict[str, tuple[list[int], list[JobSpec]]] = {}
    sizes: dict[str, int] = {}
    for place, job in enumerate(jobs):
        data, queue = job.payload(), job.options.queue
        if queue in open_ and (len(open_[queue][0]) == MAX_BATCH or sizes[queue] + len(data) > BATCH_BYTES):
            yield queue, *open_.pop(queue)
        places, specs = open_.setdefault(queue, ([], []))
        sizes[queue] = sizes[queue] + len(data) if places else len(data)
        places.append(place)
        specs.append(JobSpec(data=Raw(data), **job.options.members()))
    for queue, (places, specs) in open_.items():
        yield queue, places, specs
