"""What operators and running workers ask for: brakes, dead letters, progress, schedules, signs of life."""

from collections.abc import Container

from flashq.engine.beats import Beats
from flashq.engine.clocks import Clocks, expires_at
from flashq.engine.cron import NOTHING, Crons, job_of
from flashq.engine.dispatch import Dispatch
from flashq.engine.effects import Outbox
from flashq.engine.intake import Intake
from flashq.engine.jobs import Jobs
from flashq.engine.leases import Worker
from flashq.engine.queue import Queue, Queues
from flashq.engine.records import CronDeleted, CronSet, Progressed, QueueSet
from flashq.engine.settings import Settings
from flashq.engine.settle import Settle
from flashq.errors import LimitReached, NotActive, NotFound, Overloaded
from flashq.model import FAILED, Instant, JobSpec
from flashq.protocol.limits import MAX_MESSAGE_BYTES, MAX_WORKERS


class Control:
    """Everything that steers queues and attempts without making or ending jobs itself."""

    def __init__(
        self,
        jobs: Jobs,
        queues: Queues,
        clocks: Clocks,
        crons: Crons,
        workers: dict[str, Worker],
        outbox: Outbox,
        beats: Beats,
        settings: Settings,
        dispatch: Dispatch,
        intake: Intake,
        settle: Settle,
    ) -> None:
        self._jobs = jobs
        self._queues = queues
        self._clocks = clocks
        self._crons = crons
        self._workers = workers
        self._outbox = outbox
        self._beats = beats
        self._lease_ms = settings.lease
        self._silence_ms = settings.worker_silence
        self._dispatch = dispatch
        self._intake = intake
        self._settle = settle
        self.missed_crons = 0

    # --- brakes ---

    def pause(self, queue: Queue) -> None:
        """Stop deliveries."""
        queue.limits.set_paused(True)
        self._record_settings(queue)

    def resume(self, queue: Queue, now: Instant) -> None:
        """Deliver again."""
        queue.limits.set_paused(False)
        self._loosened(queue, now)

    def set_rate(self, queue: Queue, limit: int, now: Instant) -> None:
        """Deliver at most ``limit`` jobs a second; 0 removes the limit."""
        queue.limits.set_rate(limit, now.steady)
        queue.refill_at = 0
        self._loosened(queue, now)

    def set_concurrency(self, queue: Queue, limit: int, now: Instant) -> None:
        """At most ``limit`` attempts at once; 0 removes the limit."""
        queue.limits.set_concurrency(limit)
        self._loosened(queue, now)

    # --- dead letters ---

    def retry_dead(self, queue: Queue, id: int | None, now: Instant) -> int:
        """Run one dead letter again, or all of them; returns how many. One with too much to collect stays."""
        if id is None:
            ids = list(queue.dead)
        else:
            ids = [id] if id in queue.dead else []
        count = 0
        for dead in ids:
            if self._jobs.extra(dead).overfull:
                continue  # what it was to be given is gone: it could only run without it
            expiry = expires_at(self._jobs, dead)
            if expiry and expiry <= now.wall:  # its time is over: running it now would surprise more than this
                self._settle.drop([dead], "expired", now)
                continue
            del queue.dead[dead]
            extra = self._jobs.extra(dead)
            extra.attempts = 0
            extra.run_at = now.wall
            self._intake.make_ready(dead, FAILED)
            if expiry:
                self._clocks.expiries.at(expiry, dead)
            self._intake.record_change(dead)
            if self._outbox.auditing:
                self._outbox.happened("retried", queue.name, [dead], now)
            count += 1
        if queue.waiters.line:
            self._dispatch.feed(queue, now)
        return count

    def purge_dead(self, queue: Queue, now: Instant) -> int:
        """Remove all dead letters; returns how many."""
        ids = list(queue.dead)
        if ids:
            self._settle.drop(ids, "purged", now)
        return len(ids)

    # --- running attempts ---

    def progress(self, id: int, token: str | None, percent: int, message: str | None, now: Instant) -> None:
        """An attempt says how far it is; its lease is renewed.

        Raises:
            NotActive: nobody holds the job.
            StaleAttempt: the token names an attempt that has ended.
        """
        try:
            self.heartbeat(id, token, now)
        except (NotFound, NotActive):
            raise NotActive(f"Job {id} not found in processing") from None
        extra = self._jobs.extra(id)
        extra.progress = min(percent, 100)
        if message is not None:
            extra.message = message.encode()[:MAX_MESSAGE_BYTES].decode(errors="ignore")
        self._outbox.record(Progressed(id, extra.progress, extra.message))
        if self._outbox.watched:
            queue = self._jobs.options(id).queue.name
            self._outbox.event("progress", queue, id, now.wall, progress=extra.progress)

    def heartbeat(self, id: int, token: str | None, now: Instant) -> None:
        """An attempt still runs: its lease is renewed, unless the job's own timeout bounds it.

        Raises:
            NotFound, NotActive, StaleAttempt: nobody holds the job, or not under this token.
        """
        chunk, slot = self._settle.attempt(id, token, now, needs_slot=True)
        lease = chunk.lease[slot]
        if lease.renewable and lease.deadline:
            self._settle.split_lease(id, chunk, slot, now).deadline = now.steady + self._lease_ms

    # --- workers ---

    def hello(
        self, name: str, queues: list[str], concurrency: int, host: str | None, pid: int | None, now: Instant
    ) -> Worker:
        """A client names itself, or speaks again under the name it had.

        Raises:
            LimitReached: there are as many workers as there may be.
        """
        worker = self._workers.get(name)
        if worker is None:
            if len(self._workers) >= MAX_WORKERS:
                raise LimitReached(f"Too many workers (max {MAX_WORKERS})")
            deadline = now.steady + self._silence_ms
            worker = Worker(name, queues, concurrency, host, pid, now.wall, deadline, {})
            self._workers[name] = worker
            self._clocks.workers.at(deadline, worker)
        else:
            worker.queues, worker.concurrency, worker.host, worker.pid = queues, concurrency, host, pid
            self._renew(worker, now)
        return worker

    def reconcile(self, worker: Worker, holds: Container[tuple[int, str]], now: Instant) -> None:
        """A worker says what it holds: other attempts never reached it, and go back uncounted.

        Their delivery was lost with a connection. Nothing else would ever end them: the worker lives, and its leases
        are bound by its heartbeat alone.

        Args:
            worker: who says so.
            holds: (id, token) of every attempt that it knows of.
            now: the moment of the call.
        """
        for lease in reversed(list(worker.leases)):
            lost = [id for id in lease.ids if (id, lease.token) not in holds]
            if lost:
                self._settle.hand_back(lost, lease.token, now)

    def beat(self, name: str, now: Instant) -> Worker:
        """A worker lives: everything it holds is renewed.

        Raises:
            NotFound: it is not known, or was lost; it should say HELLO again.
        """
        worker = self._workers.get(name)
        if worker is None:
            raise NotFound(f"Worker {name!r} not found")
        self._renew(worker, now)
        return worker

    def bye(self, name: str, now: Instant, error: str | None = None) -> None:
        """A worker leaves in good order: what it holds goes back uncounted.

        Args:
            name: the worker.
            now: the moment of the call.
            error: what ended it, if it did not leave by its own will: what it holds ends as failed, then.

        Raises:
            NotFound: it is not known.
        """
        worker = self._workers.pop(name, None)
        if worker is None:
            raise NotFound(f"Worker {name!r} not found")
        worker.gone = True
        self._clocks.workers.stale()
        self._beats.let_go(worker)
        leases = list(worker.leases)
        if error is not None:
            for lease in leases:
                self._settle.end_lease(lease, error, now, timed_out=False)
            return
        for lease in reversed(leases):
            self._settle.hand_back(lease.ids, lease.token, now)

    def workers_silent(self, workers: list[Worker], now: Instant) -> None:
        """The timers of these workers fired: they are lost, unless they spoke since.

        All are lost before the first of their attempts ends, so that what one gives up is not handed to another.
        """
        lost: list[Worker] = []
        for worker in workers:
            if worker.gone:
                continue
            if worker.deadline > now.steady:
                self._clocks.workers.at(worker.deadline, worker)
                continue
            worker.gone = True
            del self._workers[worker.name]
            self._beats.let_go(worker)
            lost.append(worker)
        for worker in lost:
            for lease in list(worker.leases):
                self._settle.end_lease(lease, "worker lost", now)

    # --- schedules ---

    def set_cron(
        self,
        name: str,
        queue: str,
        data: bytes,
        schedule: str,
        priority: int,
        timezone: str,
        now: Instant,
        given: JobSpec = NOTHING,
    ) -> None:
        """Set or replace a schedule; arguments and errors are those of `Crons.set`."""
        row = self._crons.set(name, queue, data, schedule, priority, timezone, now.wall, given)
        self._outbox.record(CronSet(row))
        self._clocks.alarm.rung = True

    def delete_cron(self, name: str) -> None:
        """Remove a schedule.

        Raises:
            NotFound: there is none of that name.
        """
        if not self._crons.delete(name):
            raise NotFound("Cron job not found")
        self._outbox.record(CronDeleted(name))

    def fire_crons(self, now: Instant, most: int) -> None:
        """Push the jobs of the schedules that are due, up to ``most``.

        When there is no room for a job its instant is skipped and the schedule goes on; `missed_crons` counts it. One
        is skipped, too, while a live job holds the schedule's unique key: that is what the key is for.
        """
        for row in self._crons.due(now.wall, most):
            try:
                self._intake.push(self._queues.make(row.queue), job_of(row), row.data, now)
            except (Overloaded, LimitReached):
                self.missed_crons += 1
            self._outbox.record(CronSet(row) if row.next_run else CronDeleted(row.name))

    def _renew(self, worker: Worker, now: Instant) -> None:
        worker.last_beat = now.wall
        worker.deadline = now.steady + self._silence_ms

    def _loosened(self, queue: Queue, now: Instant) -> None:
        self._record_settings(queue)
        if queue.waiters.line:
            self._dispatch.feed(queue, now)
        self._queues.leave(queue)

    def _record_settings(self, queue: Queue) -> None:
        limits = queue.limits
        self._outbox.record(QueueSet(queue.name, limits.paused, limits.rate, limits.concurrency))
