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
from flashq.engine.jobs import CHUNK_BITS, EDGE_BYTES, JOB_BYTES, MASK, Extra, Jobs
from flashq.engine.queue import Options, Queue, Queues
from flashq.engine.records import Added, Changed, JobRow
from flashq.engine.settings import Settings
from flashq.errors import BadRequest, Duplicate, LimitReached, Overloaded, TooLarge
from flashq.model import (
    COMPLETED,
    DELAYED,
    FAILED,
    STATE_NAMES,
    UNKNOWN,
    WAITING,
    WAITING_CHILDREN,
    FlowJob,
    Instant,
    JobSpec,
)
from flashq.protocol.limits import MAX_DEPENDS_ON, MAX_FAN_OUT, MAX_FLOW_EDGES, MAX_INPUT_BYTES

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
                self._check_room(len(data) + JOB_BYTES + EDGE_BYTES * len(spec.depends_on))
                self._check_parents(spec.depends_on, {})
            id, outcome = self._admit_special(queue, spec, options, data, now, spec.depends_on)
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
        edges = 0
        for spec in specs:
            if spec.depends_on:
                edges += len(spec.depends_on)
        if edges:
            self._check_room(sum(map(len, payloads)) + JOB_BYTES * len(payloads) + EDGE_BYTES * edges)
            self._check_edges(specs, edges)
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

    def push_flow(
        self, queues: Sequence[Queue], specs: Sequence[FlowJob], payloads: list[bytes], now: Instant
    ) -> Admitted:
        """Take in jobs of several queues that may wait for each other, all of them or none.

        Args:
            queues: of each job.
            specs: the jobs; ``after`` names places before a job's own.
            payloads: of each job.
            now: the moment of the push.

        Raises:
            BadRequest: a job names a parent that never was, or a place that is not before it.
            Duplicate: a unique key is held, by a live job or by an earlier one of the flow.
            TooLarge: a job has too many parents, or all of them together.
            LimitReached: a parent would have more children than it may.
            Overloaded: the memory for jobs is used up.
        """
        edges = sum(len(spec.depends_on or ()) + len(spec.after or ()) for spec in specs)
        self._check_room(sum(map(len, payloads)) + JOB_BYTES * len(payloads) + EDGE_BYTES * edges)
        self._check_flow(queues, specs, edges)
        admitted = Admitted([], [], [])
        ids = admitted.ids
        for place, (queue, spec, data) in enumerate(zip(queues, specs, payloads, strict=True)):
            options = self._options(queue, spec)
            if not spec.after and not _is_special(spec):
                ids.append(self._admit_plain(queue, options, data, now))
                continue
            id, outcome = self._admit_special(queue, spec, options, data, now, _parents(spec, ids, "") or None)
            ids.append(id)
            if outcome == FRESH:
                queue.pushed += 1
            else:
                admitted.replayed.append(place)
        if self._outbox.watched:
            known = set(admitted.replayed)
            for place, id in enumerate(ids):
                if place not in known:
                    self._tell_pushed(queues[place], id, payloads[place], now)
        for queue in dict.fromkeys(queues):
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
        if self._outbox.auditing:
            self._note_state(id, self._jobs.state(id), now)
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
        if self._outbox.auditing:
            self._outbox.happened("pushed", queue.name, [id], now)
        queue.counts[WAITING] += 1
        self._queues.counts[WAITING] += 1
        queue.pushed += 1
        return id

    def _admit_run(self, queue: Queue, options: Options, payloads: list[bytes], now: Instant) -> int:
        first = self._jobs.add_run(options, payloads, now.wall, WAITING)
        queue.ready.put_run(options.priority, first, first + len(payloads))
        self._outbox.pushed(options, first, payloads, now.wall)
        if self._outbox.auditing:
            self._outbox.happened("pushed", queue.name, range(first, first + len(payloads)), now)
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
            id, outcome = self._admit_special(queue, spec, options, data, now, spec.depends_on)
            admitted.ids.append(id)
            if outcome == FRESH:
                queue.pushed += 1
            else:
                (admitted.duplicates if outcome == DUPLICATE else admitted.replayed).append(place)
        return admitted

    def _admit_special(
        self, queue: Queue, spec: JobSpec, options: Options, data: bytes, now: Instant, depends_on: list[int] | None
    ) -> tuple[int, int]:
        jobs = self._jobs
        if spec.job_id is not None and spec.job_id in jobs.customs:
            return jobs.customs[spec.job_id], REPLAYED
        if spec.unique_key is not None and spec.unique_key in queue.keys:
            return queue.keys[spec.unique_key], DUPLICATE
        run_at = now.wall + (spec.delay or 0)
        extra = Extra(run_at, unique_key=spec.unique_key, custom_id=spec.job_id, depends_on=depends_on)
        extra.tags = spec.tags
        if spec.collect:
            self._collect_known(extra)
        parents = [id for id in dict.fromkeys(depends_on or ()) if not self._is_done(id)]
        extra.message = self._hopeless(extra, parents)
        if extra.message is not None:
            state = FAILED
        elif parents:
            state = WAITING_CHILDREN
        else:
            state = DELAYED if spec.delay else WAITING
        id = jobs.add(options, data, now.wall, state)
        named = spec.unique_key is not None or spec.job_id is not None
        if named or spec.delay or depends_on or spec.tags or spec.collect:
            jobs.attach(id, extra)
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
            extra.run_at = now.wall
            queue.dead[id] = None
            queue.failed += 1
        if options.ttl and state != FAILED:
            self._clocks.expiries.at(now.wall + options.ttl, id)
        self._outbox.record(Added(job_row(jobs, id)))
        if self._outbox.auditing:
            self._outbox.happened("pushed", queue.name, [id], now)
            if state != WAITING:
                self._note_state(id, state, now)
        return id, FRESH

    def _note_state(self, id: int, state: int, now: Instant) -> None:
        """Write into the history of a job which state it has come to by itself."""
        queue, extra = self._jobs.options(id).queue.name, self._jobs.extras[id]
        if state == DELAYED:
            self._outbox.happened("delayed", queue, [id], now, detail=until(extra.run_at))
        elif state == FAILED:
            self._outbox.happened("dead", queue, [id], now, detail=extra.message)
        else:
            self._outbox.happened("ready" if state == WAITING else STATE_NAMES[state], queue, [id], now)

    def _collect_known(self, extra: Extra) -> None:
        """A job begins to collect: it takes what its parents that have completed already returned."""
        extra.inputs = {}
        results = self._finished.results
        for parent in dict.fromkeys(extra.depends_on or ()):
            if parent in results:
                extra.input_bytes += len(results[parent])
                extra.inputs[parent] = results[parent]
        if extra.overfull:
            extra.inputs.clear()

    def _hopeless(self, extra: Extra, parents: list[int]) -> str | None:
        """Why a new job can never run, None if it may; ``parents``: those that have not completed."""
        lost = next((id for id in parents if id in self._finished.dropped), 0)
        if lost:
            return f"dependency {lost} cancelled"
        return too_much(extra) if extra.overfull and not parents else None

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
        self._check_known(parents, where)
        self._check_fan_out(parents, children, where)

    def _check_known(self, parents: list[int], where: str) -> None:
        for parent in parents:
            if not 0 < parent < self._jobs.next_id:
                raise BadRequest(f"Invalid: {where}depends_on names unknown job {parent}")

    def _check_fan_out(self, parents: list[int], children: dict[int, int], where: str) -> None:
        next_id = self._jobs.next_id
        for parent in dict.fromkeys(parents):
            if parent < next_id and self._is_done(parent):
                continue
            children[parent] = children.get(parent, 0) + 1
            if self._graph.fan_out(parent) + children[parent] > MAX_FAN_OUT:
                name = f"job {parent}" if parent < next_id else "one of its parents in the flow"
                raise LimitReached(f"{where}{name} has too many children (max {MAX_FAN_OUT})")

    def _check_edges(self, specs: Sequence[JobSpec], edges: int) -> None:
        """Refuse the parents of a batch, ``edges`` in all."""
        _check_edge_count(edges)
        children: dict[int, int] = {}
        for place, spec in enumerate(specs):
            if spec.depends_on:
                self._check_parents(spec.depends_on, children, f"jobs[{place}]: ")

    def _check_flow(self, queues: Sequence[Queue], specs: Sequence[FlowJob], edges: int) -> None:
        """Refuse a flow as `push_flow` says. A job that is known by its client's id is taken as it is."""
        _check_edge_count(edges)
        customs = self._jobs.customs
        named: dict[str, int] = {}
        keys: dict[tuple[str, str], int] = {}
        children: dict[int, int] = {}
        to_be: list[int] = []  # the id of the job at each place; of one that is not there yet, what it would be
        fresh = self._jobs.next_id
        for place, (queue, spec) in enumerate(zip(queues, specs, strict=True)):
            where = f"jobs[{place}]: "
            parents = _parents(spec, to_be, where)
            if spec.job_id is not None:
                known = customs.get(spec.job_id) or named.setdefault(spec.job_id, fresh)
                if known != fresh:
                    to_be.append(known)
                    continue
            if spec.unique_key is not None:
                _check_key(queue, spec.unique_key, keys, place, where)
            if parents:
                self._check_known(spec.depends_on or [], where)
                self._check_fan_out(parents, children, where)
            to_be.append(fresh)
            fresh += 1

    def _check_room(self, bytes: int) -> None:
        if self._jobs.bytes + bytes > self._max_bytes:
            self._refuse_bytes()

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
        e.progress, e.message, e.fence_epoch, e.fence_serial, e.returns, collect=e.inputs is not None,
        excess=e.input_bytes if e.overfull else 0, inputs=list(e.inputs.items()) if e.inputs else None,
    )  # fmt: skip


def until(wall: int) -> str:
    """What the history of a job says of how long it waits; ``wall``: ms."""
    return f"until {wall}"


def too_much(extra: Extra) -> str:
    """Why a job cannot run whose parents returned too much."""
    return f"inputs are too large ({extra.input_bytes} bytes, max {MAX_INPUT_BYTES})"


def _check_edge_count(edges: int) -> None:
    if edges > MAX_FLOW_EDGES:
        raise TooLarge(f"Too many dependencies ({edges}, max {MAX_FLOW_EDGES})")


def _check_key(queue: Queue, key: str, keys: dict[tuple[str, str], int], place: int, where: str) -> None:
    """Refuse a unique key that is held; ``keys``: those of the same flow, by queue and key, noted."""
    if key in queue.keys:
        raise Duplicate(f"{where}Duplicate job with key: {key}", queue.keys[key])
    if (queue.name, key) in keys:
        raise Duplicate(f"{where}Duplicate job with key: {key} (jobs[{keys[queue.name, key]}] has it)")
    keys[queue.name, key] = place


def _parents(spec: FlowJob, ids: list[int], where: str) -> list[int]:
    """The parents of a job in a flow, in the order in which it has them; ``ids``: of the places before its own."""
    after = spec.after or []
    for earlier in after:
        if earlier >= len(ids):
            raise BadRequest(f"Invalid: {where}after names place {earlier}, which is not before it")
    parents = [*(spec.depends_on or ()), *(ids[earlier] for earlier in after)]
    if len(parents) > MAX_DEPENDS_ON:
        raise TooLarge(f"{where}Too many parents ({len(parents)}, max {MAX_DEPENDS_ON})")
    return parents


def _is_special(spec: JobSpec) -> bool:
    return bool(
        spec.delay
        or spec.ttl
        or spec.unique_key is not None
        or spec.job_id is not None
        or spec.depends_on
        or spec.tags
        or spec.collect
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
            or spec.collect
        ):
            return False
    return True
