"""How many jobs a second the server takes and gives: in batches, pipelined and one at a time, with every durability.

Each sample has a server of its own, warmed up a little. The clock runs from the first byte sent to the last answer
read, and the server's counters must agree with ours afterwards. In ``full`` durability every answer that is counted
came after a sync to the disk.
"""

import json
from collections.abc import Callable, Iterator
from typing import Final

from benchmarks.load import Repeat, Stream, Work, driven, fill, id_texts, push_batch_line, push_line
from benchmarks.report import Durability, Goal, Result, Size, main
from benchmarks.server import Server

QUEUE: Final = b"bench"
PAYLOAD: Final = b'{"n":1234567}'
CONNECTIONS: Final = 10
BATCH: Final = 1_000
PULL_BATCH: Final = 100
LONELY: Final = 64
"""Connections that push one job at a time."""

Sample = Callable[[Server], float]


def run(size: Size) -> Iterator[Result]:
    """All of it."""
    yield from push_batches(size)
    yield from pull_and_ack(size)
    yield from pipelined(size)
    yield from one_at_a_time(size)


def push_batches(size: Size) -> Iterator[Result]:
    """PUSHB of 1,000 over ten connections."""
    jobs = size.jobs(1_000_000, CONNECTIONS * BATCH)
    goals: dict[Durability, Goal | None] = {
        "memory": Goal(1_000_000),
        "relaxed": None,
        "full": Goal(300_000),
        "postgres": Goal(250_000),
    }
    for durability, goal in goals.items():
        what = f"batch push, {CONNECTIONS} connections x {BATCH:,} jobs"
        yield _result(what, durability, size, lambda server: _push_batches(server, jobs), goal)
    what = f"batch push, {CONNECTIONS} connections x {BATCH:,} jobs, Unix socket"
    yield _result(what, "memory", size, lambda server: _push_batches(server, jobs, unix=True))


def pull_and_ack(size: Size) -> Iterator[Result]:
    """PULLB and ACKB of 100 over ten connections, with tokens."""
    jobs = size.jobs(500_000, CONNECTIONS * BATCH)
    goals: dict[Durability, Goal | None] = {
        "memory": Goal(400_000),
        "relaxed": None,
        "full": Goal(250_000),
        "postgres": Goal(200_000),
    }
    ids = id_texts(jobs)
    for durability, goal in goals.items():
        what = f"pull + ack, {CONNECTIONS} connections x {PULL_BATCH} jobs"
        yield _result(what, durability, size, lambda server: _work(server, jobs, ids), goal)
    what = f"pull + ack, {CONNECTIONS} connections x {PULL_BATCH} jobs, Unix socket"
    yield _result(what, "memory", size, lambda server: _work(server, jobs, ids, unix=True))


def pipelined(size: Size) -> Iterator[Result]:
    """PUSH after PUSH on one connection without waiting."""
    jobs = size.jobs(300_000, 500)
    goals: dict[Durability, Goal | None] = {"memory": Goal(300_000), "relaxed": None, "full": None}
    for durability, goal in goals.items():
        yield _result("single pushes, 1 connection, pipelined", durability, size, lambda s: _stream(s, jobs), goal)
    what = "single pushes, 1 connection, pipelined, Unix socket"
    yield _result(what, "memory", size, lambda server: _stream(server, jobs, unix=True))


def one_at_a_time(size: Size) -> Iterator[Result]:
    """PUSH, wait for the answer, and again, on 64 connections."""
    jobs = size.jobs(32_000, LONELY)
    goals: dict[Durability, Goal | None] = {
        "memory": None,
        "relaxed": None,
        "full": Goal(20_000),
        "postgres": Goal(15_000),
    }
    for durability, goal in goals.items():
        what = f"single pushes, {LONELY} connections, one at a time each"
        yield _result(what, durability, size, lambda server: _lonely(server, jobs), goal)


def counters(server: Server) -> dict[str, int]:
    """STATS."""
    stats: dict[str, int] = json.loads(server.ask(b'{"cmd":"STATS"}'))
    return stats


def expect(server: Server, counter: str, value: int) -> None:
    """Compare the server's own count with ours.

    Raises:
        RuntimeError: they are not the same, and what was measured is not what it was meant to be.
    """
    found = counters(server)
    if found[counter] != value:
        raise RuntimeError(f"{value} jobs should be {counter}, the server says {found}")


def samples(size: Size, durability: Durability, sample: Sample) -> tuple[float, ...]:
    """As many as there are runs, each with a server of its own."""
    taken = []
    for _ in range(size.runs):
        with Server(durability) as server:
            taken.append(sample(server))
    return tuple(taken)


def _result(what: str, durability: Durability, size: Size, sample: Sample, goal: Goal | None = None) -> Result:
    return Result(what, durability, "jobs/s", samples(size, durability, sample), goal)


def _push_batches(server: Server, jobs: int, *, unix: bool = False) -> float:
    fill(server, b"warm", PAYLOAD, 2 * BATCH)
    line = push_batch_line(QUEUE, PAYLOAD, BATCH)
    times = jobs // CONNECTIONS // BATCH
    seconds = driven(server, lambda c: Repeat(c, line, times, b'{"ok":true,"ids":['), CONNECTIONS, unix=unix)
    expect(server, "queued", jobs + 2 * BATCH)
    return jobs / seconds


def _work(server: Server, jobs: int, ids: list[bytes], *, unix: bool = False) -> float:
    fill(server, QUEUE, PAYLOAD, jobs)
    seconds = driven(server, lambda c: Work(c, QUEUE, PULL_BATCH, ids), CONNECTIONS, unix=unix)
    expect(server, "completed", jobs)
    expect(server, "queued", 0)
    return jobs / seconds


def _stream(server: Server, jobs: int, *, unix: bool = False) -> float:
    fill(server, b"warm", PAYLOAD, BATCH)
    line = push_line(QUEUE, PAYLOAD)
    seconds = driven(server, lambda c: Stream(c, line, jobs), 1, unix=unix)
    expect(server, "queued", jobs + BATCH)
    return jobs / seconds


def _lonely(server: Server, jobs: int) -> float:
    fill(server, b"warm", PAYLOAD, BATCH)
    line = push_line(QUEUE, PAYLOAD)
    seconds = driven(server, lambda c: Repeat(c, line, jobs // LONELY), LONELY)
    expect(server, "queued", jobs + BATCH)
    return jobs / seconds


if __name__ == "__main__":
    main({"benchmarks.throughput": run}, "benchmarks.throughput")
