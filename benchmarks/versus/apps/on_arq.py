"""The tasks for arq."""

import os
from typing import Any

from arq import create_pool, func
from arq.connections import ArqRedis, RedisSettings

from benchmarks.versus.driver import BROKER, note_time

SETTINGS = RedisSettings.from_dsn(os.environ[BROKER])


async def nothing(_: dict[str, Any]) -> None:
    """Do nothing."""


async def note(_: dict[str, Any], name: str) -> None:
    """Note the time."""
    note_time(name)


async def echo(_: dict[str, Any], number: int) -> int:
    """Give it back."""
    return number


class WorkerSettings:
    """Polls each millisecond: it has no other way to see a job, and its usual half second would be all that is seen."""

    functions = (func(nothing, keep_result=0), func(note, keep_result=0), func(echo, keep_result=60))
    redis_settings = SETTINGS
    poll_delay = 0.001
    max_jobs = 100


pool: ArqRedis


async def connect() -> None:
    """Open what the pushing side needs."""
    global pool  # noqa: PLW0603
    pool = await create_pool(SETTINGS)


async def disconnect() -> None:
    """Close it."""
    await pool.aclose()


async def push() -> None:
    """Enqueue nothing."""
    await pool.enqueue_job("nothing")


async def mark(name: str) -> None:
    """Enqueue a mark."""
    await pool.enqueue_job("note", name)


async def trip(number: int) -> object:
    """There and back; it polls for results, here each millisecond instead of its usual half second."""
    job = await pool.enqueue_job("echo", number)
    return await job.result(timeout=60, poll_delay=0.001)
