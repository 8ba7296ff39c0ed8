"""The stage on which the stories are played: one server without doors, clients that are names, clocks set by hand.

What is said in a story goes through the command layer, as it would through any door; what a restart finds is what
storage makes of the records.

The language, a line for each act (durations: 250ms, 5s, 10m, 2h, 3d)::

    at 2026-03-29T00:30:00Z                 when the story begins
    settings lease=1m keep_completed=3      settings of the server, before anything else
    push QUEUE [member=value ...]           data priority delay ttl timeout attempts backoff key after tags job_id
    push QUEUE x 3 [member=value ...]       a batch of equal jobs
    flow QUEUE [member=value ...] + QUEUE ...   jobs in one step; places=0,1: waits for those of the same flow
    pull QUEUE [x 3] [by=NAME] [wait=5s]    without jobs and with wait= the client is parked; QUEUE,QUEUE: from any
    waitfor 1 [by=NAME] [wait=5s]           for its end; without one and with wait= the client is parked
    leave NAME                              a parked client's connection closes
    ack 1 [by=NAME] [result=JSON]           by=: with the token that NAME got with the job
    ack 1,2,3 [by=NAME]                     a batch
    fail 1 [by=NAME] [delay=5s] [dead=1] [because ...]
    release 1 [by=NAME] [delay=5s]
    heartbeat 1 [by=NAME] / progress 1 40 [by=NAME] [saying ...] / cancel 1
    state 1 2 3 / job 1 / result 1 / stats / queues / dlq QUEUE / crons / workers
    retry QUEUE [1] / purge QUEUE
    pause QUEUE / resume QUEUE / rate QUEUE 5|none / concurrency QUEUE 5|none
    cron NAME QUEUE [data=JSON] [zone=NAME] [priority=1]: SCHEDULE
    uncron NAME
    hello NAME / beat NAME / bye NAME [because ...]
    watch                                   from now on events are told
    advance 5s                              time passes, what falls due is done
    clock +1h                               somebody sets the wall clock; no time passes
    restart [after 2h]                      the server dies without a word and is started again
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from msgspec import UNSET, Raw

from flashq.commands.execute import execute
from flashq.commands.parked import Parked
from flashq.commands.session import Context, Session
from flashq.engine.check import check
from flashq.engine.engine import Engine
from flashq.engine.restore import restore
from flashq.engine.settings import Settings
from flashq.errors import Duplicate, FlashQError
from flashq.model import Event, FlowJob, Instant, JobSpec, JobView
from flashq.protocol import replies, requests
from flashq.storage.journal import Journal
from flashq.storage.memory import MemoryStorage

_UNITS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_MEMBERS = {"attempts": "max_attempts", "key": "unique_key", "after": "depends_on", "places": "after"}
_DURATIONS = {"delay", "ttl", "timeout", "backoff", "lease", "worker_silence", "default_backoff"}


class _NoHub:
    """Nobody subscribes on this stage; `watch` listens to the engine itself."""

    def subscribe(self, subscriber: object, queue: str, types: frozenset[str]) -> None:
        """Nothing."""

    def unsubscribe(self, subscriber: object, queue: str) -> None:
        """Nothing."""


class Stage:
    """A server, its clients and its clocks. `act` plays one line and returns what is to be seen."""

    def __init__(self) -> None:
        self.now = Instant(_wall("2026-01-01T00:00:00Z"), 0)
        self.settings = Settings()
        self.storage = MemoryStorage()
        self.watching = False
        self.sessions: dict[str, Session] = {}
        self.tokens: dict[tuple[str, int], str] = {}
        self.parked: dict[str, Parked] = {}
        self.seen: list[str] = []
        self._start()

    def act(self, line: str) -> list[str]:
        """Play one line."""
        verb, _, rest = line.partition(" ")
        play: Callable[[str], None] | None = getattr(self, f"_{verb}", None)
        if play is None:
            raise ValueError(f"no such act: {line}")
        try:
            play(rest.strip())
        except FlashQError as error:
            self._say(f"refused ({error.code}): {error}")
        self._take()
        violations = check(self.engine)
        assert violations == [], (line, violations)
        seen, self.seen = self.seen, []
        return seen

    # --- the server and its clocks ---

    def _start(self) -> None:
        self.journal = Journal(self.storage.open())
        self.engine: Engine = restore(self.storage.load(), self.settings, nonce=lambda: "x", now=self.now)
        self.engine.outbox.watched = self.watching
        self.context = Context(self.engine, _NoHub())
        self.sessions.clear()
        self.parked.clear()
        assert check(self.engine) == []
        self.engine.tick(self.now)

    def _take(self) -> None:
        effects = self.engine.take_effects()
        if effects.records:
            self.journal.append(effects.records)
            group = self.journal.next_group()
            assert group is not None
            self.storage.commit(*group)
            self.journal.committed(group[0])
        for token, delivered in effects.deliveries:
            parked = self.parked.pop(str(token))
            self._show(str(token), parked.reply(delivered) if delivered else parked.over())
        for event in effects.events:
            self._say(f"* {_event(event)}")

    def _at(self, rest: str) -> None:
        self.now = Instant(_wall(rest), self.now.steady)
        self._start()

    def _settings(self, rest: str) -> None:
        _, members = _split(rest)
        values = {name: _duration(value) if name in _DURATIONS else int(value) for name, value in members.items()}
        self.settings = Settings(**values)
        self._start()

    def _watch(self, _: str) -> None:
        self.watching = self.engine.outbox.watched = True

    def _advance(self, rest: str) -> None:
        end = self.now.steady + _duration(rest)
        while (wait := self.engine.tick(self.now)) is not None and self.now.steady + wait <= end:
            self._take()
            self._pass(wait)
        self._pass(end - self.now.steady)
        self.engine.tick(self.now)

    def _pass(self, ms: int) -> None:
        self.now = Instant(self.now.wall + ms, self.now.steady + ms)

    def _clock(self, rest: str) -> None:
        ms = _duration(rest[1:]) * (-1 if rest.startswith("-") else 1)
        self.now = Instant(self.now.wall + ms, self.now.steady)
        self.engine.tick(self.now)
        self._say(f"it is {_time(self.now.wall)}")

    def _restart(self, rest: str) -> None:
        self._pass(_duration(rest.removeprefix("after ")) if rest else 0)
        self.storage = self.storage.reopened()
        self._start()

    # --- jobs ---

    def _push(self, rest: str) -> None:
        words, members = _split(rest)
        data = members.pop("data", "{}").encode()
        spec = {_MEMBERS.get(name, name): _member(name, value) for name, value in members.items()}
        queue, count = words[0], int(words[2]) if len(words) > 1 else 0
        if count:
            jobs = [JobSpec(data=Raw(data), **spec)] * count
            batch = self._ask(requests.PushBatch(queue=queue, jobs=jobs))
            self._say(f"jobs {', '.join(map(str, batch.ids))}" + _places(batch))
            return
        try:
            reply = self._ask(requests.Push(queue=queue, data=Raw(data), **spec))
        except Duplicate as error:
            self._say(f"refused (duplicate): {error}, it is job {error.id}")
            return
        self._say(f"job {reply.id}" + (" (known already)" if reply.replayed is True else ""))

    def _flow(self, rest: str) -> None:
        jobs = []
        for act in rest.split(" + "):
            words, members = _split(act)
            data = members.pop("data", "null").encode()
            spec = {_MEMBERS.get(name, name): _member(name, value) for name, value in members.items()}
            jobs.append(FlowJob(queue=words[0], data=Raw(data), **spec))
        flow = self._ask(requests.PushFlow(jobs=jobs))
        self._say(f"jobs {', '.join(map(str, flow.ids))}" + _places(flow))

    def _pull(self, rest: str) -> None:
        words, members = _split(rest)
        name = members.get("by", "somebody")
        wait = members.get("wait")
        count, queues = int(words[2]) if len(words) > 1 else 0, words[0].split(",")
        request: Any = requests.Pull(queue=words[0], timeout=None if wait == "ever" else _duration(wait or "0ms"))
        if len(queues) > 1:
            request = requests.PullAny(queues=queues, count=count or 1, timeout=request.timeout)
        elif count:
            request = requests.PullBatch(queue=words[0], count=count, timeout=request.timeout)
        self._await(name, self._ask(request, name))

    def _await(self, name: str, reply: replies.Reply | Parked) -> None:
        """Show an answer, or let ``name`` wait for it."""
        if not isinstance(reply, Parked):
            self._show(name, reply)
            return
        assert name not in self.parked, f"{name} waits already"
        self.parked[name] = reply
        reply.park(name, self.now)
        self._say(f"{name} waits")

    def _waitfor(self, rest: str) -> None:
        words, members = _split(rest)
        wait = members.get("wait")
        timeout = None if wait == "ever" else _duration(wait or "0ms")
        name = members.get("by", "somebody")
        self._await(name, self._ask(requests.WaitJob(id=int(words[0]), timeout=timeout), name))

    def _show(self, name: str, reply: replies.Reply) -> None:
        if isinstance(reply, replies.Ended):
            result = f" with {bytes(reply.result).decode()}" if bytes(reply.result) != b"null" else ""
            why = f" ({reply.error})" if reply.error else ""
            self._say(f"{name} hears that {reply.id} is {reply.state}{result}{why}")
            return
        assert isinstance(reply, replies.Pulled | replies.PulledBatch)
        found = reply.jobs if isinstance(reply, replies.PulledBatch) else [reply.job]
        jobs = [job for job in found if job is not None]
        for job in jobs:
            assert job.token is not UNSET
            self.tokens[name, job.id] = job.token
        self._say(f"{name} gets " + (", ".join(map(_delivered, jobs)) or "nothing"))

    def _leave(self, name: str) -> None:
        del self.parked[name]
        self.engine.parking.unpark(name)

    def _ack(self, rest: str) -> None:
        words, members = _split(rest)
        ids = [int(id) for id in words[0].split(",")]
        result = Raw(members.get("result", "null").encode())
        if len(ids) == 1:
            reply = self._ask(requests.Ack(id=ids[0], result=result, token=self._token(members, ids[0])))
            self._say("ok, it was done already" if isinstance(reply, replies.Acked) and reply.already is True else "ok")
            return
        tokens = [self._token(members, id) or "" for id in ids] if "by" in members else None
        counted = self._ask(requests.AckBatch(ids=ids, tokens=tokens))
        stale = f", stale: {', '.join(map(str, counted.stale))}" if counted.stale else ""
        self._say(f"{counted.ids[0]} done{stale}")

    def _fail(self, rest: str) -> None:
        act, _, why = rest.partition(" because ")
        words, members = _split(act)
        id = int(words[0])
        delay, dead = _delay(members), "dead" in members
        self._ask(requests.Fail(id=id, error=why or None, token=self._token(members, id), delay=delay, dead=dead))
        self._say(self._where(id))

    def _release(self, rest: str) -> None:
        words, members = _split(rest)
        id = int(words[0])
        self._ask(requests.Release(id=id, token=self._token(members, id), delay=_delay(members)))
        self._say(self._where(id))

    def _cancel(self, rest: str) -> None:
        self._ask(requests.Cancel(id=int(rest)))
        self._say("ok")

    def _heartbeat(self, rest: str) -> None:
        words, members = _split(rest)
        self._ask(requests.Heartbeat(id=int(words[0]), token=self._token(members, int(words[0]))))
        self._say("ok")

    def _progress(self, rest: str) -> None:
        act, _, message = rest.partition(" saying ")
        words, members = _split(act)
        id, percent = int(words[0]), int(words[1])
        token = self._token(members, id)
        self._ask(requests.Progress(id=id, progress=percent, message=message or None, token=token))
        self._say("ok")

    # --- questions ---

    def _state(self, rest: str) -> None:
        self._say(", ".join(self._where(int(id)) for id in rest.split()))

    def _job(self, rest: str) -> None:
        reply = self._ask(requests.GetJob(id=int(rest)))
        if reply.job is None:
            self._say(f"{rest} is {reply.state}")
            return
        job = reply.job
        self._say(f"job {job.id} in {job.queue}: {reply.state}, data {bytes(job.data).decode()}")
        self._say(f"  created {_time(job.created_at)}, runs at {_time(job.run_at)}")
        self._say(f"  attempts {job.attempts} of {job.max_attempts or 'any number'}, message {job.progress_msg!r}")

    def _result(self, rest: str) -> None:
        self._say(bytes(self._ask(requests.GetResult(id=int(rest))).result).decode())

    def _stats(self, _: str) -> None:
        reply = self._ask(requests.StatsRequest())
        names = ("queued", "processing", "delayed", "dlq", "completed", "waiting_children")
        self._say(", ".join(f"{getattr(reply, name)} {name}" for name in names if getattr(reply, name)) or "nothing")

    def _queues(self, _: str) -> None:
        for queue in self._ask(requests.ListQueues()).queues:
            numbers = f"{queue.pending} pending, {queue.processing} processing, {queue.dlq} dead"
            brakes = [
                "paused" if queue.paused else "",
                f"{queue.rate_limit} a second" if queue.rate_limit else "",
                f"{queue.concurrency_limit} at once" if queue.concurrency_limit else "",
            ]
            self._say(", ".join([f"{queue.name}: {numbers}", *filter(None, brakes)]))

    def _dlq(self, rest: str) -> None:
        for job in self._ask(requests.DeadLetters(queue=rest)).jobs:
            self._say(f"job {job.id} after {job.attempts} attempts: {job.progress_msg}")

    def _crons(self, _: str) -> None:
        for cron in self._ask(requests.CronList()).crons:
            last = _time(cron.last_run) if cron.last_run else "never"
            self._say(f"{cron.name}: {cron.schedule} ({cron.timezone}), last {last}, next {_time(cron.next_run)}")

    def _workers(self, _: str) -> None:
        for worker in self._ask(requests.Workers()).workers:
            self._say(f"{worker.id}: {worker.active} active, {worker.processed} processed, {worker.failed} failed")

    # --- operators and workers ---

    def _retry(self, rest: str) -> None:
        queue, *ids = rest.split()
        reply = self._ask(requests.RetryDeadLetters(queue=queue, id=int(ids[0]) if ids else None))
        self._say(f"{reply.ids[0]} retried")

    def _purge(self, rest: str) -> None:
        self._say(f"{self._ask(requests.PurgeDeadLetters(queue=rest)).count} purged")

    def _pause(self, rest: str) -> None:
        self._ask(requests.Pause(queue=rest))

    def _resume(self, rest: str) -> None:
        self._ask(requests.Resume(queue=rest))

    def _rate(self, rest: str) -> None:
        queue, limit = rest.split()
        clear = limit == "none"
        self._ask(requests.RateLimitClear(queue=queue) if clear else requests.RateLimit(queue=queue, limit=int(limit)))

    def _concurrency(self, rest: str) -> None:
        queue, limit = rest.split()
        if limit == "none":
            self._ask(requests.ClearConcurrency(queue=queue))
        else:
            self._ask(requests.SetConcurrency(queue=queue, limit=int(limit)))

    def _cron(self, rest: str) -> None:
        act, _, schedule = rest.partition(": ")
        words, members = _split(act)
        data = Raw(members.get("data", "null").encode())
        priority, zone = int(members.get("priority", "0")), members.get("zone")
        name, queue = words
        self._ask(requests.Cron(name=name, queue=queue, schedule=schedule, data=data, priority=priority, timezone=zone))
        (cron,) = [cron for cron in self._ask(requests.CronList()).crons if cron.name == name]
        self._say(f"next {_time(cron.next_run)}")

    def _uncron(self, rest: str) -> None:
        self._ask(requests.CronDelete(name=rest))

    def _hello(self, rest: str) -> None:
        self._ask(requests.Hello(worker=rest), rest)

    def _beat(self, rest: str) -> None:
        self._ask(requests.Beat(worker=rest), rest)

    def _bye(self, rest: str) -> None:
        name, _, why = rest.partition(" because ")
        self._ask(requests.Bye(worker=name, error=why or None), name)

    # --- behind the scenes ---

    def _ask(self, request: Any, name: str = "somebody") -> Any:
        return execute(self.context, self.sessions.setdefault(name, Session()), request, self.now)

    def _token(self, members: dict[str, str], id: int) -> str | None:
        return self.tokens.get((members["by"], id), "none") if "by" in members else None

    def _where(self, id: int) -> str:
        return f"{id} is {self._ask(requests.GetState(id=id)).state}"

    def _say(self, text: str) -> None:
        self.seen.append(text)


def _split(text: str) -> tuple[list[str], dict[str, str]]:
    """Plain words and ``name=value`` members."""
    words, members = [], {}
    for word in text.split():
        name, equals, value = word.partition("=")
        if equals and name.isidentifier():
            members[name] = value
        else:
            words.append(word)
    return words, members


def _member(name: str, value: str) -> Any:
    if name in _DURATIONS:
        return _duration(value)
    if name in ("after", "places"):
        return [int(id) for id in value.split(",")]
    if name == "tags":
        return value.split(",")
    return value if name in ("key", "job_id") else int(value)


def _delay(members: dict[str, str]) -> int | None:
    return _duration(members["delay"]) if "delay" in members else None


def _duration(text: str) -> int:
    found = re.fullmatch(r"(\d+)(ms|s|m|h|d)", text)
    if found is None:
        raise ValueError(f"no duration: {text}")
    return int(found[1]) * _UNITS[found[2]]


def _wall(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1_000)


def _time(ms: int) -> str:
    text = datetime.fromtimestamp(ms / 1_000, UTC).isoformat(" ", "milliseconds")
    return text.removesuffix("+00:00").removesuffix(".000")


def _delivered(job: JobView) -> str:
    given = "" if job.inputs is UNSET else f" with [{', '.join(bytes(one).decode() for one in job.inputs)}]"
    return f"job {job.id}{given}" + (f" (failed {job.attempts} times)" if job.attempts else "")


def _places(batch: replies.PushedBatch) -> str:
    known = [f", {name} at {places}" for name in ("duplicates", "replayed") if (places := getattr(batch, name))]
    return "".join(known)


def _event(event: Event) -> str:
    text = f"{event.event_type} {event.queue} {event.job_id}"
    if event.error is not UNSET:
        text += f": {event.error}"
    return text + (f" {event.progress}%" if event.progress is not UNSET else "")
