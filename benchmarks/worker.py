"""What the worker does with tasks that do nothing: jobs a second, the way from a push to its result, start, and rest.

The worker is ``flashq worker`` in a process of its own, on the core of the load, while the server has the other. The
tasks are pushed before, one by one, by a program of its own. The time runs from the first task that the worker runs to
the last one, so it holds everything that lies between two jobs: pull, decode, call, acknowledge. A round is that of
`benchmarks.versus`, which compares it with others.
"""

from collections.abc import Iterator
from dataclasses import replace
from time import monotonic
from typing import Final

from benchmarks.report import Goal, Result, Size, main
from benchmarks.versus.contestants import FLASHQ, FLASHQ_PLAIN, Contestant, Promise
from benchmarks.versus.rounds import IDLE_SECONDS, another, idle, play

THREADS: Final = replace(FLASHQ_PLAIN, worker=(*FLASHQ_PLAIN.worker, "--executor", "thread"))

MB: Final = 1_000_000

KIND_SECONDS: Final = 45
"""For the rounds of one kind of worker: four kinds and the rest are under four minutes, and a slow disk, which each
push waits for, means fewer rounds."""

START: Final = Goal(most=0.5)
"""Seconds: shorter than what a person notices, or a deployment waits for."""


def run(size: Size) -> Iterator[Result]:
    """All of it."""
    yield from _work(size, FLASHQ, "coroutines", "memory", drained=None, trip=Goal(most=1))
    yield from _work(size, FLASHQ, "coroutines", "full", drained=Goal(30_000), trip=Goal(most=2))
    yield from _work(size, FLASHQ_PLAIN, "plain functions", "full", drained=Goal(15_000), trip=Goal(most=2))
    yield from _work(size, THREADS, "executor thread", "full", drained=Goal(15_000), trip=Goal(most=2))
    yield from _rest(size)


def _work(
    size: Size, contestant: Contestant, what: str, durability: Promise, *, drained: Goal | None, trip: Goal | None
) -> Iterator[Result]:
    """Rounds of one kind of worker."""
    began, rounds = monotonic(), [play(contestant, durability, size, pinned=True)]
    while len(rounds) < size.runs and another(len(rounds), monotonic() - began, KIND_SECONDS):
        rounds.append(play(contestant, durability, size, pinned=True))
    pushed, drains, starts, trips, slow = zip(
        *((one.pushed, one.drained, one.start, one.trip_ms, one.slow_trip_ms) for one in rounds), strict=True
    )
    yield Result(f"{what}: pushed one by one by one process", durability, "jobs/s", pushed)
    yield Result(f"{what}: drained by one worker process", durability, "jobs/s", drains, drained)
    yield Result(f"{what}: push to result, one at a time: 50 %", durability, "ms", trips, trip)
    yield Result(f"{what}: push to result, one at a time: 99 %", durability, "ms", slow)
    yield Result(f"{what}: start of the worker's process to its first job", durability, "s", starts, START)


def _rest(size: Size) -> Iterator[Result]:
    """Workers without work; all samples at once, since none of them does anything."""
    found = idle([FLASHQ] * size.runs, IDLE_SECONDS * size.share)
    resident = tuple(one.resident / MB for one in found)
    yield Result("worker without work: resident size", "full", "MB", resident, Goal(most=60))
    cpu = tuple(100 * one.cpu for one in found)
    what = f"worker without work: processor, over {IDLE_SECONDS * size.share:g} s"
    yield Result(what, "full", "% of a core", cpu, Goal(most=0.5))


if __name__ == "__main__":
    main({"benchmarks.worker": run}, "benchmarks.worker")
