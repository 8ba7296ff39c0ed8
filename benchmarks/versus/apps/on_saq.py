"""The tasks for SAQ."""

import os
from typing import Any

from saq import Queue

from benchmarks.versus.driver import BROKER, note_time

queue = Queue.from_url(os.environ[BROKER], name="versus")


async def nothing(_: dict[str, Any]) -> None:
    """Do nothing."""


async def note(_: dict[str, Any], *, name: str) -> None:
    """Note the time."""
    note_time(name)


async def echo(_: dict[str, Any], *, number: int) -> int:
    """Give it back."""
    return number


settings = {"queue": queue, "functions": [nothing, note, echo], "concurrency": 10}


async def connect() -> None:
    """Open what the pushing side needs."""
    await queue.connect()


async def disconnect() -> None:
    """Close it."""
    await queue.disconnect()


async def push() -> None:
    """Enqueue nothing; a job whose ttl is -1 leaves nothing behind."""
    await queue.enqueue("nothing", ttl=-1)


async def mark(name: str) -> None:
    """Enqueue a mark."""
    await queue.enqueue("note", name=name, ttl=-1)


async def trip(number: int) -> object:
    """There and back; it polls for results, here each millisecond instead of its usual half second."""
    return await queue.apply("echo", number=number, timeout=60, poll_interval=0.001, ttl=60)
