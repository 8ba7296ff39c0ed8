"""Framing: whatever pieces a stream comes in, the same lines come out, and no line is longer than allowed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flashq.errors import TooLarge
from flashq.protocol.limits import MAX_LINE_BYTES
from flashq.protocol.lines import LineSplitter


def lines_of(pieces: list[bytes], limit: int = 1_000) -> list[bytes]:
    """All lines that come out of these pieces."""
    splitter = LineSplitter(limit)
    return [line for piece in pieces for line in splitter.feed(piece)]


@pytest.mark.parametrize(
    ("stream", "lines"),
    [
        (b"", []),
        (b"a", []),
        (b"a\n", [b"a"]),
        (b"a\nb\n", [b"a", b"b"]),
        (b"a\nb", [b"a"]),
        (b"\n", [b""]),
        (b"\n\n", [b"", b""]),
        (b"a\r\nb\n", [b"a", b"b"]),
        (b"\r\n", [b""]),
        (b"a\r\r\n", [b"a\r"]),
        (b"a\rb\n", [b"a\rb"]),
        (b"\xff\xfe\n", [b"\xff\xfe"]),
        ("é😀\n".encode(), ["é😀".encode()]),
    ],
)
def test_a_line_ends_with_a_newline(stream: bytes, lines: list[bytes]) -> None:
    """One carriage return before it is dropped; everything else is the line's own."""
    assert lines_of([stream]) == lines


def test_what_has_no_end_yet_is_held() -> None:
    """And counted, so that whoever owns the connection knows."""
    splitter = LineSplitter()
    assert splitter.feed(b"one\ntw") == [b"one"]
    assert splitter.held == 2
    assert splitter.feed(b"o") == []
    assert splitter.held == 3
    assert splitter.feed(b"\nthree\n") == [b"two", b"three"]
    assert splitter.held == 0


@given(st.lists(st.sampled_from([b"a", b"bc", b"\n", b"\r", b"\r\n", b"x" * 30]), max_size=40), st.data())
def test_pieces_do_not_matter(words: list[bytes], data: st.DataObject) -> None:
    """Whole, byte by byte, or cut anywhere: the same lines, and the same refusals."""
    stream = b"".join(words)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(stream)))))
    pieces = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    expected = [line.removesuffix(b"\r") for line in stream.split(b"\n")[:-1]]
    longest = max(map(len, expected), default=0)
    if longest > 40:
        for way in (pieces, [stream], [bytes((byte,)) for byte in stream]):
            with pytest.raises(TooLarge):
                lines_of(way, 40)
    limit = max(longest, len(stream.rpartition(b"\n")[2].removesuffix(b"\r")))
    for way in (pieces, [stream], [bytes((byte,)) for byte in stream]):
        assert lines_of(way, limit) == expected


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("dribble", [False, True])
def test_the_limit_is_exact(end: bytes, dribble: bool) -> None:
    """A line of exactly the limit is read, one byte more is refused; its end is not counted."""

    def pieces(stream: bytes) -> list[bytes]:
        return [bytes((byte,)) for byte in stream] if dribble else [stream]

    assert lines_of(pieces(b"x" * 20 + end + b"y" + end), 20) == [b"x" * 20, b"y"]
    with pytest.raises(TooLarge, match=r"^Line too large \(2[12] bytes so far, max 20 bytes\)$"):
        lines_of(pieces(b"x" * 21 + end), 20)


def test_a_line_without_an_end_is_refused_as_soon_as_it_is_too_long() -> None:
    """Nobody waits for the end of a line that would not be read anyway."""
    splitter = LineSplitter(10)
    assert splitter.feed(b"x" * 10) == []
    with pytest.raises(TooLarge):
        splitter.feed(b"x")


def test_many_short_lines_are_not_one_long_one() -> None:
    """The limit is one for each line, however many come in a piece."""
    assert lines_of([b"abc\n" * 1_000], 3) == [b"abc"] * 1_000


def test_the_default_limit_is_that_of_the_protocol() -> None:
    """16 MiB in one line, and no byte more."""
    splitter = LineSplitter()
    assert splitter.feed(b"x" * MAX_LINE_BYTES) == []
    assert splitter.feed(b"\n") == [b"x" * MAX_LINE_BYTES]
    with pytest.raises(TooLarge):
        splitter.feed(b"x" * (MAX_LINE_BYTES + 1))


def test_a_dribble_costs_no_more_than_its_length() -> None:
    """A million pieces of one line are gathered without being copied again and again."""
    splitter = LineSplitter()
    for _ in range(100_000):
        assert splitter.feed(b"xxxxxxxxxx") == []
    (line,) = splitter.feed(b"\n")
    assert len(line) == 1_000_000
