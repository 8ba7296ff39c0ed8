"""Middleware: code that goes along with every job, where it is enqueued and where it runs.

Each hook exists twice: plain, and with an ``a`` in front for ``adelay`` and for coroutine tasks. The second calls the
first unless it is overridden, so that most middlewares write each hook once; only one that must await overrides both.
"""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager, nullcontext
from typing import Any

from flashq.tasks.context import Context
from flashq.tasks.outcome import Outcome
from flashq.tasks.outgoing import Outgoing


class Middleware:
    """Base of all middlewares; every hook does nothing until it is overridden.

    Those of an app run in the order in which they are listed; `around_run` of the first is the outermost.
    """

    def before_enqueue(self, job: Outgoing) -> None:
        """A job is about to be enqueued. An exception stops it and goes to the caller."""

    async def abefore_enqueue(self, job: Outgoing) -> None:
        """The same for ``adelay`` and its kin."""
        self.before_enqueue(job)

    def around_run(self, context: Context) -> AbstractContextManager[Any]:  # noqa: ARG002 - for those who override it
        """What is entered before the task's function and left after it, in the thread or process that runs it.

        An exception of the function passes through it and may be replaced by another; where it is swallowed, the job
        completes without a result.
        """
        return nullcontext()

    def aaround_run(self, context: Context) -> AbstractAsyncContextManager[Any]:
        """The same for coroutine tasks."""
        return _in_async(self.around_run(context))

    def after_run(self, context: Context, outcome: Outcome) -> None:
        """An attempt is over; ``outcome`` is what the server will be told. An exception here is logged, no more."""

    async def aafter_run(self, context: Context, outcome: Outcome) -> None:
        """The same for coroutine tasks."""
        self.after_run(context, outcome)


@asynccontextmanager
async def _in_async(manager: AbstractContextManager[Any]) -> AsyncIterator[Any]:
    with manager as value:
        yield value
