"""`TaskResult`: what Django's tasks know of a job, made of what the server tells of it.

The server remembers less than Django has places for: of several attempts the begin and the error of the last one, of
a finished job not when it ended and not which workers ran it. ``worker_ids`` has one entry for each attempt, so that
``attempts`` is right; only a running attempt knows who runs it.
"""

import os
import re
import socket
from datetime import UTC, datetime
from typing import Any, Final

from django.conf import settings
from django.utils import timezone

from flashq.client.results import JobRecord
from flashq.contrib.django.framework import Task, TaskError, TaskResult, TaskResultStatus
from flashq.tasks.context import Context

STATUSES: Final = {
    "waiting": TaskResultStatus.READY,
    "delayed": TaskResultStatus.READY,
    "waiting-children": TaskResultStatus.READY,
    "active": TaskResultStatus.RUNNING,
    "completed": TaskResultStatus.SUCCESSFUL,
    "failed": TaskResultStatus.FAILED,
}
"""Django's word for each state. A job that failed and will be tried again is ready, as Django has it."""

UNKNOWN_WORKER: Final = "unknown"

_EXCEPTION: Final = re.compile(r"[A-Za-z_][\w.]*(?=:|\n|$)")


def new(task: Task, id: str, backend: str, args: Any, kwargs: Any) -> TaskResult:  # noqa: ANN401 - any JSON
    """The result of a task that is about to be enqueued.

    Raises:
        TypeError: an argument has no JSON form.
    """
    return TaskResult(
        task=task,
        id=id,
        status=TaskResultStatus.READY,
        enqueued_at=None,
        started_at=None,
        finished_at=None,
        last_attempted_at=None,
        args=args,
        kwargs=kwargs,
        backend=backend,
        errors=[],
        worker_ids=[],
    )


def running(task: Task, id: str, backend: str, context: Context) -> TaskResult:
    """The result of a task that runs here."""
    result = new(task, id, backend, list(context.args), dict(context.kwargs))
    began = timezone.now()
    here = f"{socket.gethostname()}-{os.getpid()}"
    workers = [UNKNOWN_WORKER] * (context.attempt - 1) + [here]
    change(result, status=TaskResultStatus.RUNNING, started_at=began, last_attempted_at=began, worker_ids=workers)
    return result


def of_record(task: Task, backend: str, record: JobRecord, args: Any, kwargs: Any, returned: Any) -> TaskResult:  # noqa: ANN401 - any JSON
    """The result of a job as the server tells of it.

    Args:
        task: what it runs.
        backend: the alias.
        record: the job.
        args: its positional arguments.
        kwargs: its keyword arguments.
        returned: what it returned, if it has completed.
    """
    result = new(task, record.custom_id or "", backend, args, kwargs)
    began = moment(record.started_at) if record.started_at else None
    change(
        result,
        status=STATUSES[record.state],
        enqueued_at=moment(record.created_at),
        started_at=began,
        last_attempted_at=began,
        errors=[error_of(record.progress_msg or "")] if record.attempts else [],
        worker_ids=[UNKNOWN_WORKER] * (record.attempts + (record.state in ("active", "completed"))),
        _return_value=returned,
    )
    return result


def change(result: TaskResult, **members: Any) -> None:  # noqa: ANN401 - each member has a type of its own
    """Change a result, which Django keeps from those who only read it."""
    for name, value in members.items():
        object.__setattr__(result, name, value)


def error_of(text: str) -> TaskError:
    """A failure as Django has it; the class is read off the text, which begins with it unless nothing was raised."""
    found = _EXCEPTION.match(text)
    name = found[0] if found else "flashq.errors.JobFailed"
    return TaskError(exception_class_path=name if "." in name else f"builtins.{name}", traceback=text)


def moment(ms: int) -> datetime:
    """A time as Django wants it: aware, or naive where the project says so."""
    aware = datetime.fromtimestamp(ms / 1_000, UTC)
    return aware if settings.USE_TZ else timezone.make_naive(aware)
