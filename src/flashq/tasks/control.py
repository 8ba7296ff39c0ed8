"""What a task raises to say how its job goes on: `Retry`, `Reject`, `Snooze`; and `Cancelled`, which is raised in it.

An ordinary exception means "this attempt failed" and the job's own rules decide. These say it outright.
"""

from flashq.tasks.durations import Duration, as_ms


class Retry(Exception):
    """This attempt failed; try again at the time that is given here instead of after the backoff.

    Counts as an attempt: when none is left the job goes to the dead letters.

    Args:
        reason: kept with the job.
        in_: until the next attempt, ms or timedelta; None: the job's backoff.
    """

    def __init__(self, reason: str = "retry", *, in_: Duration | None = None) -> None:
        super().__init__(reason)
        self.delay_ms = as_ms(in_)


class Reject(Exception):
    """This job can never succeed: straight to the dead letters, however many attempts are left.

    Args:
        reason: kept with the job.
    """

    def __init__(self, reason: str = "rejected") -> None:
        super().__init__(reason)


class Snooze(Exception):
    """Not now: run the job again later. Uses no attempt.

    Args:
        in_: until then, ms or timedelta.
    """

    def __init__(self, in_: Duration) -> None:
        self.delay_ms = as_ms(in_)
        super().__init__(f"snoozed for {self.delay_ms} ms")


class Cancelled(BaseException):
    """The server has ended this attempt: the job was cancelled, its time is over, or its worker was taken for lost.

    Raised in a plain function by `Context.progress`, `Context.heartbeat` and `Context.check` (a coroutine gets
    `asyncio.CancelledError` at its next await). Not an `Exception`, so that ``except Exception`` lets it through.
    Whatever the function returns or raises after that is told to nobody.
    """
