"""``flashq bench``: what this server does for this client on this machine, in a few seconds.

A self-test, not a benchmark of the product: one client on one connection, so what it measures is as much the client
and the way between as the server. It works on a queue of its own, which is empty afterwards also when it is
interrupted. Three ways of calling are told apart, because they differ by a hundred times and each is right for
somebody: one call after the other, many calls in flight, many jobs in one call.
"""

import os
import platform
import secrets
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import click
from msgspec import Raw, Struct

from flashq.cli.reach import Verb, Wishes
from flashq.cli.show import Column
from flashq.client import FlashQ, JobRecord
from flashq.protocol.limits import MAX_BATCH

PIPELINE: Final = 1_000
"""Calls in flight at once."""

SINGLES: Final = 2_000
"""At most so many calls are made one after the other: on a slow disk each may take milliseconds."""


class Figure(Struct):
    """One measurement.

    Attributes:
        what: the calls that were made.
        mode: how: "one by one", "pipelined" or "batches of N".
        jobs: how many jobs took part.
        jobs_per_second: the rate over all of them.
        p50_ms: half of the calls took no longer.
        p99_ms: nearly all calls took no longer.
    """

    what: str
    mode: str
    jobs: int
    jobs_per_second: float
    p50_ms: float
    p99_ms: float


_COLUMNS: Final[tuple[Column, ...]] = (
    ("what", lambda one: one.what),
    ("mode", lambda one: one.mode),
    ("jobs", lambda one: one.jobs),
    ("jobs/s", lambda one: f"{one.jobs_per_second:,.0f}"),
    ("p50 ms a call", lambda one: f"{one.p50_ms:.3f}"),
    ("p99 ms a call", lambda one: f"{one.p99_ms:.3f}"),
)


@click.command(cls=Verb)
@click.option("--jobs", type=click.IntRange(1, 10_000_000), default=20_000, show_default=True, help="How many jobs.")
@click.option("--batch", type=click.IntRange(1, MAX_BATCH), default=1_000, show_default=True, help="Jobs in a batch.")
@click.option("--size", type=click.IntRange(2, 1_000_000), default=100, show_default=True, help="Bytes of a payload.")
@click.pass_obj
def bench(wishes: Wishes, jobs: int, batch: int, size: int) -> None:
    r"""Measure pushes, pulls and acks against the server, on a queue made for it.

    The jobs count in the server's totals, and as the newest finished ones they take the place of older ones in its
    memory. Each rate includes what the server does before it says ok: with full durability, a write to the disk.

    \b
    Example:
      flashq bench --jobs 100000 --batch 1000
    """
    queue = f"bench-{secrets.token_hex(6)}"
    payload = Raw(b'"' + b"x" * (size - 2) + b'"')
    with wishes.client() as q, _emptied(q, queue):
        stages = _stages(q, queue, payload, jobs, batch)
        with wishes.show.progress("bench", len(stages)) as advance:
            figures = []
            for stage in stages:
                figures.append(stage())
                advance(1)
    if wishes.json:
        wishes.show.document({"machine": machine(), "payload_bytes": size, "figures": figures})
        return
    wishes.show.text(f"{machine()}; one client, one connection, {size} bytes a payload")
    wishes.show.listing(figures, _COLUMNS, "nothing was measured")


def machine() -> str:
    """The client's machine in one line; the server's may be another."""
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, {python}"


def _stages(q: FlashQ, queue: str, payload: Raw, jobs: int, batch: int) -> list[Callable[[], Figure]]:
    """What is measured, in order; each stage leaves to the next what it needs."""
    singles = min(jobs, SINGLES)
    pulled: list[JobRecord] = []
    one_by_one = "one by one"
    batches = f"batches of {batch}"
    return [
        lambda: _measure("ping", one_by_one, [1] * singles, lambda _: q.ping()),
        lambda: _measure("push", one_by_one, [1] * singles, lambda _: q.push(queue, payload)),
        lambda: _measure("pull", one_by_one, [1] * singles, lambda _: pulled.extend(q.pull_batch(queue, 1, 0))),
        lambda: _measure("ack", one_by_one, [1] * singles, lambda _: q.ack(pulled.pop())),
        lambda: _measure("push", "pipelined", _parts(jobs, PIPELINE), lambda n: _pipelined(q, queue, payload, n)),
        lambda: _measure("pull", batches, _parts(jobs, batch), lambda n: pulled.extend(q.pull_batch(queue, n, 0))),
        lambda: _measure("ack", batches, _parts(jobs, batch), lambda n: q.ack_batch(_take(pulled, n))),
        lambda: _measure("push", batches, _parts(jobs, batch), lambda n: q.push_batch(queue, [payload] * n)),
        lambda: _measure("pull + ack", batches, _parts(jobs, batch), lambda n: q.ack_batch(q.pull_batch(queue, n, 0))),
    ]


def _measure(what: str, mode: str, parts: Sequence[int], call: Callable[[int], object]) -> Figure:
    """Make one call for each part and time them all."""
    times_ms = []
    began = time.perf_counter()
    for part in parts:
        at = time.perf_counter()
        call(part)
        times_ms.append((time.perf_counter() - at) * 1000)
    took = max(time.perf_counter() - began, sys.float_info.epsilon)
    times_ms.sort()
    count = len(times_ms)
    return Figure(
        what, mode, sum(parts), sum(parts) / took, times_ms[count // 2], times_ms[min(count - 1, count * 99 // 100)]
    )


def _parts(total: int, size: int) -> list[int]:
    """``total`` cut into parts of at most ``size``."""
    return [min(size, total - at) for at in range(0, total, size)]


def _take(jobs: list[JobRecord], count: int) -> list[JobRecord]:
    taken = jobs[-count:]
    del jobs[-count:]
    return taken


def _pipelined(q: FlashQ, queue: str, payload: Raw, count: int) -> None:
    with q.pipeline() as p:
        for _ in range(count):
            p.push(queue, payload)


@contextmanager
def _emptied(q: FlashQ, queue: str) -> Iterator[None]:
    """Leave nothing behind: not the jobs that wait, nor those that an interrupt left in this client's hands."""
    worker = f"{queue}-worker"
    q.hello(worker, [queue])
    try:
        yield
    finally:
        q.bye(worker)
        while jobs := q.pull_batch(queue, MAX_BATCH, 0):
            q.ack_batch(jobs)
