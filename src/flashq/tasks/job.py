"""`Job`: a job that was enqueued, to ask about it, wait for it or take it back."""

from collections.abc import Generator
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from msgspec import ValidationError

from flashq.client.results import Ending, JobProgress
from flashq.errors import CallTimeout, JobFailed, JobLost
from flashq.tasks.durations import Duration, as_ms

if TYPE_CHECKING:
    from flashq.tasks.app import App

R = TypeVar("R")


class Job(Generic[R]):
    """A job that was enqueued.

    ::

        job = send.delay("ada@example.org")
        print(job.result(timeout=5_000))   # or: await job

    Attributes:
        app: where it was enqueued.
        id: the server's id.
        task: the task's name; None if it is not known here.
        fresh: False if nothing was enqueued, because a live job holds the unique key or the ``job_id`` was known: this
            is that job.
    """

    __slots__ = ("app", "fresh", "id", "task")

    def __init__(self, app: "App", id: int, task: str | None = None, *, fresh: bool = True) -> None:
        self.app = app
        self.id = id
        self.task = task
        self.fresh = fresh

    def __repr__(self) -> str:
        return f"<Job {self.id} of {self.task!r}>"

    def result(self, timeout: Duration | None = None) -> R:
        """Wait until the job has ended, woken by the server, and give what it returned.

        Args:
            timeout: how long to wait, ms or timedelta; None: as long as it takes.

        Raises:
            JobFailed: it is among the dead letters; the text is that of its last failure.
            JobLost: it was cancelled, has expired or was purged, or is no longer remembered.
            CallTimeout: it has not ended in time.
        """
        return self._judge(self.app.client.wait_job(self.id, as_ms(timeout)))

    async def aresult(self, timeout: Duration | None = None) -> R:
        """`result` for coroutines."""
        return self._judge(await self.app.aclient.wait_job(self.id, as_ms(timeout)))

    def __await__(self) -> Generator[Any, Any, R]:
        """``await job`` waits as long as it takes."""
        return self.aresult().__await__()

    def state(self) -> str:
        """One of waiting, delayed, active, completed, failed, waiting-children, unknown."""
        return self.app.client.state(self.id)

    async def astate(self) -> str:
        """`state` for coroutines."""
        return await self.app.aclient.state(self.id)

    def cancel(self) -> None:
        """Take it back; one that runs is told.

        Raises:
            NotActive: it has completed or failed.
            NotFound: it is not known.
        """
        self.app.client.cancel(self.id)

    async def acancel(self) -> None:
        """`cancel` for coroutines."""
        await self.app.aclient.cancel(self.id)

    def progress(self) -> JobProgress:
        """How far it is."""
        return self.app.client.get_progress(self.id)

    async def aprogress(self) -> JobProgress:
        """`progress` for coroutines."""
        return await self.app.aclient.get_progress(self.id)

    def _judge(self, ending: Ending) -> R:
        if ending.state == "completed":
            return self._read(ending)
        if ending.state == "failed":
            raise JobFailed(ending.error or "no reason was given", self.id)
        if ending.state == "unknown":
            raise JobLost(f"job {self.id} will not complete: {ending.error or 'it is not known, or no longer'}")
        raise CallTimeout(f"job {self.id} is still {ending.state}")

    def _read(self, ending: Ending) -> R:
        task = None if self.task is None else self.app.tasks.get(self.task)
        try:
            result: R = ending.result if task is None else task.arguments.result.decode(ending.payload)
        except ValidationError:
            # No result is null whatever the annotation says, once it is forgotten; anything else is told as it came.
            return ending.result  # type: ignore[no-any-return]
        return result
