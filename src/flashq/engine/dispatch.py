"""Handing out: pulls, parked pulls, and feeding those who wait when something becomes ready.

A pull changes memory only. Nothing about it is remembered: after a crash an active job is ready again, which
at-least-once delivery allows, so a pull never costs a disk write.
"""

from collections.abc import Callable, Hashable, Sequence
from functools import partial
from itertools import accumulate
from typing import Any

from msgspec import UNSET, Raw

from flashq.engine.clocks import Clocks
from flashq.engine.effects import Outbox
from flashq.engine.histogram import Histogram
from flashq.engine.jobs import CHUNK_BITS, MASK, Jobs, Run
from flashq.engine.leases import Lease, Worker
from flashq.engine.parking import Parking
from flashq.engine.queue import Queue, Queues
from flashq.engine.records import SERVER, Actor
from flashq.engine.settings import Settings
from flashq.engine.views import view
from flashq.engine.waiters import Waiter
from flashq.errors import LimitReached
from flashq.model import ACTIVE, WAITING, Instant, JobView
from flashq.protocol.limits import MAX_ANSWER_BYTES, MAX_JOB_BYTES


class Dispatch:
    """Everything that turns waiting jobs into active ones."""

    def __init__(
        self,
        jobs: Jobs,
        queues: Queues,
        clocks: Clocks,
        outbox: Outbox,
        parking: Parking,
        wait_times: Histogram,
        settings: Settings,
        epoch: int,
        nonce: Callable[[], str],
    ) -> None:
        """Args: ``epoch``: number of this boot; ``nonce``: a fresh unguessable word for each delivery's token."""
        self._jobs = jobs
        self._queues = queues
        self._clocks = clocks
        self._outbox = outbox
        self._parking = parking
        self._wait_times = wait_times
        self._lease_ms = settings.lease
        self._epoch = epoch
        self._nonce = nonce
        self._serial = 0

    def pull(
        self, queue: Queue, count: int, now: Instant, worker: Worker | None = None, room: int = MAX_ANSWER_BYTES
    ) -> list[JobView]:
        """Take up to ``count`` jobs now; none when there are none or the queue's brakes say no.

        Args:
            queue: from where.
            count: at most so many.
            now: the moment of the call.
            worker: who will hold the jobs.
            room: bytes that the jobs may have together.
        """
        if queue.waiters.line:
            self.feed(queue, now)  # those who came first are served first
        waiting = queue.counts[WAITING]
        if not waiting:
            return []
        limits = queue.limits
        granted = count if limits.free else limits.allow(count, queue.counts[ACTIVE], now.steady)
        if granted <= 0:
            return []
        return self._hand_out(queue, self._take(queue, min(granted, waiting)), now, worker, room)

    def pull_any(self, names: Sequence[str], count: int, now: Instant, worker: Worker | None = None) -> list[JobView]:
        """Take up to ``count`` jobs from several queues, from the first as many as it has, then from the next.

        Together they are no larger than one answer may be.
        """
        jobs: list[JobView] = []
        room = MAX_ANSWER_BYTES
        for name in names:
            queue = self._queues.by_name.get(name)
            if queue is None:
                continue
            more = self.pull(queue, count - len(jobs), now, worker, room)
            jobs += more
            room -= sum(self._jobs.sizes([job.id for job in more]))
            if len(jobs) == count or room < MAX_JOB_BYTES:
                break
        return jobs

    def park(
        self,
        token: Hashable,
        names: tuple[str, ...],
        count: int,
        wait_ms: int | None,
        now: Instant,
        worker: Worker | None = None,
        by: Actor = SERVER,
    ) -> None:
        """Wait for jobs; the answer comes as a delivery to ``token``, which must be new.

        Args:
            token: anything hashable that names the waiting call.
            names: of the queues to wait on, each once; those that are not there are made.
            count: how many jobs to take at the most.
            wait_ms: ms until the empty answer; None = for ever.
            now: the moment of the call.
            worker: who will hold the jobs.
            by: on whose behalf it waits.

        Raises:
            Overloaded: as many calls wait as may.
            LimitReached: there are as many queues as there may be.
        """
        waiter = Waiter(names, count, worker, by, token=token, leave=partial(self._leave_lines, token, names))
        self._parking.park(waiter, wait_ms, now)
        try:
            for name in names:
                queue = self._queues.make(name)
                queue.waiters.park(waiter)
                if queue.counts[WAITING]:
                    self._await_refill(queue, now)
        except LimitReached:
            self._parking.unpark(token)
            raise

    def feed(self, queue: Queue, now: Instant) -> None:
        """Serve those who wait, first come, first served, as far as jobs and brakes allow."""
        waiters, counts, limits = queue.waiters, queue.counts, queue.limits
        while waiters.line and counts[WAITING]:
            waiter = waiters.first()
            granted = min(waiter.count, counts[WAITING])
            if not limits.free:
                granted = limits.allow(granted, counts[ACTIVE], now.steady)
                if granted <= 0:
                    self._await_refill(queue, now)
                    return
            waiters.pop()
            del self._parking.calls[waiter.token]
            self._clocks.waits.stale()
            if len(waiter.queues) > 1:
                waiter.leave()
            jobs = self._hand_out(queue, self._take(queue, granted), now, waiter.worker, by=waiter.by)
            self._outbox.deliver(waiter.token, jobs)

    def refilled(self, queue: Queue, due: int, now: Instant) -> None:
        """The bucket holds a token again."""
        if queue.refill_at == due:
            queue.refill_at = 0
            self.feed(queue, now)

    def lease(self, started_at: int, token: str, timeout: int, worker: Worker | None, now: Instant) -> Lease:
        """A lease with nothing in it yet. ``timeout``: the jobs' own bound in ms, 0 = none."""
        deadline = 0
        if worker is not None and worker.gone:
            worker = None  # it was parked when it was lost: nobody would ever end its attempt
        if timeout:
            deadline = now.steady + timeout
        elif worker is None:
            deadline = now.steady + self._lease_ms
        lease = Lease(token, started_at, deadline, not timeout, worker, [], 0)
        if worker is not None:
            worker.leases[lease] = None
        if deadline:
            self._clocks.leases.at(deadline, lease)
        return lease

    def _take(self, queue: Queue, count: int) -> list[int]:
        """``count`` waiting jobs from the head of the line; there must be as many."""
        ready = queue.ready
        ids = ready.take(count)
        if not ready.tombstones:
            return ids
        state, left = self._jobs.state, ready.left
        waiting: list[int] = []
        while True:
            for id in ids:
                if state(id) == WAITING and id not in left:
                    waiting.append(id)
                else:
                    ready.skipped(id)
            if len(waiting) == count:
                return waiting
            ids = ready.take(count - len(waiting))
            assert ids, "the line holds fewer jobs than are waiting"

    def _leave_lines(self, token: Hashable, names: tuple[str, ...]) -> None:
        for name in names:
            queue = self._queues.by_name.get(name)
            if queue is not None:
                queue.waiters.leave(token)
                self._queues.leave(queue)

    def _hand_out(
        self,
        queue: Queue,
        ids: list[int],
        now: Instant,
        worker: Worker | None,
        room: int = MAX_ANSWER_BYTES,
        by: Actor | None = None,
    ) -> list[JobView]:
        run = self._jobs.run(ids)
        if (len(ids) * MAX_JOB_BYTES > room or self._jobs.collectors) and not self._fit(run, ids, room):
            ids = self._cut(queue, ids, room)
            if not ids:
                return []
            run = self._jobs.run(ids)
        count = len(ids)
        self._queues.move(queue, WAITING, ACTIVE, count)
        if not queue.limits.free:
            queue.limits.took(count)
        pace = queue.pace
        if now.steady >= pace.note_at:
            pace.note(now.steady)
        pace.delivered += count
        pace.last = now.steady
        self._serial += 1
        token = f"{self._epoch:x}.{self._serial:x}.{self._nonce()}"
        started, name = now.wall, queue.name
        if run is not None and self._alike(run, ids):
            jobs = self._hand_out_run(run, ids, token, worker, now)
        else:
            jobs = self._hand_out_each(name, ids, token, worker, now)
        if self._outbox.watched:
            for id in ids:
                self._outbox.event("active", name, id, started)
        if self._outbox.auditing:
            holder = None if worker is None else worker.name
            for failed, some in self._jobs.by_attempts(ids).items():
                self._outbox.happened("active", name, some, now, attempt=failed + 1, worker=holder, by=by)
        return jobs

    def _fit(self, run: Run | None, ids: list[int], room: int) -> bool:
        """Whether the payloads and inputs of these jobs fit into so many bytes."""
        if run is not None and not self._jobs.collectors:
            return sum(map(len, run.chunk.data[run.start : run.stop])) <= room
        return sum(self._jobs.sizes(ids)) <= room

    def _cut(self, queue: Queue, ids: list[int], room: int) -> list[int]:
        """As many of them as fit; the others go back to where they stood."""
        sizes = accumulate(self._jobs.sizes(ids))
        fitting = sum(size <= room for size in sizes)
        for id in reversed(ids[fitting:]):
            queue.ready.put_front(self._jobs.options(id).priority, [id])
        return ids[:fitting]

    def _alike(self, run: Run, ids: list[int]) -> bool:
        """Whether the jobs of a run share their options and have nothing out of the ordinary."""
        options = run.chunk.options
        shared = options[run.start : run.stop].count(options[run.start]) == len(ids)
        return shared and not self._jobs.have_extras(ids)

    def _hand_out_run(self, run: Run, ids: list[int], token: str, worker: Worker | None, now: Instant) -> list[JobView]:
        chunk, start, stop = run
        count = len(ids)
        o = chunk.options[start]
        lease = self.lease(now.wall, token, o.timeout, worker, now)
        lease.ids, lease.open = ids, count
        chunk.state[start:stop] = bytes((ACTIVE,)) * count
        chunk.lease[start:stop] = [lease] * count
        name, priority, max_attempts, backoff = o.queue.name, o.priority, o.max_attempts, o.backoff
        ttl, timeout, started = o.ttl, o.timeout, now.wall
        pushed = chunk.created[start:stop]
        self._wait_times.add_since(pushed, started)
        none: list[Any] = []  # shared: a view is read, never written
        return [
            JobView(id, name, Raw(data), priority, created, created, started, 0, max_attempts, backoff, ttl, timeout,
                    None, none, 0, None, none, UNSET, token)
            for id, data, created in zip(ids, chunk.data[start:stop], pushed, strict=True)
        ]  # fmt: skip

    def _hand_out_each(
        self, name: str, ids: list[int], token: str, worker: Worker | None, now: Instant
    ) -> list[JobView]:
        chunks, extras = self._jobs.chunks, self._jobs.extras
        started = now.wall
        leases: dict[int, Lease] = {}
        lease: Lease | None = None
        last = None
        jobs: list[JobView] = []
        for id in ids:
            chunk = chunks[id >> CHUNK_BITS]
            slot = id & MASK
            options = chunk.options[slot]
            if options is not last or lease is None:
                last = options
                lease = leases.get(options.timeout)
                if lease is None:
                    lease = leases[options.timeout] = self.lease(started, token, options.timeout, worker, now)
            chunk.state[slot] = ACTIVE
            chunk.lease[slot] = lease
            lease.ids.append(id)
            if id in extras:
                job = view(self._jobs, id)
                assert job is not None
            else:
                created = chunk.created[slot]
                job = JobView(
                    id, name, Raw(chunk.data[slot]), options.priority, created, created, started, 0,
                    options.max_attempts, options.backoff, options.ttl, options.timeout, None, [], 0, None, [],
                )  # fmt: skip
            job.token = token
            jobs.append(job)
        for lease in leases.values():
            lease.open = len(lease.ids)
        if len(jobs) == 1:
            self._wait_times.add(started - jobs[0].run_at)
        else:
            self._wait_times.add_since([job.run_at for job in jobs], started)
        return jobs

    def _await_refill(self, queue: Queue, now: Instant) -> None:
        if queue.refill_at:
            return
        due = queue.limits.next_token(now.steady)
        if due is not None:
            queue.refill_at = max(due, now.steady + 1)
            self._clocks.refills.at(queue.refill_at, queue)
