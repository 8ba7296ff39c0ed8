"""How long an answer takes: one round trip of the plain client, and percentiles while jobs come at a fixed rate.

The round trip is set against a bare echo of the same bytes, in turns within the same run, since the figure alone tells
more of the machine than of the server.

Under load the jobs are due at fixed moments, whatever the server does: a client that waited for an answer before it
sent the next job would send nothing while the server is stuck, and so leave out exactly the latencies that matter.
What is measured runs from the moment a job was due to the moment its answer was read, so a job that was sent late
because of its predecessors counts in full.
"""

import select
import socket
from collections import deque
from collections.abc import Callable, Iterator
from statistics import median
from time import perf_counter
from typing import Final

from benchmarks.echo import EchoServer
from benchmarks.load import ask, check_ok, connect, fill, receive
from benchmarks.report import Durability, Goal, Result, Size, main
from benchmarks.server import Server
from flashq import FlashQ

QUEUE: Final = "bench"
ROUND_TRIPS: Final = 20_000
BLOCK: Final = 100
"""Round trips of one kind before it is the other's turn: some hundredths of a second."""

RATE: Final = 5_000
"""Jobs a second that are due."""
SECONDS: Final = 2
CONNECTIONS: Final = 16
PERCENTILES: Final = (50.0, 99.0, 99.9)

BACKED_UP: Final = 500_000
"""Jobs that wait while backups are made."""
BACKUP: Final = b'{"cmd":"BACKUP"}\n'


def run(size: Size) -> Iterator[Result]:
    """All of it."""
    yield from round_trip(size)
    durabilities: tuple[Durability, ...] = ("memory", "relaxed", "full")
    for durability in durabilities:
        yield from steady_pushes(size, durability)
    for durability in durabilities:
        yield from deliveries(size, durability)
    yield from beside_backups(size)


def round_trip(size: Size) -> Iterator[Result]:
    """A push of the plain client and its answer, one at a time, against an echo of the same bytes."""
    trips = size.jobs(ROUND_TRIPS, BLOCK)
    pairs = [_round_trips(trips) for _ in range(size.runs)]
    pushes, echoes = (tuple(1e6 * one for one in column) for column in zip(*pairs, strict=True))
    yield Result("round trip of a push, plain client, median", "memory", "us", pushes)
    yield Result("round trip of a bare uvloop echo of the same bytes, median", None, "us", echoes)
    ratios = tuple(push / echo for push, echo in pairs)
    yield Result("push of the plain client against the echo", "memory", "x", ratios, Goal(most=1.5))


def steady_pushes(size: Size, durability: Durability) -> Iterator[Result]:
    """From the moment a push was due to its answer."""
    runs = []
    for _ in range(size.runs):
        with Server(durability) as server:
            runs.append(_steady_pushes(server, size.jobs(RATE * SECONDS)))
    yield from _percentiles(f"push, {RATE:,} a second over {CONNECTIONS} connections", durability, runs)


def beside_backups(size: Size) -> Iterator[Result]:
    """As `steady_pushes`, while one backup after the other is made of a database with many jobs."""
    runs, waiting = [], size.jobs(BACKED_UP)
    for _ in range(size.runs):
        with Server("full") as server:
            fill(server, b"waiting", b'"%b"' % (b"x" * 78), waiting)
            runs.append(_steady_pushes(server, size.jobs(RATE * SECONDS), backups=True))
    yield from _percentiles(f"push, {RATE:,} a second, while backups are made of {waiting:,} jobs", "full", runs)


def deliveries(size: Size, durability: Durability) -> Iterator[Result]:
    """From the moment a push was due to the job's arrival at a worker that waits for it."""
    runs = []
    for _ in range(size.runs):
        with Server(durability) as server:
            runs.append(_deliveries(server, size.jobs(RATE // 5 * SECONDS)))
    what = f"push to delivery, {RATE // 5:,} a second, {CONNECTIONS} waiting workers"
    yield from _percentiles(what, durability, runs)


def percentile(ordered: list[float], percent: float) -> float:
    """The value below or at which ``percent`` of the ordered values lie."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def _percentiles(what: str, durability: Durability, runs: list[list[float]]) -> Iterator[Result]:
    for percent in PERCENTILES:
        samples = tuple(1e3 * percentile(sorted(run), percent) for run in runs)
        yield Result(f"{what}: {percent:g} %", durability, "ms", samples)


def _round_trips(trips: int) -> tuple[float, float]:
    """Median seconds of a push and of an echo."""
    pushes: list[float] = []
    echoes: list[float] = []
    data = {"n": 1234567}
    bytes_of_push = b'{"cmd":"PUSH","queue":"bench","data":{"n":1234567}}\n'
    with (
        Server("memory") as server,
        EchoServer() as echo,
        connect(echo) as mirror,
        FlashQ(f"flashq://127.0.0.1:{server.port}") as client,
    ):
        for _ in range(trips // BLOCK):
            pushes += [_timed(lambda: client.push(QUEUE, data)) for _ in range(BLOCK)]
            echoes += [_timed(lambda: _mirrored(mirror, bytes_of_push)) for _ in range(BLOCK)]
    return median(pushes), median(echoes)


def _timed(call: Callable[[], object]) -> float:
    began = perf_counter()
    call()
    return perf_counter() - began


def _mirrored(mirror: socket.socket, data: bytes) -> bytes:
    """Send something and read it back, in the plainest way there is."""
    mirror.sendall(data)
    return mirror.recv(4096)


class Timetable:
    """Jobs that are due at a fixed rate, and the latencies of those that were answered."""

    def __init__(self, jobs: int, rate: float, start: float) -> None:
        self._jobs = jobs
        self._rate = rate
        self._start = start
        self._next = 0
        self.latencies: list[float] = []

    @property
    def done(self) -> bool:
        """Whether every job was answered."""
        return len(self.latencies) >= self._jobs

    def due(self, now: float) -> range:
        """The jobs that have fallen due and were not given out yet."""
        first = self._next
        self._next = max(first, min(self._jobs, int((now - self._start) * self._rate) + 1))
        return range(first, self._next)

    def answered(self, job: int, now: float) -> None:
        """A job's answer was read."""
        self.latencies.append(now - self._start - job / self._rate)


def _steady_pushes(server: Server, jobs: int, *, backups: bool = False) -> list[float]:
    *connections, operator = _connected(server, CONNECTIONS + 1)
    pending: dict[int, deque[int]] = {one.fileno(): deque() for one in connections}
    line = b'{"cmd":"PUSH","queue":"bench","data":{"n":1234567}}\n'
    ready, by_number = _poll([*connections, operator])
    if backups:
        operator.sendall(BACKUP)
    table = Timetable(jobs, RATE, perf_counter() + 0.01)
    while not table.done:
        for job in table.due(perf_counter()):
            one = connections[job % CONNECTIONS]
            one.sendall(line)
            pending[one.fileno()].append(job)
        for number, _ in ready.poll(0):
            data = receive(by_number[number])
            check_ok(data)
            if by_number[number] is operator:
                operator.sendall(BACKUP)
                continue
            now = perf_counter()
            for _ in range(data.count(b"\n")):
                table.answered(pending[number].popleft(), now)
    _close([*connections, operator])
    return table.latencies


def _deliveries(server: Server, jobs: int) -> list[float]:
    pull = b'{"cmd":"PULL","queue":"bench"}\n'
    pusher, *workers = _connected(server, CONNECTIONS + 1)
    for worker in workers:
        worker.sendall(pull)
    ready, by_number = _poll([pusher, *workers])
    parts: dict[int, bytes] = {}
    table = Timetable(jobs, RATE / 5, perf_counter() + 0.01)
    while not table.done:
        for job in table.due(perf_counter()):
            pusher.sendall(b'{"cmd":"PUSH","queue":"bench","data":%d}\n' % job)
        for number, _ in ready.poll(0):
            data = parts.pop(number, b"") + receive(by_number[number])
            now = perf_counter()
            if not data.endswith(b"\n"):
                parts[number] = data
            elif by_number[number] is not pusher and (at := data.find(b'"data":')) > 0:
                table.answered(int(data[at + 7 : data.index(b",", at)]), now)
                id_at = data.index(b'{"id":') + 6
                id = int(data[id_at : data.index(b",", id_at)])
                by_number[number].sendall(b'{"cmd":"ACK","id":%d}\n%b' % (id, pull))
    _close([pusher, *workers])
    return table.latencies


def _connected(server: Server, count: int) -> list[socket.socket]:
    """Connections that the server has accepted and served once: what is measured is not the arrival of clients."""
    connections = [connect(server) for _ in range(count)]
    for one in connections:
        ask(one, b'{"cmd":"PING"}')
    return connections


def _poll(connections: list[socket.socket]) -> tuple[select.poll, dict[int, socket.socket]]:
    ready = select.poll()
    for one in connections:
        ready.register(one, select.POLLIN)
    return ready, {one.fileno(): one for one in connections}


def _close(connections: list[socket.socket]) -> None:
    for one in connections:
        one.close()


if __name__ == "__main__":
    main({"benchmarks.latency": run}, "benchmarks.latency")
