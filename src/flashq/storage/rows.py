"""Rows as tables have them: their columns, and the way between them and records. For any SQL backend. Pure.

Every backend has the same tables with the same columns, so that people who look into one know the other, and so that
there is one way of storing a job.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby, islice, pairwise
from operator import attrgetter, itemgetter
from typing import Any, Final, TypeVar

import msgspec
from msgspec import Struct, structs

from flashq.engine.records import Actor, CallRow, CronRow, Happened, JobRow, Operated, Pushed, QueueRow, WebhookRow
from flashq.engine.trail import Numbered
from flashq.model import WAITING


class Meta(Struct):
    """Where the tables stand: the row of the table ``meta``, described there."""

    epoch: int
    folded: int
    next_id: int
    completions: int
    forget: int
    forget_results: int
    dropped: int
    audited: int
    importing: str = ""


JOB: Final = tuple(name for name in JobRow.__struct_fields__ if name != "inputs")
"""The columns of a job; its inputs have a table of their own, since one may come at a time."""
QUEUE: Final = QueueRow.__struct_fields__
CHANGED: Final = ("state", "run_at", "started_at", "attempts", "message", "fence_epoch", "fence_serial", "returns")
PROGRESSED: Final = ("progress", "message")
FINISHED: Final = ("state", "started_at", "done", "done_at", "token", "result")
SETTINGS: Final = ("paused", "rate_limit", "concurrency_limit")
COUNTERS: Final = ("pushed", "completed", "failed", "cancelled", "expired", "purged")
AUDIT: Final = (
    "number", "at", "event", "queue", "first", "last", "attempt", "worker", "by_name", "peer", "door", "detail"
)  # fmt: skip
OPERATION: Final = ("number", "at", "action", "target", "by_name", "peer", "door", "detail")
COLUMNS: Final[Mapping[str, Sequence[str]]] = {
    "queues": QUEUE,
    "crons": CronRow.__struct_fields__,
    "webhooks": WebhookRow.__struct_fields__,
    "webhook_calls": CallRow.__struct_fields__,
    "inputs": ("child", "parent", "result"),
    "audit": AUDIT,
    "operations": OPERATION,
}
"""Those of the tables besides the jobs, the key first; of the inputs child and parent are the key."""
READ_WHOLE: Final = ("queues", "crons", "webhooks", "webhook_calls")
ONE_BY_ONE: Final = ("crons", "webhooks", "webhook_calls", "inputs")
APPENDED: Final = ("audit", "operations")
"""Which tables a start reads as a whole, which get single rows, and which only ever grow at their end."""
UPDATED: Final[Mapping[Sequence[str], tuple[str, str]]] = {
    CHANGED: ("jobs", "id"),
    PROGRESSED: ("jobs", "id"),
    FINISHED: ("jobs", "id"),
    SETTINGS: ("queues", "name"),
}
"""Columns that are changed together in many rows at once, with the table and its key."""
DELETED: Final = {"jobs": "id", "inputs": "child", "webhook_calls": "number"}
"""Tables of which many rows are deleted at once, with the column that names them."""

Row = Sequence[Any]
_Item = TypeVar("_Item")

_DEPENDS_ON: Final = JOB.index("depends_on")
_TAGS: Final = JOB.index("tags")
_DATA: Final = JOB.index("data")
_COLUMNS: Final = len(JOB)
_PLAIN: Final = structs.astuple(JobRow(0, "", 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, b""))[_DATA + 1 : _COLUMNS]
"""What a job that is nothing but payload and options has in the columns after its payload."""
_shared: Final = itemgetter(*range(1, _DATA), *range(_DATA + 1, _COLUMNS))
_payload: Final = itemgetter(_DATA)
_LONGEST_RUN: Final = 1_000
"""Jobs that are read as one record."""


def jobs_of(
    rows: Iterable[tuple[Any, ...]], inputs: Callable[[int], list[tuple[int, bytes]] | None]
) -> Iterator[JobRow | Pushed]:
    """Jobs out of rows; consecutive plain ones that share everything but the payload as one record.

    Args:
        rows: of the table of jobs, in the order of their ids.
        inputs: gives what a job has collected.
    """
    for _, alike in groupby(rows, _shared):
        while run := list(islice(alike, _LONGEST_RUN)):
            if _starts_a_run(run[0]):
                yield from map(_run, _consecutive(run))
            else:
                for row in run:
                    yield _job(row, inputs)


changed_members: Final = attrgetter("id", *CHANGED)
progressed_members: Final = attrgetter("id", *PROGRESSED)
finished_members: Final = attrgetter("id", *FINISHED)


def stored_job(row: JobRow) -> Row:
    """The columns of a job; its inputs are not among them."""
    if row.depends_on is None and row.tags is None:
        return structs.astuple(row)[:_COLUMNS]
    members = list(structs.astuple(row)[:_COLUMNS])
    members[_DEPENDS_ON] = None if row.depends_on is None else json_list(row.depends_on)
    members[_TAGS] = None if row.tags is None else json_list(row.tags)
    return members


def queue_row(row: Row) -> QueueRow:
    """A queue out of its row."""
    return msgspec.convert((row[0], bool(row[1]), *row[2:]), QueueRow)


def stored_cron(cron: CronRow) -> Row:
    """The columns of a schedule."""
    *members, tags = structs.astuple(cron)
    return (*members, None if tags is None else json_list(tags))


def cron_row(row: Row) -> CronRow:
    """A schedule out of its row."""
    cron = CronRow(*row)
    cron.tags = _list(row[-1], str)
    return cron


def stored_webhook(webhook: WebhookRow) -> Row:
    """The columns of a webhook."""
    return webhook.id, webhook.url, json_list(webhook.events), webhook.queue, webhook.secret, webhook.created_at


def webhook_row(row: Row) -> WebhookRow:
    """A webhook out of its row."""
    webhook = WebhookRow(*row)
    webhook.events = _list(row[2], str) or []
    return webhook


def happened_rows(number: int, record: Happened) -> Iterator[Row]:
    """The rows of a record of the trail: one a run."""
    by, runs = record.by, record.runs
    for at in range(0, len(runs), 2):
        yield (
            number + at // 2, record.at, record.event, record.queue, runs[at], runs[at] + runs[at + 1] - 1,
            record.attempt, record.worker, by.name, by.peer, by.door, record.detail,
        )  # fmt: skip


def happened_back(row: Row) -> Numbered:
    """A record of the trail, with its number, out of one of its rows."""
    number, at, event, queue, first, last, attempt, worker, name, peer, door, detail = row
    runs = [first, last - first + 1]
    return number, Happened(at, event, queue, runs, Actor(name, peer, door), attempt, worker, detail)


def operated_row(number: int, record: Operated) -> Row:
    """The row of an action."""
    by = record.by
    return number, record.at, record.action, record.target, by.name, by.peer, by.door, record.detail


def operated_back(row: Row) -> Numbered:
    """An action, with its number, out of its row."""
    number, at, action, target, name, peer, door, detail = row
    return number, Operated(at, action, Actor(name, peer, door), target, detail)


def pieces(items: Iterable[_Item], size: int) -> Iterator[list[_Item]]:
    """The items in lists of so many; the last one may be shorter."""
    rest = iter(items)
    while piece := list(islice(rest, size)):
        yield piece


def json_list(items: Sequence[int] | Sequence[str]) -> str:
    """A list as a column has it."""
    return msgspec.json.encode(items).decode()


def _list(text: str | None, of: type[_Item]) -> list[_Item] | None:
    return None if text is None else msgspec.json.decode(text, type=list[of])  # type: ignore[valid-type]


def _consecutive(rows: list[tuple[Any, ...]]) -> Iterator[list[tuple[Any, ...]]]:
    """The rows, cut where an id is missing. They seldom are, and that is seen at the ends."""
    if rows[-1][0] - rows[0][0] == len(rows) - 1:
        yield rows
        return
    starts = [at for at in range(1, len(rows)) if rows[at][0] != rows[at - 1][0] + 1]
    for start, end in pairwise((0, *starts, len(rows))):
        yield rows[start:end]


def _job(row: tuple[Any, ...], inputs: Callable[[int], list[tuple[int, bytes]] | None]) -> JobRow:
    job = JobRow(*row)
    if row[_DEPENDS_ON] is not None or row[_TAGS] is not None:
        job.depends_on, job.tags = _list(row[_DEPENDS_ON], int), _list(row[_TAGS], str)
    if job.collect:
        job.collect = True  # which may come as a number
        job.inputs = inputs(job.id)
    return job


def _starts_a_run(row: Row) -> bool:
    """Whether a row is that of a job that was pushed and has waited since, with nothing but payload and options."""
    if row[_DATA + 1 :] != _PLAIN:
        return False
    job = JobRow(*row)
    waited = job.run_at == job.created_at and not (job.started_at or job.attempts)
    return job.state == WAITING and waited and not job.ttl


def _run(rows: list[tuple[Any, ...]]) -> Pushed:
    """Jobs with consecutive ids that differ in nothing but their payloads."""
    job = JobRow(*rows[0])
    options = job.priority, job.max_attempts, job.backoff, job.ttl, job.timeout
    return Pushed(job.queue, job.id, job.created_at, *options, list(map(_payload, rows)))
