"""What every way of running jobs has in common: coroutines on the loop, threads, child processes.

The worker decides *which* job runs *when*; an executor only knows how to run it. It keeps no clock and talks to no
server: the worker calls `Executor.cancel` when a job's time is up or the server has ended its attempt, and hears of
the end of each job by one callback. So the three ways differ in one file each, and a fourth would need no other.
"""

from collections.abc import Callable
from typing import Final, Protocol

from flashq.client.results import JobRecord
from flashq.tasks.context import Link
from flashq.tasks.outcome import Outcome

TIMED_OUT: Final = "Job timed out"
"""The reason given to `Executor.cancel` when the job's own timeout has passed; the server's word for the same."""

CANCELLED: Final = "cancelled"
"""The reason when somebody cancelled the job."""

WORKER_LOST: Final = "worker lost"
"""The reason when the server took this worker for dead and gave its jobs away."""

DELIVERED_AGAIN: Final = "delivered again"
"""The reason when the job came a second time while its first attempt still ran: the server forgot that attempt, as
after a restart, and would refuse its end."""

CANCEL_GRACE_MS: Final = 1_000
"""How long code that was cancelled at a stop may still run its ``finally`` blocks before it is left behind."""

Finished = Callable[[JobRecord, Outcome], None]
"""Called on the loop, once for every job that was started, unless `Executor.stop` returned it."""

LinkFor = Callable[[JobRecord], Link]
"""How the job's code reaches the server: its progress and signs of life."""


class Executor(Protocol):
    """Runs jobs that were pulled. All methods are called on the worker's loop.

    Jobs are known by their record, by identity: the same job may be here twice, once as an old attempt that the
    server has given up and that still runs.
    """

    async def open(self) -> None:
        """Get ready, before the first job.

        Raises:
            FlashQError: no job can be run here; the text says why.
        """

    def start(self, record: JobRecord) -> None:
        """Begin a job. Returns at once; never called for more jobs at once than the executor's concurrency."""

    def cancel(self, record: JobRecord, reason: str) -> None:
        """The attempt is over, because of ``reason``: reach the code, if it can be reached.

        The job still counts as running until its `Finished`. A record that does not run (any more) is no mistake.
        """

    async def stop(self, timeout_ms: int) -> list[JobRecord]:
        """Wait for what runs, but not longer than ``timeout_ms``; 0: do not wait.

        What still runs then is abandoned: coroutines are cancelled, children killed, threads left behind. May be
        given up (asyncio cancellation) and called again with less time.

        Returns:
            The abandoned jobs; no `Finished` follows for them.
        """
