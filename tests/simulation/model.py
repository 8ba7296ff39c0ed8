"""The naive queue: what the wire contract says, in dictionaries and sorted lists, slow and obvious.

Written from the contract and not from the engine, so that the two can disagree. It answers with the same typed replies
as the server, which makes comparing one ``==``; it names no attempt itself but learns the names that the server gives.

Where the contract leaves an order free (which of several overdue leases ends first, in which order a leaving worker's
jobs go back, how a batch of acknowledgements is cut), the caller passes a *hint*: the ids in the order in which the
server took them. A hint never adds a job or leaves one out. So it is with queues that may be served again at the same
moment, when one client waits on several of them.

Decisions where the contract is silent, each of them what a user would expect least surprised:

* What falls due at the same moment: silent workers end first, then attempts, then lives (ttl), then delays, then
  schedules, then refilled buckets; waiting clients give up last.
* After a restart a line is in the order of (the moment a job became ready, id), whatever was active in between.
* A job that is handed back goes to the head of its priority; one whose attempt is from before a restart, to the place
  it has had in the line since, unless a job behind that has been handed out meanwhile.
* A job whose ttl ran out while it was active disappears when its attempt fails, or is buried if that was the last.
* ``run_at`` is when the job became ready, may become ready, or was buried; ``started_at`` is when the last attempt
  began of which the server remembers the end.
"""

from bisect import bisect_left, insort
from collections.abc import Collection, Hashable, Iterable, Sequence
from copy import copy
from itertools import groupby
from operator import itemgetter
from typing import Any, Final

from msgspec import UNSET, Raw, Struct
from msgspec.structs import astuple

from flashq.model import (
    CronView,
    EndedAttempt,
    FlowJob,
    Instant,
    JobSpec,
    JobView,
    Metrics,
    QueueMetrics,
    QueueView,
    Stats,
    WorkerView,
)
from flashq.protocol import replies, requests

OK: Final = replies.Reply()

SCHEDULES: Final = {
    "*/2": (2, 0),
    "*/7": (7, 0),
    "*/5 * * * * *": (5, 0),
    "30 * * * * *": (60, 30),
    "0 */2 * * * *": (120, 0),
    "*/5 * * * *": (300, 0),
    "0 0 * * *": (86_400, 0),
}
"""The schedules that the simulation uses, and what they mean: (every so many seconds, shifted by so many)."""

MAX_BACKOFF_MS: Final = 3_600_000

JOB_BYTES: Final = 160
"""What the server counts for a job beside its payload."""

EDGE_BYTES: Final = 400
"""What it counts for a parent of a live job."""

PARENT_BYTES: Final = 40
"""What it counts for a parent of a completed one."""

UNBOUNDED: Final = 10**9
"""A bound in bytes that no simulated life comes near: what it bounds need not be added up."""


class Refused(Exception):
    """The error that the contract demands: its code, its sentence, and the id that goes with a duplicate."""

    def __init__(self, code: str, text: str, id: int = 0) -> None:
        super().__init__(code, text, id)
        self.code = code
        self.text = text
        self.id = id


class Numbers(Struct, frozen=True, kw_only=True):
    """The operator's numbers, in ms where they are times."""

    default_max_attempts: int
    default_backoff: int
    lease: int
    worker_silence: int
    keep_completed: int
    keep_results: int
    keep_bytes: int
    max_bytes: int
    max_returns: int


class Worker(Struct, eq=False, gc=False):
    """A client that named itself."""

    name: str
    queues: list[str]
    concurrency: int
    host: str | None
    pid: int | None
    last_beat: int
    deadline: int
    holds: dict[int, None]
    processed: int = 0
    failed: int = 0
    gone: bool = False
    ended: list[EndedAttempt] = []
    """Attempts of its that the server ended and it has not been told of."""


class Job(Struct, gc=False, eq=False):
    """One job with everything that is known about it."""

    id: int
    queue: str
    data: bytes
    priority: int
    created: int
    run_at: int
    ttl: int
    timeout: int
    max_attempts: int
    backoff: int
    key: str | None = None
    custom: str | None = None
    parents: list[int] | None = None
    tags: list[str] | None = None
    delay: int = 0
    state: str = "waiting"
    attempts: int = 0
    started: int = 0
    message: str | None = None
    progress: int = 0
    returns: int = 0
    place: tuple[int, int, int] | None = None
    """Where it stands in its queue's line."""
    newest: int = 0
    """Number of the newest delivery of this job to anybody, in any boot."""
    ended: int = 0
    """Number of the newest delivery that is known to have ended."""
    token: str | None = None
    """The live attempt's name, or that of the attempt that completed it."""
    began: int = 0
    deadline: int = 0
    worker: Worker | None = None
    waits_for: set[int] | None = None
    inputs: dict[int, bytes] | None = None
    """What its parents returned, if it collects that and has not completed."""
    kept_delayed: bool = False
    """Whether it is remembered as delayed: that a delay is over is not remembered, it follows from the clock."""


class Watcher(Struct, eq=False, gc=False):
    """A call that waits for the end of a job."""

    call: Hashable
    id: int
    deadline: int | None


class Beater(Struct, eq=False, gc=False):
    """A BEAT that waits for something to be told."""

    call: Hashable
    worker: Worker
    deadline: int | None


class Waiter(Struct, eq=False, gc=False):
    """A parked pull."""

    call: Hashable
    queues: list[str]
    count: int
    worker: Worker | None
    deadline: int | None
    alone: bool
    """Whether it takes one job and is answered as PULL is."""


class Queue(Struct, eq=False):
    """One queue."""

    name: str
    line: list[tuple[int, int, int]]
    homes: dict[int, tuple[int, int, int]]
    """Where jobs stood before the one who held them when the server died came back; of those that it is at."""
    dead: list[int]
    waiters: list[Waiter]
    paused: bool = False
    slots: int = 0
    rate: int = 0
    millis: int = 0
    filled_at: int = 0
    active: int = 0
    pushed: int = 0
    completed: int = 0
    failed: int = 0
    cancelled: int = 0
    expired: int = 0
    purged: int = 0


class Cron(Struct, gc=False):
    """A schedule."""

    name: str
    queue: str
    data: bytes
    schedule: str
    priority: int
    timezone: str
    next_run: int
    last_run: int
    spec: JobSpec


class Model:
    """The naive queue. Give it every request, tick and fault in order; it says what must come of it."""

    def __init__(self, numbers: Numbers, first_id: int = 1) -> None:
        self.numbers = numbers
        self.boot = 0
        self.next_id = first_id
        self.jobs: dict[int, Job] = {}
        self.queues: dict[str, Queue] = {}
        self.keys: dict[tuple[str, str], int] = {}
        self.customs: dict[str, int] = {}
        self.children: dict[int, list[int]] = {}
        self.dropped: dict[int, None] = {}
        self.completions = 0
        self.finished: list[int] = []
        self.results: dict[int, bytes] = {}
        self.crons: dict[str, Cron] = {}
        self.given: dict[str, tuple[int, int]] = {}
        """Token -> (number of the delivery, boot)."""
        self.number = 0
        self.delays: list[tuple[int, int]] = []
        self.expiries: list[tuple[int, int]] = []
        self._seq = 0
        self._front = 0
        self._forget_what_a_crash_forgets()

    def _forget_what_a_crash_forgets(self) -> None:
        self.workers: dict[str, Worker] = {}
        self.sessions: dict[Hashable, Worker] = {}
        self.subscriptions: dict[tuple[Hashable, str], None] = {}
        self.deadlines: list[tuple[int, int]] = []
        self.waits: dict[Hashable, Waiter | Watcher | Beater] = {}
        self.deliveries: list[tuple[Hashable, replies.Reply | Refused]] = []
        self.events: list[tuple[Any, ...]] = []
        self.unnamed: list[tuple[Job, int]] = []

    # --- requests ---

    def run(
        self,
        request: requests.AnyRequest,
        session: Hashable,
        call: Hashable,
        now: Instant,
        hint: Sequence[Sequence[int]] = (),
    ) -> replies.Reply | None:
        """Carry out a request.

        Args:
            request: what is asked.
            session: who asks: names the connection.
            call: names this call, should it have to wait.
            now: when.
            hint: groups of ids in the order in which the server took them.

        Returns:
            The answer; None when the pull waits.

        Raises:
            Refused: the error that must be answered.
        """
        answer: replies.Reply | None = _RUN[type(request)](self, request, session, call, now, hint)
        return answer

    def _push(self, r: requests.Push, _: Any, __: Any, now: Instant, ___: Any) -> replies.Reply:
        q = self._queue(r.queue)
        self._check_room([bytes(r.data)], len(r.depends_on or ()))
        if r.depends_on:
            self._check_parents(r.depends_on, "")
        id, outcome = self._admit(q, r, bytes(r.data), now, r.depends_on)
        if outcome == "duplicate":
            raise Refused("duplicate", f"Duplicate job with key: {r.unique_key}", id)
        if outcome == "replayed":
            return replies.Pushed(id=id, replayed=True)
        self._feed(q, now)
        return replies.Pushed(id=id)

    def _push_batch(self, r: requests.PushBatch, _: Any, __: Any, now: Instant, ___: Any) -> replies.Reply:
        q = self._queue(r.queue)
        if r.jobs:
            edges = sum(len(spec.depends_on or ()) for spec in r.jobs)
            self._check_room([bytes(spec.data) for spec in r.jobs], edges)
        for place, spec in enumerate(r.jobs):
            if spec.depends_on:
                self._check_parents(spec.depends_on, f"jobs[{place}]: ")
        ids: list[int] = []
        places: dict[str, list[int]] = {"new": [], "duplicate": [], "replayed": []}
        for place, spec in enumerate(r.jobs):
            id, outcome = self._admit(q, spec, bytes(spec.data), now, spec.depends_on)
            ids.append(id)
            places[outcome].append(place)
        self._feed(q, now)
        return replies.PushedBatch(
            ids=ids, duplicates=places["duplicate"] or UNSET, replayed=places["replayed"] or UNSET
        )

    def _push_flow(self, r: requests.PushFlow, _: Any, __: Any, now: Instant, ___: Any) -> replies.Reply:
        for place, spec in enumerate(r.jobs):
            try:
                _check_name(spec.queue)
            except Refused as refused:
                raise Refused(refused.code, f"jobs[{place}]: {refused.text}") from None
        edges = sum(len(spec.depends_on or ()) + len(spec.after or ()) for spec in r.jobs)
        self._check_room([bytes(spec.data) for spec in r.jobs], edges)
        self._check_flow(r.jobs)
        ids: list[int] = []
        replayed: list[int] = []
        for place, spec in enumerate(r.jobs):
            parents = [*(spec.depends_on or ()), *(ids[earlier] for earlier in spec.after or ())]
            id, outcome = self._admit(self._queue(spec.queue), spec, bytes(spec.data), now, parents or None)
            assert outcome != "duplicate"
            ids.append(id)
            if outcome == "replayed":
                replayed.append(place)
        for name in dict.fromkeys(spec.queue for spec in r.jobs):
            self._feed(self._queue(name), now)
        return replies.PushedBatch(ids=ids, replayed=replayed or UNSET)

    def _check_flow(self, specs: Sequence[FlowJob]) -> None:
        named: set[str] = set()
        keys: dict[tuple[str, str], int] = {}
        for place, spec in enumerate(specs):
            for earlier in spec.after or ():
                if earlier >= place:
                    text = f"Invalid: jobs[{place}]: after names place {earlier}, which is not before it"
                    raise Refused("bad_request", text)
            if spec.job_id is not None and (spec.job_id in self.customs or spec.job_id in named):
                continue
            if spec.job_id is not None:
                named.add(spec.job_id)
            if spec.unique_key is not None:
                key, text = (spec.queue, spec.unique_key), f"jobs[{place}]: Duplicate job with key: {spec.unique_key}"
                if key in self.keys:
                    raise Refused("duplicate", text, self.keys[key])
                if key in keys:
                    raise Refused("duplicate", f"{text} (jobs[{keys[key]}] has it)")
                keys[key] = place
            self._check_parents(spec.depends_on or [], f"jobs[{place}]: ")

    def _pull(self, r: requests.Pull, session: Any, call: Any, now: Instant, _: Any) -> replies.Reply | None:
        jobs = self._take([r.queue], 1, r.timeout, session, call, now, alone=True)
        return None if jobs is None else replies.Pulled(job=jobs[0] if jobs else None)

    def _pull_batch(self, r: requests.PullBatch, session: Any, call: Any, now: Instant, _: Any) -> replies.Reply | None:
        jobs = self._take([r.queue], min(r.count, 10_000), r.timeout, session, call, now)
        return None if jobs is None else replies.PulledBatch(jobs=jobs)

    def _pull_any(self, r: requests.PullAny, session: Any, call: Any, now: Instant, _: Any) -> replies.Reply | None:
        for place, name in enumerate(r.queues):
            _check_name(name, f"Invalid: queues[{place}]: ")
        names = list(dict.fromkeys(r.queues))
        jobs = self._take(names, min(r.count, 10_000), r.timeout, session, call, now)
        return None if jobs is None else replies.PulledBatch(jobs=jobs)

    def _take(
        self,
        names: list[str],
        count: int,
        timeout: int | None,
        session: Any,
        call: Any,
        now: Instant,
        *,
        alone: bool = False,
    ) -> list[JobView] | None:
        queues = [self._queue(name) for name in names]
        worker = self._worker_of(session, now)
        jobs: list[JobView] = []
        for q in queues:
            if len(jobs) == count:
                break
            self._feed(q, now)
            if q.line:
                granted = self._allow(q, min(count - len(jobs), len(q.line)), now)
                if granted > 0:
                    jobs += self._give(q, granted, now, worker)
        if jobs or timeout == 0 or not count:
            return jobs
        waiter = Waiter(call, names, count, worker, None if timeout is None else now.steady + timeout, alone)
        for q in queues:
            q.waiters.append(waiter)
        self.waits[call] = waiter
        return None

    def _ack(self, r: requests.Ack, _: Any, __: Any, now: Instant, ___: Any) -> replies.Reply:
        job = self.jobs.get(r.id)
        if job is not None and job.state == "completed" and r.token is not None and r.token == job.token:
            return replies.Acked(already=True)
        job = self._attempt(r.id, r.token, now)
        self._complete([job], {r.id: _kept(r.result)}, now)
        return OK

    def _ack_batch(self, r: requests.AckBatch, _: Any, __: Any, now: Instant, hint: Any) -> replies.Reply:
        tokens = r.tokens if r.tokens is not None else [None] * len(r.ids)
        results = r.results if r.results is not None else [None] * len(r.ids)
        for name, given in (("tokens", tokens), ("results", results)):
            if len(given) != len(r.ids):
                raise Refused("bad_request", f"Invalid: {name} has {len(given)} members, ids has {len(r.ids)}")
        done: dict[int, Job] = {}
        stale: list[int] = []
        for id, token in zip(r.ids, tokens, strict=True):
            job = self.jobs.get(id)
            if id in done:
                if token is not None and token != done[id].token:
                    stale.append(id)
                continue
            if job is not None and job.state == "completed" and token is not None and token == job.token:
                continue
            try:
                done[id] = self._attempt(id, token, now)
            except Refused as refused:
                if refused.code == "stale_attempt":
                    stale.append(id)
        kept = {id: _kept(raw) for id, raw in zip(r.ids, results, strict=True) if _kept(raw) is not None}
        left = dict(done)
        for group in hint:
            self._complete([left.pop(id) for id in group if id in left], kept, now)
        for job in left.values():
            self._complete([job], kept, now)
        reply = replies.Counted(ids=[len(done)])
        if r.tokens is not None:
            reply.stale = stale
        return reply

    def _fail(self, r: requests.Fail, _: Any, __: Any, now: Instant, ___: Any) -> replies.Reply:
        self._end(self._attempt(r.id, r.token, now), _cut(r.error, 8 * 1024), now, delay=r.delay, dead=r.dead)
        return OK

    def _release(self, r: requests.Release, _: Any, __: Any, now: Instant, ___: Any) -> replies.Reply:
        job = self._attempt(r.id, r.token, now)
        if not r.delay:
            self._hand_back([r.id], now)
        elif _over(job, now):
            self._drop([job], "expired", now)
        else:
            self._stop(job)
            job.token = None
            job.run_at = now.wall + r.delay
            self._delay(job)
            self._feed(self.queues[job.queue], now)
        return OK

    def _wait_job(self, r: requests.WaitJob, _: Any, call: Any, now: Instant, __: Any) -> replies.Reply | None:
        ending = self._ending(r.id)
        if r.timeout == 0 or ending.state in ("completed", "failed", "unknown"):
            return ending
        self.waits[call] = Watcher(call, r.id, None if r.timeout is None else now.steady + r.timeout)
        return None

    def _ending(self, id: int) -> replies.Ended:
        job = self.jobs.get(id)
        result = self.results.get(id)
        return replies.Ended(
            id=id,
            state=job.state if job else "unknown",
            result=Raw(b"null" if result is None else result),
            error=job.message if job and job.state == "failed" else None,
        )

    def _tell_end(self, id: int, state: str, *, result: bytes | None = None, error: str | None = None) -> None:
        """Whoever waits for the end of a job learns how it ended."""
        for watcher in [w for w in self.waits.values() if isinstance(w, Watcher) and w.id == id]:
            self.unpark(watcher.call)
            reply = replies.Ended(id=id, state=state, result=Raw(b"null" if result is None else result), error=error)
            self.deliveries.append((watcher.call, reply))

    def _get_result(self, r: requests.GetResult, *_: Any) -> replies.Reply:
        result = self.results.get(r.id)
        return replies.Result(id=r.id, result=Raw(b"null" if result is None else result))

    def _get_job(self, r: requests.GetJob, *_: Any) -> replies.Reply:
        return self._job_and_state(r.id)

    def _get_custom(self, r: requests.GetJobByCustomId, *_: Any) -> replies.Reply:
        return self._job_and_state(self.customs.get(r.job_id, 0))

    def _job_and_state(self, id: int) -> replies.Reply:
        job = self.jobs.get(id)
        return replies.JobAndState(job=view(job) if job else None, state=job.state if job else "unknown")

    def _get_state(self, r: requests.GetState, *_: Any) -> replies.Reply:
        return replies.StateOf(id=r.id, state=self.jobs[r.id].state if r.id in self.jobs else "unknown")

    def _get_progress(self, r: requests.GetProgress, *_: Any) -> replies.Reply:
        job = self.jobs.get(r.id)
        if job is None:
            raise _not_found(r.id)
        return replies.ProgressOf(progress=replies.ProgressView(r.id, job.progress, job.message))

    def _cancel(self, r: requests.Cancel, _: Any, __: Any, now: Instant, ___: Any) -> replies.Reply:
        job = self.jobs.get(r.id)
        if job is None:
            raise _not_found(r.id)
        if job.state in ("completed", "failed"):
            raise Refused("not_active", f"Job {r.id} cannot be cancelled (already completed/failed)")
        if job.state == "active" and job.worker is not None:
            self._tell_worker(job.worker, [job], "cancelled")
        self._drop([job], "cancelled", now)
        return OK

    def _progress(self, r: requests.Progress, _: Any, __: Any, now: Instant, ___: Any) -> replies.Reply:
        try:
            job = self._renew(r.id, r.token, now)
        except Refused as refused:
            if refused.code == "stale_attempt":
                raise
            raise Refused("not_active", f"Job {r.id} not found in processing") from None
        job.progress = min(r.progress, 100)
        if r.message is not None:
            job.message = _cut(r.message, 1024)
        self._tell("progress", job, now, progress=job.progress)
        return OK

    def _heartbeat(self, r: requests.Heartbeat, _: Any, __: Any, now: Instant, ___: Any) -> replies.Reply:
        self._renew(r.id, r.token, now)
        return OK

    def _dead_letters(self, r: requests.DeadLetters, *_: Any) -> replies.Reply:
        _check_name(r.queue)
        q = self.queues.get(r.queue)
        count = 100 if r.count is None else r.count
        return replies.Jobs(jobs=[view(self.jobs[id]) for id in q.dead[:count]] if q else [])

    def _list_jobs(self, r: requests.ListJobs, *_: Any) -> replies.Reply:
        if r.queue is not None:
            _check_name(r.queue)
        below = self.next_id if r.cursor is None else int(r.cursor, 16)
        jobs = [
            job
            for id, job in sorted(self.jobs.items(), reverse=True)
            if id < below and r.queue in (None, job.queue) and r.state in (None, job.state)
        ]
        page = [replies.ListedJob(*astuple(view(job)), state=job.state) for job in jobs[: r.limit]]
        return replies.ListedJobs(jobs=page, next=f"{page[-1].id:x}" if len(jobs) > r.limit else None)

    def _retry_dead(self, r: requests.RetryDeadLetters, _: Any, __: Any, now: Instant, ___: Any) -> replies.Reply:
        _check_name(r.queue)
        q = self.queues.get(r.queue)
        count = 0
        for id in list(q.dead) if q else ():
            if r.id is not None and r.id != id:
                continue
            job = self.jobs[id]
            if _over(job, now):
                self._drop([job], "expired", now)
                continue
            self.queues[job.queue].dead.remove(id)
            job.attempts = 0
            job.run_at = now.wall
            self._ready(job)
            count += 1
        if q:
            self._feed(q, now)
        return replies.Counted(ids=[count])

    def _purge_dead(self, r: requests.PurgeDeadLetters, _: Any, __: Any, now: Instant, ___: Any) -> replies.Reply:
        _check_name(r.queue)
        q = self.queues.get(r.queue)
        jobs = [self.jobs[id] for id in q.dead] if q else []
        self._drop(jobs, "purged", now)
        return replies.Purged(count=len(jobs))

    def _subscribe(self, r: requests.Subscribe, session: Any, *_: Any) -> replies.Reply:
        if r.queue != "*":
            _check_name(r.queue)
        self.subscriptions[session, r.queue] = None
        return OK

    def _unsubscribe(self, r: requests.Unsubscribe, session: Any, *_: Any) -> replies.Reply:
        if r.queue != "*":
            _check_name(r.queue)
        self.subscriptions.pop((session, r.queue), None)
        return OK

    def _stats(self, *_: Any) -> replies.Reply:
        states = [job.state for job in self.jobs.values()]
        stats = Stats(
            states.count("waiting"),
            states.count("active"),
            states.count("delayed"),
            states.count("failed"),
            self.completions,
            states.count("waiting-children"),
        )
        return replies.StatsReply(
            queued=stats.queued,
            processing=stats.processing,
            delayed=stats.delayed,
            dlq=stats.dlq,
            completed=stats.completed,
            waiting_children=stats.waiting_children,
        )

    def _metrics(self, *_: Any) -> replies.Reply:
        views = self._queue_views()
        listed = [self.queues[view.name] for view in views]
        return replies.MetricsReply(
            metrics=Metrics(
                sum(q.pushed for q in listed),
                self.completions,
                sum(q.failed for q in listed),
                0.0,
                0.0,
                [QueueMetrics(v.name, v.pending, v.processing, v.dlq, v.rate_limit) for v in views],
            )
        )

    def _set_cron(self, r: requests.Cron, _: Any, __: Any, now: Instant, ___: Any) -> replies.Reply:
        _check_name(r.queue)
        if r.schedule not in SCHEDULES:
            raise Refused("bad_request", f"Invalid interval format: {r.schedule}")
        old = self.crons.get(r.name)
        last_run = old.last_run if old else 0
        next_run = _next_after(r.schedule, max(now.wall, last_run))
        zone = r.timezone or "UTC"
        members = ("priority", "timeout", "ttl", "backoff", "max_attempts", "unique_key", "tags")
        spec = JobSpec(data=r.data, **{name: getattr(r, name) for name in members})
        data = bytes(r.data)
        self.crons[r.name] = Cron(r.name, r.queue, data, r.schedule, r.priority, zone, next_run, last_run, spec)
        return OK

    def _delete_cron(self, r: requests.CronDelete, *_: Any) -> replies.Reply:
        if self.crons.pop(r.name, None) is None:
            raise Refused("not_found", "Cron job not found")
        return OK

    def _list_crons(self, *_: Any) -> replies.Reply:
        return replies.Crons(crons=self._cron_views())

    def _cron_views(self) -> list[CronView]:
        return [
            CronView(
                c.name,
                c.queue,
                Raw(c.data),
                c.schedule,
                c.priority,
                c.timezone,
                c.next_run,
                c.last_run or None,
                c.spec.timeout,
                c.spec.ttl,
                c.spec.backoff,
                c.spec.max_attempts,
                c.spec.unique_key,
                c.spec.tags or [],
            )
            for _, c in sorted(self.crons.items())
        ]

    def _set_rate(self, r: requests.RateLimit, _: Any, __: Any, now: Instant, ___: Any) -> replies.Reply:
        _check_limit(r.limit)
        return self._brake(r.queue, now, rate=r.limit, millis=r.limit * 1_000, filled_at=now.steady)

    def _clear_rate(self, r: requests.RateLimitClear, _: Any, __: Any, now: Instant, ___: Any) -> replies.Reply:
        return self._brake(r.queue, now, rate=0)

    def _set_slots(self, r: requests.SetConcurrency, _: Any, __: Any, now: Instant, ___: Any) -> replies.Reply:
        _check_limit(r.limit)
        return self._brake(r.queue, now, slots=r.limit)

    def _clear_slots(self, r: requests.ClearConcurrency, _: Any, __: Any, now: Instant, ___: Any) -> replies.Reply:
        return self._brake(r.queue, now, slots=0)

    def _pause(self, r: requests.Pause, _: Any, __: Any, now: Instant, ___: Any) -> replies.Reply:
        return self._brake(r.queue, now, paused=True)

    def _resume(self, r: requests.Resume, _: Any, __: Any, now: Instant, ___: Any) -> replies.Reply:
        return self._brake(r.queue, now, paused=False)

    def _brake(self, name: str, now: Instant, **settings: int) -> replies.Reply:
        q = self._queue(name)
        for member, value in settings.items():
            setattr(q, member, value)
        self._feed(q, now)
        return OK

    def _list_queues(self, *_: Any) -> replies.Reply:
        return replies.Queues(queues=self._queue_views())

    def _queue_views(self) -> list[QueueView]:
        states: dict[str, list[str]] = {}
        for job in self.jobs.values():
            states.setdefault(job.queue, []).append(job.state)
        return [
            QueueView(
                q.name,
                (there := states.get(q.name, [])).count("waiting") + there.count("delayed"),
                there.count("active"),
                there.count("delayed"),
                there.count("failed"),
                q.completed,
                q.paused,
                q.rate or None,
                q.slots or None,
            )
            for _, q in sorted(self.queues.items())
            if q.pushed or q.paused or q.rate or q.slots
        ]

    def _hello(self, r: requests.Hello, session: Any, _: Any, now: Instant, hint: Any) -> replies.Reply:
        for name in r.queues:
            _check_name(name)
        worker = self.sessions[session] = self._greet(r.worker, r.queues, r.concurrency, r.host, r.pid, now)
        if r.holds is not None:
            held = set(r.holds)
            self._return_deliveries([id for id in worker.holds if (id, self.jobs[id].token) not in held], hint, now)
        return OK

    def _greet(
        self, name: str, queues: list[str], concurrency: int, host: str | None, pid: int | None, now: Instant
    ) -> Worker:
        worker = self.workers.get(name)
        if worker is None:
            worker = self.workers[name] = Worker(name, queues, concurrency, host, pid, 0, 0, {})
        worker.queues, worker.concurrency, worker.host, worker.pid = queues, concurrency, host, pid
        self._alive(worker, now)
        return worker

    def _beat(self, r: requests.Beat, _: Any, call: Any, now: Instant, __: Any) -> replies.Reply | None:
        worker = self._worker(r.worker)
        self._alive(worker, now)
        if r.wait is None:
            return OK
        if worker.ended or not r.wait:
            told, worker.ended = worker.ended, []
            return replies.EndedAttempts(ended=told)
        self._end_beat(worker)
        self.waits[call] = Beater(call, worker, now.steady + min(r.wait, 10_000, self.numbers.worker_silence // 3))
        return None

    def _beaters(self, worker: Worker) -> list[Beater]:
        return [w for w in self.waits.values() if isinstance(w, Beater) and w.worker is worker]

    def _end_beat(self, worker: Worker) -> None:
        """A BEAT that waits is over."""
        for beater in self._beaters(worker):
            self.unpark(beater.call)
            gone = Refused("not_found", f"Worker {worker.name!r} not found")
            self.deliveries.append((beater.call, gone if worker.gone else replies.EndedAttempts(ended=[])))

    def _tell_worker(self, worker: Worker, jobs: Iterable[Job], reason: str) -> None:
        """These attempts of its are ended by the server."""
        worker.ended = [*worker.ended, *(EndedAttempt(job.id, str(job.token), reason) for job in jobs)][-1_000:]
        for beater in self._beaters(worker):
            self.unpark(beater.call)
            self.deliveries.append((beater.call, replies.EndedAttempts(ended=worker.ended)))
            worker.ended = []

    def _alive(self, worker: Worker, now: Instant) -> None:
        worker.last_beat = now.wall
        worker.deadline = now.steady + self.numbers.worker_silence

    def _bye(self, r: requests.Bye, session: Any, _: Any, now: Instant, hint: Any) -> replies.Reply:
        worker = self._worker(r.worker)
        worker.gone = True
        del self.workers[worker.name]
        self._end_beat(worker)
        self.sessions.pop(session, None)
        if r.error is not None:
            for id in _taken(worker.holds, _flat(hint)):
                job = self.jobs.get(id)
                if job is not None and job.state == "active" and job.worker is worker:
                    self._end(job, _cut(r.error, 8 * 1024), now)
            return OK
        self._return_deliveries(worker.holds, hint, now)
        return OK

    def _return_deliveries(self, ids: Collection[int], hint: Any, now: Instant) -> None:
        """Attempts that nobody runs go back uncounted."""
        order = _taken(ids, _flat(hint))
        start = 0
        for end in range(1, len(order) + 1):  # a delivery at a time, as the parked are served after each
            if end == len(order) or self._delivery(order[end]) != self._delivery(order[start]):
                self._hand_back(order[start:end], now)
                start = end

    def _delivery_of(self, id: int) -> tuple[int, int] | None:
        """The delivery under which a job runs; None when it does not."""
        job = self.jobs.get(id)
        return self._delivery(id) if job is not None and job.state == "active" else None

    def _delivery(self, id: int) -> tuple[int, int]:
        job = self.jobs[id]
        return job.newest, job.timeout

    def _workers(self, *_: Any) -> replies.Reply:
        return replies.WorkersReply(
            workers=[
                WorkerView(
                    w.name, w.queues, w.concurrency, w.host, w.pid, w.last_beat, len(w.holds), w.processed, w.failed
                )
                for _, w in sorted(self.workers.items())
            ]
        )

    def _ping(self, *_: Any) -> replies.Reply:
        return OK

    # --- what is not a request ---

    def learn(self, names: Iterable[tuple[int, str]]) -> None:
        """The server has named the newest attempts: (job, token), for all that were given out since the last time.

        Raises:
            AssertionError: a name had been used for another delivery, or an attempt got none.
        """
        numbers: dict[int, list[int]] = {}
        for job, number in self.unnamed:
            numbers.setdefault(job.id, []).append(number)
        self.unnamed.clear()
        for id, token in names:
            number = numbers[id].pop(0) if numbers.get(id) else 0
            assert number, f"job {id} was given out as {token} once too often"
            known = self.given.setdefault(token, (number, self.boot))
            assert known == (number, self.boot), f"token {token} names two attempts"
            given = self.jobs.get(id)
            if given is not None and given.state == "active" and given.newest == number:
                given.token = token
        left = [id for id, left in numbers.items() if left]
        assert not left, f"attempts without a name: {left}"

    def unpark(self, call: Hashable) -> None:
        """A parked client no longer waits."""
        waiter = self.waits.pop(call, None)
        if waiter is not None:
            for name in waiter.queues if isinstance(waiter, Waiter) else ():
                self.queues[name].waiters.remove(waiter)

    def give_back(self, unread: Sequence[Sequence[tuple[int, str]]], now: Instant) -> None:
        """Deliveries of (id, token) whose answers never left; one from several queues has a token for each of them."""
        for delivery in unread:
            for token, part in groupby(delivery, itemgetter(1)):
                ids = [id for id, _ in part if self._is_live(id, token)]
                self._hand_back(list(reversed(ids)), now)

    def come_back(
        self,
        ms: int,
        unread: Sequence[Sequence[tuple[int, str]]],
        now: Instant,
        hint: Sequence[Sequence[int]],
        served: Sequence[str],
    ) -> None:
        """The storage answers after ``ms``: no lease has run out meanwhile, and everything else is caught up with."""
        self.stand_still(ms, now)
        self.give_back(unread, now)
        self.tick(now, hint, served)

    def stand_still(self, ms: int, now: Instant) -> None:
        """Nobody was heard for so long: every lease lasts so much longer, and no longer than one of this moment."""
        for worker in self.workers.values():
            worker.deadline = min(worker.deadline + ms, now.steady + self.numbers.worker_silence)
        for _, id in self.deadlines:
            job = self.jobs[id]
            job.deadline += ms
            if not job.timeout:
                job.deadline = min(job.deadline, now.steady + self.numbers.lease)
        self.deadlines = sorted((self.jobs[id].deadline, id) for _, id in self.deadlines)

    def close(self, session: Hashable, unread: Sequence[Sequence[tuple[int, str]]], now: Instant) -> None:
        """A connection is gone; ``unread``: see `give_back`."""
        self.give_back(unread, now)
        self.sessions.pop(session, None)
        for who, topic in list(self.subscriptions):
            if who == session:
                del self.subscriptions[who, topic]

    def _is_live(self, id: int, token: str) -> bool:
        job = self.jobs.get(id)
        return job is not None and job.state == "active" and job.token == token

    def tick(self, now: Instant, hint: Sequence[Sequence[int]] = (), served: Sequence[str] = ()) -> None:
        """Time has passed: do everything that is due; ``served``: queues in the order in which the server fed them."""
        ids = _flat(hint)
        if self.workers:
            self._end_silent(now, ids)
        if self.deadlines and self.deadlines[0][0] <= now.steady:
            self._end_overdue(now, ids)
        if self.expiries and self.expiries[0][0] <= now.wall:
            self._end_lives(now, ids)
        while self.delays and self.delays[0][0] <= now.wall:
            job = self.jobs[self.delays.pop(0)[1]]
            self._ready(job)
            job.kept_delayed = True
            self._feed(self.queues[job.queue], now)
        for cron in sorted(self.crons.values(), key=lambda cron: (cron.next_run, cron.name)) if self.crons else ():
            if cron.next_run <= now.wall:
                cron.last_run = cron.next_run
                cron.next_run = _next_after(cron.schedule, max(now.wall, cron.last_run))
                self._fire(cron, now)
        if self.waits:
            for name in dict.fromkeys([*served, *self.queues]):
                self._feed(self.queues[name], now)
            self.give_up(now)

    def _fire(self, cron: Cron, now: Instant) -> None:
        q = self._queue(cron.queue)
        try:
            self._check_room([cron.data])
        except Refused:
            return  # this instant is skipped
        _, outcome = self._admit(q, cron.spec, cron.data, now, None)
        if outcome == "new":
            self._feed(q, now)

    def next_due(self, now: Instant) -> int | None:
        """Ms until the next thing is due, None when nothing waits for a time."""
        waits = [worker.deadline - now.steady for worker in self.workers.values()]
        waits += [waiter.deadline - now.steady for waiter in self.waits.values() if waiter.deadline is not None]
        waits += [cron.next_run - now.wall for cron in self.crons.values()]
        if self.deadlines:
            waits.append(self.deadlines[0][0] - now.steady)
        if self.delays:
            waits.append(self.delays[0][0] - now.wall)
        for when, id in self.expiries:
            if self.jobs[id].state not in ("active", "failed"):
                waits.append(when - now.wall)
                break
        for q in self.queues.values():
            if q.waiters and q.line and q.rate and not q.paused and (not q.slots or q.active < q.slots):
                self._fill(q, now)
                waits.append(max(0, -((q.millis - 1_000) // q.rate)))
        return max(0, min(waits)) if waits else None

    def restart(self, now: Instant) -> None:
        """The server died, and is back."""
        self.boot += 1
        for job in self.jobs.values():
            if job.state == "active":
                job.state = "waiting"
                job.token = job.worker = None
                job.began = job.deadline = 0
        for q in self.queues.values():
            q.active = q.millis = 0
            q.filled_at = now.steady
            q.waiters = []
            q.line = []
            q.homes = {}
            q.dead.sort(key=lambda id: (self.jobs[id].run_at, id))
        for job in sorted(self.jobs.values(), key=lambda job: (job.run_at, job.id)):
            if job.state in ("waiting", "delayed"):
                self._settle_back(job, now)
        self._forget_what_a_crash_forgets()

    def _settle_back(self, job: Job, now: Instant) -> None:
        if job.state == "delayed":
            self.delays.remove((job.run_at, job.id))
        kept_delayed = job.kept_delayed
        if kept_delayed and job.run_at > now.wall:
            self._delay(job)  # still, or again: the clock was set back
        else:
            self._ready(job)
            job.kept_delayed = kept_delayed

    def clone(self) -> "Model":
        """A copy. Only just after a restart or the beginning, when nobody is connected."""
        twin = Model(self.numbers)
        for name in ("boot", "next_id", "completions", "number", "_seq", "_front"):
            setattr(twin, name, getattr(self, name))
        for name in ("keys", "customs", "dropped", "finished", "results", "given", "delays", "expiries"):
            setattr(twin, name, getattr(self, name).copy())
        twin.jobs = {id: copy(job) for id, job in self.jobs.items()}
        for job in twin.jobs.values():
            if job.waits_for:
                job.waits_for = set(job.waits_for)
            if job.inputs is not None:
                job.inputs = dict(job.inputs)
        twin.queues = {name: copy(queue) for name, queue in self.queues.items()}
        for queue in twin.queues.values():
            queue.line, queue.dead, queue.waiters = list(queue.line), list(queue.dead), []
        twin.children = {id: list(children) for id, children in self.children.items()}
        twin.crons = {name: copy(cron) for name, cron in self.crons.items()}
        return twin

    def facts(self) -> dict[str, Any]:
        """Everything that an engine can be asked to confirm; see ``fingerprint`` in `tests.simulation.world`."""
        queues = {
            q.name: (
                [id for _, _, id in q.line],
                list(q.dead),
                (q.paused, q.slots, q.rate),
                (q.pushed, q.completed, q.failed, q.cancelled, q.expired, q.purged),
            )
            for q in self.queues.values()
            if q.pushed or q.paused or q.rate or q.slots
        }
        return {
            "next_id": self.next_id,
            "completions": self.completions,
            "jobs": {id: (job.state, view(job), job.returns) for id, job in self.jobs.items()},
            "tokens": {id: job.token for id, job in self.jobs.items() if job.token is not None},
            "queues": queues,
            "keys": dict(self.keys),
            "customs": dict(self.customs),
            "finished": list(self.finished),
            "results": dict(self.results),
            "dropped": set(self.dropped),
            "crons": self._cron_views(),
            "parents": {id: job.waits_for for id, job in self.jobs.items() if job.waits_for},
        }

    # --- taking in ---

    def _queue(self, name: str) -> Queue:
        q = self.queues.get(name)
        if q is None:
            _check_name(name)
            q = self.queues[name] = Queue(name, [], {}, [], [])
        return q

    def _check_room(self, payloads: list[bytes], edges: int = 0) -> None:
        most = self.numbers.max_bytes
        if most < UNBOUNDED:
            held = sum(len(job.data) + JOB_BYTES for job in self.jobs.values())
            for job in self.jobs.values():
                if job.state != "completed":
                    held += EDGE_BYTES * len(job.parents or ()) + sum(map(len, (job.inputs or {}).values()))
            if held + sum(len(data) + JOB_BYTES for data in payloads) + EDGE_BYTES * edges > most:
                raise Refused("overloaded", f"Memory for jobs is used up ({held} bytes held, max {most})")

    def _check_parents(self, parents: list[int], where: str) -> None:
        for parent in parents:
            if not 0 < parent < self.next_id:
                raise Refused("bad_request", f"Invalid: {where}depends_on names unknown job {parent}")

    def _admit(self, q: Queue, spec: JobSpec, data: bytes, now: Instant, parents: list[int] | None) -> tuple[int, str]:
        if spec.job_id is not None and spec.job_id in self.customs:
            return self.customs[spec.job_id], "replayed"
        if spec.unique_key is not None and (q.name, spec.unique_key) in self.keys:
            return self.keys[q.name, spec.unique_key], "duplicate"
        numbers = self.numbers
        id = self.next_id
        self.next_id += 1
        job = self.jobs[id] = Job(
            id,
            q.name,
            data,
            spec.priority,
            now.wall,
            now.wall + (spec.delay or 0),
            spec.ttl or 0,
            spec.timeout or 0,
            numbers.default_max_attempts if spec.max_attempts is None else spec.max_attempts,
            numbers.default_backoff if spec.backoff is None else spec.backoff,
            spec.unique_key,
            spec.job_id,
            parents,
            spec.tags,
            spec.delay or 0,
        )
        if spec.collect:
            job.inputs = {parent: self.results[parent] for parent in parents or () if parent in self.results}
        q.pushed += 1
        if job.key is not None:
            self.keys[q.name, job.key] = id
        if job.custom is not None:
            self.customs[job.custom] = id
        if job.ttl:
            insort(self.expiries, (job.created + job.ttl, id))
        self._tell("pushed", job, now, data=data)
        self._settle_in(job, now)
        return id, "new"

    def _settle_in(self, job: Job, now: Instant) -> None:
        """Where a new job goes first."""
        lost = [parent for parent in job.parents or () if parent in self.dropped]
        open_parents = {p for p in job.parents or () if p in self.jobs and self.jobs[p].state != "completed"}
        if lost:
            self._bury(job, f"dependency {lost[0]} cancelled", now)
        elif open_parents:
            job.state = "waiting-children"
            job.waits_for = open_parents
            for parent in open_parents:
                self.children.setdefault(parent, []).append(job.id)
        else:
            self._delay_or_ready(job, now)

    def _delay_or_ready(self, job: Job, now: Instant) -> None:
        if job.run_at > now.wall:
            self._delay(job)
        else:
            job.run_at = now.wall
            self._ready(job)

    def _delay(self, job: Job) -> None:
        job.state = "delayed"
        job.kept_delayed = True
        insort(self.delays, (job.run_at, job.id))

    def _ready(self, job: Job) -> None:
        job.kept_delayed = False
        self._seq += 1
        self._stand(job, self._seq)

    def _stand(self, job: Job, rank: int) -> None:
        job.state = "waiting"
        job.place = (-job.priority, rank, job.id)
        line = self.queues[job.queue].line
        if line and line[-1] > job.place:
            insort(line, job.place)
        else:
            line.append(job.place)

    # --- handing out ---

    def _fill(self, q: Queue, now: Instant) -> None:
        passed = max(0, now.steady - q.filled_at)
        q.millis = min(q.rate * 1_000, q.millis + passed * q.rate)
        q.filled_at = now.steady

    def _allow(self, q: Queue, count: int, now: Instant) -> int:
        if q.paused:
            return 0
        if q.slots:
            count = min(count, max(0, q.slots - q.active))
        if q.rate:
            self._fill(q, now)
            count = min(count, q.millis // 1_000)
        return count

    def _give(self, q: Queue, count: int, now: Instant, worker: Worker | None) -> list[JobView]:
        taken = q.line[:count]
        del q.line[:count]
        q.homes = {id: home for id, home in q.homes.items() if home > taken[-1]}
        q.active += count
        if q.rate:
            q.millis -= 1_000 * count
        self.number += 1
        views = []
        for _, _, id in taken:
            job = self.jobs[id]
            job.newest = self.number
            job.token = None
            self._start(job, now, worker)
            self.unnamed.append((job, self.number))
            self._tell("active", job, now)
            views.append(view(job))
        return views

    def _start(self, job: Job, now: Instant, worker: Worker | None) -> None:
        job.state = "active"
        job.place = None
        job.began = now.wall
        job.worker = worker
        job.deadline = 0
        if job.timeout:
            job.deadline = now.steady + job.timeout
        elif worker is None:
            job.deadline = now.steady + self.numbers.lease
        if job.deadline:
            insort(self.deadlines, (job.deadline, job.id))
        if worker is not None:
            worker.holds[job.id] = None

    def _feed(self, q: Queue, now: Instant) -> None:
        while q.waiters and q.line:
            waiter = q.waiters[0]
            granted = self._allow(q, min(waiter.count, len(q.line)), now)
            if granted <= 0:
                return
            self.unpark(waiter.call)
            worker = waiter.worker
            if worker is not None and worker.gone:
                worker = None
            self.deliveries.append((waiter.call, _pulled(waiter, self._give(q, granted, now, worker))))

    def give_up(self, now: Instant, refused: Refused | None = None) -> None:
        """Whose time is over is answered with nothing, or ``refused``."""
        over = [w for w in self.waits.values() if w.deadline is not None and w.deadline <= now.steady]
        for waiter in sorted(over, key=lambda waiter: waiter.deadline or 0):
            self.unpark(waiter.call)
            self.deliveries.append((waiter.call, refused or self._nothing(waiter)))

    def _nothing(self, waiter: Waiter | Watcher | Beater) -> replies.Reply:
        """The answer to a wait that is over."""
        if isinstance(waiter, Waiter):
            return _pulled(waiter, [])
        return self._ending(waiter.id) if isinstance(waiter, Watcher) else replies.EndedAttempts(ended=[])

    # --- attempts and ends ---

    def _attempt(self, id: int, token: str | None, now: Instant, *, needs_slot: bool = False) -> Job:
        """The job of a live attempt, revived if it lived before a restart and nobody was given the job since."""
        job = self.jobs.get(id)
        if job is None:
            raise _not_found(id)
        if job.state == "active" and (token is None or token == job.token):
            return job
        if token is None:
            raise Refused("not_active", f"Job {id} not found")
        number, boot = self.given.get(token, (0, 0))
        q = self.queues[job.queue]
        newest = job.state == "waiting" and number == job.newest > job.ended and boot == self.boot - 1
        if not newest or (needs_slot and q.slots and q.active >= q.slots):
            raise Refused("stale_attempt", f"Stale attempt for job {id}")
        assert job.place is not None
        del q.line[bisect_left(q.line, job.place)]
        q.active += 1
        q.homes[id] = job.place
        self._start(job, now, None)
        job.token = token
        return job

    def _renew(self, id: int, token: str | None, now: Instant) -> Job:
        job = self._attempt(id, token, now, needs_slot=True)
        if not job.timeout and job.worker is None:
            self._unset_deadline(job)
            job.deadline = now.steady + self.numbers.lease
            insort(self.deadlines, (job.deadline, id))
        return job

    def _unset_deadline(self, job: Job) -> None:
        if job.deadline:
            del self.deadlines[bisect_left(self.deadlines, (job.deadline, job.id))]
            job.deadline = 0

    def _stop(self, job: Job) -> None:
        """It is no longer active."""
        self._unset_deadline(job)
        if job.worker is not None:
            del job.worker.holds[job.id]
        q = self.queues[job.queue]
        q.active -= 1
        q.homes.pop(job.id, None)
        job.state = "ended"
        job.ended = job.newest
        job.started = job.began
        job.worker = None

    def _end(
        self,
        job: Job,
        error: str | None,
        now: Instant,
        *,
        timed_out: bool = False,
        delay: int | None = None,
        dead: bool = False,
    ) -> None:
        """The attempt failed."""
        if job.worker is not None:
            job.worker.processed += 1
            job.worker.failed += 1
        q = self.queues[job.queue]
        self._stop(job)
        job.token = None
        job.attempts += 1
        job.message = error
        if timed_out:
            self._tell("timeout", job, now, error=error)
        if dead or (job.max_attempts and job.attempts >= job.max_attempts):
            self._bury(job, error, now)
        elif _over(job, now):
            self._drop([job], "expired", now)
        else:
            wait = min(job.backoff * 2 ** (job.attempts - 1), MAX_BACKOFF_MS) if delay is None else delay
            job.run_at = now.wall + wait
            self._delay_or_ready(job, now)
            self._tell("retrying", job, now, error=error)
        self._feed(q, now)

    def _bury(self, job: Job, error: str | None, now: Instant) -> None:
        job.state = "failed"
        job.message = error
        job.run_at = now.wall
        q = self.queues[job.queue]
        q.dead.append(job.id)
        q.failed += 1
        self._tell("failed", job, now, error=error)
        self._tell_end(job.id, "failed", error=error)

    def _hand_back(self, ids: Sequence[int], now: Instant) -> None:
        """Uncounted, to the head of the line; ``ids`` in the order in which they are taken."""
        queues: dict[str, None] = {}
        for id in ids:
            job = self.jobs[id]
            job.returns += 1
            if _over(job, now):
                self._drop([job], "expired", now)
            elif job.returns > self.numbers.max_returns:
                self._end(job, "Handed back too often", now)
            else:
                home = self.queues[job.queue].homes.get(id)
                self._stop(job)
                job.token = None
                job.kept_delayed = False
                self._front -= 1
                self._stand(job, home[1] if home else self._front)
                queues[job.queue] = None
        for name in queues:
            self._feed(self.queues[name], now)

    def _complete(self, jobs: list[Job], results: dict[int, bytes | None], now: Instant) -> None:
        """Jobs of one delivery are done."""
        if not jobs:
            return
        q = self.queues[jobs[0].queue]
        for job in jobs:
            if job.worker is not None:
                job.worker.processed += 1
            self._stop(job)
            job.state = "completed"
            job.inputs = None
            q.completed += 1
            self.completions += 1
            self.finished.append(job.id)
            self._let_go(job)
            result = results.get(job.id)
            if result is not None:
                self.results[job.id] = result
        for job in jobs:
            self._tell("completed", job, now, data=results.get(job.id))
            self._tell_end(job.id, "completed", result=results.get(job.id))
        self._forget()
        for job in jobs:
            result = results.get(job.id)
            for id in self.children.get(job.id, ()) if result is not None else ():
                inputs = self.jobs[id].inputs
                if inputs is not None:
                    inputs[job.id] = result
            for child in [self.jobs[id] for id in self.children.pop(job.id, ())]:
                assert child.waits_for is not None
                child.waits_for.discard(job.id)
                if not child.waits_for:
                    child.waits_for = None
                    if not child.delay:
                        child.run_at = now.wall
                    self._delay_or_ready(child, now)
                    self._feed(self.queues[child.queue], now)
        self._feed(q, now)

    def _let_go(self, job: Job) -> None:
        """What a job holds only while it lives."""
        if job.key is not None:
            del self.keys[job.queue, job.key]
        if job.ttl:
            del self.expiries[bisect_left(self.expiries, (job.created + job.ttl, job.id))]

    def _forget(self) -> None:
        """The oldest results first, then the oldest jobs."""
        numbers = self.numbers
        while self.results and (len(self.results) > numbers.keep_results or self._kept_bytes() > numbers.keep_bytes):
            del self.results[next(iter(self.results))]
        while self.finished and (
            len(self.finished) > numbers.keep_completed or self._kept_bytes() > numbers.keep_bytes
        ):
            job = self.jobs.pop(self.finished.pop(0))
            self.results.pop(job.id, None)
            if job.custom is not None:
                del self.customs[job.custom]

    def _kept_bytes(self) -> int:
        if self.numbers.keep_bytes >= UNBOUNDED:
            return 0
        payloads = sum(
            len(self.jobs[id].data) + PARENT_BYTES * len(self.jobs[id].parents or ()) for id in self.finished
        )
        return payloads + sum(map(len, self.results.values()))

    def _drop(self, jobs: list[Job], reason: str, now: Instant) -> None:
        """Jobs of one queue leave without completing."""
        freed = False
        for job in jobs:
            q = self.queues[job.queue]
            freed |= job.state == "active"
            self._detach(job, q)
            self._let_go(job)
            if job.custom is not None:
                del self.customs[job.custom]
            del self.jobs[job.id]
            self.dropped[job.id] = None
            setattr(q, reason, getattr(q, reason) + 1)
            if reason != "purged":
                self._tell(reason, job, now)
            self._tell_end(job.id, "unknown", error=reason)
        for job in jobs:
            for child in [self.jobs[id] for id in self.children.pop(job.id, ())]:
                self._disown(child, job.id)
                self._bury(child, f"dependency {job.id} cancelled", now)
        if freed:
            self._feed(self.queues[jobs[0].queue], now)

    def _detach(self, job: Job, q: Queue) -> None:
        if job.state == "waiting":
            assert job.place is not None
            del q.line[bisect_left(q.line, job.place)]
        elif job.state == "delayed":
            del self.delays[bisect_left(self.delays, (job.run_at, job.id))]
        elif job.state == "active":
            self._stop(job)
        elif job.state == "waiting-children":
            self._disown(job, 0)
        elif job.state == "failed":
            q.dead.remove(job.id)

    def _disown(self, child: Job, gone: int) -> None:
        """It waits for nobody any more; ``gone``: a parent that is out of the books already."""
        for parent in child.waits_for or ():
            if parent != gone:
                siblings = self.children[parent]
                siblings.remove(child.id)
                if not siblings:
                    del self.children[parent]
        child.waits_for = None

    # --- time ---

    def _end_silent(self, now: Instant, hint: list[int]) -> None:
        held: dict[int, Worker] = {}
        for worker in [worker for worker in self.workers.values() if worker.deadline <= now.steady]:
            worker.gone = True
            del self.workers[worker.name]
            self._end_beat(worker)
            held |= dict.fromkeys(worker.holds, worker)
        for id in _taken(held, hint):
            job = self.jobs.get(id)
            if job is not None and job.state == "active" and job.worker is held[id]:
                self._end(job, "worker lost", now, timed_out=True)

    def _end_overdue(self, now: Instant, hint: list[int]) -> None:
        order = _taken({id for deadline, id in self.deadlines if deadline <= now.steady}, hint)
        told: set[tuple[int, int]] = set()
        for id in order:
            job = self.jobs.get(id)
            if job is not None and job.state == "active" and 0 < job.deadline <= now.steady:
                if job.worker is not None and self._delivery(id) not in told:
                    told.add(self._delivery(id))  # a delivery at a time, as it is ended
                    same = [self.jobs[other] for other in order if self._delivery_of(other) == self._delivery(id)]
                    self._tell_worker(job.worker, same, "Job timed out")
                self._end(job, "Job timed out" if job.timeout else "Lease expired", now, timed_out=True)

    def _end_lives(self, now: Instant, hint: list[int]) -> None:
        for id in _taken({id for when, id in self.expiries if when <= now.wall}, hint):
            job = self.jobs.get(id)
            if job is not None and job.state not in ("active", "failed"):
                self._drop([job], "expired", now)

    # --- small things ---

    def _worker(self, name: str) -> Worker:
        worker = self.workers.get(name)
        if worker is None:
            raise Refused("not_found", f"Worker {name!r} not found")
        return worker

    def _worker_of(self, session: Hashable, now: Instant) -> Worker | None:
        """The worker that a connection speaks for; one that was given up for silent is back when it pulls."""
        worker = self.sessions.get(session)
        if worker is not None and worker.gone:
            w = worker
            worker = self.sessions[session] = self._greet(w.name, w.queues, w.concurrency, w.host, w.pid, now)
        return worker

    def _tell(
        self,
        kind: str,
        job: Job,
        now: Instant,
        *,
        data: bytes | None = None,
        error: str | None = None,
        progress: int | None = None,
    ) -> None:
        if self.subscriptions:
            self.events.append((kind, job.queue, job.id, now.wall, data, error, progress))


def view(job: Job) -> JobView:
    """JOB of the contract, without a token."""
    return JobView(
        job.id,
        job.queue,
        Raw(job.data),
        job.priority,
        job.created,
        job.run_at,
        job.began if job.state == "active" else job.started,
        job.attempts,
        job.max_attempts,
        job.backoff,
        job.ttl,
        job.timeout,
        job.key,
        list(job.parents or ()),
        job.progress,
        job.message,
        list(job.tags or ()),
        UNSET if job.custom is None else job.custom,
        inputs=UNSET if job.inputs is None else [Raw(job.inputs.get(id, b"null")) for id in job.parents or ()],
    )


def _pulled(waiter: Waiter, jobs: list[JobView]) -> replies.Reply:
    """What a parked pull is answered."""
    if waiter.alone:
        return replies.Pulled(job=jobs[0] if jobs else None)
    return replies.PulledBatch(jobs=jobs)


def _not_found(id: int) -> Refused:
    return Refused("not_found", f"Job {id} not found")


def _check_limit(limit: int) -> None:
    if not limit:
        raise Refused("bad_request", "Invalid: limit must be at least 1 - at `$.limit` (to stop a queue, PAUSE it)")


def _check_name(name: str, where: str = "") -> None:
    """Alphanumeric in any script, underscore, hyphen, dot; 1 to 256 bytes."""
    if not name:
        raise Refused("bad_request", f"{where}Queue name cannot be empty")
    if len(name.encode()) > 256:
        raise Refused("bad_request", f"{where}Queue name too long (max 256 chars)")
    if not all(char.isalnum() or char in "_-." for char in name):
        text = "Queue name must contain only alphanumeric characters, underscores, hyphens, or dots"
        raise Refused("bad_request", where + text)


def _kept(result: Raw | None) -> bytes | None:
    return None if result is None or bytes(result) == b"null" else bytes(result)


def _cut(text: str | None, most: int) -> str | None:
    while text is not None and len(text.encode()) > most:
        text = text[:-1]
    return text


def _over(job: Job, now: Instant) -> bool:
    return job.ttl > 0 and job.created + job.ttl <= now.wall


def _next_after(schedule: str, wall_ms: int) -> int:
    period, shift = SCHEDULES[schedule]
    instant = shift * 1_000
    instant += (wall_ms - instant) // (period * 1_000) * period * 1_000
    while instant <= wall_ms:
        instant += period * 1_000
    return instant


def _flat(hint: Sequence[Sequence[int]]) -> list[int]:
    return [id for group in hint for id in group]


def _taken(ids: Collection[int], hint: list[int]) -> list[int]:
    """The ids in the order in which the server took them.

    The hint is used up on the way: an id that the server touched twice in a turn must not be looked for where it was
    touched first.
    """
    if len(ids) < 2:
        return list(ids)
    left = dict.fromkeys(ids)
    order: list[int] = []
    used = 0
    for place, id in enumerate(hint):
        if id in left:
            del left[id]
            order.append(id)
            used = place + 1
        if not left:
            break
    del hint[:used]
    return [*order, *left]


_RUN: Final[dict[type, Any]] = {
    requests.Push: Model._push,
    requests.PushBatch: Model._push_batch,
    requests.PushFlow: Model._push_flow,
    requests.Pull: Model._pull,
    requests.PullBatch: Model._pull_batch,
    requests.PullAny: Model._pull_any,
    requests.Ack: Model._ack,
    requests.AckBatch: Model._ack_batch,
    requests.Fail: Model._fail,
    requests.Release: Model._release,
    requests.WaitJob: Model._wait_job,
    requests.GetResult: Model._get_result,
    requests.GetJob: Model._get_job,
    requests.GetJobByCustomId: Model._get_custom,
    requests.GetState: Model._get_state,
    requests.GetProgress: Model._get_progress,
    requests.Cancel: Model._cancel,
    requests.Progress: Model._progress,
    requests.Heartbeat: Model._heartbeat,
    requests.ListJobs: Model._list_jobs,
    requests.DeadLetters: Model._dead_letters,
    requests.RetryDeadLetters: Model._retry_dead,
    requests.PurgeDeadLetters: Model._purge_dead,
    requests.Subscribe: Model._subscribe,
    requests.Unsubscribe: Model._unsubscribe,
    requests.StatsRequest: Model._stats,
    requests.MetricsRequest: Model._metrics,
    requests.Cron: Model._set_cron,
    requests.CronDelete: Model._delete_cron,
    requests.CronList: Model._list_crons,
    requests.RateLimit: Model._set_rate,
    requests.RateLimitClear: Model._clear_rate,
    requests.SetConcurrency: Model._set_slots,
    requests.ClearConcurrency: Model._clear_slots,
    requests.Pause: Model._pause,
    requests.Resume: Model._resume,
    requests.ListQueues: Model._list_queues,
    requests.Hello: Model._hello,
    requests.Beat: Model._beat,
    requests.Bye: Model._bye,
    requests.Workers: Model._workers,
    requests.Ping: Model._ping,
}
