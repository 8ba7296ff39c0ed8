"""`chaos`: whether a task may run more than once without harm.

A queue that loses nothing delivers, now and then, twice: a worker dies after it has done the work and before it could
say so, or is so slow that its job is given to another. What a task leaves behind must then be what it leaves when it
runs once. Here a task is run under every such schedule, on a real server in the test, and what it left is compared.

Each schedule begins from scratch (``reset``). The first worker says hello, takes the job and falls silent; after
the server's patience the job goes to a second one, which runs it to its end.
"""

from collections.abc import Callable
from copy import deepcopy
from difflib import ndiff
from pprint import pformat
from random import Random
from typing import Any, Final, NamedTuple

from msgspec import Struct

from flashq.client import FlashQ
from flashq.client.results import JobRecord
from flashq.engine.settings import Settings
from flashq.tasks import App, Task
from flashq.tasks.outcome import Failed, Outcome
from flashq.tasks.run import prepare
from flashq.testing.app import LocalApp
from flashq.testing.drain import settle
from flashq.testing.enqueued import shown
from flashq.testing.interrupt import Run, run_of
from flashq.testing.link import DirectLink

POINTS: Final = 25
"""Points at which a task is interrupted; of more, so many are drawn."""

MAX_RUNS: Final = 10
"""Attempts that one schedule may take: a task that fails for ever is not tried for ever."""

ENDED: Final = frozenset({"completed", "failed", "unknown"})


class Seen(NamedTuple):
    """What a schedule left behind.

    Attributes:
        effects: what the test's function gave.
        jobs: what else was enqueued, in the order of pushing.
        state: of the job.
    """

    effects: object
    jobs: list[str]
    state: str


class Schedule(Struct, frozen=True):
    """One way in which the task was run.

    Attributes:
        name: what happened.
        seen: what it left behind.
        differs: how that differs from running once, in lines; empty: not at all.
    """

    name: str
    seen: Seen
    differs: list[str]


class ChaosReport(Struct, frozen=True):
    """What `chaos` found; ``assert report.ok, report``.

    Attributes:
        task: its name.
        once: what running once leaves behind.
        schedules: all that were played.
    """

    task: str
    once: Seen
    schedules: list[Schedule]

    @property
    def ok(self) -> bool:
        """Whether every schedule left behind what running once does."""
        return not self.failed

    @property
    def failed(self) -> list[Schedule]:
        """Those that left something else."""
        return [schedule for schedule in self.schedules if schedule.differs]

    def __str__(self) -> str:
        if self.ok:
            return f"{self.task} is idempotent under all {len(self.schedules)} schedules"
        head = (
            f"{self.task} is not idempotent: {len(self.failed)} of {len(self.schedules)} schedules leave other effects"
        )
        return "\n".join([head, *(f"\n{each.name}:\n" + "\n".join(each.differs) for each in self.failed)])


def chaos(
    task: Task[..., Any],
    *args: Any,  # noqa: ANN401 - whatever the task takes
    effects: Callable[[], object],
    reset: Callable[[], object],
    points: int = POINTS,
    seed: int = 0,
    **kwargs: Any,  # noqa: ANN401
) -> ChaosReport:
    """Run a task in all the ways in which it may come to run twice, and compare what that leaves behind.

    ::

        report = chaos(charge, 7, effects=lambda: dict(ledger), reset=ledger.clear)
        assert report.ok, report

    The schedules: once, for comparison; twice, the first worker having died before its ack; killed at each point and
    run again; and overtaken: the first worker stands still until a second one has run the job, then goes on, and its
    ack is refused. A plain function has a point before each line and is overtaken at its end only; a coroutine has one
    wherever it waits. Jobs that the task enqueues are compared as well; they do not run.

    Args:
        task: what to run.
        args: its positional arguments.
        effects: what the task has done so far, in a form that can be compared: rows, files, mails. Copied.
        reset: undoes all of it; called before each schedule.
        points: interrupt at so many points at most.
        seed: which of them, if there are more.
        kwargs: its keyword arguments.

    Raises:
        ValueError: running once twice over leaves different effects (a time, a random number), so that nothing can be
            compared; or the task fails when it runs once.
    """
    stage = _Stage(task, args, kwargs, effects, reset)
    once, places = stage.once()
    again, _ = stage.once()
    differs = _differences(once, again)
    if differs:
        raise ValueError(
            "\n".join(["two ordinary runs leave different effects, so that nothing can be compared:", *differs])
        )
    seen = [
        ("run twice: the first worker died after the end, before its ack", stage.interrupted(None, overtaken=False))
    ]
    chosen = _drawn(len(places), points, seed)
    seen += [(f"killed at {places[at]}, then run again", stage.interrupted(at, overtaken=False)) for at in chosen]
    seen += [
        (f"overtaken at {places[at]}: stood still while another worker ran it", stage.interrupted(at, overtaken=True))
        for at in (chosen if task.is_async else ())
    ]
    seen.append(("overtaken at its end: another worker ran it before the ack", stage.interrupted(None, overtaken=True)))
    return ChaosReport(task.name, once, [Schedule(name, left, _differences(once, left)) for name, left in seen])


class _Stage:
    """Where schedules of one task are played."""

    def __init__(
        self,
        task: Task[Any, Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        effects: Callable[[], object],
        reset: Callable[[], object],
    ) -> None:
        assert isinstance(task.app, App)
        self._app = task.app
        self._task = task
        self._args = args
        self._kwargs = kwargs
        self._effects = effects
        self._reset = reset

    def once(self) -> tuple[Seen, list[str]]:
        """The ordinary run: what it leaves, and the points that it has."""
        with self._local() as local:
            id = self._enqueue()
            worker = _Worker(local, "once")
            run = worker.take(id)
            outcome = run.start(None)
            run.close()
            assert outcome is not None
            worker.tell(outcome)
            self._finish(local, id)  # it may have asked for a retry
            seen = self._seen(local, id)
            if seen.state != "completed":
                raise ValueError(f"the task fails when it runs once: {outcome}")
            return seen, run.points

    def interrupted(self, at: int | None, *, overtaken: bool) -> Seen:
        """The first worker falls silent at a point, or after the end; a second one runs the job.

        Args:
            at: the point; None: the end.
            overtaken: the first one goes on afterwards; otherwise it is dead.
        """
        with self._local() as local:
            id = self._enqueue()
            first = _Worker(local, "first")
            run = first.take(id)
            outcome = run.start(at)
            try:
                local.clock.advance(Settings().worker_silence)
                self._finish(local, id)
                if overtaken:
                    first.tell(run.go_on() if outcome is None else outcome)
                return self._seen(local, id)
            finally:
                run.close()

    def _finish(self, local: LocalApp, id: int) -> None:
        """A healthy worker runs the job until it has ended."""
        for number in range(MAX_RUNS):
            state = local.client.state(id)
            if state in ENDED:
                return
            if state == "delayed":
                job = local.client.job(id)
                assert job is not None
                local.clock.advance(max(0, job.run_at - local.clock.now))
            worker = _Worker(local, f"second-{number}")
            run = worker.take(id)
            outcome = run.start(None)
            run.close()
            assert outcome is not None
            worker.tell(outcome)

    def _local(self) -> LocalApp:
        self._reset()
        return LocalApp(self._app)

    def _enqueue(self) -> int:
        return self._task.options(delay=None).delay(*self._args, **self._kwargs).id

    def _seen(self, local: LocalApp, id: int) -> Seen:
        jobs = [f"{shown(job.task, job.args, job.kwargs)} on {job.queue!r}" for job in local.enqueued() if job.id != id]
        return Seen(deepcopy(self._effects()), jobs, local.client.state(id))


class _Worker:
    """One worker process of a schedule, by what the server sees of it."""

    def __init__(self, local: LocalApp, name: str) -> None:
        self._local = local
        self._client: FlashQ = local.server.client()
        self._client.hello(name)
        self._record: JobRecord

    def take(self, id: int) -> Run:
        """Pull the job, and what stands in line before it."""
        job = self._client.job(id)
        assert job is not None
        while (record := self._client.pull(job.queue, timeout=0)) is not None:
            if record.id != id:
                continue  # a job that the task has enqueued: it stays with this worker
            self._record = record
            link = DirectLink(self._client, record)
            prepared = prepare(self._local.app, record, link)
            if isinstance(prepared, Failed):
                raise ValueError(prepared.error)  # noqa: TRY004 - the values are wrong
            link.context = prepared.context
            return run_of(prepared)
        raise AssertionError(f"job {id} is {job.state}, and cannot be pulled")

    def tell(self, outcome: Outcome) -> None:
        """Tell the server how it ended."""
        settle(self._client, self._record, outcome)


def _drawn(count: int, most: int, seed: int) -> list[int]:
    """Which points: all, or so many of them."""
    if count <= most:
        return list(range(count))
    return sorted(Random(seed).sample(range(count), most))  # noqa: S311 - chooses tests, guards nothing


def _differences(once: Seen, other: Seen) -> list[str]:
    """How what was left differs, in lines."""
    lines = []
    for what, wanted, got in zip(("effects", "jobs enqueued", "the job's state"), once, other, strict=True):
        if wanted != got:
            lines += [f"  {what} (- once, + here):"]
            shows = [pformat(each, width=100).splitlines() for each in (wanted, got)]
            lines += [f"    {line}" for line in ndiff(shows[0], shows[1]) if not line.startswith("?")]
    return lines
