"""Groups of the journal: records or StorageError, with a right checksum as well as with a wrong one."""

from collections.abc import Iterator
from typing import Final
from zlib import crc32

from tests.fuzz.endings import refused
from tests.unit.storage.test_records import EVERY_KIND

from flashq.errors import StorageError
from flashq.storage.records import VERSION, changes, decode, encode

WORDS: Final = (b"\x91", b"\xc0", b"\xc2", b"\xc4\x01", b"\xd9\x01", b"\xdd\xff\xff\xff\xff", b"\xcf", b"\xff")
MAX_BYTES: Final = 64 * 1024
_AS_IT_IS: Final = b"\0"
_HEADED: Final = b"\1"


def seeds() -> Iterator[bytes]:
    """One group of every kind of record, and all of them in one."""
    for group in (*([record] for record in EVERY_KIND), EVERY_KIND):
        blob = encode(group)
        yield _AS_IT_IS + blob
        yield _HEADED + blob[9:]


def read(data: bytes) -> str:
    """A blob as it is behind an even byte; behind an odd one a body, which gets the head that belongs to it."""
    blob = data[1:] if data[:1] < _HEADED or data[0] % 2 == 0 else _with_head(data[1:], len(data))
    try:
        changes(blob)
        records = decode(blob)
    except StorageError as error:
        return refused(error)
    assert decode(encode(records)) == records, "records are other records when they come back"
    return type(records[-1]).__name__ if records else "nothing"


def _with_head(body: bytes, count: int) -> bytes:
    return bytes((VERSION,)) + crc32(body, count).to_bytes(4) + count.to_bytes(4) + body
