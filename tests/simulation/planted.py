"""Bugs to plant, so that the simulator can show that it would have found them.

Each function breaks one promise in one place, the way a slip of the pen would, and leaves everything else as it is.
None of them exists in the product: they are patched in for the length of a test.
"""

from collections.abc import Callable
from typing import Any, Final

import pytest
from tests.simulation.disk import Disk

from flashq.engine import intake as intake_module
from flashq.engine import restore as restoring
from flashq.engine.beats import Beats
from flashq.engine.clocks import expires_at
from flashq.engine.control import Control
from flashq.engine.cron import Crons
from flashq.engine.dependencies import Graph
from flashq.engine.dispatch import Dispatch
from flashq.engine.engine import Engine
from flashq.engine.finished import Finished
from flashq.engine.intake import FRESH, Admitted, Intake
from flashq.engine.jobs import CHUNK_BITS, MASK
from flashq.engine.leases import Lease, parse_token
from flashq.engine.limits import Limits
from flashq.engine.parking import Parking
from flashq.engine.ready import Ready
from flashq.engine.records import Changed, Collected, CronSet, Pushed
from flashq.engine.settle import Settle
from flashq.engine.waiters import Call
from flashq.engine.watchers import Watchers
from flashq.model import ACTIVE, DELAYED, FAILED, WAITING, Instant
from flashq.server.runtime import Runtime
from flashq.storage.fold import Fold
from flashq.storage.journal import Journal

Plant = Callable[[pytest.MonkeyPatch], None]


def answers_leave_before_the_disk(patch: pytest.MonkeyPatch) -> None:
    """The gate is open: whatever was done is told at once."""
    patch.setattr(Runtime, "durable", property(lambda self: self._journal.tail))


def a_failed_commit_is_confirmed(patch: pytest.MonkeyPatch) -> None:
    """When the disk fails, those who wait are told that all is well."""

    def commit_failed(self: Runtime, error: BaseException, exit_code: int = 74) -> None:
        for gated in list(self._gated):
            gated.release(self._journal.tail)  # type: ignore[union-attr]
        self._fail(error, exit_code)

    patch.setattr(Runtime, "commit_failed", commit_failed)


def leases_run_out_while_the_storage_is_away(patch: pytest.MonkeyPatch) -> None:
    """Whoever could not be heard is taken for dead."""
    patch.setattr(Engine, "stood_still", lambda self, ms, now: None)


def jobs_of_refused_answers_stay_with_nobody(patch: pytest.MonkeyPatch) -> None:
    """When the storage is back, what was handed out in answers that were refused is forgotten."""
    real = Runtime.give_back

    def give_back(self: Runtime, jobs: Any, now: Instant) -> None:
        if self.away:
            return
        real(self, jobs, now)

    patch.setattr(Runtime, "give_back", give_back)


def a_write_is_confirmed_when_it_begins(patch: pytest.MonkeyPatch) -> None:
    """The journal takes a submitted group for a safe one."""
    real = Journal.next_group

    def next_group(self: Journal) -> tuple[int, bytes] | None:
        group = real(self)
        if group is not None:
            self.durable = group[0]
        return group

    patch.setattr(Journal, "next_group", next_group)


def the_tail_lags_behind(patch: pytest.MonkeyPatch) -> None:
    """An answer depends on the group before the one that holds its records."""
    patch.setattr(Journal, "tail", property(lambda self: max(self.durable, self._tail - 1)))


def a_turn_is_torn(patch: pytest.MonkeyPatch) -> None:
    """Of a turn with several records the last one is not journaled."""
    real = Journal.append
    patch.setattr(Journal, "append", lambda self, records: real(self, records[:-1] if len(records) > 1 else records))


def events_are_told_at_once(patch: pytest.MonkeyPatch) -> None:
    """Events do not wait for the disk."""

    def hand_over(self: Runtime, now: Instant) -> None:
        self.hub.publish(self.engine.outbox.take_events())
        real(self, now)

    real = Runtime.hand_over
    patch.setattr(Runtime, "hand_over", hand_over)


def a_boot_reuses_the_last_epoch(patch: pytest.MonkeyPatch) -> None:
    """The epoch does not grow when storage is opened."""

    def open_again(self: Disk) -> int:
        self.epoch = 1
        return self.newest

    patch.setattr(Disk, "open", open_again)


def acks_are_not_fenced(patch: pytest.MonkeyPatch) -> None:
    """An ACK applies to the live attempt whatever token it carries."""
    real = Settle.ack

    def ack(self: Settle, id: int, token: str | None, result: bytes | None, now: Instant) -> bool:
        live = self._jobs.state(id) == ACTIVE
        return real(self, id, None if live else token, result, now)

    patch.setattr(Settle, "ack", ack)


def an_old_boots_token_is_good_for_ever(patch: pytest.MonkeyPatch) -> None:
    """A token of any boot is taken for one of the boot before."""
    real = Settle._take_back

    def take_back(self: Settle, id: int, chunk: Any, slot: int, token: str | None, now: Instant, **more: Any) -> Lease:
        epoch, name = self._epoch, parse_token(token or "")
        if name is not None and name[0] < epoch:
            self._epoch = name[0] + 1
        try:
            return real(self, id, chunk, slot, token, now, **more)
        finally:
            self._epoch = epoch

    patch.setattr(Settle, "_take_back", take_back)


def a_timeout_keeps_the_slot(patch: pytest.MonkeyPatch) -> None:
    """A timed out attempt still counts against the concurrency limit."""
    real = Settle.end_lease

    def end_lease(self: Settle, lease: Lease, error: str, now: Instant) -> None:
        queue = self._jobs.options(lease.ids[0]).queue if self._jobs.state(lease.ids[0]) == ACTIVE else None
        real(self, lease, error, now)
        if queue is not None and queue.limits.concurrency:
            queue.counts[ACTIVE] += 1

    patch.setattr(Settle, "end_lease", end_lease)


def a_dead_letter_loses_its_key(patch: pytest.MonkeyPatch) -> None:
    """The unique key is free as soon as the job enters the dead letters."""
    real = Settle.bury

    def bury(self: Settle, id: int, before: int, error: str, now: Instant) -> None:
        real(self, id, before, error, now)
        self._free_key(self._jobs.options(id).queue, id)

    patch.setattr(Settle, "bury", bury)


def a_timeout_uses_up_no_attempt(patch: pytest.MonkeyPatch) -> None:
    """A poison job that never answers is tried for ever."""
    real = Settle._end_attempt

    def end_attempt(self: Settle, id: int, *arguments: Any, timed_out: bool = False, **more: Any) -> None:
        if timed_out:
            self._jobs.extra(id).attempts -= 1
        real(self, id, *arguments, timed_out=timed_out, **more)

    patch.setattr(Settle, "_end_attempt", end_attempt)


def a_schedules_watermark_is_not_remembered(patch: pytest.MonkeyPatch) -> None:
    """A firing is not journaled, so it fires once more after a restart."""
    real = Control.fire_crons

    def fire_crons(self: Control, now: Instant, most: int) -> None:
        real(self, now, most)
        self._outbox.records = [record for record in self._outbox.records if not isinstance(record, CronSet)]

    patch.setattr(Control, "fire_crons", fire_crons)


def a_schedule_catches_up_on_everything(patch: pytest.MonkeyPatch) -> None:
    """Every missed instant fires, one after the other."""
    real = Crons.due
    patch.setattr(Crons, "due", lambda self, now, most: real(self, min(now, self.next_due() or now), most))


def leases_run_by_the_wall_clock(patch: pytest.MonkeyPatch) -> None:
    """A corrected system time ends leases early, or never."""
    real = Engine.tick
    first: dict[int, int] = {}

    def tick(self: Engine, now: Instant) -> int | None:
        gap = first.setdefault(id(self), now.wall - now.steady)
        wall = Instant(now.wall, now.wall - gap)
        for _, lease in self.clocks.leases.due(wall.steady, 1_000):
            self.settle.lease_over(lease, wall)
        return real(self, now)

    patch.setattr(Engine, "tick", tick)


def half_a_batch_is_taken(patch: pytest.MonkeyPatch) -> None:
    """A batch with a bad job in it is refused after its first jobs were taken in."""

    def push_batch(self: Intake, queue: Any, specs: Any, payloads: list[bytes], now: Instant) -> Admitted:
        admitted = Admitted([], [], [])
        for place, (spec, data) in enumerate(zip(specs, payloads, strict=True)):
            id, outcome = self.push(queue, spec, data, now)
            admitted.ids.append(id)
            if outcome != FRESH:
                (admitted.duplicates if outcome == 1 else admitted.replayed).append(place)
        return admitted

    patch.setattr(Intake, "push_batch", push_batch)


def one_job_wakes_everybody(patch: pytest.MonkeyPatch) -> None:
    """When a job comes, all who wait are answered, all but one with nothing."""
    real = Dispatch.feed

    def feed(self: Dispatch, queue: Any, now: Instant) -> None:
        woken = queue.counts[WAITING]
        real(self, queue, now)
        if woken:
            for waiter in list(queue.waiters.line.values()):
                self._parking.give_up(waiter)

    patch.setattr(Dispatch, "feed", feed)


def a_parked_pull_that_left_is_served(patch: pytest.MonkeyPatch) -> None:
    """A closed connection stays in line, and a job is lost on it till its lease ends."""
    patch.setattr(Parking, "unpark", lambda self, token: False)


def a_worker_is_not_told_of_a_cancelled_attempt(patch: pytest.MonkeyPatch) -> None:
    """A worker that waits for news goes on with a job that is gone."""
    real = Beats.ended

    def ended(self: Beats, worker: Any, attempts: Any) -> None:
        if attempts and attempts[0].reason != "cancelled":
            real(self, worker, attempts)

    patch.setattr(Beats, "ended", ended)


def news_are_told_twice(patch: pytest.MonkeyPatch) -> None:
    """What a worker was told is told again by its next BEAT."""
    patch.setattr(Beats, "take", lambda self, worker: list(worker.ended))


def nobody_hears_of_a_job_that_was_taken_back(patch: pytest.MonkeyPatch) -> None:
    """Who waits for the end of a job that is cancelled or expires waits for ever."""
    patch.setattr(Watchers, "dropped", lambda self, ids, reason: None)


def whoever_watched_and_left_is_told(patch: pytest.MonkeyPatch) -> None:
    """A call that gave up is still told how the job ended."""
    patch.setattr(Watchers, "_leave", lambda self, id, token: None)

    def forget(self: Parking, call: Call) -> None:
        self.calls.pop(call.token, None)
        call.parked = False

    patch.setattr(Parking, "forget", forget)


def whoever_waits_on_several_queues_waits_on_one(patch: pytest.MonkeyPatch) -> None:
    """A pull of several queues stands in the line of the first only."""
    real = Dispatch.park

    def park(self: Dispatch, token: Any, names: Any, *arguments: Any) -> None:
        real(self, token, names[:1], *arguments)

    patch.setattr(Dispatch, "park", park)


def the_last_queue_named_comes_first(patch: pytest.MonkeyPatch) -> None:
    """A pull of several queues takes no heed of their order."""
    real = Dispatch.pull_any

    def pull_any(self: Dispatch, names: Any, *arguments: Any) -> Any:
        return real(self, names[::-1], *arguments)

    patch.setattr(Dispatch, "pull_any", pull_any)


def a_delay_is_over_twice(patch: pytest.MonkeyPatch) -> None:
    """After a restart a delayed job stands in the line and still has its timer."""
    real = restoring._Loader._place

    def place(self: Any, row: Any) -> None:
        real(self, row)
        if self._jobs.state(row.id) == DELAYED:
            queue = self._jobs.options(row.id).queue
            queue.ready.put(row.priority, row.id)

    patch.setattr(restoring._Loader, "_place", place)


def what_was_dropped_is_forgotten(patch: pytest.MonkeyPatch) -> None:
    """After a restart a cancelled parent counts as completed."""
    real = restoring.restore

    def restore(snapshot: Any, *arguments: Any, **more: Any) -> Engine:
        snapshot.dropped = []
        return real(snapshot, *arguments, **more)

    patch.setattr("tests.simulation.world.restore", restore)


def ids_begin_behind_the_last_job(patch: pytest.MonkeyPatch) -> None:
    """After a restart the next id follows the newest job that is still remembered."""
    real = restoring.restore

    def restore(snapshot: Any, *arguments: Any, **more: Any) -> Engine:
        snapshot.jobs = list(snapshot.jobs)
        last = [job.first + len(job.data) - 1 if isinstance(job, Pushed) else job.id for job in snapshot.jobs]
        snapshot.next_id = max(last, default=0) + 1
        return real(snapshot, *arguments, **more)

    patch.setattr("tests.simulation.world.restore", restore)


def a_pause_ends_with_a_restart(patch: pytest.MonkeyPatch) -> None:
    """That a queue is paused is not restored."""
    real = restoring.restore

    def restore(snapshot: Any, *arguments: Any, **more: Any) -> Engine:
        engine = real(snapshot, *arguments, **more)
        for queue in engine.queues.by_name.values():
            queue.limits.set_paused(False)
        return engine

    patch.setattr("tests.simulation.world.restore", restore)


def low_priorities_come_first(patch: pytest.MonkeyPatch) -> None:
    """Negative priorities are served before the ordinary."""
    real = Ready.put
    patch.setattr(Ready, "put", lambda self, priority, id: real(self, abs(priority), id))


def keys_are_free_after_a_restart(patch: pytest.MonkeyPatch) -> None:
    """Who holds a unique key is not restored."""
    real = restoring.restore

    def restore(snapshot: Any, *arguments: Any, **more: Any) -> Engine:
        engine = real(snapshot, *arguments, **more)
        for queue in engine.queues.by_name.values():
            queue.keys.clear()
        return engine

    patch.setattr("tests.simulation.world.restore", restore)


def a_restart_fills_the_bucket(patch: pytest.MonkeyPatch) -> None:
    """After a restart the rate limit grants a full bucket at once."""
    real = Limits.set_rate
    patch.setattr(Limits, "set_rate", lambda self, limit, now, *, full=True: real(self, limit, now))  # noqa: PLW0108


def the_bucket_overflows(patch: pytest.MonkeyPatch) -> None:
    """A long idle time is saved up: the bucket has no size."""

    def fill(self: Limits, now: int) -> None:
        self._millis += max(0, now - self._filled_at) * self.rate
        self._filled_at = now

    patch.setattr(Limits, "_fill", fill)


def a_refill_wakes_nobody(patch: pytest.MonkeyPatch) -> None:
    """Who waits for the rate limit is forgotten until somebody pushes."""
    patch.setattr(Dispatch, "_await_refill", lambda self, queue, now: None)


def one_attempt_too_many_at_once(patch: pytest.MonkeyPatch) -> None:
    """The concurrency limit is off by one."""
    real = Limits.allow
    patch.setattr(Limits, "allow", lambda self, count, active, now: real(self, count, max(0, active - 1), now))


def retries_do_not_slow_down(patch: pytest.MonkeyPatch) -> None:
    """The backoff is not doubled."""
    patch.setattr("flashq.engine.settle.delay_ms", lambda backoff, attempts: min(backoff, 3_600_000))


def a_retried_dead_letter_keeps_its_attempts(patch: pytest.MonkeyPatch) -> None:
    """RETRYDLQ does not set the attempts back, so the job is dead again at its first failure."""
    real = Intake.make_ready

    def make_ready(self: Intake, id: int, before: int) -> Any:
        if before == FAILED:
            self._jobs.extra(id).attempts = self._jobs.options(id).max_attempts - 1
        return real(self, id, before)

    patch.setattr(Intake, "make_ready", make_ready)


def an_expired_job_is_still_delivered(patch: pytest.MonkeyPatch) -> None:
    """The ttl counts from the last retry and not from the creation."""
    real = Settle._end_attempt

    def end_attempt(self: Settle, id: int, chunk: Any, slot: int, error: str | None, now: Instant, **more: Any) -> None:
        if expires_at(self._jobs, id):
            chunk.created[slot] = now.wall
        real(self, id, chunk, slot, error, now, **more)

    patch.setattr(Settle, "_end_attempt", end_attempt)


def a_child_waits_for_one_parent_only(patch: pytest.MonkeyPatch) -> None:
    """The first parent that completes sets its children free."""
    real = Graph.completed

    def completed(self: Graph, parent: int) -> list[int]:
        free = real(self, parent)
        others = [child for child in list(self._parents) if child > parent and len(self._parents[child]) == 1]
        for child in others[:1]:
            self.drop(child)
        return free + others[:1]

    patch.setattr(Graph, "completed", completed)


def a_lost_parent_is_not_noticed(patch: pytest.MonkeyPatch) -> None:
    """Children of a cancelled job wait for ever."""
    patch.setattr(Graph, "lost", lambda self, parent: [])


def results_are_kept_too_long(patch: pytest.MonkeyPatch) -> None:
    """Forgetting a job leaves its result behind."""
    real = Finished.trim

    def trim(self: Finished) -> list[int]:
        keep, self.keep_results = self.keep_results, 10**9
        try:
            return real(self)
        finally:
            self.keep_results = keep

    patch.setattr(Finished, "trim", trim)


def a_retry_is_not_remembered(patch: pytest.MonkeyPatch) -> None:
    """That an attempt failed is journaled only when it buries the job."""
    real = Intake.record_change

    def record_change(self: Intake, id: int) -> None:
        if self._jobs.state(id) == FAILED:
            real(self, id)

    patch.setattr(Intake, "record_change", record_change)


def an_older_change_wins_in_the_fold(patch: pytest.MonkeyPatch) -> None:
    """When a job changed twice within a window, the first change is what is remembered."""

    def change(self: Fold, record: Changed) -> None:
        self._changes.setdefault(record.id, record)
        if record.state == FAILED:
            self._queue(record.queue).failed += 1

    patch.setitem(Fold._FEEDERS, Changed, change)


def a_client_id_is_forgotten_when_the_job_ends(patch: pytest.MonkeyPatch) -> None:
    """A push that is repeated after the job completed makes another one."""
    real = Settle._complete

    def complete(self: Settle, queue: Any, lease: Lease, ids: list[int], *arguments: Any) -> None:
        for id in ids:
            extra = self._jobs.extras.get(id)
            if extra is not None and extra.custom_id is not None:
                self._jobs.customs.pop(extra.custom_id, None)
                extra.custom_id = None
        real(self, queue, lease, ids, *arguments)

    patch.setattr(Settle, "_complete", complete)


def a_heartbeat_renews_the_whole_delivery(patch: pytest.MonkeyPatch) -> None:
    """One live job of a batch keeps the leases of all of them."""
    patch.setattr(
        Settle, "split_lease", lambda self, id, chunk, slot, now: self._jobs.chunks[id >> CHUNK_BITS].lease[id & MASK]
    )


def a_returned_job_goes_to_the_end(patch: pytest.MonkeyPatch) -> None:
    """What a leaving worker gives back stands behind everything that came later."""
    patch.setattr(Ready, "put_front", lambda self, priority, ids: [self.put(priority, id) for id in reversed(ids)])


def half_a_flow_is_taken(patch: pytest.MonkeyPatch) -> None:
    """A flow is refused at its first bad job, and those before it stay."""
    patch.setattr(Intake, "_check_flow", lambda self, queues, specs, edges: None)


def a_place_is_off_by_one(patch: pytest.MonkeyPatch) -> None:
    """Jobs of a flow wait for the neighbours of those that they named."""
    real = intake_module._parents

    def parents(spec: Any, ids: list[int], where: str) -> list[int]:
        return [max(1, id - 1) for id in real(spec, ids, where)] if not where and spec.after else real(spec, ids, where)

    patch.setattr("flashq.engine.intake._parents", parents)


def inputs_are_not_remembered(patch: pytest.MonkeyPatch) -> None:
    """What a job has collected is lost in a restart."""
    patch.setitem(Fold._FEEDERS, Collected, lambda fold, record: None)


def only_remembered_results_are_collected(patch: pytest.MonkeyPatch) -> None:
    """A result that is forgotten at once does not reach the child."""
    real = Settle._collect

    def collect(self: Settle, parent: int, result: bytes) -> None:
        if parent in self._finished.results:
            real(self, parent, result)

    patch.setattr(Settle, "_collect", collect)


def a_key_does_not_stop_a_schedule(patch: pytest.MonkeyPatch) -> None:
    """A firing is pushed although the job of the former one still holds the key."""
    real = Control.fire_crons

    def fire_crons(self: Control, now: Instant, most: int) -> None:
        for row in self._crons.rows():
            row.unique_key = None
        real(self, now, most)

    patch.setattr(Control, "fire_crons", fire_crons)


def a_release_counts_as_a_failure(patch: pytest.MonkeyPatch) -> None:
    """An attempt given up in good order uses one up."""
    real = Settle.release

    def release(self: Settle, id: int, token: str | None, delay: int, now: Instant) -> None:
        real(self, id, token, delay, now)
        if self._jobs.state(id) == DELAYED:
            self._jobs.extra(id).attempts += 1

    patch.setattr(Settle, "release", release)


def a_released_job_is_not_put_off_for_good(patch: pytest.MonkeyPatch) -> None:
    """That a job was released for later is not journaled: after a restart it runs at once."""
    real = Settle.release

    def release(self: Settle, id: int, token: str | None, delay: int, now: Instant) -> None:
        before = len(self._outbox.records)
        real(self, id, token, delay, now)
        del self._outbox.records[before:]

    patch.setattr(Settle, "release", release)


PLANTED: Final[dict[str, Plant]] = {
    name: plant
    for name, plant in list(globals().items())
    if callable(plant) and getattr(plant, "__module__", "") == __name__ and plant.__name__ == name and name[0] != "_"
}
"""All of them by name."""

QUICK: Final = ("answers_leave_before_the_disk", "acks_are_not_fenced", "keys_are_free_after_a_restart")
"""A few that are found at once: that the net holds at all is tried on every run."""
