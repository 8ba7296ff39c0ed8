"""How many jobs a second the HTTP door takes and gives, and what it leaves of the lines door's patience.

The load is raw sockets again: prepared requests, answers whose length is read from their head and whose status is
checked, nothing else. One connection has one request under way, as HTTP clients do.
"""

import multiprocessing
import select
import socket
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack
from multiprocessing.synchronize import Event
from time import perf_counter, sleep
from typing import Final

from benchmarks.latency import percentile
from benchmarks.load import ask, connect, driven, fill, receive
from benchmarks.machine import cpu_seconds
from benchmarks.report import Durability, Goal, Result, Size, main
from benchmarks.server import Server
from benchmarks.throughput import counters, expect, samples

QUEUE: Final = b"bench"
PAYLOAD: Final = b'{"n":1234567}'
SINGLE: Final = 64
"""Connections that push, or pull and acknowledge, one job at a time."""
BATCHES: Final = 10
BATCH: Final = 1_000
LISTENERS: Final = 100
ROUND_TRIPS: Final = 4_000
HALF_LOAD: Final = 0.5
"""Part of the pushes a second that the door was just seen to take."""

_LENGTH: Final = b"content-length: "
_TOKEN: Final = b'"token":"'
_ID: Final = b'"data":[{"id":'


def run(size: Size) -> Iterator[Result]:
    """All of it."""
    yield from steady(size)
    yield from lines_beside(size)


def steady(size: Size) -> Iterator[Result]:
    """What the door takes and gives."""
    durabilities: tuple[Durability, ...] = ("memory", "full")
    for durability in durabilities:
        yield from pushes(size, durability)
    for durability in durabilities:
        yield from batches(size, durability)
    for durability in durabilities:
        yield from work(size, durability)


def pushes(size: Size, durability: Durability) -> Iterator[Result]:
    """POST of one job and its answer, and again."""
    jobs = size.jobs(64_000, SINGLE)
    goal = Goal(15_000) if durability == "memory" else None
    taken = samples(size, durability, lambda server: _pushes(server, jobs))
    yield Result(f"POST of one job, {SINGLE} connections", durability, "jobs/s", taken, goal)


def batches(size: Size, durability: Durability) -> Iterator[Result]:
    """POST of a thousand."""
    jobs = size.jobs(1_000_000, BATCHES * BATCH)
    goal = Goal(400_000) if durability == "memory" else None
    taken = samples(size, durability, lambda server: _batches(server, jobs))
    yield Result(f"POST of {BATCH:,} jobs, {BATCHES} connections", durability, "jobs/s", taken, goal)


def work(size: Size, durability: Durability) -> Iterator[Result]:
    """A pull of one job and its ack: two requests a job."""
    jobs = size.jobs(32_000, SINGLE)
    goal = Goal(10_000) if durability == "memory" else None
    taken = samples(size, durability, lambda server: _work(server, jobs))
    yield Result(f"pull + ack of one job, {SINGLE} connections", durability, "jobs/s", taken, goal)


def lines_beside(size: Size) -> Iterator[Result]:
    """Round trips over lines while streams listen and HTTP is at half of what it can."""
    taken = []
    for _ in range(size.runs):
        with Server("full") as server:
            taken.append(_lines_beside(server, size))
    quiet, busy, processor = zip(*taken, strict=True)
    what = "push over lines, 99 %"
    yield Result(f"{what}, nobody else there", "full", "ms", tuple(1e3 * one for one in quiet))
    yield Result(
        f"{what}, {LISTENERS} idle streams and HTTP at half its pushes", "full", "ms", tuple(1e3 * one for one in busy)
    )
    ratios = tuple(b / q for b, q in zip(busy, quiet, strict=True))
    yield Result("the second against the first", "full", "x", ratios, Goal(most=2))
    yield Result("the server's processor meanwhile", "full", "% of a core", tuple(100 * one for one in processor))


def request(method: bytes, path: bytes, body: bytes = b"") -> bytes:
    """A request as it is sent."""
    return b"%b %b HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n%b" % (method, path, len(body), body)


class HttpLane:
    """One connection with one request under way. What comes next is decided by `following`."""

    def __init__(self, connection: socket.socket, first: bytes) -> None:
        self.connection = connection
        self._first = first
        self._parts: list[bytes] = []
        self._missing = 0

    def begin(self) -> None:
        """Send the first request."""
        self.connection.sendall(self._first)

    def received(self, data: bytes) -> bool:
        """Once the answer is whole, send the next request."""
        if not self._parts:
            if not data.startswith(b"HTTP/1.1 200"):
                raise RuntimeError(f"the server refused: {data[:500]!r}")
            at = data.index(_LENGTH) + len(_LENGTH)
            length = int(data[at : data.index(b"\r", at)])
            self._missing = data.index(b"\r\n\r\n", at) + 4 + length
        self._parts.append(data)
        self._missing -= len(data)
        if self._missing:
            return False
        answer = b"".join(self._parts)
        self._parts.clear()
        following = self.following(answer)
        if following is None:
            return True
        self.connection.sendall(following)
        return False

    def following(self, answer: bytes) -> bytes | None:
        """The next request; None: it is done."""
        raise NotImplementedError


class Post(HttpLane):
    """The same request, so many times."""

    def __init__(self, connection: socket.socket, first: bytes, times: int) -> None:
        super().__init__(connection, first)
        self._left = times

    def following(self, answer: bytes) -> bytes | None:  # noqa: ARG002
        """Again."""
        self._left -= 1
        return self._first if self._left else None


class Worker(HttpLane):
    """Pulls a job, acknowledges it with its token, until there is none."""

    def __init__(self, connection: socket.socket) -> None:
        self._pull = request(b"POST", b"/queues/%b/pull" % QUEUE)
        super().__init__(connection, self._pull)

    def following(self, answer: bytes) -> bytes | None:
        """After a job its ack, after an ack the next pull."""
        if answer.endswith(b'"data":null}'):
            return self._pull
        at = answer.find(_ID)
        if at < 0:
            return None
        id = answer[at + len(_ID) : answer.index(b",", at)]
        start = answer.index(_TOKEN) + len(_TOKEN)
        token = answer[start : answer.index(b'"', start)]
        return request(b"POST", b"/jobs/%b/ack" % id, b'{"token":"%b"}' % token)


def _pushes(server: Server, jobs: int) -> float:
    before = counters(server)["queued"]
    push = request(b"POST", b"/queues/%b/jobs" % QUEUE, b'{"data":%b}' % PAYLOAD)
    seconds = driven(server, lambda connection: Post(connection, push, jobs // SINGLE), SINGLE, http=True)
    expect(server, "queued", before + jobs)
    return jobs / seconds


def _batches(server: Server, jobs: int) -> float:
    body = b'{"jobs":[%b]}' % b",".join([b'{"data":%b}' % PAYLOAD] * BATCH)
    push = request(b"POST", b"/queues/%b/jobs/batch" % QUEUE, body)
    seconds = driven(server, lambda connection: Post(connection, push, jobs // BATCHES // BATCH), BATCHES, http=True)
    expect(server, "queued", jobs)
    return jobs / seconds


def _work(server: Server, jobs: int) -> float:
    fill(server, QUEUE, PAYLOAD, jobs, batch=min(jobs, BATCH))
    queued = counters(server)["queued"]
    seconds = driven(server, Worker, SINGLE, http=True)
    expect(server, "completed", queued)
    return queued / seconds


def _lines_beside(server: Server, size: Size) -> tuple[float, float, float]:
    """99th percentile in seconds of a push over lines: alone, and beside streams and HTTP at half load.

    The third is the part of a core that the server uses in the latter.
    """
    trips = size.jobs(ROUND_TRIPS, 10)
    rate = HALF_LOAD * _pushes(server, size.jobs(32_000, SINGLE))
    quiet = _round_trips(server, trips)
    with ExitStack() as stack:
        for _ in range(LISTENERS):
            stack.enter_context(_listener(server))
        processes = multiprocessing.get_context("fork")  # of its own: two threads would wait for each other's turn
        stop = processes.Event()
        load = processes.Process(target=_steady_pushes, args=(server, rate, stop))
        load.start()
        sleep(0.2)  # until it is under way
        began, used = perf_counter(), cpu_seconds(server.pid)
        try:
            busy = _round_trips(server, trips)
            processor = (cpu_seconds(server.pid) - used) / (perf_counter() - began)
        finally:
            stop.set()
            load.join()
        if load.exitcode:
            raise RuntimeError("the load over HTTP has ended early")
    return quiet, busy, processor


def _round_trips(server: Server, trips: int) -> float:
    line = b'{"cmd":"PUSH","queue":"lines","data":%b}' % PAYLOAD
    taken = []
    with connect(server) as connection:
        for _ in range(trips):
            began = perf_counter()
            ask(connection, line)
            taken.append(perf_counter() - began)
    return percentile(sorted(taken), 99)


def _listener(server: Server) -> socket.socket:
    """Somebody who listens to a queue where nothing happens."""
    connection = connect(server, http=True)
    connection.sendall(b"GET /events/silent HTTP/1.1\r\nhost: localhost\r\n\r\n")
    if not receive(connection).startswith(b"HTTP/1.1 200"):
        raise RuntimeError("the server has no event stream")
    return connection


def _steady_pushes(server: Server, rate: float, stop: Event) -> None:
    """Pushes over HTTP at a fixed rate, over as many connections as it takes."""
    push = request(b"POST", b"/queues/%b/jobs" % QUEUE, b'{"data":%b}' % PAYLOAD)
    everybody = [connect(server, http=True) for _ in range(SINGLE)]
    idle = deque(everybody)  # all in turn: the server closes what is idle for seconds
    ready = select.poll()
    by_number = {one.fileno(): one for one in everybody}
    for number in by_number:
        ready.register(number, select.POLLIN)
    began, sent = perf_counter(), 0
    while not stop.is_set():
        due = int((perf_counter() - began) * rate) - sent
        for _ in range(min(due, len(idle))):
            idle.popleft().sendall(push)
            sent += 1
        for number, _ in ready.poll(1):
            receive(by_number[number])  # a short answer comes in one piece
            idle.append(by_number[number])
    for one in everybody:
        one.close()


if __name__ == "__main__":
    main({"benchmarks.http": run}, "benchmarks.http")
