"""Does a push cost more when much is waiting: a thousand jobs or a million, no parked pulls or ten thousand.

Each ratio comes from servers that run side by side and are asked in turns, a few milliseconds each, so that a machine
that changes its pace changes it for both. What a turn adds is taken away again, unmeasured, so that both stay what
they are.
"""

import re
import socket
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from statistics import median
from typing import Final

from benchmarks.load import Stream, ask, connect, drive, fill, push_line, read_lines
from benchmarks.report import Goal, Result, Size, main
from benchmarks.server import Server

PAYLOAD: Final = b'{"n":1234567}'
QUEUE: Final = b"bench"
FEW: Final = 1_000
MANY: Final = 1_000_000
PARKED: Final = 10_000
WAITS_PER_CONNECTION: Final = 125
TURN: Final = 500
"""Pushes a turn."""
TURNS: Final = 40
BOUND: Final = Goal(most=1.3)

_ID: Final = re.compile(rb'\{"id":(\d+),')

Cost = Callable[[], float]


def run(size: Size) -> Iterator[Result]:
    """All of it."""
    yield waiting_jobs(size)
    yield parked_elsewhere(size)
    yield parked_here(size)


def waiting_jobs(size: Size) -> Result:
    """A million waiting jobs against a thousand."""
    many = size.jobs(MANY, FEW)
    with Server("memory") as short, Server("memory") as long:
        fill(short, QUEUE, PAYLOAD, FEW)
        fill(long, QUEUE, PAYLOAD, many)
        samples = _ratios(size, lambda: _push_and_take(short), lambda: _push_and_take(long))
    return Result(f"push with {many:,} waiting jobs against {FEW:,}", "memory", "x", samples, BOUND)


def parked_elsewhere(size: Size) -> Result:
    """Ten thousand pulls parked on another queue against none."""
    parked = size.jobs(PARKED, WAITS_PER_CONNECTION)
    with ExitStack() as stack:
        quiet, busy = stack.enter_context(Server("memory")), stack.enter_context(Server("memory"))
        fill(quiet, QUEUE, PAYLOAD, FEW)
        fill(busy, QUEUE, PAYLOAD, FEW)
        for one in _parked(busy, b"elsewhere", parked):
            stack.enter_context(one)
        samples = _ratios(size, lambda: _push_and_take(quiet), lambda: _push_and_take(busy))
    return Result(f"push with {parked:,} pulls parked on another queue against none", "memory", "x", samples, BOUND)


def parked_here(size: Size) -> Result:
    """A push that is delivered at once, with ten thousand parked pulls in the line against a thousand."""
    many = size.jobs(PARKED, WAITS_PER_CONNECTION)
    few = size.jobs(FEW, WAITS_PER_CONNECTION)
    with ExitStack() as stack:
        short, long = stack.enter_context(Server("memory")), stack.enter_context(Server("memory"))
        lines = [_Line(short, _parked(short, QUEUE, few)), _Line(long, _parked(long, QUEUE, many))]
        for line in lines:
            stack.callback(line.close)
        samples = _ratios(size, lines[0].push_and_park, lines[1].push_and_park)
    what = f"push delivered to one of {many:,} pulls parked on its queue against {few:,}"
    return Result(what, "memory", "x", samples, BOUND)


def _ratios(size: Size, base: Cost, other: Cost) -> tuple[float, ...]:
    """Median cost of ``other`` as a multiple of that of ``base``, one a run; the two take turns."""
    turns = size.jobs(TURNS, 4)
    base(), other()
    ratios = []
    for _ in range(size.runs):
        pairs = [(base(), other()) for _ in range(turns)]
        bases, others = zip(*pairs, strict=True)
        ratios.append(median(others) / median(bases))
    return tuple(ratios)


def _push_and_take(server: Server) -> float:
    """Seconds that one of ``TURN`` pushes takes; as many jobs are done afterwards."""
    with connect(server) as connection:
        seconds = drive([Stream(connection, push_line(QUEUE, PAYLOAD), TURN)])
        jobs = ask(connection, b'{"cmd":"PULLB","queue":"%b","count":%d,"timeout":0}' % (QUEUE, TURN))
        _acknowledge(connection, jobs, TURN)
    return seconds / TURN


class _Line:
    """Pulls parked on one queue, first come, first served; who was served acknowledges and goes to the end."""

    def __init__(self, server: Server, connections: list[socket.socket]) -> None:
        self._pusher = connect(server)
        self._connections = deque(connections)
        self._turn = min(TURN, len(connections) * WAITS_PER_CONNECTION)

    def push_and_park(self) -> float:
        """Seconds that a push takes, its delivery included; all waiters are back afterwards."""
        seconds = drive([Stream(self._pusher, push_line(QUEUE, PAYLOAD), self._turn)])
        for _ in range(self._turn // WAITS_PER_CONNECTION):
            served = self._connections.popleft()
            jobs = read_lines(served, WAITS_PER_CONNECTION)
            _acknowledge(self._pusher, jobs, WAITS_PER_CONNECTION)
            _park(served, QUEUE)
            self._connections.append(served)
        return seconds / self._turn

    def close(self) -> None:
        """Close every connection."""
        for one in (self._pusher, *self._connections):
            one.close()


def _parked(server: Server, queue: bytes, count: int) -> list[socket.socket]:
    """Connections with ``count`` parked pulls in all."""
    connections = [connect(server) for _ in range(count // WAITS_PER_CONNECTION)]
    for one in connections:
        _park(one, queue)
    return connections


def _park(connection: socket.socket, queue: bytes) -> None:
    """Park as many pulls as one connection may; with a reqId each, for only such pulls may wait side by side."""
    pulls = [b'{"cmd":"PULL","queue":"%b","reqId":"%d"}\n' % (queue, number) for number in range(WAITS_PER_CONNECTION)]
    ask(connection, b"".join(pulls) + b'{"cmd":"PING","reqId":"parked"}')


def _acknowledge(connection: socket.socket, jobs: bytes, count: int) -> None:
    ids = _ID.findall(jobs)
    if len(ids) != count:
        raise RuntimeError(f"{count} jobs should have come, not {len(ids)}")
    ask(connection, b'{"cmd":"ACKB","ids":[%b]}' % b",".join(ids))


if __name__ == "__main__":
    main({"benchmarks.scaling": run}, "benchmarks.scaling")
