"""What a stretch of the journal adds up to: records in, coalesced changes of rows out. Pure.

Used three ways: a SQL backend moves old groups into its tables with it, recovery lays the rest of the journal over
those tables, and the memory backend keeps nothing but the journal. So there is one meaning of a record.

A fold covers the groups of a *window*. Ids are handed out in order, so the first id that no earlier group had tells
jobs *born* in the window from *older* ones, which have a row already:

- a born job becomes at most one row, its last state; one that ended in the window, and is forgotten, becomes none;
- an older job gets the columns that changed, by value; it is never read first.

All of this is absolute: applied twice, or in part and then again together with later groups, it gives the same rows.
Only counters are increments; a backend adds them in the transaction that marks the window as folded.

Feeding costs next to nothing, because nearly all jobs of a window come and go in it: payloads are not touched, ids
are not looked at one by one. The work is done once, in `settle`, when it is known what is forgotten.

A job that has ended is named by no later record, except that a completed one may be dropped.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from operator import itemgetter
from typing import Any, ClassVar, Final, TypeVar

from msgspec import Struct, structs

from flashq.engine.records import (
    KEEP_DROPPED,
    Added,
    CallRow,
    CallsOver,
    CallsOwed,
    Changed,
    Collected,
    Completed,
    CronDeleted,
    CronRow,
    CronSet,
    Dropped,
    Happened,
    Ids,
    Imported,
    ImportEnded,
    JobRow,
    Operated,
    Overfilled,
    Progressed,
    Pushed,
    QueueRow,
    QueueSet,
    Record,
    Snapshot,
    WebhookDeleted,
    WebhookRow,
    WebhookSet,
    rows_of,
)
from flashq.errors import StorageError
from flashq.model import COMPLETED, FAILED

_SHORT_RUN: Final = 16
"""Jobs of a batch up to which single rows are cheaper to write than a statement of their own."""

_REASONS: Final = frozenset({"cancelled", "expired", "purged"})

_Happened = TypeVar("_Happened")


class Finish(Struct, gc=False):
    """How a job completed; the members of `JobRow` with the same names."""

    id: int
    started_at: int
    done: int
    done_at: int
    token: str
    result: bytes | None
    state: int = COMPLETED


class Fold:
    """A window of the journal, added up.

    Attributes:
        next_id: above every id of the window and of what came before.
        completions: number of the newest completion, 0 if there was none in the window.
        forget: completions with smaller numbers are not remembered.
        forget_results: results of completions with smaller numbers are not remembered.
        queues: by name, the counters' increments, and the settings of those that are `configured`.
        configured: names of the queues whose settings were set.
        crons: by name, the schedule as it now is, None = deleted.
        dropped: ids that ended without completing, oldest first, the newest `KEEP_DROPPED`.
        webhooks: by id, the webhook as it now is, None = deleted.
        calls: by number, those that were made in the window and are still owed.
        calls_over: numbers of those that are owed no more, wherever they were made.
        importing: how far an import is, or empty when it has ended; None = nothing was imported.
        audit: the records of the trail in their order. They change no row and are kept as they are.
    """

    def __init__(self, next_id: int = 1) -> None:
        """Begin a window.

        Args:
            next_id: the first id that no earlier group had.
        """
        self.next_id = self._born_from = next_id
        self.completions = self.forget = self.forget_results = 0
        self.queues: dict[str, QueueRow] = {}
        self.configured: set[str] = set()
        self.crons: dict[str, CronRow | None] = {}
        self.dropped: Ids = []
        self.webhooks: dict[str, WebhookRow | None] = {}
        self.calls: dict[int, CallRow] = {}
        self.calls_over: list[int] = []
        self.importing: str | None = None
        self.audit: list[Happened | Operated] = []
        self._births: list[tuple[int, Pushed | JobRow]] = []
        self._changes: dict[int, Changed] = {}
        self._progress: dict[int, Progressed] = {}
        self._completed: list[Completed] = []
        self._finishes: dict[int, Finish] = {}
        self._collected: dict[int, dict[int, bytes]] = {}
        self._overfilled: dict[int, int] = {}
        self._gone: set[int] = set()
        self._touched: set[int] = set()

    def feed(self, records: Sequence[Record]) -> None:
        """Add the next group's records. They are kept and not changed.

        Args:
            records: in the order in which they happened.

        Raises:
            StorageError: a job was dropped for a reason that this program does not know.
        """
        for record in records:
            self._FEEDERS[type(record)](self, record)

    def settle(self, forget: int = 0, forget_results: int = 0) -> None:
        """The window is complete: find out what is left of it. Called once, after the last `feed`.

        Args:
            forget: what a later, durable group says of it, so that what it will have forgotten is not written.
            forget_results: likewise.
        """
        self.forget = max(self.forget, forget)
        self.forget_results = max(self.forget_results, forget_results)
        del self.dropped[:-KEEP_DROPPED]
        for record in self._completed:
            self._finish(record)
        self._births.sort(key=itemgetter(0))
        happened = self._changes, self._progress, self._finishes, self._collected, self._overfilled
        self._touched = self._gone.union(*happened)

    def ended(self) -> Ids:
        """Older jobs that are no more, ascending."""
        return sorted(id for id in self._gone if id < self._born_from)

    def changed(self) -> list[Changed]:
        """The newest change of each older job that lives on, ascending; to be applied before the next two."""
        return self._of_older(self._changes)

    def progressed(self) -> list[Progressed]:
        """The newest progress of each older job that lives on, ascending. Its message is the job's."""
        return self._of_older(self._progress)

    def finished(self) -> list[Finish]:
        """How each older job completed that did and is remembered, ascending."""
        return self._of_older(self._finishes)

    def collected(self) -> list[tuple[int, Iterable[tuple[int, bytes]]]]:
        """For each older job that lives on, the results by parent that it was given, ascending."""
        born_from, gone, finishes = self._born_from, self._gone, self._finishes
        return [
            (id, self._collected[id].items())
            for id in sorted(self._collected)
            if id < born_from and id not in gone and id not in finishes
        ]

    def overfilled(self) -> list[tuple[int, int]]:
        """The older jobs that had too much to collect, ascending, and how many bytes."""
        return [(id, self._overfilled[id]) for id in sorted(self._overfilled) if id < self._born_from]

    def without_inputs(self) -> Ids:
        """Older jobs that have ended, or had too much to collect, ascending: whatever they collected is let go."""
        over = self._gone.union(self._finishes, self._overfilled)
        return sorted(id for id in over if id < self._born_from)

    def born(self) -> Iterator[Pushed | JobRow]:
        """What is left of the jobs born in the window, ascending.

        Yields:
            Longer stretches of plain jobs to which nothing happened, as batches; all others as rows.
        """
        for id, birth in self._births:
            if isinstance(birth, Pushed):
                yield from self._left_of(birth)
            elif id not in self._touched:
                if (row := self._row_over(birth)) is not None:
                    yield row
            elif id not in self._gone:
                yield self._last_state(birth)

    def over(self, base: Snapshot) -> Snapshot:
        """Lay the window over what was there before it.

        Args:
            base: before the first group of the window; its ``next_id`` is the one that the fold began with.

        Returns:
            After its last group. Its jobs are read from those of the base while they are read themselves.
        """
        queues = {row.name: row for row in base.queues}
        queues |= {name: self._queue_over(queues.get(name), row) for name, row in self.queues.items()}
        crons = {row.name: row for row in base.crons} | self.crons
        webhooks = {row.id: row for row in base.webhooks} | self.webhooks
        over = set(self.calls_over)
        calls = {
            call.number: call
            for call in base.calls
            if call.number not in over and self.webhooks.get(call.webhook, call) is not None
        }
        return Snapshot(
            next_id=self.next_id,
            epoch=base.epoch,
            completions=max(base.completions, self.completions),
            jobs=chain(self._older_over(base.jobs), self.born()),
            queues=[queues[name] for name in sorted(queues)],
            crons=[row for _, row in sorted(crons.items()) if row is not None],
            dropped=(base.dropped + self.dropped)[-KEEP_DROPPED:],
            webhooks=[row for _, row in sorted(webhooks.items()) if row is not None],
            calls=list((calls | self.calls).values()),
            importing=base.importing if self.importing is None else self.importing,
        )

    def _of_older(self, happened: dict[int, _Happened]) -> list[_Happened]:
        born_from, gone = self._born_from, self._gone
        return [happened[id] for id in sorted(happened) if id < born_from and id not in gone]

    def _older_over(self, jobs: Iterable[JobRow | Pushed]) -> Iterator[JobRow | Pushed]:
        for job in jobs:
            if isinstance(job, Pushed):
                yield from self._left_of(job)
            elif (after := self._row_over(job)) is not None:
                yield after

    def _row_over(self, row: JobRow) -> JobRow | None:
        if 0 < row.done < self.forget or row.id in self._gone:
            return None
        if row.id in self._touched:
            return self._last_state(row)
        if row.result is not None and row.done < self.forget_results:
            return structs.replace(row, result=None)
        return row

    def _queue_over(self, row: QueueRow | None, after: QueueRow) -> QueueRow:
        if row is None:
            return after
        settings = after if after.name in self.configured else row
        return QueueRow(
            row.name,
            settings.paused,
            settings.rate_limit,
            settings.concurrency_limit,
            row.pushed + after.pushed,
            row.completed + after.completed,
            row.failed + after.failed,
            row.cancelled + after.cancelled,
            row.expired + after.expired,
            row.purged + after.purged,
        )

    def _left_of(self, run: Pushed) -> Iterator[Pushed | JobRow]:
        ids = range(run.first, run.first + len(run.data))
        hits = self._touched.intersection(ids)
        if not hits:
            yield from _stretch(run, 0, len(ids))
            return
        if len(hits) == len(ids) and hits <= self._gone:
            return
        start = 0
        for id in sorted(hits):
            place = id - run.first
            yield from _stretch(run, start, place)
            if id not in self._gone:
                yield self._last_state(rows_of(run, place, place + 1)[0])
            start = place + 1
        yield from _stretch(run, start, len(ids))

    def _last_state(self, row: JobRow) -> JobRow:
        """A copy of the row with all that happened to the job; the order matters, an end comes last."""
        row = structs.replace(row)
        changed, progressed = self._changes.get(row.id), self._progress.get(row.id)
        finished = self._finishes.get(row.id)
        if changed is not None:
            row.state, row.run_at, row.started_at = changed.state, changed.run_at, changed.started_at
            row.attempts, row.message, row.returns = changed.attempts, changed.message, changed.returns
            row.fence_epoch, row.fence_serial = changed.fence_epoch, changed.fence_serial
        if progressed is not None:
            row.progress, row.message = progressed.progress, progressed.message
        excess, collected = self._overfilled.get(row.id), self._collected.get(row.id)
        if excess is not None:
            row.excess, row.inputs = excess, None
        elif collected is not None:
            row.inputs = list((dict(row.inputs or ()) | collected).items())  # some may be in the row already
        if finished is not None:
            row.inputs = None
            row.state, row.started_at, row.done = finished.state, finished.started_at, finished.done
            row.done_at, row.token, row.result = finished.done_at, finished.token, finished.result
        return row

    def _finish(self, record: Completed) -> None:
        """Sort a delivery's completions into forgotten and remembered."""
        forgotten = max(0, self.forget - record.done)
        self._gone.update(record.ids[:forgotten])
        if forgotten >= len(record.ids):
            return
        results = dict(record.results)
        for done, id in enumerate(record.ids[forgotten:], record.done + forgotten):
            if id not in self._gone:
                result = results.get(id) if done >= self.forget_results else None
                self._finishes[id] = Finish(id, record.started_at, done, record.done_at, record.token, result)

    def _queue(self, name: str) -> QueueRow:
        row = self.queues.get(name)
        if row is None:
            row = self.queues[name] = QueueRow(name)
        return row

    def _push(self, record: Pushed) -> None:
        count = len(record.data)
        self._births.append((record.first, record))
        self._queue(record.queue).pushed += count
        self.next_id = max(self.next_id, record.first + count)

    def _add(self, record: Added) -> None:
        row = record.row
        self._births.append((row.id, row))
        queue = self._queue(row.queue)
        queue.pushed += 1
        queue.failed += row.state == FAILED
        self.next_id = max(self.next_id, row.id + 1)

    def _change(self, record: Changed) -> None:
        self._changes[record.id] = record
        if record.state == FAILED:
            self._queue(record.queue).failed += 1
        progress = self._progress.get(record.id)
        if progress is not None:  # the message is one column: the newer of the two has it
            self._progress[record.id] = structs.replace(progress, message=record.message)

    def _report(self, record: Progressed) -> None:
        self._progress[record.id] = record

    def _complete(self, record: Completed) -> None:
        self._completed.append(record)
        self._queue(record.queue).completed += len(record.ids)
        self.completions = max(self.completions, record.done + len(record.ids) - 1)
        self.forget = max(self.forget, record.forget)
        self.forget_results = max(self.forget_results, record.forget_results)

    def _drop(self, record: Dropped) -> None:
        reason = record.reason
        if reason not in _REASONS:
            raise StorageError(f"the journal says that jobs were {reason!r}, which this program does not know")
        self._gone.update(record.ids)
        self.dropped.extend(record.ids)
        queue = self._queue(record.queue)
        setattr(queue, reason, getattr(queue, reason) + len(record.ids))

    def _configure(self, record: QueueSet) -> None:
        row = self._queue(record.name)
        row.paused, row.rate_limit, row.concurrency_limit = record.paused, record.rate_limit, record.concurrency_limit
        self.configured.add(record.name)

    def _collect(self, record: Collected) -> None:
        for child in record.children:
            self._collected.setdefault(child, {})[record.parent] = record.result

    def _overfill(self, record: Overfilled) -> None:
        self._overfilled[record.id] = record.excess
        self._collected.pop(record.id, None)

    def _set_cron(self, record: CronSet) -> None:
        self.crons[record.row.name] = record.row

    def _delete_cron(self, record: CronDeleted) -> None:
        self.crons[record.name] = None

    def _set_webhook(self, record: WebhookSet) -> None:
        self.webhooks[record.row.id] = record.row

    def _delete_webhook(self, record: WebhookDeleted) -> None:
        self.webhooks[record.id] = None
        for number in [number for number, call in self.calls.items() if call.webhook == record.id]:
            del self.calls[number]

    def _owe(self, record: CallsOwed) -> None:
        for number, webhook in enumerate(record.webhooks, record.first):
            self.calls[number] = CallRow(number, webhook, record.body)

    def _end_calls(self, record: CallsOver) -> None:
        self.calls_over += record.numbers
        for number in record.numbers:
            self.calls.pop(number, None)

    def _import(self, record: Imported) -> None:
        self._births += [(row.id, row) for row in record.rows]
        if record.rows:
            self.next_id = max(self.next_id, record.rows[-1].id + 1)
        self.importing = record.place

    def _end_import(self, record: ImportEnded) -> None:
        self.next_id = max(self.next_id, record.next_id)
        self.completions = max(self.completions, record.completions)
        self.dropped += record.dropped
        for row in record.queues:
            self.configured.add(row.name)
            self.queues[row.name] = self._queue_over(self.queues.get(row.name), structs.replace(row))
        self.importing = ""

    def _keep(self, record: Happened | Operated) -> None:
        self.audit.append(record)

    _FEEDERS: ClassVar[dict[type[Record], Callable[["Fold", Any], None]]] = {
        Pushed: _push,
        Added: _add,
        Changed: _change,
        Completed: _complete,
        Dropped: _drop,
        Progressed: _report,
        QueueSet: _configure,
        CronSet: _set_cron,
        CronDeleted: _delete_cron,
        Collected: _collect,
        Overfilled: _overfill,
        WebhookSet: _set_webhook,
        WebhookDeleted: _delete_webhook,
        CallsOwed: _owe,
        CallsOver: _end_calls,
        Imported: _import,
        ImportEnded: _end_import,
        Happened: _keep,
        Operated: _keep,
    }
    """What each record does. One table for all folds: one that holds its own methods holds itself, and stays in memory
    with all its payloads until the collector comes, which is rare in a server."""


def _stretch(run: Pushed, start: int, end: int) -> Iterator[Pushed | JobRow]:
    """The part of a batch from ``start`` to before ``end``, whole when it is long enough to be worth it."""
    if end - start <= _SHORT_RUN:
        yield from rows_of(run, start, end)
    elif end - start == len(run.data):
        yield run
    else:
        yield structs.replace(run, first=run.first + start, data=run.data[start:end])
