"""What a test asks about jobs: which were enqueued, whether one like this was, and if not, what was instead.

The server is asked, not the app: so it is seen whatever was enqueued, by `delay`, by a composition, by a schedule or by
a plain client, and a job that a unique key kept out is not.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct, json

from flashq.client import FlashQ
from flashq.client.results import JobRecord
from flashq.tasks import App, Task
from flashq.tasks.payload import Received, read_envelope, to_json

SHOWN = 20
"""Jobs that a failure lists: enough to see the mistake, and few enough to read."""

SLICE = 1_000
"""Jobs asked for in one go."""


class Enqueued(Struct):
    """A job of a task, as a test looks at it.

    Attributes:
        id: of the job.
        task: the task's name; empty for a payload that is not that of a task.
        args: positional arguments, as JSON has them.
        kwargs: keyword arguments, as JSON has them.
        queue: where it is.
        state: waiting, delayed, active, completed, failed or waiting-children.
        due_in: ms until it may run; 0: now, or it has run.
        job: all the rest: priority, tags, attempts ...
    """

    id: int
    task: str
    args: list[Any]
    kwargs: dict[str, Any]
    queue: str
    state: str
    due_in: int
    job: JobRecord

    def __str__(self) -> str:
        when = f", due in {self.due_in} ms" if self.due_in else ""
        what = shown(self.task, self.args, self.kwargs) if self.task else repr(self.job.data)
        return f"job {self.id}: {what} on {self.queue!r}, {self.state}{when}"


def shown(task: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
    """A call as it would be written."""
    said = [*map(repr, args), *(f"{name}={value!r}" for name, value in kwargs.items())]
    return f"{task}({', '.join(said)})"


def envelope(record: JobRecord) -> Received | None:
    """A job's payload as that of a task, if it is one."""
    try:
        return read_envelope(record.payload)
    except ValueError:  # what msgspec raises for anything else
        return None


def all_jobs(client: FlashQ, next_id: int, now: int) -> list[Enqueued]:
    """Every job that the server knows.

    Args:
        client: to ask.
        next_id: the first id that no job has.
        now: ms since the Unix epoch.
    """
    found = []
    for first in range(1, next_id, SLICE):
        with client.pipeline() as pipeline:
            pending = [pipeline.job(id) for id in range(first, min(first + SLICE, next_id))]
        records = (each.result() for each in pending)
        found += [_seen(record, now) for record in records if record is not None]
    return found


def _seen(record: JobRecord, now: int) -> Enqueued:
    read = envelope(record)
    due_in = max(0, record.run_at - now) if record.state == "delayed" else 0
    args = json.decode(read.args) if read is not None else []
    kwargs = json.decode(read.kwargs) if read is not None else {}
    task = read.task if read is not None else ""
    return Enqueued(record.id, task, args, kwargs, record.queue, record.state, due_in, record)


class Wanted(Struct, kw_only=True):
    """What a job must be like; None: anything.

    Attributes:
        task: a task, or its name.
        args: positional arguments.
        kwargs: keyword arguments.
        within: ms within which it may run.
        queue: where it is.
    """

    task: Any = None
    args: Sequence[Any] | None = None
    kwargs: Mapping[str, Any] | None = None
    within: int | None = None
    queue: str | None = None

    def matches(self, job: Enqueued, app: App) -> bool:
        """Whether a job is like this. Arguments are the same if the function would get the same ones."""
        if self.name and job.task != self.name:
            return False
        if self.queue is not None and job.queue != self.queue:
            return False
        if self.within is not None and job.due_in > self.within:
            return False
        if self.args is None and self.kwargs is None:
            return True
        wanted = json.decode(to_json([list(self.args or ()), dict(self.kwargs or {})]))
        task = app.tasks.get(job.task)
        return named(task, wanted[0], wanted[1]) == named(task, job.args, job.kwargs)

    @property
    def name(self) -> str:
        """The task's name; empty: any task."""
        return self.task.name if isinstance(self.task, Task) else self.task or ""

    def __str__(self) -> str:
        call = self.name or "any task"
        if self.args is not None or self.kwargs is not None:
            call = shown(call, self.args or (), self.kwargs or {})
        on = "" if self.queue is None else f" on {self.queue!r}"
        return call + on + ("" if self.within is None else f", due within {self.within} ms")


def named(task: Task[Any, Any] | None, args: Sequence[Any], kwargs: Mapping[str, Any]) -> object:
    """The arguments of a call by name, so that it does not matter how they were given."""
    if task is not None:
        try:
            return json.decode(to_json(task.arguments.named(args, kwargs)))
        except TypeError:  # a part of a chain, whose first argument is still to come
            pass
    return [list(args), dict(kwargs)]


def listed(jobs: Sequence[Enqueued]) -> str:
    """Jobs for a failure, one a line."""
    if not jobs:
        return "nothing was enqueued"
    more = [f"  and {len(jobs) - SHOWN} more"] if len(jobs) > SHOWN else []
    return "\n".join(["enqueued were:", *(f"  {job}" for job in jobs[:SHOWN]), *more])
