"""What a running task knows of its job: `Context`, given to a parameter annotated so, or by `current_job`."""

import logging
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from typing import Any, Final, Protocol

from flashq.client.results import JobRecord
from flashq.protocol.limits import MAX_MESSAGE_BYTES
from flashq.tasks.control import Cancelled
from flashq.tasks.text import sendable

log = logging.getLogger("flashq.job")
"""Where `Context.log` writes; the job's id and the like come as ``record.flashq``, a dict."""


class Link(Protocol):
    """How a context reaches the server. Every method returns at once and may be called from any thread."""

    def progress(self, percent: int, message: str | None) -> None:
        """Say how far the attempt is."""

    def heartbeat(self) -> None:
        """Renew the attempt's lease."""


class NoLink:
    """Reaches nobody: for a task that is called like any function."""

    def progress(self, percent: int, message: str | None) -> None:
        """Nobody listens."""

    def heartbeat(self) -> None:
        """Nobody listens."""


class Context:
    """One attempt at one job, as the code that runs it sees it.

    Attributes:
        id: the job's id; 0 for a task that is called like any function.
        queue: where it was pulled.
        task: the task's name.
        attempt: 1 at the first delivery.
        max_attempts: failed attempts until the dead letters; 0 = no bound.
        deadline: when its timeout ends the attempt, ms since the Unix epoch; None without a timeout.
        tags: words for people.
        headers: what middlewares carried along.
        args: positional arguments of the task, as its function gets them.
        kwargs: keyword arguments of the task; a parameter annotated `Context` is not among them.
        cancelled: whether the server has ended the attempt; what is done from then on counts for nothing.
        reason: why it was ended, such as ``cancelled`` or ``Job timed out``; None while it runs.
    """

    __slots__ = (
        "_link",
        "args",
        "attempt",
        "cancelled",
        "deadline",
        "headers",
        "id",
        "kwargs",
        "max_attempts",
        "queue",
        "reason",
        "tags",
        "task",
    )

    def __init__(
        self,
        *,
        task: str,
        id: int = 0,
        queue: str = "",
        attempt: int = 1,
        max_attempts: int = 0,
        deadline: int | None = None,
        tags: list[str] | None = None,
        headers: Mapping[str, str] | None = None,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        link: Link | None = None,
    ) -> None:
        self.task = task
        self.id = id
        self.queue = queue
        self.attempt = attempt
        self.max_attempts = max_attempts
        self.deadline = deadline
        self.tags = tags or []
        self.headers: Mapping[str, str] = headers or {}
        self.args = args
        self.kwargs: Mapping[str, Any] = kwargs or {}
        self.cancelled = False
        self.reason: str | None = None
        self._link = link or NO_LINK

    @classmethod
    def of(
        cls,
        record: JobRecord,
        task: str,
        headers: Mapping[str, str],
        link: Link,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> "Context":
        """The context of a pulled job."""
        return cls(
            task=task,
            id=record.id,
            queue=record.queue,
            attempt=record.attempts + 1,
            max_attempts=record.max_attempts,
            deadline=record.started_at + record.timeout if record.timeout else None,
            tags=record.tags,
            headers=headers,
            args=args,
            kwargs=kwargs,
            link=link,
        )

    def __repr__(self) -> str:
        return f"<Context of job {self.id}, task {self.task!r}, attempt {self.attempt}>"

    @property
    def is_last(self) -> bool:
        """Whether a failure of this attempt sends the job to the dead letters, because none is left."""
        return 0 < self.max_attempts <= self.attempt

    def progress(self, percent: int, message: str | None = None) -> None:
        """Say how far the attempt is; renews its lease. Returns at once; what cannot be sent is dropped.

        Args:
            percent: 0 to 100; what is beyond is taken as the end of the range.
            message: a few words; cut at 1 KiB.

        Raises:
            Cancelled: the server has ended the attempt.
        """
        self.check()
        words = None if message is None else sendable(message, MAX_MESSAGE_BYTES)
        self._link.progress(max(0, min(100, int(percent))), words)

    def heartbeat(self) -> None:
        """Say that the attempt still runs. Workers do so by themselves; this is for those who want to be explicit.

        Raises:
            Cancelled: the server has ended the attempt.
        """
        self.check()
        self._link.heartbeat()

    def check(self) -> None:
        """A place where a long plain function lets itself be cancelled.

        Raises:
            Cancelled: the server has ended the attempt.
        """
        if self.cancelled:
            raise Cancelled(self.reason)

    def log(self, message: str, **fields: Any) -> None:  # noqa: ANN401 - any value may be logged
        """Write a line into the worker's log, with the job's id, queue, task and attempt.

        Args:
            message: what happened.
            fields: more of it.
        """
        log.info(message, extra={"flashq": {**self.facts(), **fields}})

    def facts(self) -> dict[str, Any]:
        """What a line of a log says of the job."""
        return {"job": self.id, "queue": self.queue, "task": self.task, "attempt": self.attempt}

    def cancel(self, reason: str) -> None:
        """The server has ended the attempt; called by whoever runs it.

        Args:
            reason: what the server said.
        """
        self.reason = reason
        self.cancelled = True


NO_LINK: Final = NoLink()

_current: ContextVar[Context] = ContextVar("flashq_job")

enter: Final = _current.set
leave: Final = _current.reset


def current_job() -> Context:
    """The context of the job that runs here, in this coroutine or thread.

    Raises:
        LookupError: no job runs here.
    """
    try:
        return _current.get()
    except LookupError:
        raise LookupError("no job runs here: current_job() works inside a task that a worker runs") from None


def context_here(task: str) -> Context:
    """The running job's context, or one that reaches nobody: for a task that is called like any function."""
    return _current.get(None) or Context(task=task)
