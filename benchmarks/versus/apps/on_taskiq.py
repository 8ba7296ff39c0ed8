"""The tasks for Taskiq."""

import os

from taskiq_redis import RedisAsyncResultBackend, RedisStreamBroker

from benchmarks.versus.driver import BROKER, RESULTS, note_time

URL = os.environ[BROKER]
broker = RedisStreamBroker(URL, queue_name="versus-taskiq")
if RESULTS in os.environ:  # a result backend stores the results of all tasks, so it is there only when they are wanted
    broker = broker.with_result_backend(RedisAsyncResultBackend(URL, result_ex_time=60))


@broker.task
async def nothing() -> None:
    """Do nothing."""


@broker.task
async def note(name: str) -> None:
    """Note the time."""
    note_time(name)


@broker.task
async def echo(number: int) -> int:
    """Give it back."""
    return number


async def connect() -> None:
    """Open what the pushing side needs."""
    await broker.startup()


async def disconnect() -> None:
    """Close it."""
    await broker.shutdown()


async def push() -> None:
    """Enqueue nothing."""
    await nothing.kiq()


async def mark(name: str) -> None:
    """Enqueue a mark."""
    await note.kiq(name)


async def trip(number: int) -> object:
    """There and back; it polls for results, here each millisecond instead of its usual fifth of a second."""
    task = await echo.kiq(number)
    result = await task.wait_result(check_interval=0.001, timeout=60)
    return result.return_value
