"""Whole conversations: any lines, carried out by a real engine, give answers and refusals and leave it in order."""

from collections.abc import Iterator
from typing import Any, Final

from tests.fuzz.endings import refused
from tests.fuzz.seeds import documented_json
from tests.fuzz.targets.requests import WORDS as _WORDS
from tests.unit.commands.desk import Desk

from flashq.commands.execute import execute
from flashq.commands.parked import Parked
from flashq.engine.check import check
from flashq.errors import FlashQError
from flashq.protocol.codec import decode_request, encode
from flashq.storage import records

WORDS: Final = (*_WORDS, "\n", "1", "2", "+1000", "+60000")
MAX_BYTES: Final = 2_048
_HISTORY: Final = b"#"
MOST_LINES: Final = 40
"""More would take too long for what an input may take."""


def seeds() -> Iterator[bytes]:
    """The conversations of the documentation, twenty lines at a time, and the common life of a job."""
    lines = [line for line in documented_json() if b'"cmd"' in line]
    for start in range(0, len(lines), 10):
        yield b"\n".join(lines[start : start + 20])
        yield b"\n".join((_HISTORY, *lines[start : start + 20]))
    yield b"\n".join((
        b'{"cmd":"HELLO","worker":"w"}', b'{"cmd":"PUSH","queue":"q","data":1}', b'{"cmd":"PULL","queue":"q"}', b"+9",
        b'{"cmd":"FAIL","id":1}', b"+60000", b'{"cmd":"PULLB","queue":"q","count":2}', b'{"cmd":"ACK","id":1}',
    ))  # fmt: skip


def read(data: bytes) -> str:
    """One command a line; ``+1000`` lets a second go by, and ``#`` before all else has the history kept."""
    desk = Desk()
    if data[:1] == _HISTORY:
        desk.keep_history()
    endings = []
    for line in data.split(b"\n")[:MOST_LINES]:
        if line[:1] == b"+" and line[1:].isdigit():
            desk.pass_time(int(line[1:9]) % 100_000_000)
            endings.append("+")
        else:
            endings.append(_ask(desk, line))
    for token in desk.parked:
        desk.engine.parking.unpark(token)  # the connection is closed
    written = desk.engine.outbox.take_records()
    assert records.decode(records.encode(written)) == written, "what is to be remembered comes back differently"
    assert check(desk.engine) == []
    for queue in desk.engine.queues.by_name.values():
        queue.forget_options()  # or the collector would not find it; an engine lives as long as its process
    return endings[-1]


def _ask(desk: Desk, line: bytes) -> str:
    try:
        request = decode_request(line)
        ending = type(request).__name__
        reply = execute(desk.context, desk.session, request, desk.now)
        if isinstance(reply, Parked):
            token = 1 + max(desk.parked, default=0)
            desk.parked[token] = reply
            reply.park(token, desk.now)
            ending += " waits"
        else:
            encode(reply)
    except FlashQError as error:
        ending = refused(error)
    for token, delivered in desk.engine.outbox.take_deliveries():
        _deliver(desk.parked.pop(token), delivered)
    return ending


def _deliver(parked: Parked, delivered: Any) -> None:
    try:
        encode(parked.reply(delivered) if delivered else parked.over())
    except FlashQError:  # what was waited for will not come
        return
