"""The tasks for RQ."""

import os

from redis import Redis
from rq import Queue

from benchmarks.versus.driver import BROKER, note_time

queue = Queue("versus-rq", connection=Redis.from_url(os.environ[BROKER]))


def nothing() -> None:
    """Do nothing."""


def echo(number: int) -> int:
    """Give it back."""
    return number


def push() -> None:
    """Enqueue nothing."""
    queue.enqueue(nothing, result_ttl=0)


def mark(name: str) -> None:
    """Enqueue a mark."""
    queue.enqueue(note_time, name, result_ttl=0)


def trip(number: int) -> object:
    """There and back; RQ can block until a result comes."""
    result = queue.enqueue(echo, number, result_ttl=60).latest_result(timeout=60)
    return result.return_value
