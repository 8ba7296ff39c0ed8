"""From rows back to an engine: the other end of the records.

Everything in an engine follows from its rows, its settings and the moment of the start. What was active is ready
again, at its old place in the line; what fell due meanwhile fires with the first tick.
"""

from collections.abc import Callable

from flashq.engine.engine import Engine
from flashq.engine.jobs import MASK, PARENT_BYTES, Extra
from flashq.engine.leases import Lease
from flashq.engine.lifecycle import LIVE
from flashq.engine.queue import Queue
from flashq.engine.records import JobRow, Pushed, Snapshot
from flashq.engine.settings import Settings
from flashq.model import COMPLETED, DELAYED, FAILED, UNKNOWN, WAITING, WAITING_CHILDREN, Instant


def restore(snapshot: Snapshot, settings: Settings, *, nonce: Callable[[], str], now: Instant) -> Engine:
    """An engine that goes on where the snapshot ends; the arguments are those of `Engine`."""
    engine = Engine(settings, nonce=nonce, now=now, epoch=snapshot.epoch, next_id=snapshot.next_id, recording=True)
    for row in snapshot.queues:
        queue = engine.queues.make(row.name)
        queue.limits.set_paused(row.paused)
        queue.limits.set_concurrency(row.concurrency_limit)
        queue.limits.set_rate(row.rate_limit, now.steady, full=False)
        queue.pushed, queue.failed = row.pushed, row.failed
        queue.cancelled, queue.expired, queue.purged = row.cancelled, row.expired, row.purged
        queue.counts[COMPLETED] = row.completed
        engine.queues.counts[COMPLETED] += row.completed
    engine.finished.drop(snapshot.dropped)
    _Loader(engine, now.wall).load(snapshot)
    for cron in snapshot.crons:
        engine.crons.put(cron)
    engine.webhooks.restore(snapshot.webhooks, snapshot.calls)
    for row in snapshot.queues:
        engine.queues.leave(engine.queues.by_name[row.name])
    return engine


class _Loader:
    """Puts jobs where they belong, one by one, and then into order."""

    def __init__(self, engine: Engine, wall: int) -> None:
        self._engine = engine
        self._wall = wall
        self._jobs = engine.jobs
        self._lines: dict[tuple[Queue, int], list[tuple[int, int, int]]] = {}  # (ready since, first id, last id + 1)
        self._dead: list[tuple[int, int]] = []
        self._children: list[int] = []
        self._completed: list[tuple[int, int, int, bytes | None]] = []
        self._results: dict[int, bytes] = {}  # by parent: its children share what it returned

    def load(self, snapshot: Snapshot) -> None:
        for job in snapshot.jobs:
            if isinstance(job, Pushed):
                self._place_run(job)
            else:
                self._place(job)
        for (queue, priority), line in self._lines.items():
            line.sort()  # nearly sorted already, as ids are handed out in the order of time
            for _, first, stop in line:
                queue.ready.put_run(priority, first, stop)
        for _, id in sorted(self._dead):
            self._jobs.options(id).queue.dead[id] = None
        for id in self._children:
            parents = self._jobs.extras[id].depends_on or []
            open_parents = [parent for parent in parents if self._jobs.state(parent) in LIVE]
            self._engine.graph.hold(id, open_parents)
        self._completed.sort()
        self._engine.finished.restore(snapshot.completions, self._completed)

    def _place_run(self, run: Pushed) -> None:
        queue = self._engine.queues.make(run.queue)
        options = queue.options(run.priority, run.max_attempts, run.backoff, run.ttl, run.timeout)
        count = len(run.data)
        self._jobs.place_run(run.first, options, run.data, run.created_at, WAITING)
        self._await_turn(queue, run.priority, run.created_at, run.first, count)
        if run.ttl:
            for id in range(run.first, run.first + count):
                self._engine.clocks.expiries.at(run.created_at + run.ttl, id)
        self._engine.queues.move(queue, UNKNOWN, WAITING, count)

    def _await_turn(self, queue: Queue, priority: int, since: int, first: int, count: int = 1) -> None:
        self._lines.setdefault((queue, priority), []).append((since, first, first + count))

    def _place(self, row: JobRow) -> None:
        engine, id, state = self._engine, row.id, row.state
        if state == DELAYED and row.run_at <= self._wall:
            state = WAITING  # ready since then, and in line before all that became ready later
        queue = engine.queues.make(row.queue)
        options = queue.options(row.priority, row.max_attempts, row.backoff, row.ttl, row.timeout)
        chunk = self._jobs.place(id, options, row.data, row.created_at, state)
        if (
            row.run_at != row.created_at
            or row.attempts
            or row.started_at
            or row.unique_key is not None
            or row.custom_id is not None
            or row.depends_on
            or row.tags
            or row.progress
            or row.message is not None
            or row.fence_epoch
            or row.returns
            or row.collect
        ):
            self._place_extra(queue, row)
        if state == WAITING:
            self._await_turn(queue, row.priority, row.run_at, id)
        elif state == DELAYED:
            engine.clocks.delays.at(row.run_at, id)
        elif state == FAILED:
            self._dead.append((row.run_at, id))
        elif state == WAITING_CHILDREN:
            self._children.append(id)
        elif state == COMPLETED:
            size = len(row.data) + PARENT_BYTES * len(row.depends_on or ())
            self._completed.append((row.done, id, size, row.result))
            chunk.lease[id & MASK] = Lease(row.token or "", row.started_at, 0, False, None, [], 0)
            return  # the queue's row counts it already
        if options.ttl and state != FAILED:
            engine.clocks.expiries.at(row.created_at + options.ttl, id)
        engine.queues.move(queue, UNKNOWN, state)

    def _place_extra(self, queue: Queue, row: JobRow) -> None:
        extra = Extra(
            row.run_at, row.attempts, row.started_at, row.unique_key, row.custom_id, row.depends_on, row.tags,
            row.progress, row.message, row.fence_epoch, row.fence_serial, row.returns,
        )  # fmt: skip
        if row.state == COMPLETED:
            self._jobs.extras[row.id] = extra
        else:
            self._place_live(queue, row, extra)
        if extra.custom_id is not None:
            self._jobs.customs[extra.custom_id] = row.id

    def _place_live(self, queue: Queue, row: JobRow, extra: Extra) -> None:
        """What only a job has that has not completed."""
        if row.collect:
            share = self._results.setdefault
            extra.inputs = {parent: share(parent, result) for parent, result in row.inputs or ()}
            extra.input_bytes = row.excess or sum(map(len, extra.inputs.values()))
        if extra.unique_key is not None:
            queue.keys[extra.unique_key] = row.id
        self._jobs.attach(row.id, extra)
