"""Django's signals of a task's life, sent where it runs: ``task_started`` and ``task_finished``.

A failed attempt that will be tried again has not finished; Django's word is that the task is ready again.
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final

from django.utils import timezone
from django.utils.module_loading import import_string
from msgspec import json

from flashq.contrib.django import results
from flashq.contrib.django.framework import TaskResult, TaskResultStatus, task_finished, task_started
from flashq.tasks.context import Context
from flashq.tasks.middleware import Middleware
from flashq.tasks.outcome import Done, Failed, Outcome
from flashq.tasks.run import interrupted

RESULT_HEADER: Final = "django-result"
"""The header with the id of Django's result; only the jobs of Django's tasks have it."""


class SignalsMiddleware(Middleware):
    """Sends the signals for the jobs of Django's tasks, and leaves all others alone.

    Args:
        sender: the class of the backend.
        alias: of the backend.
    """

    def __init__(self, sender: type, alias: str) -> None:
        self._sender = sender
        self._alias = alias
        self._running: dict[int, TaskResult] = {}
        """What runs now, by the identity of its context."""

    @contextmanager
    def around_run(self, context: Context) -> Iterator[Any]:
        """The task starts."""
        result = self._begin(context)
        if result is not None:
            task_started.send(self._sender, task_result=result)
        with self._kept(context):
            yield

    @asynccontextmanager
    async def aaround_run(self, context: Context) -> AsyncIterator[Any]:
        """The task starts; plain receivers get a thread."""
        result = self._begin(context)
        if result is not None:
            await task_started.asend(self._sender, task_result=result)
        with self._kept(context):
            yield

    def after_run(self, context: Context, outcome: Outcome) -> None:
        """The task has finished, unless it will be tried again."""
        result = self._end(context, outcome)
        if result is not None:
            task_finished.send(self._sender, task_result=result)

    async def aafter_run(self, context: Context, outcome: Outcome) -> None:
        """The same; plain receivers get a thread."""
        result = self._end(context, outcome)
        if result is not None:
            await task_finished.asend(self._sender, task_result=result)

    def _begin(self, context: Context) -> TaskResult | None:
        result_id = context.headers.get(RESULT_HEADER)
        if result_id is None:
            return None
        task = import_string(context.task).using(backend=self._alias)
        result = self._running[id(context)] = results.running(task, result_id, self._alias, context)
        return result

    @contextmanager
    def _kept(self, context: Context) -> Iterator[None]:
        try:
            yield
        except BaseException as error:
            if interrupted(context, error):
                self._running.pop(id(context), None)
            raise

    def _end(self, context: Context, outcome: Outcome) -> TaskResult | None:
        """The result as it is told; None if there is nothing to tell."""
        result = self._running.pop(id(context), None)
        if result is None:
            return None
        if isinstance(outcome, Done):
            returned = None if outcome.result is None else json.decode(outcome.result)
            results.change(result, status=TaskResultStatus.SUCCESSFUL, _return_value=returned)
        elif isinstance(outcome, Failed) and (outcome.dead or context.is_last):
            results.change(result, status=TaskResultStatus.FAILED, errors=[results.error_of(outcome.error)])
        else:
            return None
        results.change(result, finished_at=timezone.now())
        return result
