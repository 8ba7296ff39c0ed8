"""Enqueuing when the transaction has committed: a job must not run before, or without, what it is about."""

from functools import partial
from typing import ParamSpec

from django.db import transaction

from flashq.tasks.task import Call

P = ParamSpec("P")


def delay_on_commit(task: Call[P, object], /, *args: P.args, **kwargs: P.kwargs) -> None:
    """``task.delay(*args, **kwargs)`` as soon as the transaction commits; never, if it is rolled back.

    Outside of a transaction that is at once. The arguments are checked now.

    Args:
        task: one of FlashQ's own tasks, or ``task.options(...)``.
        args: positional arguments of the task.
        kwargs: keyword arguments of the task.

    Raises:
        TypeError: the arguments do not fit.
    """
    transaction.on_commit(partial(task.task.app.send, task.outgoing(args, kwargs)))
