"""`LocalApp`: an app on an in-process server, with what tests ask of it: run the jobs, and look at them."""

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

from flashq.client import FlashQ
from flashq.tasks import App, Task
from flashq.tasks.durations import Duration, as_ms
from flashq.testing.drain import Catch, Drain, Ran
from flashq.testing.enqueued import Enqueued, Wanted, all_jobs, listed
from flashq.testing.server import Clock, LocalServer


class LocalApp:
    """An app whose clients reach a server of the test's own, for as long as the block lasts.

    ::

        with LocalApp(app) as local:
            welcome.delay("ada")
            local.assert_enqueued(welcome, args=("ada",))
            local.drain()

    Args:
        app: yours. Its url does not count meanwhile.
        server: to run on; None: one of its own, which ends with the block.

    Attributes:
        app: as given.
        server: where it runs.
    """

    def __init__(self, app: App, server: LocalServer | None = None) -> None:
        self.app = app
        self.server = server or LocalServer()
        self._own = server is None
        self._catch = Catch()
        self._before = app.connect_with(self.server.client, self.server.aclient)
        app.middlewares.append(self._catch)  # the innermost: it sees what the task raised
        self._client: FlashQ = self.server.client()

    def __enter__(self) -> "LocalApp":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the app its own way to its server back. Closing twice is no mistake."""
        if self._catch not in self.app.middlewares:
            return
        self.app.middlewares.remove(self._catch)
        self.app.close()
        self.app.connect_with(*self._before)
        self._client.close()
        if self._own:
            self.server.close()

    @property
    def clock(self) -> Clock:
        """The server's clock."""
        return self.server.clock

    @property
    def client(self) -> FlashQ:
        """A client of the server, for whatever is not said in tasks."""
        return self._client

    # --- running ---

    def drain(self, *, advance: bool = False, raises: bool = True, queues: Sequence[str] | None = None) -> list[Ran]:
        """Run all jobs that are ready, and those that they make ready, until there are none.

        In this thread, one after the other; the queues of the app's tasks first, in their order. The schedules of
        the app are not registered, as no worker starts.

        Args:
            advance: move the clock to what is delayed (retries too) until nothing is.
            raises: raise what the first failing task raised, once the server has been told. `Retry` and `Snooze` are
                no failures.
            queues: only these, in this order.

        Returns:
            Every attempt that ran, in order.

        Raises:
            TaskFailed: a job failed without an exception: an unknown task, arguments that do not fit.
            RuntimeError: there is a coroutine task to run and this thread runs an event loop: use `adrain`.
        """
        with self._drain(advance=advance, raises=raises, queues=queues) as opened:
            return opened.run()

    async def adrain(
        self, *, advance: bool = False, raises: bool = True, queues: Sequence[str] | None = None
    ) -> list[Ran]:
        """`drain` inside a coroutine: coroutine tasks run on this event loop."""
        with self._drain(advance=advance, raises=raises, queues=queues) as opened:
            return await opened.arun()

    def _drain(self, *, advance: bool, raises: bool, queues: Sequence[str] | None) -> Drain:
        return Drain(self.server, self.app, self._catch, queues=queues, advance=advance, raises=raises)

    # --- looking ---

    def enqueued(self, task: Task[Any, Any] | str | None = None) -> list[Enqueued]:
        """The jobs of a task (None: of all) that the server knows, whatever became of them, in the order of pushing."""
        jobs = all_jobs(self._client, self.server.engine.jobs.next_id, self.clock.now)
        return [job for job in jobs if Wanted(task=task).matches(job, self.app)]

    def assert_enqueued(
        self,
        task: Task[Any, Any] | str,
        *,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        within: Duration | None = None,
        queue: str | None = None,
        count: int | None = None,
    ) -> list[Enqueued]:
        """Fail, and show what was enqueued, unless there is a job like this.

        Args:
            task: a task, or its name.
            args: its positional arguments; together with ``kwargs`` they must be what the function would get, however
                they were given.
            kwargs: its keyword arguments.
            within: it may run within this time, ms or timedelta.
            queue: where it is.
            count: exactly so many; None: at least one.

        Returns:
            Those that are.
        """
        __tracebackhide__ = True
        wanted = Wanted(task=task, args=args, kwargs=kwargs, within=as_ms(within), queue=queue)
        everything = self.enqueued()
        found = [job for job in everything if wanted.matches(job, self.app)]
        if (not found) if count is None else len(found) != count:
            many = "" if count is None else f"{len(found)} instead of {count}: "
            raise AssertionError(f"not enqueued: {many}{wanted}\n{listed(everything)}")
        return found

    def assert_not_enqueued(
        self,
        task: Task[Any, Any] | str | None = None,
        *,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        queue: str | None = None,
    ) -> None:
        """Fail, and show them, if there are jobs like this; without a task: if there is any job."""
        __tracebackhide__ = True
        wanted = Wanted(task=task, args=args, kwargs=kwargs, queue=queue)
        found = [job for job in self.enqueued() if wanted.matches(job, self.app)]
        if found:
            raise AssertionError(f"enqueued, and should not be: {wanted}\n{listed(found)}")
