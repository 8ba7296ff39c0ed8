"""`Job`: a job that was enqueued, to ask about it, wait for it or take it back."""

from collections.abc import Generator
from contextlib import suppress
from typing import Any, Generic, Protocol, TypeVar

from msgspec import ValidationError, json

from flashq.client import AsyncFlashQ, Ending, FlashQ, JobProgress
from flashq.errors import CallTimeout, JobFailed, JobLost
from flashq.tasks.durations import Duration, as_ms

R = TypeVar("R")


class Reach(Protocol):
    """The way to the server; an `App` is one."""

    @property
    def client(self) -> FlashQ:
        """The plain client."""

    @property
    def aclient(self) -> AsyncFlashQ:
        """The async client of the running loop."""


class Job(Generic[R]):
    """A job that was enqueued.

    ::

        job = send.delay("ada@example.org")
        print(job.result(timeout=5_000))   # or: await job

    Made by ``delay`` and its kin; `Task.job` and `App.job` give one by its id.

    Attributes:
        id: the server's id.
        task: the task's name; None if it is not known here.
        fresh: False if nothing was enqueued, because a live job holds the unique key or the ``job_id`` was known: this
            is that job.
    """

    __slots__ = ("_reach", "_result", "fresh", "id", "task")

    def __init__(
        self,
        reach: Reach,
        id: int,
        task: str | None = None,
        result: json.Decoder[R] | None = None,
        *,
        fresh: bool = True,
    ) -> None:
        self._reach = reach
        self._result = result
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
        return self._judge(self._reach.client.wait_job(self.id, as_ms(timeout)))

    async def aresult(self, timeout: Duration | None = None) -> R:
        """`result` for coroutines."""
        return self._judge(await self._reach.aclient.wait_job(self.id, as_ms(timeout)))

    def __await__(self) -> Generator[Any, Any, R]:
        """``await job`` waits as long as it takes."""
        return self.aresult().__await__()

    def state(self) -> str:
        """One of waiting, delayed, active, completed, failed, waiting-children, unknown."""
        return self._reach.client.state(self.id)

    async def astate(self) -> str:
        """`state` for coroutines."""
        return await self._reach.aclient.state(self.id)

    def cancel(self) -> None:
        """Take it back; one that runs is told.

        Raises:
            NotActive: it has completed or failed.
            NotFound: it is not known.
        """
        self._reach.client.cancel(self.id)

    async def acancel(self) -> None:
        """`cancel` for coroutines."""
        await self._reach.aclient.cancel(self.id)

    def progress(self) -> JobProgress:
        """How far it is."""
        return self._reach.client.get_progress(self.id)

    async def aprogress(self) -> JobProgress:
        """`progress` for coroutines."""
        return await self._reach.aclient.get_progress(self.id)

    def _judge(self, ending: Ending) -> R:
        if ending.state == "completed":
            return self._read(ending)
        if ending.state == "failed":
            raise JobFailed(ending.error or "no reason was given", self.id)
        if ending.state == "unknown":
            raise JobLost(f"job {self.id} will not complete: {ending.error or 'it is not known, or no longer'}")
        raise CallTimeout(f"job {self.id} is still {ending.state}")

    def _read(self, ending: Ending) -> R:
        if self._result is not None:
            # A result that is forgotten comes as null, whatever the annotation says; anything else is told as it came.
            with suppress(ValidationError):
                return self._result.decode(ending.payload)
        plain: R = ending.result
        return plain
