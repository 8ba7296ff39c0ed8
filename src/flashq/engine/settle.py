"""How an attempt or a job ends: ack, fail, time out, hand back, release, cancel, expire, purge.

A token decides which attempt is meant. An attempt from before a restart may still end its job, as long as nobody has
been given the job since: its token is of an earlier epoch and newer than the job's fence, the newest attempt that
is known to have ended.
"""

from collections.abc import Iterator, Sequence
from itertools import repeat

from msgspec import Struct

from flashq.engine.backoff import delay_ms
from flashq.engine.beats import Beats
from flashq.engine.clocks import Clocks, expires_at, may_expire
from flashq.engine.dependencies import Graph
from flashq.engine.dispatch import Dispatch
from flashq.engine.effects import Outbox
from flashq.engine.finished import Finished
from flashq.engine.histogram import Histogram
from flashq.engine.intake import Intake, too_much, until
from flashq.engine.jobs import CHUNK_BITS, MASK, Chunk, Jobs, Run
from flashq.engine.leases import Lease, parse_token
from flashq.engine.queue import Queue, Queues
from flashq.engine.rates import Rates
from flashq.engine.records import Collected, Completed, Dropped, Overfilled
from flashq.engine.settings import Settings
from flashq.engine.watchers import Watchers
from flashq.errors import FlashQError, NotActive, NotFound, StaleAttempt
from flashq.model import ACTIVE, COMPLETED, DELAYED, FAILED, UNKNOWN, WAITING, WAITING_CHILDREN, EndedAttempt, Instant
from flashq.protocol.limits import MAX_ERROR_BYTES


class Acked(Struct, gc=False):
    """What became of a batch of acknowledgements: how many counted, and the ids whose token was refused."""

    count: int
    stale: list[int]


class Settle:
    """Everything that ends attempts and jobs."""

    def __init__(
        self,
        jobs: Jobs,
        queues: Queues,
        clocks: Clocks,
        graph: Graph,
        finished: Finished,
        rates: Rates,
        run_times: Histogram,
        outbox: Outbox,
        watchers: Watchers,
        beats: Beats,
        settings: Settings,
        epoch: int,
        dispatch: Dispatch,
        intake: Intake,
    ) -> None:
        """Args: ``epoch``: number of this boot. Jobs that exist already are taken for restored ones."""
        self._jobs = jobs
        self._queues = queues
        self._clocks = clocks
        self._graph = graph
        self._finished = finished
        self._rates = rates
        self._run_times = run_times
        self._outbox = outbox
        self._watchers = watchers
        self._beats = beats
        self._max_returns = settings.max_returns
        self._epoch = epoch
        self._dispatch = dispatch
        self._intake = intake
        self._first_id = jobs.next_id
        self.retried = 0
        """How many attempts of this boot failed and were followed by another one."""
        self.timed_out = 0
        """How many attempts of this boot ended for want of a sign of life."""

    def ack(self, id: int, token: str | None, result: bytes | None, now: Instant) -> bool:
        """The attempt succeeded. Tells whether this very attempt had been acknowledged before.

        Raises:
            NotFound, NotActive: there is no such job, or nobody holds it.
            StaleAttempt: the token names an attempt that has ended.
        """
        chunk = self._jobs.chunks.get(id >> CHUNK_BITS)
        slot = id & MASK
        if chunk is None:
            raise NotFound(f"Job {id} not found")
        lease = chunk.lease[slot]
        if chunk.state[slot] != ACTIVE or (token is not None and token != lease.token):
            if token is not None and chunk.state[slot] == COMPLETED and lease.token == token:
                return True
            lease = self._take_back(id, chunk, slot, token, now)
        results = {} if result is None else {id: result}
        self._complete(chunk.options[slot].queue, lease, [id], results, now)
        return False

    def ack_batch(
        self, ids: Sequence[int], tokens: Sequence[str] | None, results: dict[int, bytes], now: Instant
    ) -> Acked:
        """Many attempts succeeded. Ids that nobody holds are skipped; ``tokens`` are aligned with ``ids``."""
        run = self._jobs.run(ids)
        if run is not None and self._whole(run, tokens):
            lease = run.chunk.lease[run.start]
            self._complete(run.chunk.options[run.start].queue, lease, list(ids), results, now, run)
            return Acked(len(ids), [])
        groups: dict[Lease, list[int]] = {}
        group: list[int] = []
        last: Lease | None = None
        stale: list[int] = []
        chunks = self._jobs.chunks
        for id, token in zip(ids, tokens or repeat(None), strict=False):
            chunk = chunks.get(id >> CHUNK_BITS)
            if chunk is None:
                continue
            slot = id & MASK
            lease = chunk.lease[slot]
            if chunk.state[slot] != ACTIVE or (token is not None and token != lease.token):
                if token is None or (chunk.state[slot] == COMPLETED and lease.token == token):
                    continue
                try:
                    lease = self._take_back(id, chunk, slot, token, now)
                except StaleAttempt:
                    stale.append(id)
                    continue
                except FlashQError:
                    continue
            chunk.state[slot] = COMPLETED  # so that the same id a second time is skipped
            if lease is not last:
                last = lease
                group = groups.setdefault(lease, [])
            group.append(id)
        count = 0
        for lease, done in groups.items():
            count += len(done)
            queue = self._jobs.options(done[0]).queue
            self._complete(queue, lease, done, results, now)
        return Acked(count, stale)

    def fail(
        self,
        id: int,
        token: str | None,
        error: str | None,
        now: Instant,
        *,
        delay: int | None = None,
        dead: bool = False,
    ) -> None:
        """The attempt failed; the errors are those of `ack`.

        Args:
            id: the job.
            token: the attempt's name; None: whichever attempt lives.
            error: why.
            now: the moment of the call.
            delay: ms until the retry; None: the job's backoff.
            dead: straight to the dead letters, however many attempts are left.
        """
        chunk, slot = self.attempt(id, token, now)
        self._end_attempt(id, chunk, slot, error, now, delay=delay, dead=dead)

    def release(self, id: int, token: str | None, delay: int, now: Instant) -> None:
        """An attempt is given up in good order, uncounted; the errors are those of `ack`.

        Args:
            id: the job.
            token: the attempt's name; None: whichever attempt lives.
            delay: ms until the job may run again; 0: at once, from the head of its line, as `hand_back` has it (or
                from the place that it has in the line, if the attempt is from before a restart and the line has not
                got further).
            now: the moment of the call.
        """
        chunk, slot = self.attempt(id, token, now)
        if not delay:
            self.hand_back([id], chunk.lease[slot].token, now)
        elif not self._drop_outlived(id, now):
            queue = chunk.options[slot].queue
            if self._outbox.auditing:
                self._note_attempt("released", id, chunk, slot, now, until(now.wall + delay))
            self._end_lease_of(id, chunk, slot)
            self._put_off(id, chunk, slot, now.wall + delay)
            self._intake.record_change(id)
            if queue.waiters.line:
                self._dispatch.feed(queue, now)

    def attempt(self, id: int, token: str | None, now: Instant, *, needs_slot: bool = False) -> tuple[Chunk, int]:
        """Where the live attempt of a job is, if ``token`` names it (or is None: whichever attempt lives).

        Args:
            id: the job.
            token: the attempt's name.
            now: the moment of the call.
            needs_slot: an attempt from before a restart is taken back only if the concurrency limit has room.

        Raises:
            NotFound, NotActive, StaleAttempt: as `ack`.
        """
        chunk = self._jobs.chunks.get(id >> CHUNK_BITS)
        if chunk is None:
            raise NotFound(f"Job {id} not found")
        slot = id & MASK
        if chunk.state[slot] != ACTIVE or (token is not None and token != chunk.lease[slot].token):
            self._take_back(id, chunk, slot, token, now, needs_slot=needs_slot)
        return chunk, slot

    def lease_over(self, lease: Lease, now: Instant) -> None:
        """A lease's timer fired: its attempts end as failed, unless it was renewed."""
        if not lease.open:
            return
        if lease.deadline > now.steady:
            self._clocks.leases.at(lease.deadline, lease)
            return
        error = "Lease expired" if lease.renewable else "Job timed out"
        if lease.worker is not None:
            running = [id for id, _, _ in self._running(lease)]
            self._beats.ended(lease.worker, [EndedAttempt(id, lease.token, error) for id in running])
        self.end_lease(lease, error, now)

    def end_lease(self, lease: Lease, error: str, now: Instant, *, timed_out: bool = True) -> None:
        """Every attempt that still runs under this lease ends as failed; ``timed_out``: for want of a sign of life."""
        for id, chunk, slot in self._running(lease):
            self._end_attempt(id, chunk, slot, error, now, timed_out=timed_out)

    def hand_back(self, ids: Sequence[int], token: str, now: Instant) -> None:
        """Attempts that were never begun, or were given up in good order: back to the head of the line, uncounted.

        A job that is handed back too often counts as failed, so that it cannot go in circles for ever.
        """
        queues: dict[Queue, None] = {}
        for id in reversed(ids):
            chunk = self._jobs.chunks.get(id >> CHUNK_BITS)
            slot = id & MASK
            if chunk is None or chunk.state[slot] != ACTIVE or chunk.lease[slot].token != token:
                continue
            if self._drop_outlived(id, now):
                continue
            extra = self._jobs.extra(id)
            extra.returns += 1
            options = chunk.options[slot]
            if extra.returns > self._max_returns:
                self._end_attempt(id, chunk, slot, "Handed back too often", now)
                continue
            if self._outbox.auditing:
                self._note_attempt("released", id, chunk, slot, now, None)
            self._end_lease_of(id, chunk, slot)
            chunk.state[slot] = WAITING
            self._queues.move(options.queue, ACTIVE, WAITING)
            options.queue.ready.put_front(options.priority, [id])
            self._intake.record_change(id)
            queues[options.queue] = None
        for queue in queues:
            self._dispatch.feed(queue, now)

    def cancel(self, id: int, now: Instant) -> None:
        """Take back a job that has not finished.

        Raises:
            NotFound: there is no such job.
            NotActive: it has completed or lies among the dead letters.
        """
        state = self._jobs.state(id)
        if state == UNKNOWN:
            raise NotFound(f"Job {id} not found")
        if state in (COMPLETED, FAILED):
            raise NotActive(f"Job {id} cannot be cancelled (already completed/failed)")
        if state == ACTIVE:
            lease: Lease = self._jobs.chunks[id >> CHUNK_BITS].lease[id & MASK]
            if lease.worker is not None:
                self._beats.ended(lease.worker, [EndedAttempt(id, lease.token, "cancelled")])
        self.drop([id], "cancelled", now)

    def expire(self, id: int, now: Instant) -> None:
        """A ttl ended: the job disappears, unless it runs or is over."""
        if self._jobs.state(id) == ACTIVE:
            self._jobs.extra(id).outlived = True
            return
        expiry = expires_at(self._jobs, id) if may_expire(self._jobs, id) else 0
        if expiry and expiry <= now.wall:
            self.drop([id], "expired", now)

    def drop(self, ids: list[int], reason: str, now: Instant) -> None:
        """Jobs of one queue leave without completing. ``reason``: cancelled, expired or purged."""
        queue = self._jobs.options(ids[0]).queue
        before = [self._detach(id) for id in ids]
        for state in set(before):
            self._queues.move(queue, state, UNKNOWN, before.count(state))
        if reason == "cancelled":
            queue.cancelled += len(ids)
        elif reason == "expired":
            queue.expired += len(ids)
        else:
            queue.purged += len(ids)
        self._jobs.forget(ids)
        self._finished.drop(ids)
        self._outbox.record(Dropped(queue.name, ids, reason))
        if self._outbox.watched and reason != "purged":
            for id in ids:
                self._outbox.event(reason, queue.name, id, now.wall)
        if self._outbox.auditing:
            self._outbox.happened(reason, queue.name, ids, now)
        if self._watchers.by_job:
            self._watchers.dropped(ids, reason)
        for id in ids:
            for child in self._graph.lost(id):
                self.bury(child, WAITING_CHILDREN, f"dependency {id} cancelled", now)
        if ACTIVE in before and queue.waiters.line:
            self._dispatch.feed(queue, now)

    def bury(self, id: int, before: int, error: str | None, now: Instant) -> None:
        """Move a job that was in state ``before`` to the dead letters."""
        options = self._jobs.options(id)
        queue = options.queue
        self._jobs.set_state(id, FAILED)
        if options.ttl:
            self._clocks.expiries.stale()
        extra = self._jobs.extra(id)
        extra.message = error
        extra.run_at = now.wall  # dead letters are kept in the order in which they came
        self._queues.move(queue, before, FAILED)
        queue.dead[id] = None
        queue.failed += 1
        self._intake.record_change(id)
        if self._outbox.watched:
            self._outbox.event("failed", queue.name, id, now.wall, error=error)
        if self._outbox.auditing:
            self._outbox.happened("dead", queue.name, [id], now, detail=error)
        if self._watchers.by_job:
            self._watchers.buried(id, error)

    def split_lease(self, id: int, chunk: Chunk, slot: int, now: Instant) -> Lease:
        """A lease of its own for a job that is renewed apart from the rest of its delivery."""
        lease = chunk.lease[slot]
        if lease.open == 1:
            return lease
        own = self._dispatch.lease(lease.started_at, lease.token, 0, lease.worker, now)
        own.ids, own.open = [id], 1
        chunk.lease[slot] = own
        self._settled(lease)
        return own

    def _running(self, lease: Lease) -> Iterator[tuple[int, Chunk, int]]:
        """The jobs that are active under a lease, and where they are; each is looked at when its turn comes."""
        for id in lease.ids:
            chunk = self._jobs.chunks.get(id >> CHUNK_BITS)
            slot = id & MASK
            if chunk is not None and chunk.state[slot] == ACTIVE and chunk.lease[slot] is lease:
                yield id, chunk, slot

    def _whole(self, run: Run, tokens: Sequence[str] | None) -> bool:
        """Whether a run is active under one lease, and every token (if any) is its."""
        chunk, start, stop = run
        count = stop - start
        if chunk.state[start:stop] != bytes((ACTIVE,)) * count:
            return False
        lease = chunk.lease[start]
        return chunk.lease[start:stop].count(lease) == count and (tokens is None or tokens.count(lease.token) == count)

    def _complete(
        self,
        queue: Queue,
        lease: Lease,
        ids: list[int],
        results: dict[int, bytes],
        now: Instant,
        run: Run | None = None,
    ) -> None:
        """Jobs of one lease are done; ``run``: where they lie, if together."""
        chunks = self._jobs.chunks
        count = len(ids)
        if run is not None:
            chunk, start, stop = run
            chunk.state[start:stop] = bytes((COMPLETED,)) * count
            sizes = list(map(len, chunk.data[start:stop]))
            pushed_at = sum(chunk.created[start:stop])
        else:
            pushed_at = 0
            sizes = []
            for id in ids:
                chunk = chunks[id >> CHUNK_BITS]
                slot = id & MASK
                chunk.state[slot] = COMPLETED
                sizes.append(len(chunk.data[slot]))
                pushed_at += chunk.created[slot]
        if self._jobs.have_extras(ids):
            self._let_go(queue, ids, sizes)
        attempts = self._jobs.by_attempts(ids) if self._outbox.auditing else {}  # some may be forgotten at once
        finished = self._finished
        first = finished.add(ids, sizes)
        kept: list[tuple[int, bytes]] = []
        if results:
            for number, id in enumerate(ids, first):
                if id in results:
                    finished.remember_result(number, id, results[id])
                    kept.append((id, results[id]))
        self._queues.move(queue, ACTIVE, COMPLETED, count)
        if lease.worker is not None:
            lease.worker.processed += count
        self._settled(lease, count)
        if len(self._clocks.expiries):
            for id in ids:
                if chunks[id >> CHUNK_BITS].options[id & MASK].ttl:
                    self._clocks.expiries.stale()
        self._rates.completed(count, count * now.wall - pushed_at, now.wall)
        self._run_times.add(now.wall - lease.started_at, count)
        gone = finished.trim()
        if gone:
            self._jobs.forget(gone)
        if self._outbox.recording:
            self._outbox.record(
                Completed(
                    queue.name,
                    ids,
                    first,
                    now.wall,
                    lease.started_at,
                    lease.token,
                    kept,
                    finished.forget,
                    finished.forget_results,
                )
            )
        if self._outbox.watched:
            for id in ids:
                self._outbox.event("completed", queue.name, id, now.wall, data=results.get(id))
        if self._outbox.auditing:
            self._note_completed(queue, lease, attempts, now)
        if self._watchers.by_job:
            self._watchers.completed(ids, results)
        if self._graph:
            for id in ids:
                if id in results:
                    self._collect(id, results[id])
                for child in self._graph.completed(id):
                    if self._jobs.extras[child].overfull:
                        self.bury(child, WAITING_CHILDREN, too_much(self._jobs.extras[child]), now)
                    else:
                        self._intake.parents_done(child, now)
        if queue.waiters.line:
            self._dispatch.feed(queue, now)

    def _note_completed(self, queue: Queue, lease: Lease, attempts: dict[int, Sequence[int]], now: Instant) -> None:
        worker = None if lease.worker is None else lease.worker.name
        for failed, ids in attempts.items():
            self._outbox.happened("completed", queue.name, ids, now, attempt=failed + 1, worker=worker)

    def _note_attempt(self, event: str, id: int, chunk: Chunk, slot: int, now: Instant, detail: str | None) -> None:
        """Write into the history of a job what happens to the attempt that is under its lease."""
        holder, extra = chunk.lease[slot].worker, self._jobs.extras.get(id)
        attempt = 1 + (extra.attempts if extra else 0)
        worker = None if holder is None else holder.name
        self._outbox.happened(
            event, chunk.options[slot].queue.name, [id], now, attempt=attempt, worker=worker, detail=detail
        )

    def _let_go(self, queue: Queue, ids: list[int], sizes: list[int]) -> None:
        """Jobs completed: they free what only a live job holds; ``sizes`` become those of what is remembered."""
        for place, id in enumerate(ids):
            extra = self._jobs.extras.get(id)
            if extra is not None:
                self._free_key(queue, id)
                sizes[place] += self._jobs.let_go(extra)

    def _collect(self, parent: int, result: bytes) -> None:
        """Give the result of a parent to the children that wait for it and want it."""
        extras = self._jobs.extras
        kept: list[int] = []
        for child in self._graph.children(parent):
            extra = extras[child]
            if extra.inputs is None:
                continue
            if self._jobs.collect(extra, parent, result):
                kept.append(child)
            else:
                self._outbox.record(Overfilled(child, extra.input_bytes))
        if kept:
            self._outbox.record(Collected(parent, result, kept))

    def _end_attempt(
        self,
        id: int,
        chunk: Chunk,
        slot: int,
        error: str | None,
        now: Instant,
        *,
        timed_out: bool = False,
        delay: int | None = None,
        dead: bool = False,
    ) -> None:
        """A live attempt ended without success: try again, now or later, or bury the job."""
        options = chunk.options[slot]
        queue = options.queue
        lease = chunk.lease[slot]
        self._run_times.add(now.wall - lease.started_at)
        self.timed_out += timed_out
        worker = lease.worker
        if worker is not None:
            worker.processed += 1
            worker.failed += 1
        if self._outbox.auditing:
            self._note_attempt("timeout" if timed_out else "failed", id, chunk, slot, now, _cut(error))
        self._end_lease_of(id, chunk, slot)
        extra = self._jobs.extras[id]
        extra.attempts += 1
        extra.message = _cut(error)
        if timed_out and self._outbox.watched:
            self._outbox.event("timeout", queue.name, id, now.wall, error=extra.message)
        if dead or 0 < options.max_attempts <= extra.attempts:
            self.bury(id, ACTIVE, extra.message, now)
        elif not self._drop_outlived(id, now):
            self.retried += 1
            wait = delay_ms(options.backoff, extra.attempts) if delay is None else delay
            if wait:
                self._put_off(id, chunk, slot, now.wall + wait)
            else:
                extra.run_at = now.wall
                self._intake.make_ready(id, ACTIVE)
            self._intake.record_change(id)
            if self._outbox.watched:
                self._outbox.event("retrying", queue.name, id, now.wall, error=extra.message)
            if self._outbox.auditing:
                self._outbox.happened("retrying", queue.name, [id], now, detail=until(extra.run_at) if wait else None)
        if queue.waiters.line:
            self._dispatch.feed(queue, now)

    def _drop_outlived(self, id: int, now: Instant) -> bool:
        """Drop a job whose ttl ended while it was active. Tells whether it did."""
        expiry = expires_at(self._jobs, id)
        if not expiry or expiry > now.wall:
            return False
        self.drop([id], "expired", now)
        return True

    def _put_off(self, id: int, chunk: Chunk, slot: int, until: int) -> None:
        """A job that is no longer under its lease may run again at ``until`` (wall ms)."""
        self._jobs.extras[id].run_at = until
        chunk.state[slot] = DELAYED
        self._queues.move(chunk.options[slot].queue, ACTIVE, DELAYED)
        self._clocks.delays.at(until, id)

    def _end_lease_of(self, id: int, chunk: Chunk, slot: int) -> None:
        """The job is no longer under its lease; tokens up to this attempt's are stale from now on."""
        lease = chunk.lease[slot]
        extra = self._jobs.extra(id)
        extra.started_at = lease.started_at
        extra.run_at = extra.run_at or chunk.created[slot]
        extra.fence_epoch, extra.fence_serial = parse_token(lease.token) or (0, 0)
        if extra.outlived:  # its timer has fired, and the wall clock may have been set back since
            extra.outlived = False
            self._clocks.expiries.at(expires_at(self._jobs, id), id)
        chunk.lease[slot] = None  # type: ignore[call-overload]
        self._settled(lease)

    def _settled(self, lease: Lease, count: int = 1) -> None:
        if lease.settled(count) and lease.deadline:
            self._clocks.leases.stale()

    def _take_back(
        self, id: int, chunk: Chunk, slot: int, token: str | None, now: Instant, *, needs_slot: bool = False
    ) -> Lease:
        """Revive the attempt from before a restart that ``token`` names, or say why not."""
        state = chunk.state[slot]
        if state == UNKNOWN:
            raise NotFound(f"Job {id} not found")
        if token is None:
            raise NotActive(f"Job {id} not found")
        name = parse_token(token)
        extra = self._jobs.extras.get(id)
        fence = (extra.fence_epoch, extra.fence_serial) if extra else (0, 0)
        queue = chunk.options[slot].queue
        full = needs_slot and 0 < queue.limits.concurrency <= queue.counts[ACTIVE]
        # Of the boot before this one only: what an older boot gave out may have been given out again by that one, and
        # a delivery that a crash ended is not remembered.
        earlier = name is not None and name[0] == self._epoch - 1 and name > fence
        if state != WAITING or not earlier or id >= self._first_id or full:
            raise StaleAttempt(f"Stale attempt for job {id}")
        queue.ready.leave(id)
        self._queues.move(queue, WAITING, ACTIVE)
        lease = self._dispatch.lease(now.wall, token, chunk.options[slot].timeout, None, now)
        lease.ids, lease.open = [id], 1
        chunk.lease[slot] = lease
        chunk.state[slot] = ACTIVE
        if self._outbox.auditing:
            self._note_attempt("active", id, chunk, slot, now, "went on after a restart")
        return lease

    def _detach(self, id: int) -> int:
        """Take a job out of wherever it waits or runs. Returns the state it was in."""
        chunk = self._jobs.chunks[id >> CHUNK_BITS]
        slot = id & MASK
        state = chunk.state[slot]
        options = chunk.options[slot]
        queue = options.queue
        if options.ttl and state != FAILED:
            self._clocks.expiries.stale()
        if state == WAITING:
            queue.ready.discard()
            if queue.ready.crowded:
                chunk.state[slot] = UNKNOWN
                queue.ready.rebuild(lambda id: self._jobs.state(id) == WAITING)
        elif state == DELAYED:
            self._clocks.delays.stale()
        elif state == ACTIVE:
            lease = chunk.lease[slot]
            if lease is not None:  # else its attempt has just ended
                self._settled(lease)
        elif state == WAITING_CHILDREN:
            self._graph.drop(id)
        elif state == FAILED:
            del queue.dead[id]
        self._free_key(queue, id)
        return state

    def _free_key(self, queue: Queue, id: int) -> None:
        extra = self._jobs.extras.get(id)
        if extra is not None and extra.unique_key is not None and queue.keys.get(extra.unique_key) == id:
            del queue.keys[extra.unique_key]


def _cut(error: str | None) -> str | None:
    """The text of a failure, no longer than is kept. Cut by bytes, never within a character."""
    if error is None or len(error) * 4 <= MAX_ERROR_BYTES:
        return error
    return error.encode()[:MAX_ERROR_BYTES].decode(errors="ignore")
