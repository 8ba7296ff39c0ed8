"""What a waiting job costs in memory: growth of the server's resident size over a million jobs of 80 bytes each.

The growth is divided by the jobs, and the whole size is given beside it. Once as a batch brings them, once pushed one
by one, and once with the journal, whose cache is part of the price.
"""

from collections.abc import Callable, Iterator
from typing import Final

from benchmarks.load import Stream, connect, drive, fill, push_line
from benchmarks.machine import resident_bytes
from benchmarks.report import Durability, Goal, Result, Size, main
from benchmarks.server import Server

JOBS: Final = 1_000_000
PAYLOAD: Final = b'"' + b"x" * 78 + b'"'
BATCH: Final = 1_000
MIB: Final = 1024 * 1024


def run(size: Size) -> Iterator[Result]:
    """All of it."""
    jobs = size.jobs(JOBS, BATCH)
    yield from _waiting(size, jobs, "memory", "pushed in batches", _in_batches, Goal(most=220))
    yield from _waiting(size, jobs, "memory", "pushed one by one", _one_by_one, None)
    yield from _waiting(size, jobs, "full", "pushed in batches", _in_batches, None)


def _waiting(
    size: Size, jobs: int, durability: Durability, how: str, push: Callable[[Server, int], None], goal: Goal | None
) -> Iterator[Result]:
    grown, whole = [], []
    for _ in range(size.runs):
        with Server(durability) as server:
            _in_batches(server, BATCH)
            before = resident_bytes(server.pid)
            push(server, jobs)
            after = resident_bytes(server.pid)
        grown.append((after - before) / jobs)
        whole.append(after / MIB)
    what = f"{jobs:,} waiting jobs of {len(PAYLOAD)} bytes, {how}"
    yield Result(f"{what}: growth a job", durability, "bytes", tuple(grown), goal)
    yield Result(f"{what}: resident size of the server", durability, "MiB", tuple(whole))


def _in_batches(server: Server, jobs: int) -> None:
    fill(server, b"bench", PAYLOAD, jobs, BATCH)


def _one_by_one(server: Server, jobs: int) -> None:
    with connect(server) as connection:
        drive([Stream(connection, push_line(b"bench", PAYLOAD), jobs)])


if __name__ == "__main__":
    main({"benchmarks.memory": run}, "benchmarks.memory")
