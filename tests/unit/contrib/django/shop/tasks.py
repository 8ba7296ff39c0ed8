"""Tasks as a project declares them."""

from typing import Any

from flashq import Retry
from flashq.contrib.django.framework import TaskContext, task

seen: list[Any] = []


class NoStock(Exception):
    """There is none left."""


@task
def add(a: int, b: int = 0) -> int:
    """A plain task."""
    return a + b


@task(priority=7, queue_name="mails")
async def send(to: str) -> str:
    """A coroutine task."""
    return f"sent to {to}"


@task(takes_context=True)
def who(context: TaskContext, word: str) -> list[Any]:
    """A task that asks for its context."""
    result = context.task_result
    return [word, context.attempt, result.id, str(result.status), result.args, len(result.worker_ids)]


@task
def fail() -> None:
    """A task that fails."""
    raise NoStock("none left")


@task
def wait() -> None:
    """A task that is put off."""
    raise Retry("not yet", in_=60_000)


@task
def strange() -> object:
    """A task whose result has no JSON form."""
    return object()


@task(backend="here")
def elsewhere() -> None:
    """A task for another backend."""
