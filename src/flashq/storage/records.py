"""A group of records as one blob, and back. Pure.

A commit writes one row holding one blob: one statement, one hand-over of the interpreter's lock, whatever the
number of jobs in it. The blob says of itself which version wrote it and whether it is whole, because SQLite has no
checksum of its own for what lies in a row::

    byte 0      version of the layout
    bytes 1-4   CRC-32 of the body, started with the number of changes, big endian
    bytes 5-8   number of changes (jobs touched), so that bounds can be kept without decoding
    bytes 9-    the body: msgpack of list[Record]

MessagePack rather than JSON: payloads and results are bytes already and are copied, not escaped.
"""

import struct
from collections.abc import Sequence
from typing import Final
from zlib import crc32

import msgspec

from flashq.engine.records import (
    CallsOver,
    CallsOwed,
    Collected,
    Completed,
    Dropped,
    Happened,
    Imported,
    ImportEnded,
    Pushed,
    Record,
)
from flashq.errors import StorageError

VERSION: Final = 1
"""Of the layout and of the records in it. A record gets new members only at its end, with a default."""

_HEAD: Final = struct.Struct(">BII")
_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(list[Record])


def encode(records: Sequence[Record]) -> bytes:
    """Pack the records of one group.

    Args:
        records: in the order in which they happened.

    Returns:
        The blob; equal records give equal bytes.
    """
    body = _encoder.encode(records)
    changes = sum(map(weight, records))
    return b"".join((_HEAD.pack(VERSION, crc32(body, changes), changes), body))


def decode(blob: bytes) -> list[Record]:
    """Unpack a group.

    Args:
        blob: what `encode` made.

    Returns:
        The records in their order.

    Raises:
        StorageError: it is cut short, altered, or of a version that this program does not know.
    """
    check, count = _head(blob)
    body = memoryview(blob)[_HEAD.size :]
    if crc32(body, count) != check:
        raise StorageError("the checksum of a journal group is wrong: its bytes have changed since they were written")
    try:
        return _decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise StorageError(f"a journal group is whole but cannot be read: {error}") from error


def changes(blob: bytes) -> int:
    """How many jobs a group touches, read from its head.

    Args:
        blob: what `encode` made.

    Raises:
        StorageError: it is cut short or of another version.
    """
    return _head(blob)[1]


def weight(record: Record) -> int:
    """How many jobs, or calls of webhooks, a record touches; 1 for one that is about neither."""
    if isinstance(record, Pushed):
        return len(record.data)
    if isinstance(record, Completed | Dropped):
        return len(record.ids)
    if isinstance(record, Collected):
        return len(record.children)
    if isinstance(record, CallsOwed):
        return len(record.webhooks)
    if isinstance(record, CallsOver):
        return len(record.numbers)
    if isinstance(record, Happened):
        return len(record.runs) // 2  # so many rows
    if isinstance(record, Imported):
        return len(record.rows)
    if isinstance(record, ImportEnded):
        return len(record.dropped) + len(record.queues)
    return 1


def _head(blob: bytes) -> tuple[int, int]:
    if len(blob) < _HEAD.size:
        raise StorageError(f"a journal group is cut short: {len(blob)} bytes, the head alone has {_HEAD.size}")
    version, check, count = _HEAD.unpack_from(blob)
    if version != VERSION:
        raise StorageError(f"a journal group has layout {version}, this program knows {VERSION}: use a newer FlashQ")
    return check, count
