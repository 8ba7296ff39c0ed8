"""What a client's ``with client.pipeline() as p:`` block collects: calls that are sent together at its end.

Pure and shared by both clients. Every command that is answered at once is here under its client method's name and
with the same arguments; it gives a `Pending` instead of the result. Pulls are not: one that waits would be cut
short by whatever stands behind it in the same pipeline (``pull_batch`` takes many jobs in one call).
"""

from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

from flashq.client import calls
from flashq.client.calls import Call
from flashq.client.encoding import encode
from flashq.client.pipeline import MAX_REPEATS, RepeatBudget
from flashq.client.results import Pending
from flashq.errors import ConnectionLost, FlashQError

P = ParamSpec("P")
T = TypeVar("T")


def _collected(build: Callable[P, Call[T]]) -> "Callable[Concatenate[Collected, P], Pending[T]]":
    """The method that puts what ``build`` makes into the pipeline; typed and documented as ``build`` is."""

    @wraps(build)
    def method(batch: "Collected", /, *args: P.args, **kwargs: P.kwargs) -> Pending[T]:
        return batch.add(build(*args, **kwargs))

    return method


class Collected:
    """Calls gathered to be sent together.

    Args:
        job_ids: where pushes get their ``job_id`` from, if they are to be safe to repeat.

    Attributes:
        pause_ms: how long to wait before what is left is sent again.
    """

    def __init__(self, job_ids: Iterator[str] | None = None) -> None:
        self._job_ids = job_ids
        self._left: list[tuple[Call[Any], bytes, Pending[Any]]] = []
        self._all: list[Pending[Any]] = []
        self._rounds = 0
        self.pause_ms = 0

    def __len__(self) -> int:
        """How many calls were put in."""
        return len(self._all)

    def add(self, call: Call[T]) -> Pending[T]:
        """Put any call of `flashq.client.calls` in.

        Raises:
            FlashQError: the request cannot be written.
        """
        if self._job_ids is not None:
            call = calls.signed(call, self._job_ids)
        pending: Pending[T] = Pending()
        self._left.append((call, encode(call.request), pending))
        self._all.append(pending)
        return pending

    def lines(self) -> list[bytes]:
        """What is to be sent now: everything at first, after `settle` only what may be repeated."""
        return [line for _, line, _ in self._left]

    def settle(self, outcomes: list[bytes | BaseException], budget: RepeatBudget) -> bool:
        """Note the outcomes of `lines`, in the same order.

        Returns:
            Whether there is something to send again.
        """
        again = []
        self.pause_ms = 0
        for entry, outcome in zip(self._left, outcomes, strict=True):
            call, _, pending = entry
            may_again = call.repeatable and self._rounds < MAX_REPEATS
            if isinstance(outcome, ConnectionLost) and may_again and budget.take():
                again.append(entry)
                self.pause_ms = max(self.pause_ms, outcome.retry_after_ms)
            elif isinstance(outcome, BaseException):
                pending.reject(outcome)
            else:
                _read(call, outcome, pending)
        self._left = again
        self._rounds += 1
        return bool(again)

    def abandon(self, error: FlashQError) -> None:
        """Nothing more can be sent: what has no outcome yet ends with this error."""
        for _, _, pending in self._left:
            pending.reject(error)
        self._left = []

    def first_error(self) -> BaseException | None:
        """The first call's error, in the order of collecting; None if all went well."""
        return next((pending.error for pending in self._all if pending.error is not None), None)

    push = _collected(calls.push)
    push_batch = _collected(calls.push_batch)
    push_flow = _collected(calls.push_flow)
    ack = _collected(calls.ack)
    ack_batch = _collected(calls.ack_batch)
    fail = _collected(calls.fail)
    release = _collected(calls.release)
    progress = _collected(calls.progress)
    heartbeat = _collected(calls.heartbeat)
    cancel = _collected(calls.cancel)
    result = _collected(calls.result)
    job = _collected(calls.job)
    job_by_custom_id = _collected(calls.job_by_custom_id)
    state = _collected(calls.state)
    jobs = _collected(calls.jobs)
    explain = _collected(calls.explain)
    get_progress = _collected(calls.get_progress)
    dead_letters = _collected(calls.dead_letters)
    retry_dead_letters = _collected(calls.retry_dead_letters)
    purge_dead_letters = _collected(calls.purge_dead_letters)
    queues = _collected(calls.queues)
    pause = _collected(calls.pause)
    resume = _collected(calls.resume)
    set_rate_limit = _collected(calls.set_rate_limit)
    clear_rate_limit = _collected(calls.clear_rate_limit)
    set_concurrency = _collected(calls.set_concurrency)
    clear_concurrency = _collected(calls.clear_concurrency)
    history = _collected(calls.history)
    audit_log = _collected(calls.audit_log)
    set_cron = _collected(calls.set_cron)
    delete_cron = _collected(calls.delete_cron)
    crons = _collected(calls.crons)
    add_webhook = _collected(calls.add_webhook)
    delete_webhook = _collected(calls.delete_webhook)
    webhooks = _collected(calls.webhooks)
    stats = _collected(calls.stats)
    metrics = _collected(calls.metrics)
    ping = _collected(calls.ping)
    beat = _collected(calls.beat)
    workers = _collected(calls.workers)
    settings = _collected(calls.settings)
    nodes = _collected(calls.nodes)


def _read(call: Call[T], line: bytes, pending: Pending[T]) -> None:
    try:
        pending.resolve(call.read(line))
    except FlashQError as error:
        pending.reject(error)
