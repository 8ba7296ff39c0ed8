"""What is remembered, the naive way: records applied one by one to plain dictionaries.

A second opinion on the meaning of a record, written without a look at `flashq.storage.fold`: the two must agree.
"""

from collections.abc import Iterable
from itertools import takewhile

from msgspec import structs

from flashq.engine.records import (
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
    JobRow,
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
)
from flashq.model import COMPLETED, FAILED, WAITING

_COUNTERS = {"cancelled": "cancelled", "expired": "expired", "purged": "purged"}


class Remembered:
    """All rows that the records so far add up to."""

    def __init__(self) -> None:
        self.jobs: dict[int, JobRow] = {}
        self.queues: dict[str, QueueRow] = {}
        self.crons: dict[str, CronRow] = {}
        self.dropped: list[int] = []
        self.webhooks: dict[str, WebhookRow] = {}
        self.calls: dict[int, CallRow] = {}
        self.next_id = 1
        self.completions = 0
        self.log: list[Record] = []
        self._done: dict[int, int] = {}  # number of the completion -> job, ascending
        self._results: dict[int, int] = {}  # likewise, of those with a result

    def apply(self, records: Iterable[Record]) -> None:
        """Take in records, in their order."""
        for record in records:
            self.log.append(record)
            self._apply(record)

    def snapshot(self, epoch: int) -> Snapshot:
        """Everything, for a server's boot number ``epoch``. The rows are copies."""
        return Snapshot(
            self.next_id,
            epoch,
            self.completions,
            [structs.replace(self.jobs[id]) for id in sorted(self.jobs)],
            [structs.replace(row) for row in self.queues.values()],
            [structs.replace(row) for row in self.crons.values()],
            list(self.dropped),
            list(self.webhooks.values()),
            list(self.calls.values()),
        )

    def _apply(self, record: Record) -> None:
        match record:
            case Pushed():
                self._push(record)
            case Added(row):
                self._add(structs.replace(row))
            case Changed():
                self._change(record)
            case Completed():
                self._complete(record)
            case Dropped(queue, ids, reason):
                self.dropped += ids
                for id in ids:
                    del self.jobs[id]
                counters = self._queue(queue)
                setattr(counters, _COUNTERS[reason], getattr(counters, reason) + len(ids))
            case Progressed(id, progress, message):
                self.jobs[id].progress, self.jobs[id].message = progress, message
            case QueueSet(name, paused, rate_limit, concurrency_limit):
                brakes = self._queue(name)
                brakes.paused, brakes.rate_limit, brakes.concurrency_limit = paused, rate_limit, concurrency_limit
            case CronSet(cron):
                self.crons[cron.name] = cron
            case CronDeleted(name):
                del self.crons[name]
            case Collected(parent, result, children):
                for id in children:
                    assert self.jobs[id].collect
                    self.jobs[id].inputs = [*(self.jobs[id].inputs or ()), (parent, result)]
            case Overfilled(id, excess):
                self.jobs[id].inputs, self.jobs[id].excess = None, excess
            case WebhookSet(webhook):
                assert webhook.id not in self.webhooks
                self.webhooks[webhook.id] = webhook
            case WebhookDeleted(webhook_id):
                del self.webhooks[webhook_id]
                self.calls = {number: call for number, call in self.calls.items() if call.webhook != webhook_id}
            case CallsOwed(first, webhook_ids, body):
                assert first > max(self.calls, default=0), "numbers never repeat"
                for number, webhook_id in enumerate(webhook_ids, first):
                    self.calls[number] = CallRow(number, webhook_id, body)
            case CallsOver(numbers):
                for number in numbers:
                    del self.calls[number]

    def _push(self, record: Pushed) -> None:
        for id, data in enumerate(record.data, record.first):
            self._add(
                JobRow(
                    id, record.queue, WAITING, record.priority, record.created_at, record.created_at, 0, 0,
                    record.max_attempts, record.backoff, record.ttl, record.timeout, data,
                )
            )  # fmt: skip

    def _add(self, row: JobRow) -> None:
        assert row.id == self.next_id, "ids have no gaps"
        self.next_id += 1
        self.jobs[row.id] = row
        queue = self._queue(row.queue)
        queue.pushed += 1
        queue.failed += row.state == FAILED

    def _change(self, record: Changed) -> None:
        row = self.jobs[record.id]
        assert row.queue == record.queue
        row.state, row.run_at, row.started_at = record.state, record.run_at, record.started_at
        row.attempts, row.message, row.returns = record.attempts, record.message, record.returns
        row.fence_epoch, row.fence_serial = record.fence_epoch, record.fence_serial
        self._queue(record.queue).failed += record.state == FAILED

    def _complete(self, record: Completed) -> None:
        assert record.done == self.completions + 1, "completions have no gaps"
        self.completions += len(record.ids)
        self._queue(record.queue).completed += len(record.ids)
        results = dict(record.results)
        for done, id in enumerate(record.ids, record.done):
            row = self.jobs[id]
            row.state, row.done, row.done_at = COMPLETED, done, record.done_at
            row.started_at, row.token, row.result = record.started_at, record.token, results.get(id)
            row.inputs = None
            self._done[done] = id
            if id in results:
                self._results[done] = id
        for done in list(takewhile(lambda done: done < record.forget_results, self._results)):
            self.jobs[self._results.pop(done)].result = None
        for done in list(takewhile(lambda done: done < record.forget, self._done)):
            del self.jobs[self._done.pop(done)]

    def _queue(self, name: str) -> QueueRow:
        return self.queues.setdefault(name, QueueRow(name))
