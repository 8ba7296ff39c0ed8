"""Taking jobs in: admission, and making a job ready when its time or its parents allow.

Plain jobs (nothing but payload and options) take the short way: a batch of them is a few slice assignments. A job
with a delay, a ttl, a key, parents, tags or a client's id leaves the loop by one branch and may cost more.
"""

from collections.abc import Sequence

from msgspec import Struct

from flashq.engine.clocks import Clocks
from flashq.engine.dependencies import Graph
from flashq.engine.dispatch import Dispatch
from flashq.engine.effects import Outbox
from flashq.engine.finished import Finished
from flashq.engine.jobs import CHUNK_BITS, JOB_BYTES, MASK, Extra, Jobs
from flashq.engine.queue import Options, Queue, Queues
from flashq.engine.records import Added, Changed, JobRow
from flashq.engine.settings import Settings
from flashq.errors import BadRequest, LimitReached, Overloaded
from flashq.model import COMPLETED, DELAYED, FAILED, UNKNOWN, WAITING, WAITING_CHILDREN, Instant, JobSpec
from flashq.protocol.limits import MAX_FAN_OUT

FRESH, DUPLICATE, REPLAYED = range(3)
"""What became of a push: a new job, refused for its unique key, or known by its client's id."""


class Admitted(Struct, gc=False):
    """What became of a batch: ``ids`` aligned with it, and the places of those that are not new jobs."""

    ids: list[int]
    duplicates: list[int]
    replayed: list[int]


class Intake:
    """Everything that makes jobs, and makes them ready."""

    def __init__(
        self,
        jobs: Jobs,
        queues: Queues,
        clocks: Clocks,
        graph: Graph,
        finished: Finished,
        outbox: Outbox,
        settings: Settings,
        dispatch: Dispatch,
    ) -> None:
        self._jobs = jobs
        self._queues = queues
        self._clocks = clocks
        self._graph = graph
        self._finished = finished
        self._outbox = outbox
        self._max_attempts = settings.default_max_attempts
        self._backoff = settings.default_backoff
        self._max_bytes = settings.max_bytes
        self._dispatch = dispatch

    def push(self, queue: Queue, spec: JobSpec, data: bytes, now: Instant) -> tuple[int, int]:
        """Take in one job whose payload is ``data``.

        Returns:
            Its id and FRESH, or the id of the job that is there already and DUPLICATE or REPLAYED.

        Raises:
            BadRequest: it names a parent that never was.
            LimitReached: a parent has as many children as it may.
            Overloaded: the memory for jobs is used up.
        """
        if self._jobs.bytes + len(data) + JOB_BYTES > self._max_bytes:
            self._refuse_bytes()
        options = self._options(queue, spec)
        if _is_special(spec):
            if spec.depends_on:
                self._check_parents(spec.depends_on, {})
            id, outcome = self._admit_special(queue, spec, options, data, now)
            if outcome != FRESH:
                return id, outcome
            queue.pushed += 1
        else:
            id = self._admit_plain(queue, options, data, now)
        if self._outbox.watched:
            self._tell_pushed(queue, id, data, now)
        if queue.waiters.line:
            self._dispatch.feed(queue, now)
        return id, FRESH

    def push_batch(self, queue: Queue, specs: Sequence[JobSpec], payloads: list[bytes], now: Instant) -> Admitted:
        """Take in many jobs, all of them or none; ``payloads`` are aligned with ``specs``.

        The errors are those of `push` and name the place.
        """
        if self._jobs.bytes + sum(map(len, payloads)) + JOB_BYTES * len(payloads) > self._max_bytes:
            self._refuse_bytes()
        children: dict[int, int] = {}
        for place, spec in enumerate(specs):
            if spec.depends_on:
                self._check_parents(spec.depends_on, children, f"jobs[{place}]: ")
        if _uniform(specs):
            first = self._admit_run(queue, self._options(queue, specs[0]), payloads, now)
            admitted = Admitted(list(range(first, first + len(specs))), [], [])
        else:
            admitted = self._admit_mixed(queue, specs, payloads, now)
        if self._outbox.watched:
            known = {*admitted.duplicates, *admitted.replayed}
            for place, id in enumerate(admitted.ids):
                if place not in known:
                    self._tell_pushed(queue, id, payloads[place], now)
        if queue.waiters.line:
            self._dispatch.feed(queue, now)
        return admitted

    def delay_over(self, id: int, due: int, now: Instant) -> None:
        """A delay or a wait for a retry ended at ``due``."""
        if self._jobs.state(id) == DELAYED and self._jobs.extras[id].run_at == due:
            queue = self.make_ready(id, DELAYED)
            if queue.waiters.line:
                self._dispatch.feed(queue, now)

    def parents_done(self, id: int, now: Instant) -> None:
        """The last parent of a waiting child completed: it waits for its delay, or runs."""
        extra = self._jobs.extras[id]
        # A job without a delay may run at once, also when the wall clock was set back behind its creation.
        if now.wall < extra.run_at != self._jobs.chunks[id >> CHUNK_BITS].created[id & MASK]:
            queue = self._jobs.options(id).queue
            self._jobs.set_state(id, DELAYED)
            self._queues.move(queue, WAITING_CHILDREN, DELAYED)
            self._clocks.delays.at(extra.run_at, id)
        else:
            extra.run_at = now.wall
            queue = self.make_ready(id, WAITING_CHILDREN)
        self.record_change(id)
        if queue.waiters.line:
            self._dispatch.feed(queue, now)

    def make_ready(self, id: int, before: int) -> Queue:
        """Put a job that was in state ``before`` at the end of its line; feeding is the caller's next step."""
        chunk = self._jobs.chunks[id >> CHUNK_BITS]
        slot = id & MASK
        options = chunk.options[slot]
        chunk.state[slot] = WAITING
        options.queue.ready.put(options.priority, id)
        self._queues.move(options.queue, before, WAITING)
        return options.queue

    def record_change(self, id: int) -> None:
        """Remember a job's changing members as they now are."""
        if self._outbox.recording:
            e = self._jobs.extras[id]
            self._outbox.record(
                Changed(
                    id,
                    self._jobs.options(id).queue.name,
                    self._jobs.state(id),
                    e.run_at,
                    e.started_at,
                    e.attempts,
                    e.message,
                    e.fence_epoch,
                    e.fence_serial,
                    e.returns,
                )
            )

    def _admit_plain(self, queue: Queue, options: Options, data: bytes, now: Instant) -> int:
        id = self._jobs.add(options, data, now.wall, WAITING)
        queue.ready.put(options.priority, id)
        if self._outbox.recording:
            self._outbox.pushed(options, id, [data], now.wall)
        queue.counts[WAITING] += 1
        self._queues.counts[WAITING] += 1
        queue.pushed += 1
        return id

    def _admit_run(self, queue: Queue, options: Options, payloads: list[bytes], now: Instant) -> int:
        first = self._jobs.add_run(options, payloads, now.wall, WAITING)
        queue.ready.put_run(options.priority, first, first + len(payloads))
        self._outbox.pushed(options, first, payloads, now.wall)
        self._queues.move(queue, UNKNOWN, WAITING, len(payloads))
        queue.pushed += len(payloads)
        return first

    def _admit_mixed(self, queue: Queue, specs: Sequence[JobSpec], payloads: list[bytes], now: Instant) -> Admitted:
        admitted = Admitted([], [], [])
        for place, (spec, data) in enumerate(zip(specs, payloads, strict=True)):
            options = self._options(queue, spec)
            if not _is_special(spec):
                admitted.ids.append(self._admit_plain(queue, options, data, now))
                continue
            id, outcome = self._admit_special(queue, spec, options, data, now)
            admitted.ids.append(id)
            if outcome == FRESH:
                queue.pushed += 1
            else:
                (admitted.duplicates if outcome == DUPLICATE else admitted.replayed).append(place)
        return admitted

    def _admit_special(
        self, queue: Queue, spec: JobSpec, options: Options, data: bytes, now: Instant
    ) -> tuple[int, int]:
        jobs = self._jobs
        if spec.job_id is not None and spec.job_id in jobs.customs:
            return jobs.customs[spec.job_id], REPLAYED
        if spec.unique_key is not None and spec.unique_key in queue.keys:
            return queue.keys[spec.unique_key], DUPLICATE
        parents = [id for id in dict.fromkeys(spec.depends_on or ()) if not self._is_done(id)]
        lost = next((id for id in parents if id in self._finished.dropped), 0)
        run_at = now.wall + (spec.delay or 0)
        state = WAITING
        if lost:
            state = FAILED
        elif parents:
            state = WAITING_CHILDREN
        elif spec.delay:
            state = DELAYED
        id = jobs.add(options, data, now.wall, state)
        extra = Extra(run_at, unique_key=spec.unique_key, custom_id=spec.job_id, depends_on=spec.depends_on)
        extra.tags = spec.tags
        if spec.delay or spec.unique_key is not None or spec.job_id is not None or spec.depends_on or spec.tags:
            jobs.extras[id] = extra
        if spec.unique_key is not None:
            queue.keys[spec.unique_key] = id
        if spec.job_id is not None:
            jobs.customs[spec.job_id] = id
        self._queues.move(queue, UNKNOWN, state)
        if state == WAITING:
            queue.ready.put(options.priority, id)
        elif state == DELAYED:
            self._clocks.delays.at(run_at, id)
        elif state == WAITING_CHILDREN:
            self._graph.hold(id, parents)
        else:
            extra.message = f"dependency {lost} cancelled"
            extra.run_at = now.wall
            queue.dead[id] = None
            queue.failed += 1
        if options.ttl and state != FAILED:
            self._clocks.expiries.at(now.wall + options.ttl, id)
        self._outbox.record(Added(job_row(jobs, id)))
        return id, FRESH

    def _tell_pushed(self, queue: Queue, id: int, data: bytes, now: Instant) -> None:
        self._outbox.event("pushed", queue.name, id, now.wall, data=data)
        if self._jobs.state(id) == FAILED:  # its parent is lost
            self._outbox.event("failed", queue.name, id, now.wall, error=self._jobs.extras[id].message)

    def _options(self, queue: Queue, spec: JobSpec) -> Options:
        plain = (
            spec.priority == 0
            and spec.max_attempts is None
            and spec.backoff is None
            and not spec.ttl
            and not spec.timeout
        )
        if plain and queue.plain is not None:  # most jobs of most queues
            return queue.plain
        options = queue.options(
            spec.priority,
            self._max_attempts if spec.max_attempts is None else spec.max_attempts,
            self._backoff if spec.backoff is None else spec.backoff,
            spec.ttl or 0,
            spec.timeout or 0,
        )
        if plain:
            queue.plain = options
        return options

    def _is_done(self, parent: int) -> bool:
        state = self._jobs.state(parent)
        return state == COMPLETED or (state == UNKNOWN and parent not in self._finished.dropped)

    def _check_parents(self, parents: list[int], children: dict[int, int], where: str = "") -> None:
        """Refuse parents that never were, or have too many ``children``: those of the same batch, by parent, count."""
        for parent in dict.fromkeys(parents):
            if not 0 < parent < self._jobs.next_id:
                raise BadRequest(f"Invalid: {where}depends_on names unknown job {parent}")
            if self._is_done(parent):
                continue
            children[parent] = children.get(parent, 0) + 1
            if self._graph.fan_out(parent) + children[parent] > MAX_FAN_OUT:
                raise LimitReached(f"{where}job {parent} has too many children (max {MAX_FAN_OUT})")

    def _refuse_bytes(self) -> None:
        raise Overloaded(f"Memory for jobs is used up ({self._jobs.bytes} bytes held, max {self._max_bytes})")


def job_row(jobs: Jobs, id: int) -> JobRow:
    """A job that has not completed, as the row that is remembered. An active job is remembered as waiting."""
    chunk = jobs.chunks[id >> CHUNK_BITS]
    slot = id & MASK
    o = chunk.options[slot]
    e = jobs.extras.get(id) or Extra()
    created = chunk.created[slot]
    return JobRow(
        id, o.queue.name, chunk.state[slot], o.priority, created, e.run_at or created, e.started_at, e.attempts,
        o.max_attempts, o.backoff, o.ttl, o.timeout, chunk.data[slot], e.unique_key, e.custom_id, e.depends_on, e.tags,
        e.progress, e.message, e.fence_epoch, e.fence_serial, e.returns,
    )  # fmt: skip


def _is_special(spec: JobSpec) -> bool:
    return bool(
        spec.delay or spec.ttl or spec.unique_key is not None or spec.job_id is not None or spec.depends_on or spec.tags
    )


def _uniform(specs: Sequence[JobSpec]) -> bool:
    """Whether all are plain and share their options. One loop without calls: this runs for every job of a batch."""
    first = specs[0]
    priority, timeout = first.priority, first.timeout
    max_attempts, backoff = first.max_attempts, first.backoff
    for spec in specs:
        if (
            spec.priority != priority
            or spec.timeout != timeout
            or spec.max_attempts != max_attempts
            or spec.backoff != backoff
            or spec.delay is not None
            or spec.ttl is not None
            or spec.unique_key is not None
            or spec.job_id is not None
            or spec.depends_on is not None
            or spec.tags is not None
        ):
            return False
    return True
