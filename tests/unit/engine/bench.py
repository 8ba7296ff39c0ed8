"""A workbench for the engine: one engine, two clocks that are set by hand, tokens that can be foretold.

Clients are names, payloads are short, time moves only by `Bench.pass_time`; so a test reads like the story it proves.
What the engine asks of the outside is taken after every step and kept in lists that a test may look at.
"""

from collections.abc import Hashable, Iterator
from itertools import count
from typing import Any

from msgspec import Raw
from tests.unit.engine.remembered import Remembered

from flashq.engine.check import check
from flashq.engine.engine import Engine
from flashq.engine.intake import Admitted
from flashq.engine.leases import Worker
from flashq.engine.queue import Queue
from flashq.engine.restore import restore
from flashq.engine.settings import Settings
from flashq.engine.waiters import Waiter
from flashq.model import Event, FlowJob, Instant, JobSpec, JobView

START = Instant(wall=1_700_000_000_000, steady=50_000)
"""When every test begins."""


def waiter(token: Hashable, queue: str = "emails", count: int = 1) -> Waiter:
    """A parked pull of one queue, for a line that knows no other."""
    return Waiter((queue,), count, None, token=token, leave=lambda: None)


class Bench:
    """An engine, its moment, and everything that it has asked of the outside so far."""

    def __init__(self, **settings: int) -> None:
        """``settings``: members of `Settings` that differ from the defaults."""
        self.now = START
        self.settings = Settings(**settings)
        self.memory = Remembered()
        self.engine = Engine(self.settings, nonce=nonces(), now=self.now, recording=True)
        self.engine.outbox.watched = True
        self.events: list[Event] = []
        self.deliveries: list[tuple[Hashable, Any]] = []

    def queue(self, name: str = "emails") -> Queue:
        """The queue of that name, made if there is none."""
        return self.engine.queues.make(name)

    def admit(self, queue: str = "emails", data: bytes = b"{}", **members: Any) -> tuple[int, int]:
        """Push one job; returns what the engine returns."""
        answer = self.engine.intake.push(self.queue(queue), JobSpec(data=Raw(data), **members), data, self.now)
        self.take()
        return answer

    def push(self, queue: str = "emails", data: bytes = b"{}", **members: Any) -> int:
        """Push one job; returns its id."""
        return self.admit(queue, data, **members)[0]

    def push_batch(self, *specs: dict[str, Any], queue: str = "emails", data: bytes = b"{}") -> Admitted:
        """Push jobs that differ by the members given."""
        jobs = [JobSpec(data=Raw(data), **spec) for spec in specs]
        admitted = self.engine.intake.push_batch(self.queue(queue), jobs, [data] * len(jobs), self.now)
        self.take()
        return admitted

    def push_flow(self, *specs: dict[str, Any], data: bytes = b"{}") -> Admitted:
        """Push jobs that may wait for each other; ``queue`` is among their members, or it is emails."""
        jobs = [FlowJob(**{"queue": "emails", "data": Raw(data)} | spec) for spec in specs]
        queues = [self.queue(job.queue) for job in jobs]
        admitted = self.engine.intake.push_flow(queues, jobs, [data] * len(jobs), self.now)
        self.take()
        return admitted

    def pull(self, queue: str = "emails", count: int = 1, worker: Worker | None = None) -> list[JobView]:
        """Take up to ``count`` jobs."""
        jobs = self.engine.dispatch.pull(self.queue(queue), count, self.now, worker)
        self.take()
        return jobs

    def pull_one(self, queue: str = "emails", worker: Worker | None = None) -> JobView:
        """Take the one job that must be there."""
        (job,) = self.pull(queue, 1, worker)
        return job

    def pulled_ids(self, queue: str = "emails", count: int = 1_000) -> list[int]:
        """The ids of what a pull of ``count`` gets."""
        return [job.id for job in self.pull(queue, count)]

    def park(
        self,
        token: Hashable,
        queue: str = "emails",
        count: int = 1,
        wait_ms: int | None = None,
        worker: Worker | None = None,
    ) -> None:
        """A client waits for jobs."""
        self.engine.dispatch.park(token, (queue,), count, wait_ms, self.now, worker)
        self.take()

    def park_any(self, token: Hashable, *queues: str, count: int = 1, wait_ms: int | None = None) -> None:
        """A client waits for jobs of several queues."""
        self.engine.dispatch.park(token, queues, count, wait_ms, self.now)
        self.take()

    def ack(self, id: int, token: str | None = None, result: bytes | None = None) -> bool:
        """Acknowledge; tells whether that had been done before."""
        already = self.engine.settle.ack(id, token, result, self.now)
        self.take()
        return already

    def fail(self, id: int, error: str | None = None, token: str | None = None, **more: Any) -> None:
        """The attempt failed."""
        self.engine.settle.fail(id, token, error, self.now, **more)
        self.take()

    def release(self, id: int, token: str | None = None, delay: int = 0) -> None:
        """The attempt is given up."""
        self.engine.settle.release(id, token, delay, self.now)
        self.take()

    def bury(self, id: int, error: str | None = None) -> None:
        """Fail the active job until it lies among the dead letters."""
        while self.state(id) != "failed":
            if self.state(id) == "delayed":
                self.pass_time(3_600_000)
            if self.state(id) == "waiting":
                queue = self.engine.jobs.options(id).queue.name
                assert id in [job.id for job in self.pull(queue, 1_000)]
            self.fail(id, error)

    def cancel(self, id: int) -> None:
        """Take a job back."""
        self.engine.settle.cancel(id, self.now)
        self.take()

    def hello(self, name: str = "worker-1") -> Worker:
        """A client names itself."""
        return self.engine.control.hello(name, ["emails"], 4, "host", 4711, self.now)

    def state(self, id: int) -> str:
        """The job's state as a word."""
        return self.engine.lookup.state(id)

    def states(self, *ids: int) -> list[str]:
        """The jobs' states."""
        return [self.state(id) for id in ids]

    def job(self, id: int) -> JobView:
        """The job, which must be there."""
        job = self.engine.lookup.job(id)
        assert job is not None
        return job

    def tick(self) -> int | None:
        """Do what is due; returns the ms until the next thing."""
        wait = self.engine.tick(self.now)
        self.take()
        return wait

    def pass_time(self, ms: int) -> None:
        """Both clocks go on, stopping wherever something falls due."""
        end = self.now.steady + ms
        while (wait := self.tick()) is not None and self.now.steady + wait <= end:
            self.go_on(wait)
        self.go_on(end - self.now.steady)
        self.tick()

    def set_wall(self, ms: int) -> None:
        """Somebody moves the wall clock by ``ms``; the steady one does not notice."""
        self.now = Instant(self.now.wall + ms, self.now.steady)

    def restart(self) -> None:
        """The server ends without a word and another one starts on what is remembered."""
        snapshot = self.memory.snapshot(self.engine.epoch + 1)
        self.engine = restore(snapshot, self.settings, nonce=nonces(), now=self.now)
        self.engine.outbox.watched = True
        assert check(self.engine) == []

    def take(self) -> None:
        """Take the effects: remember the records, keep the rest for the test to look at."""
        effects = self.engine.take_effects()
        self.memory.apply(effects.records)
        self.deliveries += effects.deliveries
        self.events += effects.events

    def delivered(self) -> list[tuple[Hashable, list[int]]]:
        """The deliveries to parked clients since the last call, as (token, ids)."""
        deliveries, self.deliveries = self.deliveries, []
        return [(token, [job.id for job in jobs]) for token, jobs in deliveries]

    def told(self) -> list[tuple[str, int]]:
        """The events since the last call, as (type, id)."""
        events, self.events = self.events, []
        return [(event.event_type, event.job_id) for event in events]

    def go_on(self, ms: int) -> None:
        """Both clocks go on, and nobody notices."""
        self.now = Instant(self.now.wall + ms, self.now.steady + ms)


def nonces() -> Any:
    """A source of words that are never the same."""
    numbers: Iterator[int] = count(1)
    return lambda: f"n{next(numbers)}"
