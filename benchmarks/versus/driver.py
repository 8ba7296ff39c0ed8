"""The one who pushes: ``python -m benchmarks.versus.driver MODULE enqueue|trips COUNT``, in any of the environments.

Prints one line of JSON: for ``enqueue`` the seconds that ``COUNT`` pushes took, one after the other; for ``trips`` the
seconds of each of ``COUNT`` round trips from push to result. Before and behind the pushes goes a task that notes the
time when it runs: what lies between the two is the time in which a worker did the others. That costs the
tasks between nothing, works for every system alike, and proves that the queue was worked off to its end. The queues
are first in, first out; those that order by the millisecond get a pause around the marks.

`trips` checks every result, so a system that loses or confuses them fails instead of being fast.
"""

import asyncio
import importlib
import inspect
import json
import os
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Final
from uuid import uuid4

ENQUEUE: Final = "enqueue"
TRIPS: Final = "trips"
"""What can be asked for."""

FIRST: Final = "first"
LAST: Final = "last"
"""Names of the two marks."""

MARKS: Final = "VERSUS_MARKS"
BROKER: Final = "VERSUS_BROKER"
RESULTS: Final = "VERSUS_RESULTS"
"""Environment variables: the folder of the marks, where the broker is, and, if it is set, that results are wanted."""

WARM_UP: Final = 20
"""Round trips before those that count: connections, caches, and imports that are done when first needed."""

PAUSE_SECONDS: Final = 0.02
"""Around the marks, longer than the millisecond by which some systems order their queues."""


def note_time(name: str) -> None:
    """What the marking task does: write the monotonic clock, which all processes of a machine share, into a file.

    The first time counts: a system may run a task twice.
    """
    folder = Path(os.environ[MARKS])
    unfinished = folder / f".{name}-{uuid4()}"
    unfinished.write_text(repr(time.monotonic()), encoding="ascii")
    try:
        (folder / name).hardlink_to(unfinished)
    except FileExistsError:
        pass


def enqueue(app: ModuleType, count: int) -> float:
    """Push ``count`` tasks between two marks; seconds of the pushes."""
    app.mark(FIRST)
    time.sleep(PAUSE_SECONDS)
    began = time.perf_counter()
    for _ in range(count):
        app.push()
    seconds = time.perf_counter() - began
    time.sleep(PAUSE_SECONDS)
    app.mark(LAST)
    return seconds


async def enqueue_async(app: ModuleType, count: int) -> float:
    """The same for a system with an asynchronous client."""
    await app.mark(FIRST)
    await asyncio.sleep(PAUSE_SECONDS)
    began = time.perf_counter()
    for _ in range(count):
        await app.push()
    seconds = time.perf_counter() - began
    await asyncio.sleep(PAUSE_SECONDS)
    await app.mark(LAST)
    return seconds


def trips(app: ModuleType, count: int) -> list[float]:
    """Seconds of each round trip.

    Raises:
        RuntimeError: a result is not that of its task.
    """
    seconds = []
    for number in range(-WARM_UP, count):
        began = time.perf_counter()
        result = app.trip(number)
        seconds.append(time.perf_counter() - began)
        _check(number, result)
    return seconds[WARM_UP:]


async def trips_async(app: ModuleType, count: int) -> list[float]:
    """The same for a system with an asynchronous client."""
    seconds = []
    for number in range(-WARM_UP, count):
        began = time.perf_counter()
        result = await app.trip(number)
        seconds.append(time.perf_counter() - began)
        _check(number, result)
    return seconds[WARM_UP:]


def _check(number: int, result: object) -> None:
    if result != number:
        raise RuntimeError(f"task {number} answered {result!r}")


async def _drive_async(app: ModuleType, what: str, count: int) -> float | list[float]:
    if hasattr(app, "connect"):
        await app.connect()
    try:
        return await enqueue_async(app, count) if what == ENQUEUE else await trips_async(app, count)
    finally:
        if hasattr(app, "disconnect"):
            await app.disconnect()


def drive(app: ModuleType, what: str, count: int) -> float | list[float]:
    """Do what was asked with an app of either kind."""
    if inspect.iscoroutinefunction(app.push):
        return asyncio.run(_drive_async(app, what, count))
    return enqueue(app, count) if what == ENQUEUE else trips(app, count)


if __name__ == "__main__":
    print(json.dumps(drive(importlib.import_module(sys.argv[1]), sys.argv[2], int(sys.argv[3]))))
