"""The tasks for Dramatiq."""

import os

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend

from benchmarks.versus.driver import BROKER, note_time

broker = RedisBroker(url=os.environ[BROKER])
broker.add_middleware(Results(backend=RedisBackend(url=os.environ[BROKER])))
dramatiq.set_broker(broker)


@dramatiq.actor
def nothing() -> None:
    """Do nothing."""


@dramatiq.actor
def note(name: str) -> None:
    """Note the time."""
    note_time(name)


@dramatiq.actor(store_results=True, result_ttl=60_000)
def echo(number: int) -> int:
    """Give it back."""
    return number


def push() -> None:
    """Enqueue nothing."""
    nothing.send()


def mark(name: str) -> None:
    """Enqueue a mark."""
    note.send(name)


def trip(number: int) -> object:
    """There and back."""
    return echo.send(number).get_result(block=True, timeout=60_000)
