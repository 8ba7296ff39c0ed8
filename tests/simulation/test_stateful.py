"""The command layer against the naive model, driven by a search that shrinks what it finds to the shortest story.

The simulator covers more ground; this one tells better what went wrong. Both use the same world, so every call is
compared by `World.call`, and after every step the engine's invariants and everything that can be asked of it.
"""

from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, precondition, rule
from msgspec import Raw
from tests.simulation.world import Client, World, watched_moves

from flashq.engine.settings import Settings
from flashq.model import JobSpec
from flashq.protocol import replies
from flashq.protocol import requests as r

QUEUES = st.sampled_from(("emails", "reports"))
DATA = Raw(b'{"n":1}')
SMALL_MS = st.sampled_from((None, 0, 1, 10, 100))

SPEC: dict[str, st.SearchStrategy[Any]] = {
    "priority": st.integers(-1, 1),
    "delay": SMALL_MS,
    "ttl": SMALL_MS,
    "timeout": SMALL_MS,
    "max_attempts": st.sampled_from((None, 0, 1, 2)),
    "backoff": st.sampled_from((None, 0, 5)),
    "unique_key": st.sampled_from((None, None, "a", "b")),
    "job_id": st.sampled_from((None, None, "x", "y")),
    "tags": st.sampled_from((None, ["t"])),
}


class Story(RuleBasedStateMachine):
    """Two clients, two queues, and everything they may ask."""

    ids: Bundle[int] = Bundle("ids")
    attempts: Bundle[tuple[int, str]] = Bundle("attempts")
    numbers: ClassVar[Settings] = Settings(
        default_max_attempts=2, default_backoff=20, lease=200, worker_silence=150, keep_completed=4, keep_results=2,
        max_returns=2,
    )  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        self._moves = watched_moves()
        self._moves.__enter__()
        self.world = World(self.numbers)
        self.one, self.two = self.world.connect(), self.world.connect()

    def teardown(self) -> None:
        """Whatever happened, it can be recovered."""
        try:
            self.world.pass_time(20)
            self.world.crash(written=True)
        finally:
            self._moves.__exit__(None, None, None)

    @initialize(latency=st.sampled_from((0, 1, 15)))
    def set_up(self, latency: int) -> None:
        """The disk is as fast or slow as it is."""
        self.world.latency_ms = lambda: latency

    # --- producers ---

    @rule(target=ids, queue=QUEUES, spec=st.fixed_dictionaries({}, optional=SPEC))
    def push(self, queue: str, spec: dict[str, Any]) -> Any:
        """One job with anything."""
        return self._pushed(r.Push(queue=queue, data=DATA, **spec))

    @rule(target=ids, queue=QUEUES, parents=st.lists(ids, min_size=1, max_size=3), delay=SMALL_MS)
    def push_child(self, queue: str, parents: list[int], delay: int | None) -> Any:
        """A job that waits for others."""
        return self._pushed(r.Push(queue=queue, data=DATA, depends_on=parents, delay=delay))

    @rule(target=ids, queue=QUEUES, specs=st.lists(st.fixed_dictionaries({}, optional=SPEC), max_size=4))
    def push_batch(self, queue: str, specs: list[dict[str, Any]]) -> Any:
        """Several jobs at once."""
        reply = self._call(r.PushBatch(queue=queue, jobs=[JobSpec(data=DATA, **spec) for spec in specs]))
        return multiple(*reply.ids) if isinstance(reply, replies.PushedBatch) else multiple()

    @rule(id=ids)
    def cancel(self, id: int) -> None:
        """Take one back."""
        self._call(r.Cancel(id=id))

    # --- workers ---

    @rule(target=attempts, queue=QUEUES, count=st.integers(0, 3))
    def pull(self, queue: str, count: int) -> Any:
        """Take what is there; one by one or together."""
        if count == 1:
            self._call(r.Pull(queue=queue, timeout=0))
        else:
            self._call(r.PullBatch(queue=queue, count=count, timeout=0))
        return self._learned()

    @rule(
        target=attempts, queue=QUEUES, specs=st.lists(st.fixed_dictionaries({}, optional=SPEC), min_size=1, max_size=3)
    )
    def push_and_pull(self, queue: str, specs: list[dict[str, Any]]) -> Any:
        """Most stories are about jobs in somebody's hands: the short way there."""
        self._call(r.PushBatch(queue=queue, jobs=[JobSpec(data=DATA, **spec) for spec in specs]))
        self._call(r.PullBatch(queue=queue, count=len(specs), timeout=0))
        self.world.pass_time(20)
        return self._learned()

    @rule(queue=QUEUES, timeout=st.sampled_from((None, 5, 50)), count=st.integers(1, 3))
    def wait(self, queue: str, timeout: int | None, count: int) -> None:
        """Wait for jobs."""
        self._call(r.PullBatch(queue=queue, count=count, timeout=timeout), self.two)

    @rule(attempt=attempts, fenced=st.booleans(), result=st.sampled_from((Raw(b"null"), Raw(b"[1]"))))
    def ack(self, attempt: tuple[int, str], fenced: bool, result: Raw) -> None:
        """Done; perhaps late, perhaps again."""
        self._call(r.Ack(id=attempt[0], token=attempt[1] if fenced else None, result=result))

    @rule(several=st.lists(attempts, min_size=1, max_size=4), fenced=st.booleans())
    def ack_batch(self, several: list[tuple[int, str]], fenced: bool) -> None:
        """Done with several."""
        tokens = [token for _, token in several] if fenced else None
        self._call(r.AckBatch(ids=[id for id, _ in several], tokens=tokens))

    @rule(
        attempt=attempts,
        fenced=st.booleans(),
        error=st.sampled_from((None, "boom")),
        delay=SMALL_MS,
        dead=st.booleans(),
    )
    def fail(self, attempt: tuple[int, str], fenced: bool, error: str | None, delay: int | None, dead: bool) -> None:
        """Not done."""
        token = attempt[1] if fenced else None
        self._call(r.Fail(id=attempt[0], token=token, error=error, delay=delay, dead=dead))

    @rule(attempt=attempts, fenced=st.booleans(), delay=SMALL_MS)
    def release(self, attempt: tuple[int, str], fenced: bool, delay: int | None) -> None:
        """Given back."""
        self._call(r.Release(id=attempt[0], token=attempt[1] if fenced else None, delay=delay))

    @rule(attempt=attempts, fenced=st.booleans(), percent=st.sampled_from((None, 0, 50, 200)))
    def still_there(self, attempt: tuple[int, str], fenced: bool, percent: int | None) -> None:
        """HEARTBEAT and PROGRESS."""
        token = attempt[1] if fenced else None
        if percent is None:
            self._call(r.Heartbeat(id=attempt[0], token=token))
        else:
            self._call(r.Progress(id=attempt[0], token=token, progress=percent, message="half"))

    @rule(name=st.sampled_from(("w1", "w2")), which=st.booleans())
    def hello(self, name: str, which: bool) -> None:
        """A client names itself."""
        self._call(r.Hello(worker=name, queues=["emails"]), self.one if which else self.two)

    @rule(name=st.sampled_from(("w1", "w2")), leaves=st.booleans(), error=st.sampled_from((None, "killed")))
    def beat_or_leave(self, name: str, leaves: bool, error: str | None) -> None:
        """A worker lives, or leaves."""
        self._call(r.Bye(worker=name, error=error) if leaves else r.Beat(worker=name))

    # --- operators ---

    @rule(
        queue=QUEUES,
        kind=st.sampled_from((r.Pause, r.Resume, r.RateLimitClear, r.ClearConcurrency, r.PurgeDeadLetters)),
    )
    def steer(self, queue: str, kind: Any) -> None:
        """What needs a queue and nothing else."""
        self._call(kind(queue=queue))

    @rule(queue=QUEUES, kind=st.sampled_from((r.RateLimit, r.SetConcurrency)), limit=st.integers(0, 3))
    def limit(self, queue: str, kind: Any, limit: int) -> None:
        """Set a brake."""
        self._call(kind(queue=queue, limit=limit))

    @rule(queue=QUEUES, id=st.one_of(st.none(), ids))
    def retry_dead(self, queue: str, id: int | None) -> None:
        """Run dead letters again."""
        self._call(r.RetryDeadLetters(queue=queue, id=id))

    @rule(name=st.sampled_from(("c1", "c2")), queue=QUEUES, schedule=st.sampled_from(("*/2", "*/5 * * * * *", "*/x")))
    def set_cron(self, name: str, queue: str, schedule: str) -> None:
        """Set a schedule."""
        self._call(r.Cron(name=name, queue=queue, schedule=schedule))

    @rule(name=st.sampled_from(("c1", "c2")))
    def delete_cron(self, name: str) -> None:
        """Remove it."""
        self._call(r.CronDelete(name=name))

    @rule(id=ids)
    def ask(self, id: int) -> None:
        """Everything that can be asked about a job, and about all."""
        for kind in (r.GetJob, r.GetState, r.GetResult, r.GetProgress):
            self._call(kind(id=id))
        for request in (r.StatsRequest(), r.ListQueues(), r.MetricsRequest(), r.CronList(), r.Workers(), r.ListJobs()):
            self._call(request)

    @rule(which=st.booleans(), topic=st.sampled_from(("*", "emails")))
    def listen(self, which: bool, topic: str) -> None:
        """Wish for events, or no longer."""
        self._call(r.Subscribe(queue=topic) if which else r.Unsubscribe(queue=topic))

    # --- time and trouble ---

    @rule(target=attempts, ms=st.sampled_from((1, 5, 30, 160, 2_500)))
    def pass_time(self, ms: int) -> Any:
        """Time passes."""
        self.world.pass_time(ms)
        return self._learned()

    @rule(ms=st.sampled_from((1, 60, 3_000, 60_000)))
    def stall(self, ms: int) -> None:
        """Time passes unnoticed."""
        self.world.stall(ms)
        self._call(r.Push(queue="emails", data=DATA))
        self.world.catch_up()

    @rule(ms=st.sampled_from((-3_600_000, -50, 50, 3_600_000)))
    def set_clock(self, ms: int) -> None:
        """Somebody sets the system time."""
        self.world.set_clock(ms)

    @rule()
    def reconnect(self) -> None:
        """The one who waits goes away and comes back."""
        self.world.close(self.two)
        self.two = self.world.connect()

    @rule(written=st.booleans())
    def crash(self, written: bool) -> None:
        """The server dies and comes back."""
        self.world.crash(written=written)
        self.one, self.two = self.world.connect(), self.world.connect()

    @precondition(lambda self: self.world.disk.in_flight is not None)
    @rule(written=st.booleans())
    def fail_disk(self, written: bool) -> None:
        """A write fails."""
        self.world.fail_disk(written=written)
        self.one, self.two = self.world.connect(), self.world.connect()

    @invariant()
    def all_agree(self) -> None:
        """The engine is whole, and the model says the same of everything."""
        self.world.compare_everything()

    def _call(self, request: Any, client: Client | None = None) -> Any:
        reply = self.world.call(client or self.one, request)
        self.world.turn()
        return reply

    def _pushed(self, request: r.Push) -> Any:
        reply = self._call(request)
        return reply.id if isinstance(reply, replies.Pushed) else multiple()

    def _learned(self) -> Any:
        known, self.world.known = self.world.known, []
        return multiple(*known)


_SMALL = settings(max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck))
_LARGE = settings(_SMALL, max_examples=400, stateful_step_count=60)


def _run(how: settings) -> None:
    case = Story.TestCase
    case.settings = how
    case().runTest()


def test_short_stories() -> None:
    """A few dozen stories, told each time."""
    _run(_SMALL)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_long_stories() -> None:
    """Hundreds of longer ones."""
    _run(_LARGE)
