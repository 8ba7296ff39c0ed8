"""Random stories: short lists of what clients, workers and operators may do, for the properties that always hold."""

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from msgspec import UNSET, Struct
from tests.unit.engine.bench import Bench
from tests.unit.engine.strategies import steps_of

from flashq.engine.engine import Engine
from flashq.engine.jobs import Extra
from flashq.errors import FlashQError
from flashq.model import ACTIVE, WAITING

Step = tuple[str, int, int]

VERBS = (
    "push", "push", "special", "special", "batch", "mixed", "pull", "pull", "park", "leave", "ack", "ack", "ack_old",
    "ack_batch", "fail", "fail", "release", "cancel", "hand_back", "progress", "heartbeat", "retry", "purge", "pause",
    "resume", "rate", "concurrency", "cron", "uncron", "hello", "worker_pull", "beat", "bye", "wait", "long_wait",
)  # fmt: skip

TELL = settings(max_examples=50, deadline=None)
"""A story takes some milliseconds, and more when the machine is busy."""

STORIES = steps_of(st.tuples(st.sampled_from(VERBS), st.integers(0, 30), st.integers(0, 30)), 60)

SMALL: dict[str, int] = {"keep_completed": 6, "keep_results": 3, "max_returns": 2, "slice": 3, "cron_slice": 2}
"""Bounds small enough for a short story to meet them."""

QUEUES = ("red", "green")


class Teller:
    """Tells a story on a bench. A refusal is part of the story."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.held: list[tuple[int, str]] = []
        """Every attempt that anybody ever got, as (id, token)."""
        self.parked = 0
        self.answers: list[Any] = []

    def tell(self, step: Step) -> None:
        """One step; a millisecond passes, and what is due is done."""
        verb, a, b = step
        try:
            answer = getattr(self, f"_{verb}")(a, b, QUEUES[a % 2])
        except FlashQError as error:
            answer = (type(error).__name__, str(error))
        self.answers.append(answer)
        self.bench.take()
        for _, jobs in self.bench.deliveries:
            self._hold(jobs)
        self.bench.deliveries.clear()
        self.bench.pass_time(1)

    def _hold(self, jobs: list[Any]) -> list[int]:
        self.held += [(job.id, job.token) for job in jobs if job.token is not UNSET]
        return [job.id for job in jobs]

    def _push(self, a: int, b: int, queue: str) -> Any:
        return self.bench.admit(queue, b"%d" % b, priority=b % 3, timeout=[None, 50][a % 3 == 0])

    def _special(self, a: int, b: int, queue: str) -> Any:
        next_id = self.bench.engine.jobs.next_id
        members: dict[str, Any] = (
            {"delay": b * 5}, {"ttl": 20 + b * 3}, {"unique_key": str(b % 2)}, {"job_id": str(b % 4)},
            {"depends_on": [max(1, next_id - 1 - b % 4)]}, {"depends_on": [max(1, next_id - 1), b % 5 + 1], "delay": 9},
            {"tags": ["t"], "backoff": 0, "max_attempts": 1}, {"ttl": 40, "delay": 10, "max_attempts": 0},
        )[a % 8]  # fmt: skip
        return self.bench.admit(queue, b'"special"', **members)

    def _batch(self, a: int, b: int, queue: str) -> Any:
        return self.bench.push_batch(*[{"backoff": 0}] * (b % 5 + 1), queue=queue).ids

    def _mixed(self, a: int, b: int, queue: str) -> Any:
        specs: list[dict[str, Any]] = [{}, {"unique_key": "0"}, {"delay": b}, {"priority": 1}, {"ttl": 30}]
        return self.bench.push_batch(*specs[: b % 5 + 1], queue=queue).ids

    def _pull(self, a: int, b: int, queue: str) -> Any:
        return self._hold(self.bench.pull(queue, b % 4 + 1))

    def _park(self, a: int, b: int, queue: str) -> Any:
        if found := self._hold(self.bench.pull(queue, a % 3 + 1)):
            return found
        self.parked += 1
        return self.bench.park(self.parked, queue, a % 3 + 1, [None, 10][b % 2])

    def _leave(self, a: int, b: int, queue: str) -> Any:
        return self.bench.engine.parking.unpark(b)

    def _ack(self, a: int, b: int, queue: str) -> Any:
        if self.held:
            id, token = self.held[-1 - b % min(len(self.held), 4)]
            return self.bench.ack(id, token, b"[%d]" % b if a % 2 else None)
        return None

    def _ack_old(self, a: int, b: int, queue: str) -> Any:
        if self.held:
            id, token = self.held[b % len(self.held)]
            return self.bench.ack(id, token if a % 2 else None)
        return None

    def _ack_batch(self, a: int, b: int, queue: str) -> Any:
        held = self.held[-5:] + self.held[:2]
        tokens = [token for _, token in held] if a % 2 else None
        acked = self.bench.engine.settle.ack_batch([id for id, _ in held], tokens, {b: b"{}"}, self.bench.now)
        return acked.count, acked.stale

    def _fail(self, a: int, b: int, queue: str) -> Any:
        if self.held:
            id, token = self.held[-1 - b % min(len(self.held), 4)]
            more = {"delay": b} if b % 5 == 4 else {"dead": True} if b % 7 == 6 else {}
            self.bench.fail(id, "why" if a % 2 else None, token, **more)

    def _release(self, a: int, b: int, queue: str) -> Any:
        if self.held:
            id, token = self.held[-1 - b % min(len(self.held), 4)]
            self.bench.release(id, token, b if a % 2 else 0)

    def _cancel(self, a: int, b: int, queue: str) -> Any:
        self.bench.cancel(b)

    def _hand_back(self, a: int, b: int, queue: str) -> Any:
        if self.held:
            id, token = self.held[-1 - b % min(len(self.held), 4)]
            self.bench.engine.settle.hand_back([id], token, self.bench.now)

    def _progress(self, a: int, b: int, queue: str) -> Any:
        if self.held:
            id, token = self.held[-1]
            self.bench.engine.control.progress(id, token, b * 4, [None, "on my way"][a % 2], self.bench.now)

    def _heartbeat(self, a: int, b: int, queue: str) -> Any:
        if self.held:
            id, token = self.held[b % len(self.held)]
            self.bench.engine.control.heartbeat(id, token, self.bench.now)

    def _retry(self, a: int, b: int, queue: str) -> Any:
        return self.bench.engine.control.retry_dead(self.bench.queue(queue), [None, b][b % 2], self.bench.now)

    def _purge(self, a: int, b: int, queue: str) -> Any:
        return self.bench.engine.control.purge_dead(self.bench.queue(queue), self.bench.now)

    def _pause(self, a: int, b: int, queue: str) -> Any:
        self.bench.engine.control.pause(self.bench.queue(queue))

    def _resume(self, a: int, b: int, queue: str) -> Any:
        self.bench.engine.control.resume(self.bench.queue(queue), self.bench.now)

    def _rate(self, a: int, b: int, queue: str) -> Any:
        self.bench.engine.control.set_rate(self.bench.queue(queue), b % 4 * 50, self.bench.now)

    def _concurrency(self, a: int, b: int, queue: str) -> Any:
        self.bench.engine.control.set_concurrency(self.bench.queue(queue), b % 4, self.bench.now)

    def _cron(self, a: int, b: int, queue: str) -> Any:
        name, schedule = str(b % 3), f"*/{b % 2 + 1}"
        self.bench.engine.control.set_cron(name, queue, b"0", schedule, a % 2, "UTC", self.bench.now)

    def _uncron(self, a: int, b: int, queue: str) -> Any:
        self.bench.engine.control.delete_cron(str(b % 3))

    def _hello(self, a: int, b: int, queue: str) -> Any:
        self.bench.hello(f"worker-{b % 2}")

    def _worker_pull(self, a: int, b: int, queue: str) -> Any:
        worker = self.bench.engine.workers.get(f"worker-{b % 2}")
        return self._hold(self.bench.pull(queue, 2, worker))

    def _beat(self, a: int, b: int, queue: str) -> Any:
        self.bench.engine.control.beat(f"worker-{b % 2}", self.bench.now)

    def _bye(self, a: int, b: int, queue: str) -> Any:
        self.bench.engine.control.bye(f"worker-{b % 2}", self.bench.now, "killed" if a % 3 == 2 else None)

    def _wait(self, a: int, b: int, queue: str) -> Any:
        self.bench.pass_time(b)

    def _long_wait(self, a: int, b: int, queue: str) -> Any:
        self.bench.pass_time(b * 1_000)


def tell(story: list[Step], **settings: int) -> Teller:
    """A whole story, from an empty bench with `SMALL` bounds."""
    teller = Teller(Bench(**(SMALL | settings)))
    for step in story:
        teller.tell(step)
    return teller


class Fingerprint(Struct):
    """What must be the same before and after a restart. What is active counts as waiting."""

    next_id: int
    bytes: int
    jobs: dict[int, Any]
    lines: dict[str, list[Any]]
    queues: dict[str, Any]
    graph: dict[int, set[int]]
    customs: dict[str, int]
    finished: Any
    crons: Any


def fingerprint(engine: Engine) -> Fingerprint:
    """Everything about an engine that a restart may not change."""
    jobs = {}
    lines: dict[str, list[Any]] = {}
    for number, chunk in engine.jobs.chunks.items():
        for slot, state in enumerate(chunk.state):
            if state:
                id = number * len(chunk.state) + slot
                jobs[id] = _job(engine, id)
    for id, job in sorted(jobs.items()):
        if job["state"] == WAITING:
            lines.setdefault(job["queue"], []).append((-job["priority"], job["run_at"], id))
    finished = engine.finished
    return Fingerprint(
        next_id=engine.jobs.next_id,
        bytes=engine.jobs.bytes,
        jobs=jobs,
        lines={name: sorted(line) for name, line in lines.items()},
        queues={name: _queue(queue) for name, queue in engine.queues.by_name.items() if queue.listed},
        graph=dict(engine.graph.waiting()),
        customs=engine.jobs.customs,
        finished=(finished.completions, finished.ids(), finished.results, list(finished.dropped)),
        crons=engine.crons.rows(),
    )


def line_of(engine: Engine, queue: str) -> list[tuple[int, int]]:
    """The line as it will be pulled: (priority, ready since) of each job that waits."""
    found = engine.queues.by_name.get(queue)
    ids = found.ready.ids() if found else []
    views = [engine.lookup.job(id) for id in ids if engine.jobs.state(id) == WAITING]
    return [(view.priority, view.run_at) for view in views if view is not None]


def _job(engine: Engine, id: int) -> dict[str, Any]:
    view = engine.lookup.job(id)
    assert view is not None
    extra = engine.jobs.extras.get(id) or Extra()
    state = engine.jobs.state(id)
    job = {name: getattr(view, name) for name in view.__struct_fields__ if name not in ("data", "started_at")}
    job["data"] = bytes(view.data)
    job["state"] = WAITING if state == ACTIVE else state
    job["started_at"] = extra.started_at if state == ACTIVE else view.started_at
    job["fence"] = (extra.fence_epoch, extra.fence_serial, extra.returns)
    return job


def _queue(queue: Any) -> Any:
    counts = list(queue.counts)
    counts[WAITING] += counts[ACTIVE]
    counts[ACTIVE] = 0
    numbers = (queue.pushed, queue.failed, queue.cancelled, queue.expired, queue.purged)
    limits = queue.limits
    return counts, numbers, (limits.paused, limits.rate, limits.concurrency), list(queue.dead), queue.keys
