"""Load without a client library: raw sockets, prepared lines, answers that are counted and not decoded.

One thread serves all connections. A *lane* is one connection with its own small program: what it sends first and what
it does with what comes back. Every lane counts its answers and checks what is cheap to check (each one says ok, each
batch has as many members as it should); whoever measures compares the server's own counters at the end.
"""

import json
import re
import select
import socket
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Final, Protocol

BUFFER: Final = memoryview(bytearray(1 << 20))
"""Where everything is received. One for all: allocating a new one for each answer costs more than reading it."""

PATIENCE_MS: Final = 60_000
"""Silence on all connections after which a measurement is given up."""

OK: Final = b'{"ok":true'
REFUSED: Final = b'{"ok":false'

_JOB: Final = b'{"id":'
_TOKEN: Final = b'"token":'


class Doors(Protocol):
    """Where a server listens."""

    port: int
    http_port: int

    @property
    def unix_socket(self) -> str:
        """Path of its Unix socket."""


class Lane(Protocol):
    """One connection and what it does.

    Attributes:
        connection: blocking.
    """

    connection: socket.socket

    def begin(self) -> None:
        """Send what comes first."""

    def received(self, data: bytes) -> bool:
        """Something came. Tells whether the lane is done."""


def connect(doors: Doors, *, unix: bool = False, http: bool = False) -> socket.socket:
    """A connection to a server's TCP door, or to another one."""
    if unix:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.connect(doors.unix_socket)
        return connection
    connection = socket.create_connection(("127.0.0.1", doors.http_port if http else doors.port))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def drive(lanes: Sequence[Lane]) -> float:
    """Run all lanes to their end, and close nothing.

    Returns:
        Seconds from the first byte sent to the last one read.

    Raises:
        TimeoutError: nothing came for `PATIENCE_MS`.
        RuntimeError: an answer was not the expected one, or a connection ended.
    """
    by_number = {lane.connection.fileno(): lane for lane in lanes}
    ready = select.poll()
    for number in by_number:
        ready.register(number, select.POLLIN)
    began = perf_counter()
    for lane in lanes:
        lane.begin()
    while by_number:
        happened = ready.poll(PATIENCE_MS)
        if not happened:
            raise TimeoutError(f"no answer for {PATIENCE_MS} ms")
        for number, _ in happened:
            lane = by_number[number]
            if lane.received(receive(lane.connection)):
                ready.unregister(number)
                del by_number[number]
    return perf_counter() - began


def driven(
    doors: Doors,
    lane: Callable[[socket.socket], Lane],
    connections: int,
    *,
    unix: bool = False,
    http: bool = False,
) -> float:
    """Open ``connections``, run a lane on each to its end, and close them.

    Returns:
        Seconds from the first byte sent to the last one read.
    """
    lanes = [lane(connect(doors, unix=unix, http=http)) for _ in range(connections)]
    try:
        return drive(lanes)
    finally:
        for one in lanes:
            one.connection.close()


def receive(connection: socket.socket) -> bytes:
    """What is there now.

    Raises:
        RuntimeError: the connection has ended.
    """
    count = connection.recv_into(BUFFER)
    if not count:
        raise RuntimeError("the server closed the connection")
    return bytes(BUFFER[:count])


def read_lines(connection: socket.socket, count: int = 1) -> bytes:
    """Wait until ``count`` lines have come."""
    parts: list[bytes] = []
    while count:
        data = receive(connection)
        count -= data.count(b"\n")
        parts.append(data)
    return b"".join(parts)


def ask(connection: socket.socket, line: bytes) -> bytes:
    """One command, and its answer."""
    connection.sendall(line + b"\n")
    answer = read_lines(connection)
    check_ok(answer)
    return answer


def check_ok(answers: bytes) -> None:
    """Look for a refusal.

    Raises:
        RuntimeError: there is one.
    """
    if REFUSED in answers:
        raise RuntimeError(f"the server refused: {answers[:300]!r}")


class Repeat:
    """Sends one line, waits for its answer, and again: one command at a time."""

    def __init__(self, connection: socket.socket, line: bytes, times: int, starts: bytes = OK) -> None:
        """Args: ``starts``: how each answer must begin."""
        self.connection = connection
        self._line = line
        self._left = times
        self._starts = starts
        self._first = True

    def begin(self) -> None:
        """Send the first."""
        self.connection.sendall(self._line)

    def received(self, data: bytes) -> bool:
        """Once the answer is whole, send the next."""
        if self._first and not data.startswith(self._starts):
            raise RuntimeError(f"unexpected answer: {data[:200]!r}")
        self._first = data.endswith(b"\n")
        if not self._first:
            return False
        self._left -= 1
        if self._left:
            self.connection.sendall(self._line)
        return not self._left


class Stream:
    """Sends the same line again and again without waiting, at most ``window`` ahead of the answers."""

    def __init__(self, connection: socket.socket, line: bytes, total: int, window: int = 10_000) -> None:
        self.connection = connection
        self._chunk = min(500, total)
        self._lines = line * self._chunk
        self._window = max(window, self._chunk)
        self.total = total // self._chunk * self._chunk
        self._unsent = self._unanswered = self.total
        self._ok = 0
        self._seam = b""

    def begin(self) -> None:
        """Fill the window."""
        self._fill()

    def received(self, data: bytes) -> bool:
        """Count answers, and those that say ok, also where one of them was cut in two."""
        self._unanswered -= data.count(b"\n")
        seamed = self._seam + data
        self._ok += seamed.count(OK)
        self._seam = seamed[-len(OK) + 1 :]
        if self._unanswered:
            self._fill()
            return False
        if self._ok != self.total:
            raise RuntimeError(f"{self.total - self._ok} of {self.total} commands were refused")
        return True

    def _fill(self) -> None:
        while self._unsent and self._unanswered - self._unsent + self._chunk <= self._window:
            self.connection.sendall(self._lines)
            self._unsent -= self._chunk


class Work:
    """A worker: pulls a batch, then acknowledges it and asks for the next one in the same write, until none is left.

    Acks carry tokens, as those of our clients do. The jobs of an answer have consecutive ids (one queue, one
    priority), so only the first and the last are read out of it; that they are as many as said is checked.
    """

    def __init__(self, connection: socket.socket, queue: bytes, count: int, ids: Sequence[bytes]) -> None:
        """Args: ``ids``: every id that may come, as text, by its number."""
        self.connection = connection
        self.done = 0
        self._pull = b'{"cmd":"PULLB","queue":"%b","count":%d,"timeout":0}\n' % (queue, count)
        self._ids = ids
        self._parts: list[bytes] = []
        self._due = 1
        self._active = 0
        self._sampled = False

    def begin(self) -> None:
        """Pull for the first time."""
        self.connection.sendall(self._pull)

    def received(self, data: bytes) -> bool:
        """Once the answers to ack and pull are whole, acknowledge what was pulled and pull again."""
        self._due -= data.count(b"\n")
        self._parts.append(data)
        if self._due:
            return False
        answer = b"".join(self._parts)
        self._parts.clear()
        if self._active:
            answer = self._acknowledged(answer)
        if not self._sampled:
            check_sample(answer)
            self._sampled = True
        first = answer.find(_JOB)
        if first < 0:
            return True
        self._acknowledge(answer, first)
        return False

    def _acknowledged(self, answer: bytes) -> bytes:
        """Check the answer to the ack; the rest is the pull's."""
        ack, _, pulled = answer.partition(b"\n")
        if ack != b'{"ok":true,"ids":[%d],"stale":[]}' % self._active:
            raise RuntimeError(f"{self._active} jobs were acknowledged, the answer is {ack[:200]!r}")
        self.done += self._active
        self._active = 0
        return pulled

    def _acknowledge(self, answer: bytes, first: int) -> None:
        low = _number_at(answer, first + len(_JOB))
        high = _number_at(answer, answer.rfind(_JOB) + len(_JOB))
        at = answer.rfind(_TOKEN) + len(_TOKEN)
        token = answer[at : answer.index(b'"', at + 1) + 1]
        ids = self._ids[low : high + 1]
        self._active = len(ids)
        self._due = 2
        tokens = b",".join([token] * len(ids))
        self.connection.sendall(b'{"cmd":"ACKB","ids":[%b],"tokens":[%b]}\n%b' % (b",".join(ids), tokens, self._pull))


def check_sample(answer: bytes) -> None:
    """Decode one pull's answer whole: consecutive ids and one token, which is what `Work` relies on.

    Raises:
        RuntimeError: it is not so.
    """
    jobs = json.loads(answer)["jobs"]
    ids = [job["id"] for job in jobs]
    if jobs and (ids != list(range(ids[0], ids[0] + len(ids))) or len({job["token"] for job in jobs}) != 1):
        raise RuntimeError(f"the jobs of a pull are not one run: {ids[:5]} ... {ids[-5:]}")


def push_line(queue: bytes, payload: bytes) -> bytes:
    """PUSH of one job."""
    return b'{"cmd":"PUSH","queue":"%b","data":%b}\n' % (queue, payload)


def push_batch_line(queue: bytes, payload: bytes, count: int) -> bytes:
    """PUSHB of ``count`` jobs."""
    jobs = b",".join([b'{"data":%b}' % payload] * count)
    return b'{"cmd":"PUSHB","queue":"%b","jobs":[%b]}\n' % (queue, jobs)


def fill(doors: Doors, queue: bytes, payload: bytes, jobs: int, batch: int = 1_000) -> None:
    """Push ``jobs`` jobs, at least; not measured."""
    with connect(doors) as connection:
        drive([Repeat(connection, push_batch_line(queue, payload, min(batch, jobs)), -(-jobs // batch))])


def id_texts(most: int) -> list[bytes]:
    """The ids 0 to ``most`` as text, for `Work`."""
    return [b"%d" % id for id in range(most + 1)]


def _number_at(text: bytes, at: int) -> int:
    found = re.compile(rb"\d+").match(text, at)
    if found is None:
        raise RuntimeError(f"no id at {at}: {text[at : at + 40]!r}")
    return int(found[0])
