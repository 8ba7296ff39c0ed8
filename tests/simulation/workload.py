"""What the simulated people do: one seed decides who they are, what they like, and what goes wrong around them.

Every run is a *swarm* of one: its seed switches features, sizes and fault rates on and off. A run that does everything
a little never fills a queue behind a pause, or lives through twenty restarts without a single delay.
"""

from collections import deque
from collections.abc import Callable
from random import Random
from typing import Any, Final

from msgspec import Raw
from tests.simulation.model import SCHEDULES, UNBOUNDED
from tests.simulation.world import Client, Violation, World

from flashq.engine.settings import Settings
from flashq.model import FlowJob, JobSpec
from flashq.protocol import replies
from flashq.protocol import requests as r

QUEUES: Final = ("emails", "reports", "größe.2")
_PAYLOADS: Final = tuple(Raw(text) for text in (b"null", b'{"to": 1}', b"[1,2,3]", b'"x"', b"1.50", b'{"a":{"b":[]}}'))
_RESULTS: Final = (Raw(b"null"), Raw(b"null"), Raw(b'{"ok":true}'), Raw(b"7"))
_TEXTS: Final = (None, "", "boom", "größer", None, "", "boom", "no", *["why"] * 30, "ä" * 4_100, "x" * 8_200)
_BAD_NAMES: Final = ("", "no spaces", "x" * 257, "semi;colon")
_NAMING: Final = (r.Push, r.PushBatch, r.Pull, r.PullBatch, r.Pause, r.Resume, r.DeadLetters, r.PurgeDeadLetters)
_BESIDES: Final[dict[Any, dict[str, Any]]] = {
    r.Push: {"data": _PAYLOADS[0]},
    r.PushBatch: {"jobs": []},
    r.PullBatch: {"count": 1},
}
"""Commands that name a queue, and what else they need."""

_EVENT_TYPES: Final[tuple[list[str], ...]] = ([], ["completed"], ["pushed", "failed", "timeout"])

_STATES: Final = (None, "waiting", "delayed", "active", "completed", "failed", "waiting-children")

_PATIENCE_MS: Final = 24 * 3600 * 1_000
_ROUNDS: Final = 400
"""How long the end of a run may take until everything has drained: more than every delay, lease and retry together."""


_FLOODS: Final = 0.03
"""The share of runs that are floods: they are slow, and little happens in them but much of it."""


class Plan:
    """What one seed does: settings, sizes, and how often each thing happens."""

    def __init__(self, random: Random) -> None:
        def some(*values: Any) -> Any:
            return random.choice(values)

        self.settings = Settings(
            default_max_attempts=some(1, 2, 3, 3, 0),
            default_backoff=some(0, 0, 10, 1_000),
            lease=some(50, 500, 5_000, 1_800_000),
            worker_silence=some(100, 1_000, 30_000),
            keep_completed=some(0, 1, 5, 20, 20, 100),
            keep_results=some(0, 1, 5, 20, 60),
            max_returns=some(1, 3, 100),
            keep_bytes=some(UNBOUNDED, UNBOUNDED, UNBOUNDED, 60),
            max_bytes=some(UNBOUNDED, UNBOUNDED, UNBOUNDED, 5_000),
            slice=10**6,  # the model does all that is due at once
        )
        self.first_id = some(1, 1, 1, 4_090, 2**40)
        self.queues = QUEUES[: some(1, 2, 3)]
        self.clients = some(1, 2, 4, 8)
        self.priorities = some((0,), (0, 0, 0, 5), (-3, 0, 3), tuple(range(-9, 10)))
        self.delays = some((None,), (None, None, 5), (None, 1, 20, 500, 20_000))
        self.ttls = some((None,), (None, None, None, 100), (None, 5, 50, 1_000, 30_000))
        self.timeouts = some((None,), (None, 30), (None, 5, 300, 10_000))
        self.attempts = some((None,), (None, 1, 2), (0, 1, 5))
        self.backoffs = some((None,), (None, 0, 7), (0,), (3, 400))
        self.keys = some(0, 0, 3, 40)
        self.customs = some(0, 0, 5, 1_000)
        self.depends = some(0.0, 0.0, 0.1, 0.5)
        self.tags = some((None,), (None, ["a", "b"]))
        self.batch = some(2, 8, 30)
        self.steps_ms = some((0, 1, 1, 2), (0, 0, 1, 5, 40), (0, 1, 30, 900), (0, 1, 100, 6_000))
        self.latency_ms = some((0,), (0, 1, 2), (0, 3, 50), (1, 10_000))
        self.jumps_ms = some((1_000,), (-1_000, 1_000), (-3_600_000, 3_600_000, 86_400_000), (-5, 5))
        self.vanish = some(0.0, 0.02, 0.3)
        self.worker_names = some(0, 1, 3)
        self.crowd = some(8, 40, 40, 150)
        self.weights = self._weights(random)
        self.flooded = False
        if random.random() < _FLOODS:
            self._flood()

    def _flood(self) -> None:
        """Thousands of jobs, most of which disappear: lines and heaps full of what is over."""
        self.flooded = True
        self.queues = QUEUES[:1]
        self.crowd = 2_500
        self.batch = 600
        self.ttls = (100, 100, 3_000, None)
        self.delays = (None, 400)
        self.weights |= {
            "push_batch": 10.0,
            "pull_batch": 0.5,
            "cancel": 20.0,
            "crash": self.weights["crash"] / 5,
            "ask": 0.0,
        }

    def _weights(self, random: Random) -> dict[str, float]:
        often = {
            "push": 19.0, "push_batch": 3.0, "push_flow": 2.0, "pull": 8.0, "pull_batch": 4.0, "pull_any": 2.0,
            "wait": 3.0, "ack": 11.0, "watch": 3.0, "ack_batch": 3.0, "fail": 3.0, "release": 1.5, "time": 14.0,
            "turn": 8.0,
        }  # fmt: skip
        now_and_then = {
            "late_ack": 1.5, "ack_twice": 1.0, "ack_unfenced": 0.7, "ack_anything": 0.5, "progress": 1.5,
            "heartbeat": 1.5, "cancel": 1.0, "ask": 3.0, "lists": 0.4, "dead_letters": 0.5, "retry_dead": 0.4,
            "purge_dead": 0.15, "pause": 0.4, "resume": 0.6, "rate": 0.4, "rate_clear": 0.3, "slots": 0.4,
            "slots_clear": 0.3, "cron": 0.2, "cron_delete": 0.1, "hello": 0.7, "beat": 0.9, "bye": 0.25,
            "subscribe": 0.1, "unsubscribe": 0.1, "ping": 0.1, "wrong": 0.4, "close": 0.5, "stall": 0.5,
            "clock": 0.25, "crash": 0.2, "write_error": 0.06, "fade": 0.3, "thin": 0.2,
        }  # fmt: skip
        for kind in now_and_then:
            now_and_then[kind] *= random.choice((0.0, 0.5, 1.0, 1.0, 3.0))
        return often | now_and_then


class Workload:
    """One run."""

    def __init__(self, seed: int, *, say: Callable[[str], None] | None = None) -> None:
        """Args: ``seed``: decides everything; ``say``: told of everything that happens."""
        self.random = Random(seed)
        self.plan = plan = Plan(self.random)
        careful = self.random.choice((0, 1_000, 1_000, 1_000, 300, 300, 50, 9))
        self.world = World(plan.settings, first_id=plan.first_id, careful=0 if plan.flooded else careful)
        self.world.latency_ms = lambda: self._one_of(plan.latency_ms)
        self.faults = 0
        self._next = self.random.random
        self._say = say
        self._old: deque[tuple[int, str]] = deque(maxlen=60)
        self._boot_of_old: deque[int] = deque(maxlen=60)
        self._clients: list[Client] = []
        self._acts = {name: getattr(self, f"_{name}") for name in plan.weights}

    @property
    def done(self) -> int:
        """Commands and faults so far."""
        return self.world.commands + self.faults

    def run(self, steps: int) -> None:
        """Live through ``steps`` operations, then mend everything and drain.

        Raises:
            Violation: the server did what it must not, or something never ended.
        """
        kinds, weights = list(self.plan.weights), list(self.plan.weights.values())
        while self.done < steps:
            for kind in self.random.choices(kinds, weights, k=64):
                if self._say:
                    self._say(f"{self.done} {self.world.now} {kind}")
                self._acts[kind]()
        self._drain()

    # --- picking ---

    def _one_of(self, values: Any) -> Any:
        return values[int(self._next() * len(values))]

    def _below(self, most: int) -> int:
        return int(self._next() * most)

    def _client(self) -> Client:
        clients = self._clients
        if len(clients) < self.plan.clients:
            clients.append(self.world.connect())
            return clients[-1]
        return clients[int(self._next() * len(clients))]

    def _queue(self) -> str:
        queues: tuple[str, ...] = self.plan.queues
        return queues[int(self._next() * len(queues))]

    def _call(self, request: Any, client: Client | None = None) -> Any:
        reply = self.world.call(client or self._client(), request)
        if self._say:
            self._say(f"    {request}\n    -> {reply!r}")
        return reply

    def _id(self) -> int:
        """The id of a job that was pushed lately, mostly."""
        newest = self.world.model.next_id - 1
        if self._next() < 0.05:
            return int(self._one_of((0, newest + 1, newest + 5, 10**9)))
        return max(1, newest - self._below(80))

    def _attempt(self) -> tuple[int, str] | None:
        """An attempt that some client was told about; it is in nobody's hands after that."""
        known = self.world.known
        if not known:
            return None
        place = int(self._next() * len(known))
        attempt = known[place]
        known[place] = known[-1]
        known.pop()
        self._old.append(attempt)
        return attempt

    def _kept_attempt(self) -> tuple[int, str] | None:
        known = self.world.known
        return known[int(self._next() * len(known))] if known else None

    # --- producers ---

    def _spec(self, kind: type, **more: Any) -> Any:
        plan, one_of = self.plan, self._one_of
        members: dict[str, Any] = {"data": one_of(_PAYLOADS), **more}
        if len(plan.priorities) > 1:
            members["priority"] = one_of(plan.priorities)
        if len(plan.timeouts) > 1:
            members["timeout"] = one_of(plan.timeouts)
        members["max_attempts"] = one_of(plan.attempts)
        members["backoff"] = one_of(plan.backoffs)
        if self._next() < 0.5:
            members["delay"] = one_of(plan.delays)
            members["ttl"] = one_of(plan.ttls)
            members["tags"] = one_of(plan.tags)
        if plan.keys and self._next() < 0.3:
            members["unique_key"] = f"k{self._below(plan.keys)}"
        if plan.customs and self._next() < 0.3:
            members["job_id"] = f"c{self._below(plan.customs)}"
        if self._next() < plan.depends:
            members["depends_on"] = [self._id() for _ in range(1 + self._below(3))]
            if self._next() < 0.3:
                members["delay"] = one_of((500, 60_000))  # its parents may well be done before
            members["collect"] = self._next() < 0.5
        return kind(**members)

    def _push(self) -> None:
        world = self.world
        if len(world.model.jobs) > self.plan.crowd and self._next() < 0.9:
            self._ack()
            return
        self._call(self._spec(r.Push, queue=self._queue()))

    def _push_batch(self) -> None:
        if len(self.world.model.jobs) > self.plan.crowd and self._next() < 0.9:
            self._ack_batch()
            return
        if self._next() < 0.5:
            ttl = self._one_of(self.plan.ttls) if self.plan.flooded else None
            jobs = [JobSpec(data=self._one_of(_PAYLOADS), ttl=ttl) for _ in range(self._below(self.plan.batch))]
        else:
            jobs = [self._spec(JobSpec) for _ in range(self._below(self.plan.batch))]
        self._call(r.PushBatch(queue=self._queue(), jobs=jobs))

    def _push_flow(self) -> None:
        if len(self.world.model.jobs) > self.plan.crowd and self._next() < 0.9:
            self._ack_batch()
            return
        jobs = [self._spec(FlowJob, queue=self._queue()) for _ in range(1 + self._below(self.plan.batch))]
        for place, job in enumerate(jobs):
            if place and self._next() < 0.6:
                job.after = [self._below(place) for _ in range(1 + self._below(3))]
                job.collect = self._next() < 0.7
        if self._next() < 0.03:
            self._one_of(jobs).after = [self._below(len(jobs) + 1)]  # mostly one that is not before it
        if self._next() < 0.02:
            self._one_of(jobs).queue = self._one_of(_BAD_NAMES)
        self._call(r.PushFlow(jobs=jobs))

    def _cancel(self) -> None:
        self._call(r.Cancel(id=self._id()))

    # --- workers ---

    def _pull(self) -> None:
        self._call(r.Pull(queue=self._queue(), timeout=0))

    def _pull_batch(self) -> None:
        self._call(r.PullBatch(queue=self._queue(), count=self._below(self.plan.batch), timeout=0))

    def _some_queues(self) -> list[str]:
        """One to four names in any order, some of them twice, some of queues that hold nothing."""
        return [self._one_of((*self.plan.queues, *self.plan.queues, "idle")) for _ in range(1 + self._below(4))]

    def _pull_any(self) -> None:
        self._call(r.PullAny(queues=self._some_queues(), count=self._below(self.plan.batch), timeout=0))

    def _wait(self) -> None:
        client = self._client()
        if len(client.waits) > 6:
            return
        timeout = self._one_of((None, 1, 20, 400, 5_000))
        chance = self._next()
        if chance < 0.3:
            self._call(r.PullAny(queues=self._some_queues(), count=1 + self._below(5), timeout=timeout), client)
        elif chance < 0.6:
            self._call(r.Pull(queue=self._queue(), timeout=timeout), client)
        else:
            self._call(r.PullBatch(queue=self._queue(), count=1 + self._below(5), timeout=timeout), client)

    def _watch(self) -> None:
        client = self._client()
        if len(client.waits) < 9:
            self._call(r.WaitJob(id=self._id(), timeout=self._one_of((None, 0, 1, 20, 400, 5_000))), client)

    def _ack(self) -> None:
        if self._next() < self.plan.vanish:
            self._attempt()
        attempt = self._attempt()
        if attempt is not None:
            self._call(r.Ack(id=attempt[0], token=attempt[1], result=self._one_of(_RESULTS)))

    def _ack_batch(self) -> None:
        attempts = [a for _ in range(1 + self._below(self.plan.batch)) if (a := self._attempt()) is not None]
        if self._old and self._next() < 0.3:
            attempts.append(self._one_of(self._old))
        if not attempts:
            return
        ids = [id for id, _ in attempts]
        tokens: list[str] | None = [token for _, token in attempts]
        chance = self._next()
        if chance < 0.1:
            tokens = None
            ids.append(self._id())
        elif chance < 0.15:
            tokens = ["nonsense" for _ in ids]
        elif chance < 0.18:
            tokens = []
        results = None if self._next() < 0.5 else [self._one_of(_PAYLOADS) for _ in ids]
        self._call(r.AckBatch(ids=ids, tokens=tokens, results=results))

    def _fail(self) -> None:
        attempt = self._attempt()
        if attempt is not None:
            token = None if self._next() < 0.1 else attempt[1]
            request = r.Fail(id=attempt[0], token=token, error=self._one_of(_TEXTS))
            if self._next() < 0.3:
                request.delay, request.dead = self._one_of((None, 0, 3, 700)), self._next() < 0.3
            self._call(request)

    def _release(self) -> None:
        attempt = self._attempt()
        if attempt is not None:
            token = None if self._next() < 0.1 else attempt[1]
            self._call(r.Release(id=attempt[0], token=token, delay=self._one_of((None, None, 0, 4, 600))))

    def _late_ack(self) -> None:
        if self._old:
            id, token = self._one_of(self._old)
            kind = self._one_of((r.Ack, r.Ack, r.Fail, r.Heartbeat, r.Release))
            self._call(kind(id=id, token=token))

    def _ack_twice(self) -> None:
        attempt = self._attempt()
        if attempt is not None:
            request = r.Ack(id=attempt[0], token=attempt[1], result=self._one_of(_RESULTS))
            self._call(request)
            self._call(request)

    def _ack_unfenced(self) -> None:
        attempt = self._attempt()
        if attempt is not None:
            self._call(r.Ack(id=attempt[0]))

    def _ack_anything(self) -> None:
        kind = self._one_of((r.Ack, r.Fail, r.Heartbeat, r.Release))
        self._call(kind(id=self._id(), token=self._one_of((None, "nonsense", "1.2", "x.y.z"))))

    def _progress(self) -> None:
        attempt = self._kept_attempt() or (self._id(), "nonsense")
        token = None if self._next() < 0.2 else attempt[1]
        text = self._one_of(_TEXTS)
        self._call(r.Progress(id=attempt[0], token=token, progress=self._below(120), message=text))

    def _heartbeat(self) -> None:
        attempt = self._kept_attempt() or (self._id(), "nonsense")
        self._call(r.Heartbeat(id=attempt[0], token=None if self._next() < 0.2 else attempt[1]))

    def _worker(self) -> str:
        return f"worker-{self._below(self.plan.worker_names + 1)}"

    def _hello(self) -> None:
        if self.plan.worker_names:
            holds = self._one_of((None, None, None, [], list(self.world.known[-5:])))
            self._call(r.Hello(worker=self._worker(), queues=[self._queue()], concurrency=self._below(9), holds=holds))

    def _beat(self) -> None:
        client = self._client()
        wait = self._one_of((None, None, 0, 5, 300, 60_000)) if len(client.waits) < 9 else None
        self._call(r.Beat(worker=self._worker(), wait=wait), client)

    def _bye(self) -> None:
        self._call(r.Bye(worker=self._worker(), error=self._one_of((None, None, "signal 9"))))

    # --- the curious ---

    def _ask(self) -> None:
        kind = self._one_of((r.GetJob, r.GetState, r.GetResult, r.GetProgress, r.GetJobByCustomId))
        if kind is r.GetJobByCustomId:
            self._call(kind(job_id=f"c{self._below(self.plan.customs + 1)}"))
        else:
            self._call(kind(id=self._id()))

    def _lists(self) -> None:
        kind = self._one_of((r.StatsRequest, r.MetricsRequest, r.ListQueues, r.CronList, r.Workers, r.ListJobs))
        if kind is r.ListJobs:
            self._list_jobs()
        else:
            self._call(kind())

    def _list_jobs(self) -> None:
        """A page, and mostly the one behind it."""
        queue, state, limit = self._one_of((None, self._queue())), self._one_of(_STATES), self._one_of((1, 7, 100))
        page = self._call(r.ListJobs(queue=queue, state=state, limit=limit))
        if isinstance(page, replies.ListedJobs) and page.next is not None:
            self._call(r.ListJobs(queue=queue, state=state, limit=limit, cursor=page.next))

    def _ping(self) -> None:
        self._call(r.Ping())

    def _subscribe(self) -> None:
        self._call(r.Subscribe(queue=self._one_of(("*", self._queue())), events=self._one_of(_EVENT_TYPES)))

    def _unsubscribe(self) -> None:
        self._call(r.Unsubscribe(queue=self._one_of(("*", self._queue()))))

    # --- the operator ---

    def _dead_letters(self) -> None:
        self._call(r.DeadLetters(queue=self._queue(), count=self._one_of((None, 0, 1, 100))))

    def _retry_dead(self) -> None:
        q = self.world.model.queues.get(name := self._queue())
        one = q is not None and q.dead and self._next() < 0.5
        self._call(r.RetryDeadLetters(queue=name, id=self._one_of(q.dead) if q and one else self._one_of((None, 3))))

    def _purge_dead(self) -> None:
        self._call(r.PurgeDeadLetters(queue=self._queue()))

    def _pause(self) -> None:
        self._call(r.Pause(queue=self._queue()))

    def _resume(self) -> None:
        self._call(r.Resume(queue=self._queue()))

    def _rate(self) -> None:
        self._call(r.RateLimit(queue=self._queue(), limit=self._one_of((1, 2, 10, 1_000, 0))))

    def _rate_clear(self) -> None:
        self._call(r.RateLimitClear(queue=self._queue()))

    def _slots(self) -> None:
        self._call(r.SetConcurrency(queue=self._queue(), limit=self._one_of((1, 2, 5, 50, 0))))

    def _slots_clear(self) -> None:
        self._call(r.ClearConcurrency(queue=self._queue()))

    def _cron(self) -> None:
        schedule = self._one_of((*SCHEDULES, "*/x"))
        plan, one_of = self.plan, self._one_of
        request = r.Cron(name=f"cron-{self._below(3)}", queue=self._queue(), schedule=schedule, data=one_of(_PAYLOADS))
        request.priority, request.timeout, request.tags = (
            one_of(plan.priorities),
            one_of(plan.timeouts),
            one_of(plan.tags),
        )
        request.ttl, request.backoff, request.max_attempts = (
            one_of(plan.ttls),
            one_of(plan.backoffs),
            one_of(plan.attempts),
        )
        if plan.keys and self._next() < 0.4:
            request.unique_key = f"k{self._below(plan.keys)}"
        self._call(request)

    def _cron_delete(self) -> None:
        self._call(r.CronDelete(name=f"cron-{self._below(4)}"))

    def _wrong(self) -> None:
        if self._next() < 0.1:
            self._call(r.PullAny(queues=[self._queue(), self._one_of(_BAD_NAMES)]))
            return
        kind = self._one_of(_NAMING)
        self._call(kind(queue=self._one_of(_BAD_NAMES), **_BESIDES.get(kind, {})))

    # --- what goes wrong, and time ---

    def _time(self) -> None:
        self.world.pass_time(self._one_of(self.plan.steps_ms))

    def _turn(self) -> None:
        self.world.turn()

    def _stall(self) -> None:
        self.faults += 1
        self.world.stats["fault: busy loop"] += 1
        self.world.stall(self._one_of((1, 30, 2_000, 60_000)))
        if self._next() < 0.5:
            self._call(self._spec(r.Push, queue=self._queue()))
        self.world.catch_up()

    def _clock(self) -> None:
        self.faults += 1
        self.world.stats["fault: clock set"] += 1
        self.world.set_clock(self._one_of(self.plan.jumps_ms))

    def _close(self) -> None:
        if self._clients:
            self.faults += 1
            self.world.close(self._clients.pop(self._below(len(self._clients))))

    def _fade(self) -> None:
        """All that is left to do takes its time: the disk comes to rest."""
        self.world.pass_time(50)

    def _thin(self) -> None:
        """What happens to chunks in which few jobs are left happens to all: nobody may notice."""
        for chunk in self.world.runtime.engine.jobs.chunks.values():
            chunk.thin_out()

    def _crash(self) -> None:
        self.faults += 1
        self._restarted(lambda: self.world.crash(written=self._next() < 0.5))
        while self._next() < 0.15:
            self.faults += 1
            self._restarted(lambda: self.world.crash(written=self._next() < 0.5, fault="crash again"))

    def _write_error(self) -> None:
        if self.world.disk.in_flight is not None:
            self.faults += 1
            self._restarted(lambda: self.world.fail_disk(written=self._next() < 0.5))

    def _restarted(self, crash: Callable[[], None]) -> None:
        world = self.world
        if self._next() < 0.3 and world.disk.groups:
            world.disk.fold(self._below(len(world.disk.groups) + 1))
        world.stall(self._one_of((0, 0, 1, 700, 60_000)))
        self._clients.clear()
        crash()
        if len(world.known) > 300:
            del world.known[:-300]

    # --- the end ---

    def _drain(self) -> None:
        """No more faults, no brakes: everything must end within a bound."""
        world = self.world
        self._mend()
        start = world.now.steady
        for _ in range(_ROUNDS):
            self._work_off()
            if not self._left():
                break
            world.pass_time(max(1, min(world.runtime.engine.wait(world.now) or 1, 3_700_000)))
            if world.now.steady - start > _PATIENCE_MS:
                break
        if self._left():
            raise Violation(f"after {world.now.steady - start} ms jobs are left: {self._left()}")
        world.pass_time(60_000)
        world.compare_everything()

    def _mend(self) -> None:
        plan = self.plan
        plan.latency_ms = (0,)
        self._clients.clear()
        self.world.pass_time(20_000)
        for client in list(self.world.clients.values()):
            self.world.close(client)
        for name in plan.queues:
            for kind in (r.Resume, r.RateLimitClear, r.ClearConcurrency):
                self._call(kind(queue=name))
        for number in range(3):
            self._call(r.CronDelete(name=f"cron-{number}"))

    def _work_off(self) -> None:
        for name in self.plan.queues:
            self._call(r.RetryDeadLetters(queue=name))
            while True:
                reply = self._call(r.PullBatch(queue=name, count=100, timeout=0))
                assert isinstance(reply, replies.PulledBatch)
                if not reply.jobs:
                    break
                ids, tokens = [job.id for job in reply.jobs], [str(job.token) for job in reply.jobs]
                self._call(r.AckBatch(ids=ids, tokens=tokens))

    def _left(self) -> dict[int, str]:
        return {id: job.state for id, job in self.world.model.jobs.items() if job.state != "completed"}
