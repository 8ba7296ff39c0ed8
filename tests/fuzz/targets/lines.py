"""The line splitter: the stream in any pieces gives the lines of the whole stream, or is refused for one too long."""

from collections.abc import Iterator
from typing import Final

from tests.fuzz.seeds import documented_json

from flashq.errors import TooLarge
from flashq.protocol.lines import LineSplitter

WORDS: Final = ("\n", "\r\n", "\r")
MAX_BYTES: Final = 300
"""Somewhat more than the longest limit; what is longer only takes longer."""


def seeds() -> Iterator[bytes]:
    """Some streams, in pieces of several sizes and with several limits."""
    stream = b"\n".join(documented_json())[:2_000]
    for size in (1, 7, 64):
        yield bytes((size, 200)) + stream
        yield bytes((size, 20)) + stream
    yield b"\x03\x04abcd\r\nabcd\nab\r\r\n\n\r\n\r"


def read(data: bytes) -> str:
    """The first byte is the size of the pieces, the second the limit, the rest the stream."""
    if len(data) < 3:
        return "nothing"
    size, limit, stream = 1 + data[0] % 64, data[1], data[2:]
    *whole, unfinished = stream.split(b"\n")
    whole = [line.removesuffix(b"\r") for line in whole]
    fits = max(map(len, whole), default=0) <= limit
    splitter = LineSplitter(limit)
    found: list[bytes] = []
    try:
        for start in range(0, len(stream), size):
            found += splitter.feed(stream[start : start + size])
    except TooLarge:
        assert not fits or len(unfinished) > limit, "refused, and no line is too long"
        assert found == whole[: len(found)], "other lines than those of the stream"
        return "too large"
    assert fits, "a line is too long and was not refused"
    assert found == whole, "other lines than those of the stream"
    assert splitter.held == len(unfinished), "more or less is held than the unfinished line"
    assert len(unfinished) <= limit + size, "more is held than a line and the newest piece"
    return f"{min(len(found), 8)} lines"
