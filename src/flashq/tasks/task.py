"""`Task`: a function that can run as a job, and everything that enqueues it.

The signature goes through: ``send.delay("ada")`` is checked against ``def send(to: str)`` by mypy and pyright, with
`Context` as first parameter taken off. What the type checker cannot see is checked when the call is made.
"""

import sys
from collections.abc import Callable, Coroutine, Iterable
from functools import update_wrapper
from inspect import Parameter, isasyncgenfunction, iscoroutinefunction, isgeneratorfunction
from pathlib import Path
from typing import Any, Generic, ParamSpec, TypeVar, Unpack, cast

from flashq.errors import BadRequest
from flashq.tasks.arguments import Arguments
from flashq.tasks.compose import Signature
from flashq.tasks.context import context_here
from flashq.tasks.job import Job
from flashq.tasks.options import Changes, Options, Unique, unique_key
from flashq.tasks.outgoing import Outgoing
from flashq.tasks.sender import Sender

P = ParamSpec("P")
R = TypeVar("R")


class Call(Generic[P, R]):
    """A task with options: what enqueues jobs. `Task.options` makes one; a `Task` is one with its own defaults.

    Attributes:
        task: what runs.
        defaults: how its jobs are enqueued.
    """

    task: "Task[P, R]"
    defaults: Options

    def options(self, **changes: Unpack[Changes]) -> "Call[P, R]":
        """The same task with other options: ``send.options(delay=60_000, priority=5).delay("ada")``.

        Args:
            changes: as in `flashq.tasks.options.Options`; durations are ms or timedelta.
        """
        return _Changed(self.task, self.defaults.changed(**changes))

    def delay(self, /, *args: P.args, **kwargs: P.kwargs) -> Job[R]:
        """Enqueue one job with these arguments.

        Returns:
            The job; with ``fresh`` False if a live job holds the unique key: then this is that job.

        Raises:
            TypeError: the arguments do not fit the function, or have no JSON form.
            FlashQError: what the server or the connection says.
        """
        return self.task.app.send(self.outgoing(args, kwargs))

    async def adelay(self, /, *args: P.args, **kwargs: P.kwargs) -> Job[R]:
        """`delay` for coroutines."""
        return await self.task.app.asend(self.outgoing(args, kwargs))

    def map(self, items: Iterable[Any]) -> list[Job[R]]:
        """Enqueue one job for each item, in as few requests as possible.

        Args:
            items: the only argument of each job.

        Returns:
            The jobs, in the order of the items.
        """
        return self.starmap((item,) for item in items)

    async def amap(self, items: Iterable[Any]) -> list[Job[R]]:
        """`map` for coroutines."""
        return await self.astarmap((item,) for item in items)

    def starmap(self, items: Iterable[Iterable[Any]]) -> list[Job[R]]:
        """`map` for more than one argument: each item holds the arguments of one job."""
        return self.task.app.send_many([self.outgoing(tuple(item), {}) for item in items])

    async def astarmap(self, items: Iterable[Iterable[Any]]) -> list[Job[R]]:
        """`starmap` for coroutines."""
        return await self.task.app.asend_many([self.outgoing(tuple(item), {}) for item in items])

    def s(self, /, *args: Any, **kwargs: Any) -> Signature:  # noqa: ANN401 - what comes first is not known yet
        """The call for a `chain`, `group` or `chord`: the results before it come as its first argument."""
        return Signature(self.task.app, self.task.arguments, self.unchecked, args, kwargs)

    def si(self, /, *args: P.args, **kwargs: P.kwargs) -> Signature:
        """The call for a `chain`, `group` or `chord`, with these arguments and no others."""
        return Signature(self.task.app, self.task.arguments, self.unchecked, args, kwargs, immutable=True)

    def outgoing(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Outgoing:
        """The job of a call, checked against the function's signature.

        Raises:
            TypeError: it does not fit.
        """
        self.task.arguments.check(args, kwargs)
        return self.unchecked(args, kwargs)

    def unchecked(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Outgoing:
        """The job of a call whose first argument is still to come."""
        task, options = self.task, self.defaults
        if task.unique and options.unique_key is None:
            options = options.changed(unique_key=unique_key(task.unique, task.name, task.arguments, args, kwargs))
        return Outgoing(task.name, args, kwargs, options, {})


class Task(Call[P, R]):
    """A function that can run as a job. Made by `App.task`; calling it runs the function here, as ever.

    Attributes:
        app: where it is enqueued.
        name: what jobs call it; unique in the app, and to be kept while jobs of it may exist.
        function: what it runs.
        arguments: the function's parameters.
        retry_on: exceptions after which it is tried again; empty: all. Any other sends the job to the dead letters.
        never_retry: exceptions that send the job to the dead letters at once.
        unique: how its jobs get a unique key.
        is_async: whether the function is a coroutine function.
    """

    is_async = False

    def __init__(
        self,
        app: Sender,
        function: Callable[..., Any],
        name: str,
        defaults: Options,
        *,
        retry_on: tuple[type[BaseException], ...] = (),
        never_retry: tuple[type[BaseException], ...] = (),
        unique: Unique = False,
    ) -> None:
        update_wrapper(cast("Any", self), function)
        self.task = self
        self.app = app
        self.name = name
        self.function = function
        self.defaults = defaults
        self.arguments = Arguments(function, f"task {name!r}")
        self.retry_on = retry_on
        self.never_retry = never_retry
        self.unique = unique
        if isinstance(unique, str):
            self._check_format(unique)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r} on queue {self.defaults.queue!r}>"

    def job(self, id: int) -> Job[R]:
        """One of its jobs by the id that `delay` gave; the result comes as the function's return annotation says."""
        return self.app.job(id, self.name)

    def retries(self, error: BaseException) -> bool:
        """Whether a job that failed with this is worth another attempt."""
        if isinstance(error, self.never_retry):
            return False
        return not self.retry_on or isinstance(error, self.retry_on)

    def call(self, context: Any, args: Iterable[Any], kwargs: dict[str, Any]) -> Any:  # noqa: ANN401
        """Call the function, with the context wherever it asks for one."""
        if self.arguments.contexts:
            args, kwargs = self.arguments.with_context(context, args, kwargs)
        return (
            self.function(context, *args, **kwargs) if self.arguments.context_first else self.function(*args, **kwargs)
        )

    def _check_format(self, unique: str) -> None:
        parameters = self.arguments.signature.parameters
        if any(p.kind is Parameter.VAR_KEYWORD for p in parameters.values()):
            return
        try:
            unique.format_map(_AnyOf(parameters))
        except KeyError as error:
            raise BadRequest(f"task {self.name!r}: unique={unique!r} names no parameter {error}") from None


class PlainTask(Task[P, R]):
    """A task made of a plain function."""

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the function here and now."""
        result: R = self.call(context_here(self.name), args, kwargs)
        return result


class CoroutineTask(Task[P, R]):
    """A task made of a coroutine function."""

    is_async = True

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]:
        """Run the function here and now: await it."""
        coroutine: Coroutine[Any, Any, R] = self.call(context_here(self.name), args, kwargs)
        return coroutine


class _Changed(Call[P, R]):
    """A task with other options than its own."""

    def __init__(self, task: Task[P, R], defaults: Options) -> None:
        self.task = task
        self.defaults = defaults


class _Anything:
    """Stands for an argument when a format string is tried out: has every attribute, item and format."""

    def __getattr__(self, _: str) -> "_Anything":
        return self

    def __getitem__(self, _: object) -> "_Anything":
        return self

    def __format__(self, _: str) -> str:
        return ""


class _AnyOf(dict[str, object]):
    def __missing__(self, key: str) -> object:
        raise KeyError(key)

    def __init__(self, names: Iterable[str]) -> None:
        super().__init__((name, _Anything()) for name in names)


def task_of(
    app: Sender,
    function: Callable[..., Any],
    name: str | None,
    defaults: Options,
    retry_on: tuple[type[BaseException], ...],
    never_retry: tuple[type[BaseException], ...],
    unique: Unique,
) -> "Task[Any, Any]":
    """The task of a function; named after its module and itself if ``name`` is None.

    Raises:
        BadRequest: it is no function, or one that no job can run.
    """
    if isinstance(function, staticmethod):
        function = function.__func__
    _check_function(function)
    kind = CoroutineTask if iscoroutinefunction(function) else PlainTask
    named = name or f"{_module(function)}.{function.__qualname__}"
    return kind(app, function, named, defaults, retry_on=retry_on, never_retry=never_retry, unique=unique)


def _check_function(function: Callable[..., Any]) -> None:
    """Refuse here what a worker could only fail with."""
    if isinstance(function, (Task, type)) or not callable(function) or not hasattr(function, "__qualname__"):
        raise BadRequest(f"a task is made of a function, not of {function!r}")
    if isgeneratorfunction(function) or isasyncgenfunction(function):
        raise BadRequest(f"{function.__qualname__} is a generator, and a job returns one value: return a list")


def _module(function: Callable[..., Any]) -> str:
    """A function's module as workers know it: one that is run as a program calls itself ``__main__``."""
    name = function.__module__
    if name != "__main__":
        return name
    program = sys.modules[name]
    spec = getattr(program, "__spec__", None)  # of ``python -m shop.tasks``
    if spec is not None:
        return str(spec.name).removesuffix(".__main__")
    file = getattr(program, "__file__", None)  # of ``python tasks.py``; neither: an interactive session
    return name if file is None else Path(file).stem
