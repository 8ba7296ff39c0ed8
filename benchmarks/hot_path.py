"""What a job costs inside the process: nanoseconds and Python calls of decode, push, pull, answer and ack.

No socket, no disk, no second process: each step of the way of a line through `protocol`, `commands` and `engine` by
itself. The calls are counted with the interpreter's own profile hook and do not depend on the machine; they are why a
batch costs so little, and they grow when somebody puts a call into a loop.
"""

import gc
import sys
from collections.abc import Callable, Iterator
from time import monotonic_ns, perf_counter_ns, time_ns
from types import FrameType
from typing import Any, Final, NamedTuple

from benchmarks.load import push_batch_line, push_line
from benchmarks.report import Result, Size, main
from flashq.commands.execute import execute
from flashq.commands.session import Context, Session
from flashq.engine.engine import Engine
from flashq.engine.settings import Settings
from flashq.model import Instant
from flashq.observe.events import Hub
from flashq.protocol.codec import decode_request, encode
from flashq.protocol.replies import Pulled, PulledBatch

QUEUE: Final = b"bench"
PAYLOAD: Final = b'{"n":1234567}'
JOBS: Final = 200_000
BATCHES: Final = {"single": 1, "batch of 100": 100, "batch of 1,000": 1_000}
STEPS: Final = ("decode the push", "push", "answer the push", "pull", "answer the pull", "decode the ack", "ack")

Work = Callable[[], Any]


class Cost(NamedTuple):
    """What a step took, over all jobs."""

    nanoseconds: int
    calls: int


def run(size: Size) -> Iterator[Result]:
    """All of it."""
    for name, batch in BATCHES.items():
        jobs = size.jobs(JOBS if batch > 1 else JOBS // 4, batch)
        rounds = [_Round(batch).measure(jobs) for _ in range(size.runs)]
        calls = _Round(batch, counting=True).measure(10 * batch)
        for step in STEPS:
            nanoseconds = tuple(one[step].nanoseconds / jobs for one in rounds)
            yield Result(f"{name}: {step}", None, "ns a job", nanoseconds)
            yield Result(f"{name}: {step}", None, "Python calls", (calls[step].calls / 10,))
        yield Result(f"{name}: all steps", None, "ns a job", tuple(_total(one) / jobs for one in rounds))


class _Round:
    """A queue in this process, and jobs that go all the way through it."""

    def __init__(self, batch: int, *, counting: bool = False) -> None:
        """Args: ``counting``: count calls, which makes the times worthless."""
        engine = Engine(Settings(), nonce=lambda: "0123456789abcdef", now=_now(), epoch=1)
        self._context = Context(engine, Hub(lambda _: None))
        self._session = Session()
        self._batch = batch
        self._counting = counting
        self._spent = dict.fromkeys(STEPS, 0)
        self._called = dict.fromkeys(STEPS, 0)

    def measure(self, jobs: int) -> dict[str, Cost]:
        """Push, pull and acknowledge ``jobs`` jobs; the cost of each step."""
        self._turn()  # the queue is there, and so are all caches
        for step in STEPS:
            self._spent[step] = self._called[step] = 0
        gc.collect()
        for _ in range(jobs // self._batch):
            self._turn()
        return {step: Cost(self._spent[step], self._called[step]) for step in STEPS}

    def _turn(self) -> None:
        batch = self._batch
        line = push_line(QUEUE, PAYLOAD) if batch == 1 else push_batch_line(QUEUE, PAYLOAD, batch)
        line = line.rstrip(b"\n")
        request = self._step("decode the push", lambda: decode_request(line))
        pushed = self._step("push", lambda: self._execute(request))
        self._step("answer the push", lambda: encode(pushed))
        pull = decode_request(_pull_line(batch))
        pulled = self._step("pull", lambda: self._execute(pull))
        self._step("answer the pull", lambda: encode(pulled))
        ack_line = _ack_line(pulled)
        ack = self._step("decode the ack", lambda: decode_request(ack_line))
        acked = self._step("ack", lambda: self._execute(ack))
        assert acked.ok

    def _execute(self, request: Any) -> Any:  # noqa: ANN401  # any of the requests, any of the replies
        return execute(self._context, self._session, request, _now())

    def _step(self, name: str, work: Work) -> Any:  # noqa: ANN401  # whatever the step gives
        if self._counting:
            answer, calls = count_calls(work)
            self._called[name] += calls
            return answer
        began = perf_counter_ns()
        answer = work()
        self._spent[name] += perf_counter_ns() - began
        return answer


def count_calls(work: Work) -> tuple[Any, int]:
    """Run ``work``; gives its result and how many Python functions were called in it."""
    calls = 0

    def hook(_: FrameType, event: str, __: object) -> None:
        nonlocal calls
        calls += event == "call"

    sys.setprofile(hook)
    try:
        answer = work()
    finally:
        sys.setprofile(None)
    return answer, calls - 1  # `work` itself is one


def _total(costs: dict[str, Cost]) -> int:
    return sum(cost.nanoseconds for cost in costs.values())


def _now() -> Instant:
    return Instant(time_ns() // 1_000_000, monotonic_ns() // 1_000_000)


def _pull_line(batch: int) -> bytes:
    if batch == 1:
        return b'{"cmd":"PULL","queue":"%b","timeout":0}' % QUEUE
    return b'{"cmd":"PULLB","queue":"%b","count":%d,"timeout":0}' % (QUEUE, batch)


def _ack_line(pulled: Pulled | PulledBatch) -> bytes:
    """The ack of what was pulled, with tokens, as a worker sends it."""
    if isinstance(pulled, Pulled):
        assert pulled.job is not None
        return b'{"cmd":"ACK","id":%d,"token":"%b"}' % (pulled.job.id, str(pulled.job.token).encode())
    ids = b",".join(b"%d" % job.id for job in pulled.jobs)
    tokens = b",".join(b'"%b"' % str(job.token).encode() for job in pulled.jobs)
    return b'{"cmd":"ACKB","ids":[%b],"tokens":[%b]}' % (ids, tokens)


if __name__ == "__main__":
    main({"benchmarks.hot_path": run}, "benchmarks.hot_path")
