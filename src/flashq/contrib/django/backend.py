"""`FlashQBackend`: Django's tasks run as FlashQ's jobs.

Django makes a backend for every thread; all those of an alias share one `App`, and with it one connection. A task gets
known to that app when Django validates it, which it does where the task is declared and where it is enqueued, so a
worker knows every task of the modules that it has imported (`flashq.contrib.django.target` imports them all).

A result's id is chosen here and is the job's ``job_id``: it is there before the transaction has committed, and a push
that is repeated because its answer was lost makes no second job.
"""

import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from inspect import iscoroutinefunction
from typing import Any, Final

from django.db import transaction
from django.utils import timezone
from django.utils.crypto import get_random_string
from django.utils.module_loading import import_string
from msgspec import DecodeError, json

from flashq.client.results import JobRecord
from flashq.contrib.django import results
from flashq.contrib.django.database import DatabaseMiddleware
from flashq.contrib.django.framework import (
    DEFAULT_TASK_QUEUE_NAME,
    BaseTaskBackend,
    Task,
    TaskContext,
    TaskResult,
    TaskResultDoesNotExist,
    task_enqueued,
)
from flashq.contrib.django.signals import RESULT_HEADER, SignalsMiddleware
from flashq.errors import BadRequest
from flashq.tasks import App, Context, Middleware
from flashq.tasks.outgoing import Outgoing
from flashq.tasks.payload import read_envelope
from flashq.worker.target import load

ID_CHARS: Final = 32
"""Of a result's id: as long as Django's own, and nobody guesses one."""

_apps: Final[dict[str, tuple[dict[str, Any], App]]] = {}
_guard: Final = threading.Lock()


class FlashQBackend(BaseTaskBackend):
    """The backend for ``TASKS``.

    Its entry, besides ``BACKEND`` and Django's own ``QUEUES``:

    - ``ENQUEUE_ON_COMMIT``: True: jobs are enqueued when the transaction commits, and not at all if it is rolled back.
      False, as Django has it: at once.
    - ``OPTIONS``: ``app`` ("module:name") for an app of your own; or else what `App` takes (``url``, ``token`` ...),
      with ``middlewares`` as objects or dotted names of classes. ``task``: what `App.task` takes for every task
      (``max_attempts``, ``backoff``, ``timeout`` ...).

    Attributes:
        app: of this alias.
        listed_queues: ``QUEUES`` in their order; empty: any queue.
        enqueue_on_commit: see above.
    """

    supports_defer = True
    supports_async_task = True
    supports_get_result = True
    supports_priority = True

    def __init__(self, alias: str, params: dict[str, Any]) -> None:
        super().__init__(alias, params)
        self.listed_queues: list[str] = list(params.get("QUEUES", [DEFAULT_TASK_QUEUE_NAME]))
        self.enqueue_on_commit = bool(params.get("ENQUEUE_ON_COMMIT", False))
        self.app = _shared_app(type(self), alias, self.options)

    def validate_task(self, task: Task) -> None:
        """Refuse a task that cannot run here; one that can becomes known to the app.

        Raises:
            InvalidTask: it cannot.
        """
        super().validate_task(task)
        with _guard:
            if task.module_path not in self.app.tasks:
                self._declare(task)

    def enqueue(self, task: Task, args: Any, kwargs: Any) -> TaskResult:  # noqa: ANN401 - any JSON
        """Enqueue a job.

        Raises:
            InvalidTask: the task cannot run here.
            TypeError: an argument has no JSON form.
            FlashQError: what the server or the connection says.
        """
        result, job = self._outgoing(task, args, kwargs)
        if self.enqueue_on_commit:
            transaction.on_commit(partial(self._send, result, job))
        else:
            self._send(result, job)
        return result

    async def aenqueue(self, task: Task, args: Any, kwargs: Any) -> TaskResult:  # noqa: ANN401
        """`enqueue` for coroutines."""
        if self.enqueue_on_commit:  # transactions live in the thread of the models
            return await super().aenqueue(task, args, kwargs)
        result, job = self._outgoing(task, args, kwargs)
        await self.app.asend(job)
        results.change(result, enqueued_at=timezone.now())
        await task_enqueued.asend(type(self), task_result=result)
        return result

    def get_result(self, result_id: str) -> TaskResult:
        """What became of a job.

        Raises:
            TaskResultDoesNotExist: the server does not know it, or no longer; or it runs none of Django's tasks.
        """
        try:
            record = _known(result_id, self.app.client.job_by_custom_id(result_id))
        except BadRequest:  # no id of ours
            raise TaskResultDoesNotExist(result_id) from None
        return self._told(record, self.app.client.result(record) if record.state == "completed" else None)

    async def aget_result(self, result_id: str) -> TaskResult:
        """`get_result` for coroutines."""
        try:
            record = _known(result_id, await self.app.aclient.job_by_custom_id(result_id))
        except BadRequest:  # no id of ours
            raise TaskResultDoesNotExist(result_id) from None
        return self._told(record, await self.app.aclient.result(record) if record.state == "completed" else None)

    # --- inside ---

    def _declare(self, task: Task) -> None:
        options = {"queue": task.queue_name, "priority": task.priority, **self.options.get("task", {})}
        self.app.task(name=task.module_path, **options)(_runner(self.alias, task))

    def _outgoing(self, task: Task, args: Any, kwargs: Any) -> tuple[TaskResult, Outgoing]:  # noqa: ANN401
        self.validate_task(task)
        result = results.new(task, get_random_string(ID_CHARS), self.alias, args, kwargs)
        call = self.app.tasks[task.module_path].options(
            queue=task.queue_name, priority=task.priority, delay=_delay(task), job_id=result.id
        )
        job = call.outgoing(tuple(result.args), result.kwargs)
        job.headers[RESULT_HEADER] = result.id
        return result, job

    def _send(self, result: TaskResult, job: Outgoing) -> None:
        self.app.send(job)
        results.change(result, enqueued_at=timezone.now())
        task_enqueued.send(type(self), task_result=result)

    def _told(self, record: JobRecord, returned: Any) -> TaskResult:  # noqa: ANN401
        received = read_envelope(record.payload)
        task = import_string(received.task).using(queue_name=record.queue, priority=record.priority, backend=self.alias)
        args, kwargs = json.decode(received.args), json.decode(received.kwargs)
        return results.of_record(task, self.alias, record, args, kwargs, returned)


def _shared_app(backend: type, alias: str, options: dict[str, Any]) -> App:
    """The app of an alias; another one when the settings have changed, as they do in tests."""
    with _guard:
        if alias not in _apps or _apps[alias][0] != options:
            _apps[alias] = (options, _make_app(backend, alias, options))
        return _apps[alias][1]


def _make_app(backend: type, alias: str, options: dict[str, Any]) -> App:
    given = {name: value for name, value in options.items() if name not in ("task", "app")}
    if "app" in options:
        app = load(options["app"])
    else:
        given["middlewares"] = [_middleware(each) for each in given.get("middlewares", ())]
        app = App(**given)
    if not any(isinstance(each, SignalsMiddleware) for each in app.middlewares):
        app.middlewares += [DatabaseMiddleware(), SignalsMiddleware(backend, alias)]
    return app


def _middleware(given: Middleware | str) -> Middleware:
    made: Middleware = import_string(given)() if isinstance(given, str) else given
    return made


def _runner(alias: str, task: Task) -> Callable[..., Any]:
    """The function of FlashQ's task: Django's function, with Django's context where it asks for one."""

    def given(job: Context, args: tuple[Any, ...]) -> tuple[Any, ...]:
        if not task.takes_context:
            return args
        id = job.headers.get(RESULT_HEADER, "")
        return (TaskContext(task_result=results.running(task, id, alias, job)), *args)

    def plain(job: Context, /, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        return task.func(*given(job, args), **kwargs)

    async def coroutine(job: Context, /, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        return await task.func(*given(job, args), **kwargs)

    return coroutine if iscoroutinefunction(task.func) else plain


def _delay(task: Task) -> int | None:
    """Ms until the task may run."""
    if task.run_after is None:
        return None
    return max(0, round((task.run_after - timezone.now()).total_seconds() * 1_000))


def _known(id: str, record: JobRecord | None) -> JobRecord:
    """The job, if it runs one of Django's tasks."""
    if record is not None and record.state in results.STATUSES:
        with suppress(DecodeError):  # somebody else's job under this id
            if RESULT_HEADER in read_envelope(record.payload).headers:
                return record
    raise TaskResultDoesNotExist(id)
