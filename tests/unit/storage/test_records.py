"""A group survives the way to a blob and back, and an altered blob never passes for a group."""

import timeit
from zlib import crc32

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flashq.engine.records import (
    Actor,
    Added,
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
    JobRow,
    Operated,
    Overfilled,
    Progressed,
    Pushed,
    QueueSet,
    WebhookDeleted,
    WebhookRow,
    WebhookSet,
)
from flashq.errors import StorageError
from flashq.storage import records

ROW = JobRow(7, "mail", 2, 5, 100, 200, 0, 1, 3, 1000, 0, 0, b'{"a":1}', "key", "mine", [1, 2], ["red"], 10, "half")
EVERY_KIND = [
    Pushed("mail", 1, 100, 0, 3, 1000, 0, 0, [b"1", b"2", b"3"]),
    Added(ROW),
    Changed(7, "mail", 1, 300, 250, 2, "boom", 4, 9, 1),
    Completed("mail", [1, 2], 1, 400, 350, "token", [(2, b'"done"')], 0, 0),
    Dropped("mail", [3], "cancelled"),
    Progressed(7, 50, "half way"),
    QueueSet("mail", True, 10, 2),
    CronSet(CronRow("nightly", "mail", b"{}", "0 0 3 * * *", 0, "UTC", 1000, 0)),
    CronDeleted("nightly"),
    Collected(1, b'{"n":1}', [7, 8]),
    Overfilled(7, 9_000_000),
    WebhookSet(WebhookRow("w1", "https://example.org/", ["failed"], "mail", "secret", 500)),
    WebhookDeleted("w2"),
    CallsOwed(9, ["w1", "w3"], b'{"event":"failed"}'),
    CallsOver([7, 8]),
    Happened(100, "failed", "mail", [1, 3, 9, 1], Actor("ada", "192.0.2.7", "lines"), 2, "w", "boom"),
    Operated(100, "PAUSE", Actor("ada"), "mail", "{}"),
]


def test_every_kind_comes_back() -> None:
    """Nothing of any record is lost or altered."""
    assert records.decode(records.encode(EVERY_KIND)) == EVERY_KIND


def test_an_empty_group_comes_back() -> None:
    """A group without records is a group."""
    assert records.decode(records.encode([])) == []


def test_changes_counts_jobs_not_records() -> None:
    """A batch weighs as many jobs as it touches, its history as many rows as it makes; a setting weighs one."""
    assert (
        records.changes(records.encode(EVERY_KIND)) == 3 + 1 + 1 + 2 + 1 + 1 + 1 + 1 + 1 + 2 + 1 + 1 + 1 + 2 + 2 + 2 + 1
    )


@given(st.data())
def test_any_altered_byte_is_noticed(data: st.DataObject) -> None:
    """Flipping bits of any one byte, head included, is refused."""
    blob = bytearray(records.encode(EVERY_KIND))
    place = data.draw(st.integers(0, len(blob) - 1))
    blob[place] ^= data.draw(st.integers(1, 255))
    with pytest.raises(StorageError):
        records.decode(bytes(blob))


@given(st.binary(max_size=64))
def test_garbage_is_refused_in_plain_words(garbage: bytes) -> None:
    """Whatever the bytes are, the answer is a StorageError and no other exception."""
    with pytest.raises(StorageError):
        records.decode(garbage)


@given(st.integers(0, 200))
def test_a_cut_blob_is_refused(length: int) -> None:
    """No prefix of a group passes for the group."""
    blob = records.encode(EVERY_KIND)
    with pytest.raises(StorageError):
        records.decode(blob[: min(length, len(blob) - 1)])


def test_another_layout_is_named() -> None:
    """A blob of a newer program says so instead of being taken for damage."""
    blob = b"\x02" + records.encode(EVERY_KIND)[1:]
    with pytest.raises(StorageError, match="layout 2, this program knows 1"):
        records.changes(blob)


def test_a_whole_blob_with_unknown_records_is_refused() -> None:
    """A body whose checksum is right but whose records nobody knows is an error, not a crash."""
    body = msgspec.msgpack.encode([[99, "new"]])
    head = records._HEAD.pack(records.VERSION, records.crc32(body, 0), 0)
    with pytest.raises(StorageError, match="whole but cannot be read"):
        records.decode(head + body)


@pytest.mark.parametrize(
    "body",
    [b"\x91\x92\x09\xa1\xff", b"\x91\x93\x09\xa1a" + b"\x91" * 100_000 + b"\xc0"],
    ids=["a name that is no text", "an unknown member without end"],
)
def test_a_whole_blob_that_no_decoder_can_bear_is_refused(body: bytes) -> None:
    """What the library says in other exceptions than its own is a StorageError as well."""
    head = records._HEAD.pack(records.VERSION, crc32(body, 0), 0)
    with pytest.raises(StorageError, match="whole but cannot be read"):
        records.decode(head + body)


def test_a_thousand_jobs_encode_quickly() -> None:
    """The loop spends far less than the disk on a full batch (a wide bound: the machine may be busy)."""
    batch = [Pushed("mail", 1, 100, 0, 3, 1000, 0, 0, [b"x" * 80] * 1000)]
    best = min(timeit.repeat(lambda: records.encode(batch), number=20, repeat=10)) / 20
    assert best < 0.000_5


def test_a_group_of_the_first_version_is_read() -> None:
    """Members that rows have got since then have their defaults: no inputs for a job, no options for a schedule."""
    job, cron = list(msgspec.structs.astuple(ROW))[:26], ["nightly", "mail", b"{}", "0 0 3 * * *", 0, "UTC", 1000, 0]
    body = msgspec.msgpack.encode([[2, job], [8, cron]])
    head = records._HEAD.pack(records.VERSION, crc32(body, 2), 2)
    added, cron_set = records.decode(head + body)
    assert added == Added(ROW)
    assert cron_set == CronSet(CronRow("nightly", "mail", b"{}", "0 0 3 * * *", 0, "UTC", 1000, 0))
