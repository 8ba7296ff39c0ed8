"""What the client's methods return: typed, and with payloads decoded only when someone looks at them.

A worker that hands the payload on, or decodes it into a type of its own, should not pay for a dictionary in
between; so the bytes stay as they came until ``data`` is read.
"""

from functools import cached_property
from typing import Any, Generic, TypeVar

from msgspec import UNSET, DecodeError, Raw, Struct, UnsetType, ValidationError, field, json

from flashq.errors import FlashQError
from flashq.model import Operation

T = TypeVar("T")


class JobRecord(Struct, dict=True):
    """One job. Times are milliseconds since the Unix epoch, durations milliseconds; 0 means never or none.

    Attributes:
        id: the server's id.
        queue: where it was pushed.
        payload: the payload's JSON as it came; `raw`, `data` and `decode` read it.
        priority: higher runs first.
        created_at: when it was pushed.
        run_at: when it became or becomes ready.
        started_at: when the last attempt began.
        attempts: failed attempts so far.
        max_attempts: failed attempts until the dead letters; 0 = no bound.
        backoff: ms before the first retry.
        ttl: ms from its creation until it disappears unfinished.
        timeout: ms that one attempt may run.
        unique_key: the key it holds.
        depends_on: jobs that had to complete first.
        progress: percent.
        progress_msg: what its worker said last, or the text of its last failure.
        tags: words for people.
        custom_id: the pusher's own id.
        token: the name of this attempt; only a pulled job has one. `ack`, `fail` and the like send it along.
        inputs: what its parents returned, each as JSON, aligned with ``depends_on`` (null: nothing, or forgotten);
            None if it was not pushed with ``collect``, or has completed.
        state: its state when the server answered.
    """

    id: int
    queue: str
    payload: Raw = field(name="data")
    priority: int = 0
    created_at: int = 0
    run_at: int = 0
    started_at: int = 0
    attempts: int = 0
    max_attempts: int = 0
    backoff: int = 0
    ttl: int = 0
    timeout: int = 0
    unique_key: str | None = None
    depends_on: list[int] = field(default_factory=list)
    progress: int = 0
    progress_msg: str | None = None
    tags: list[str] = field(default_factory=list)
    custom_id: str | None = None
    token: str | None = None
    inputs: list[Raw] | None = None
    state: str = "active"

    @property
    def raw(self) -> bytes:
        """The payload's JSON, byte for byte as it was pushed."""
        return bytes(self.payload)

    @cached_property
    def data(self) -> Any:  # noqa: ANN401 - a payload is whatever was pushed
        """The payload as a Python value, decoded at the first look."""
        return json.decode(self.payload)

    def decode(self, into: type[T]) -> T:
        """The payload as a type of your own: a dataclass, a `msgspec.Struct`, ``list[int]`` ...

        Raises:
            msgspec.ValidationError: the payload is not of that type.
        """
        return json.decode(self.payload, type=into)


class JobPage(Struct):
    """Some jobs of a listing, newest first.

    Attributes:
        jobs: each with its ``state``. There may be fewer than were asked for, or none, and still be more behind them.
        next: the ``cursor`` of the page behind this one; None: this is the last.
    """

    jobs: list[JobRecord]
    next: str | None = None


class Ending(Struct, dict=True):
    """How a job ended, or the state it is in.

    Attributes:
        id: the job.
        state: completed; failed (it lies among the dead letters); unknown (it left, or is not remembered any more); any
            other: it had not ended when the time was over.
        payload: the JSON of what it returned; `result` and `decode` read it.
        error: the text of its last failure if it failed; cancelled, expired or purged if it left while it was waited
            for; else None.
    """

    id: int
    state: str
    payload: Raw = field(name="result", default=Raw(b"null"))
    error: str | None = None

    @property
    def ended(self) -> bool:
        """Whether there is nothing left to wait for."""
        return self.state in ("completed", "failed", "unknown")

    @cached_property
    def result(self) -> Any:  # noqa: ANN401 - a result is whatever was given to `ack`
        """What the job returned as a Python value, decoded at the first look; None also if it returned nothing."""
        return json.decode(self.payload)

    def decode(self, into: type[T]) -> T:
        """What the job returned as a type of your own.

        Raises:
            msgspec.ValidationError: the result is not of that type.
        """
        return json.decode(self.payload, type=into)


class Event(Struct, dict=True):
    """Something that happened to a job.

    Attributes:
        event_type: pushed, active, completed, failed (entered the dead letters), retrying, progress, timeout,
            expired or cancelled.
        queue: the job's queue.
        job_id: the job's id.
        timestamp: ms since the Unix epoch.
        payload: the event's JSON data, if it has any; `data` reads it.
        error: the text of a failure.
        progress: percent.
    """

    event_type: str
    queue: str
    job_id: int
    timestamp: int
    payload: Raw | UnsetType = field(default=UNSET, name="data")
    error: str | None = None
    progress: int | None = None

    @cached_property
    def data(self) -> Any:  # noqa: ANN401 - a payload is whatever was pushed
        """The event's data as a Python value; None if it has none."""
        return None if self.payload is UNSET else json.decode(self.payload)


class Cron(Struct):
    """One schedule. Times are milliseconds since the Unix epoch.

    Attributes:
        name: its name.
        queue: where its jobs go.
        data: the payload of its jobs.
        schedule: the expression.
        priority: of its jobs.
        timezone: in which the expression is read.
        next_run: when it fires next.
        last_run: when it fired last; None if it never did.
        timeout, ttl, backoff, max_attempts, unique_key: of its jobs; None = not said.
        tags: of its jobs.
    """

    name: str
    queue: str
    data: Any
    schedule: str
    priority: int
    timezone: str
    next_run: int
    last_run: int | None
    timeout: int | None = None
    ttl: int | None = None
    backoff: int | None = None
    max_attempts: int | None = None
    unique_key: str | None = None
    tags: list[str] = field(default_factory=list)


class PushedIds(list[int]):
    """The ids of a pushed batch, in the order of the jobs.

    Attributes:
        duplicates: places whose id is the job that already held the unique key: nothing was pushed for them.
        replayed: places whose ``job_id`` was known: the id is the job it made the first time.
    """

    def __init__(self, ids: list[int], duplicates: list[int], replayed: list[int]) -> None:
        super().__init__(ids)
        self.duplicates = duplicates
        self.replayed = replayed


class AckedBatch(Struct, frozen=True):
    """What became of a batch of acknowledgements.

    Attributes:
        count: how many jobs were acknowledged.
        stale: ids refused because their attempt had ended.
    """

    count: int
    stale: list[int]


class JobProgress(Struct, frozen=True):
    """How far a job is.

    Attributes:
        id: the job.
        progress: percent.
        message: what its worker said last.
    """

    id: int
    progress: int
    message: str | None


class Pending(Generic[T]):
    """The answer to a call that was put into a pipeline; it is there once the ``with`` block has ended."""

    __slots__ = ("_error", "_value")

    def __init__(self) -> None:
        self._value: T | UnsetType = UNSET
        self._error: BaseException | None = None

    @property
    def error(self) -> BaseException | None:
        """What the call raised; None if it went well or is not done yet."""
        return self._error

    @property
    def done(self) -> bool:
        """Whether the call has ended, either way."""
        return self._error is not None or self._value is not UNSET

    def result(self) -> T:
        """What the call returned.

        Raises:
            FlashQError: what the call raised, or that the pipeline has not been sent yet.
        """
        if self._error is not None:
            raise self._error
        if self._value is UNSET:
            raise FlashQError("the pipeline has not been sent yet: leave its `with` block first")
        return self._value

    def resolve(self, value: T) -> None:
        """Note what the call returned."""
        self._value = value

    def reject(self, error: BaseException) -> None:
        """Note what the call raised."""
        self._error = error


class _EventLine(Struct):
    event: Event


_read_event = json.Decoder(_EventLine).decode


def read_event(line: bytes) -> Event:
    """An event line as it came.

    Raises:
        FlashQError: the line is not an event.
    """
    try:
        return _read_event(line).event
    except (DecodeError, ValidationError) as error:
        raise FlashQError(f"the server sent an unreadable event: {error}") from error


class AuditPage(Struct, frozen=True):
    """Some of what operators did, newest first.

    Attributes:
        actions: of this page.
        cursor: where the next page begins; None after the last.
    """

    actions: list[Operation]
    cursor: int | None
