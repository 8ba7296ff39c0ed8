"""How soon a killed server is ready again with a million waiting jobs.

Ready means: the process was started anew, has verified and read its database, opened its doors and answered how many
jobs are waiting, all of them. Twice: once killed while the journal still holds (nearly) everything, so that it must be
read and folded; once after a quiet time in which the server has folded it into the tables.
"""

import json
import os
import time
from collections.abc import Iterator
from time import perf_counter
from typing import Final

from benchmarks.load import fill
from benchmarks.machine import cpu_seconds
from benchmarks.report import Durability, Goal, Result, Size, main
from benchmarks.server import Server

JOBS: Final = 1_000_000
PAYLOAD: Final = b'"' + b"x" * 78 + b'"'
BATCH: Final = 1_000
LIMITS: Final[dict[Durability, float]] = {"full": 5.0, "postgres": 8.0}
"""Seconds, by what remembers."""
QUIET_SECONDS: Final = 60.0
"""How long folding may take before a measurement is given up."""


def run(size: Size) -> Iterator[Result]:
    """All of it."""
    for durability, limit in LIMITS.items():
        yield from recovery(size, durability, Goal(most=limit))


def recovery(size: Size, durability: Durability, goal: Goal) -> Iterator[Result]:
    """Both ways with one of the storages."""
    jobs = size.jobs(JOBS, BATCH)
    with Server(durability) as server:
        fill(server, b"bench", PAYLOAD, jobs, BATCH)
        server.kill()
        samples = tuple(_ready_after_kill(server, jobs) for _ in range(size.runs))
        what = f"ready after kill -9 with {jobs:,} waiting jobs"
        yield Result(f"{what}, journal as the kill left it", durability, "s", samples, goal)
        server.start()
        _wait_until_folded(server)
        server.kill()
        samples = tuple(_ready_after_kill(server, jobs) for _ in range(size.runs))
        yield Result(f"{what}, journal folded", durability, "s", samples, goal)


def _ready_after_kill(server: Server, jobs: int) -> float:
    """Seconds from the start of the process to its answer; it is killed again at once, so that nothing is folded."""
    began = perf_counter()
    server.start()
    stats = json.loads(server.ask(b'{"cmd":"STATS"}'))
    seconds = perf_counter() - began
    server.kill()
    if stats["queued"] != jobs:
        raise RuntimeError(f"{jobs} jobs should be waiting, the server says {stats}")
    return seconds


def _wait_until_folded(server: Server) -> None:
    """Folding is all that a server without clients does, so it is over when the server uses no processor time."""
    tick = 1 / os.sysconf("SC_CLK_TCK")
    deadline = perf_counter() + QUIET_SECONDS
    used, quiet = cpu_seconds(server.pid), 0
    while quiet < 5:
        if perf_counter() > deadline:
            raise TimeoutError(f"the journal was not folded within {QUIET_SECONDS} s")
        time.sleep(0.2)
        before, used = used, cpu_seconds(server.pid)
        quiet = quiet + 1 if used - before <= tick else 0


if __name__ == "__main__":
    main({"benchmarks.recovery": run}, "benchmarks.recovery")
