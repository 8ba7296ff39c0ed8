"""What tasks and compositions need of their app: a protocol, so that they need not know `App`, which knows them."""

from collections.abc import Sequence
from typing import Any, Protocol

from flashq.client import AsyncFlashQ, FlashQ
from flashq.tasks.job import Job
from flashq.tasks.middleware import Middleware
from flashq.tasks.outgoing import Outgoing


class Sender(Protocol):
    """Where jobs are enqueued; an `App` is one."""

    @property
    def client(self) -> FlashQ:
        """The plain client."""

    @property
    def aclient(self) -> AsyncFlashQ:
        """The async client of the running loop."""

    @property
    def middlewares(self) -> Sequence[Middleware]:
        """What goes along with every job."""

    def job(self, id: int, task: str | None = None, *, fresh: bool = True) -> Job[Any]:
        """A job by its id."""

    def send(self, job: Outgoing) -> Job[Any]:
        """Enqueue one job."""

    async def asend(self, job: Outgoing) -> Job[Any]:
        """`send` for coroutines."""

    def send_many(self, jobs: Sequence[Outgoing]) -> list[Job[Any]]:
        """Enqueue many."""

    async def asend_many(self, jobs: Sequence[Outgoing]) -> list[Job[Any]]:
        """`send_many` for coroutines."""
