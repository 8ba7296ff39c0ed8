"""How a task's jobs are enqueued: queue, priority, delay and the like, as the task's defaults or for one call."""

from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from typing import Any, Final, TypedDict, Unpack

from msgspec import Struct, structs

from flashq.errors import BadRequest
from flashq.protocol.limits import MAX_KEY_CHARS
from flashq.tasks.arguments import Arguments
from flashq.tasks.durations import Duration, as_ms
from flashq.tasks.payload import to_sorted_json

Unique = bool | str | Callable[..., str]
"""How a unique key is made: True: of all arguments; a format string such as ``"user-{user_id}"``; or a function of the
call's arguments. False: there is none."""

_DURATIONS: Final = ("delay", "ttl", "timeout", "backoff")


class Changes(TypedDict, total=False):
    """What `Task.options` and the decorator take; see `Options` for the meaning. Durations: ms or timedelta."""

    queue: str
    priority: int
    delay: Duration | None
    ttl: Duration | None
    timeout: Duration | None
    max_attempts: int | None
    backoff: Duration | None
    unique_key: str | None
    depends_on: Sequence[int] | None
    tags: Sequence[str] | None
    job_id: str | None


class Options(Struct, frozen=True, kw_only=True):
    """How a job is enqueued. Durations are ms.

    Attributes:
        queue: where it goes.
        priority: higher runs first.
        delay: until it may run.
        ttl: after which it disappears where it waits; if it runs it may finish.
        timeout: how long one attempt may run.
        max_attempts: failed attempts until the dead letters; 0 = no bound, None = the server's default.
        backoff: before the first retry, doubled each time; 0 = at once, None = the server's default.
        unique_key: at most one live job of the queue may hold it.
        depends_on: ids of jobs that must complete first.
        tags: words for people.
        job_id: your own id; makes enqueuing safe to repeat: the same id again gives the same job.
    """

    queue: str
    priority: int = 0
    delay: int | None = None
    ttl: int | None = None
    timeout: int | None = None
    max_attempts: int | None = None
    backoff: int | None = None
    unique_key: str | None = None
    depends_on: Sequence[int] | None = None
    tags: Sequence[str] | None = None
    job_id: str | None = None

    def changed(self, **changes: Unpack[Changes]) -> "Options":
        """The same but for these.

        Raises:
            TypeError: there is no such option, or a duration is neither int nor timedelta.
        """
        values: dict[str, Any] = dict(changes)
        for name in _DURATIONS:
            if name in values:
                values[name] = as_ms(values[name])
        return structs.replace(self, **values)

    def members(self) -> dict[str, Any]:
        """What is set, as keyword arguments of a push; ``queue`` is not among them."""
        return {
            name: value
            for name, value in zip(self.__struct_fields__, structs.astuple(self), strict=True)
            if value is not None and name != "queue"
        }


def unique_key(unique: Unique, task: str, arguments: Arguments, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
    """The unique key of one call; one that is longer than a key may be is replaced by its hash.

    Args:
        unique: how it is made; not False.
        task: the task's name.
        arguments: its parameters.
        args: the call's positional arguments.
        kwargs: the call's keyword arguments.

    Raises:
        BadRequest: an argument is missing, as in a part of a chain whose first one is still to come.
    """
    if callable(unique):
        key = unique(*args, **kwargs)
    else:
        try:
            named = arguments.named(args, kwargs)
        except TypeError as error:
            raise BadRequest(
                f"task {task!r}: its unique key is made of all arguments ({error}); in a composition use si(), which "
                "has them, or options(unique_key=...)"
            ) from None
        if isinstance(unique, str):
            key = unique.format(**named)
        else:
            key = f"{task}:{sha256(to_sorted_json(named)).hexdigest()}"
    return key if len(key) <= MAX_KEY_CHARS else sha256(key.encode()).hexdigest()
