"""Whether a storage is sound: all that a start would verify, and more, without starting.

First what lies on the disk, as the storage checks it itself (`flashq.storage.reading`). Then what it means: rows that
refer to each other, payloads that are JSON, and an engine made from it, of which `flashq.engine.check` must find
nothing wrong. Later checks need the earlier ones, so the first that fails on the disk is the last; of the rest all is
told.

It needs as much memory as a server with these jobs.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Final

import msgspec
from msgspec import Struct

from flashq.engine.check import check
from flashq.engine.engine import Engine
from flashq.engine.records import JobRow, Pushed, Snapshot
from flashq.engine.restore import restore
from flashq.engine.settings import Settings
from flashq.errors import StorageError
from flashq.model import COMPLETED, Instant
from flashq.storage.reading import Reading, StorageInUse, StorageMissing

_SHOWN: Final = 5
"""Ids that are named of many."""

_json: Final = msgspec.json.Decoder(msgspec.Raw)


class Finding(Struct):
    """The outcome of one check.

    Attributes:
        check: what was checked, in a word or two.
        ok: whether it is in order.
        detail: what was found: what is in order, or what is wrong.
    """

    check: str
    ok: bool
    detail: str


def examine(reading: Reading, now: Instant) -> Iterator[Finding]:
    """Check a storage.

    Args:
        reading: nothing of it has been called yet; to be closed by the caller.
        now: for what is due by now.

    Yields:
        One or more findings a check, as each is done.

    Raises:
        StorageInUse: a server has it, so that it cannot be looked at.
        StorageMissing: there is nothing to look at.
    """
    for name, step in reading.checks():
        try:
            yield Finding(name, True, step())
        except (StorageInUse, StorageMissing):
            raise
        except StorageError as error:
            yield Finding(name, False, str(error))
            return
    try:
        yield from _meaning(reading.snapshot(), now)
    except StorageError as error:
        yield Finding("rows", False, str(error))


def _meaning(snapshot: Snapshot, now: Instant) -> Iterator[Finding]:
    if snapshot.importing:
        yield Finding(
            "import", False, "an import was broken off, so not all is there: run it again with the same export"
        )
        return
    strangers = {call.webhook for call in snapshot.calls} - {webhook.id for webhook in snapshot.webhooks}
    if strangers:
        yield Finding("webhooks", False, f"calls are owed to {len(strangers)} webhooks that are not there")
        snapshot.calls = [call for call in snapshot.calls if call.webhook not in strangers]
    else:
        yield Finding("webhooks", True, f"{len(snapshot.webhooks)} webhooks, {len(snapshot.calls)} calls owed to them")
    jobs = _Jobs(snapshot)
    snapshot.jobs = jobs.seen()
    try:
        engine = restore(snapshot, Settings(), nonce=lambda: "", now=now)
    except StorageError:
        raise
    except Exception as error:  # rows that contradict each other may break any rule
        yield Finding("jobs", False, f"no queue can be made of them: {type(error).__name__}: {error}")
        return
    yield from _told("jobs", jobs.wrong(), f"{jobs.count} jobs, the next one is {snapshot.next_id}")
    yield from _told("state", check(engine), _in_words(engine))


def _told(name: str, wrong: list[str], right: str) -> Iterator[Finding]:
    if not wrong:
        yield Finding(name, True, right)
    for sentence in wrong:
        yield Finding(name, False, sentence)


def _in_words(engine: Engine) -> str:
    queues = engine.queues.by_name.values()
    gone = sum(queue.counts[COMPLETED] + queue.cancelled + queue.expired + queue.purged for queue in queues)
    pushed = sum(queue.pushed for queue in queues)
    return f"{len(engine.queues.by_name)} queues: {pushed} jobs were pushed, {gone} have left, the others are there"


class _Jobs:
    """Looks at each job on its way into the engine, for what the engine takes as it is."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.count = 0
        self._snapshot = snapshot
        self._jobs = snapshot.jobs
        self._not_json: list[int] = []
        self._beyond: list[int] = []
        self._done: list[int] = []
        self._keys: Counter[tuple[str, str]] = Counter()
        self._customs: Counter[str] = Counter()

    def seen(self) -> Iterator[JobRow | Pushed]:
        """The jobs."""
        next_id = self._snapshot.next_id
        for job in self._jobs:
            if isinstance(job, Pushed):
                self._see_payloads(job.first, job.data)
                self.count += len(job.data)
                last = job.first + len(job.data) - 1
            else:
                self._see(job)
                self.count += 1
                last = job.id
            if last >= next_id:
                self._beyond.append(last)
            yield job

    def wrong(self) -> list[str]:
        """What is wrong with them, once all have been seen."""
        wrong = []
        if self._beyond:
            wrong.append(f"the next id is {self._snapshot.next_id}, and there are jobs {self._beyond[:_SHOWN]}")
        if self._not_json:
            wrong.append(
                f"payloads or results of {len(self._not_json)} jobs are not JSON, so that nobody can be given them: "
                f"{self._not_json[:_SHOWN]}"
            )
        newest = max(self._done, default=0)
        if newest > self._snapshot.completions:
            wrong.append(
                f"{self._snapshot.completions} completions are counted, and there is one of the number {newest}"
            )
        if len(set(self._done)) != len(self._done):
            wrong.append("completed jobs share the number of their completion")
        twice = [key for key, count in self._keys.items() if count > 1]
        if twice:
            wrong.append(f"{len(twice)} unique keys have more than one job")
        if any(count > 1 for count in self._customs.values()):
            wrong.append("clients' own ids have more than one job")
        return wrong

    def _see(self, row: JobRow) -> None:
        inputs = [result for _, result in row.inputs or ()]
        self._see_payloads(row.id, [row.data])
        if not all(map(_is_json, [*inputs, *([] if row.result is None else [row.result])])):
            self._not_json.append(row.id)
        if row.state == COMPLETED:
            self._done.append(row.done)
        elif row.unique_key is not None:
            self._keys[row.queue, row.unique_key] += 1
        if row.custom_id is not None:
            self._customs[row.custom_id] += 1

    def _see_payloads(self, first: int, payloads: Iterable[bytes]) -> None:
        for id, data in enumerate(payloads, first):
            if not _is_json(data):
                self._not_json.append(id)


def _is_json(text: bytes) -> bool:
    try:
        _json.decode(text)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return False
    return True
