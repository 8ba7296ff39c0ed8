"""Exports: what they say, line by line, or BadDump, whatever stands in the lines."""

from collections.abc import Iterator
from io import BytesIO
from typing import Final

from tests.fuzz.endings import refused
from tests.fuzz.seeds import literals
from tests.unit.storage.test_records import EVERY_KIND, ROW

from flashq.engine.records import CronSet, QueueRow, Snapshot, WebhookSet
from flashq.storage.dump import BadDump, Reader, lines_of

WORDS: Final = ('{"kind":"', '"flashq-export"', '"end"', '"job"', '"queue"', '"dropped"', "\n", "null", '":', "[]")
MAX_BYTES: Final = 16 * 1024


def _export() -> bytes:
    crons = [record.row for record in EVERY_KIND if isinstance(record, CronSet)]
    webhooks = [record.row for record in EVERY_KIND if isinstance(record, WebhookSet)]
    queues = [QueueRow(ROW.queue)]
    snapshot = Snapshot(8, 1, 0, [ROW], queues, crons, [3], webhooks)
    return b"".join(lines_of(snapshot, [], flashq="0", storage="memory", now=0))


def seeds() -> Iterator[bytes]:
    """A whole export, its lines one by one behind the first, and what the tests contain."""
    whole = _export()
    yield whole
    for line in whole.splitlines(keepends=True)[1:]:
        yield whole.splitlines(keepends=True)[0] + line
    yield from literals("tests/unit/storage/test_dump.py")


def read(data: bytes) -> str:
    """An export."""
    try:
        things = [type(thing).__name__ for thing in Reader(BytesIO(data)).things()]
    except BadDump as error:
        return refused(error)
    return f"whole, {things[-1] if things else 'nothing'}"
