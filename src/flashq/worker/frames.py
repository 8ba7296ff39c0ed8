"""What a worker and its child processes tell each other, and how it lies on the socket between them.

A frame is four bytes of length, then MessagePack. A job crosses as the JSON it came in, since its payload is JSON that
only the child reads. Pickle was rejected: it turns data into code.
"""

from collections.abc import Callable
from struct import Struct as Layout
from typing import Final, Generic, TypeVar

from msgspec import Struct, field, msgpack

from flashq.errors import FlashQError
from flashq.protocol.limits import MAX_LINE_BYTES
from flashq.tasks.outcome import Outcome

T = TypeVar("T")

MAX_FRAME_BYTES: Final = 2 * MAX_LINE_BYTES
"""One frame. What is pulled came in a line; quoting it differently may make it longer, but never twice as long."""

MAX_LOG_CHARS: Final = 64 * 1024
"""Of a message or a trace that a child logs; more is cut. A log is for people, and a frame is held in memory whole."""

_LENGTH: Final = Layout(">I")


class BrokenFrame(FlashQError):
    """What came is no frame: the other side is of another release, or somebody else wrote into the socket."""


class Run(Struct, tag="run", gc=False):
    """To the child: run this job. ``record``: its `JobRecord` as JSON."""

    record: bytes


class Cancel(Struct, tag="cancel", gc=False):
    """To the child: end job ``id``, because of ``reason``."""

    id: int
    reason: str


class Stop(Struct, tag="stop", gc=False):
    """To the child: leave. The end of the stream says: leave at once."""


class Ready(Struct, tag="ready", gc=False):
    """From the child: the app is imported, jobs may come."""


class Broken(Struct, tag="broken", gc=False):
    """From the child: it cannot start, and leaves. ``error``: why, in one line."""

    error: str


class Ended(Struct, tag="ended"):
    """From the child: the job is over. ``leaving``: it was this child's last, no other may come; why, or empty."""

    outcome: Outcome
    leaving: str = ""


class Progress(Struct, tag="progress", gc=False):
    """From the child: how far a job is. ``job``: its number, as in `Run`; threads of earlier jobs may speak, too."""

    job: int
    percent: int
    message: str | None


class Heartbeat(Struct, tag="heartbeat", gc=False):
    """From the child: a job wants its lease renewed. ``job``: as in `Progress`."""

    job: int


class Logged(Struct, tag="log"):
    """From the child: a line for the worker's log.

    Attributes:
        name: the logger.
        level: as a number.
        message: with its arguments filled in.
        facts: what ``record.flashq`` holds, its values reduced to words and numbers.
        trace: of the exception that was logged along; empty for none.
    """

    name: str
    level: int
    message: str
    facts: dict[str, str | int | float | bool | None] = field(default_factory=dict)
    trace: str = ""


Down = Run | Cancel | Stop
Up = Ready | Broken | Ended | Progress | Heartbeat | Logged


class Frames(Generic[T]):
    """Cuts one side's bytes into what was said.

    Args:
        said: what may come: `Down` or `Up`.
    """

    def __init__(self, said: object) -> None:
        self._buffer = bytearray()
        decoder: msgpack.Decoder[T] = msgpack.Decoder(said)
        self._decode: Callable[[memoryview], T] = decoder.decode

    def feed(self, data: bytes) -> list[T]:
        """Whatever is whole after these bytes more, in order.

        Raises:
            BrokenFrame: this is not what the other side should say.
        """
        self._buffer += data
        found: list[T] = []
        start = 0
        with memoryview(self._buffer) as view:
            while len(view) - start >= _LENGTH.size:
                (length,) = _LENGTH.unpack_from(view, start)
                if length > MAX_FRAME_BYTES:
                    raise BrokenFrame(f"a frame of {length} bytes (max {MAX_FRAME_BYTES})")
                end = start + _LENGTH.size + length
                if end > len(view):
                    break
                found.append(self._read(view[start + _LENGTH.size : end]))
                start = end
        del self._buffer[:start]
        return found

    def _read(self, body: memoryview) -> T:
        with body:
            try:
                return self._decode(body)
            except ValueError as error:  # msgspec's errors are ValueErrors
                raise BrokenFrame(f"unreadable: {error}") from None


_encode: Final = msgpack.Encoder().encode


def frame(said: Down | Up) -> bytes:
    """One frame.

    Raises:
        BrokenFrame: it would be longer than a frame may be.
    """
    body = _encode(said)
    if len(body) > MAX_FRAME_BYTES:
        raise BrokenFrame(f"a frame of {len(body)} bytes (max {MAX_FRAME_BYTES})")
    return _LENGTH.pack(len(body)) + body
