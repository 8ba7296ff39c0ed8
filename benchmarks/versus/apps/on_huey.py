"""The tasks for Huey."""

import os

from huey import RedisHuey

from benchmarks.versus.driver import BROKER, note_time

huey = RedisHuey("versus", url=os.environ[BROKER], notify_result=True)


@huey.task()
def nothing() -> None:
    """Do nothing; a result of None is not stored."""


@huey.task()
def note(name: str) -> None:
    """Note the time."""
    note_time(name)


@huey.task()
def echo(number: int) -> int:
    """Give it back."""
    return number


def push() -> None:
    """Enqueue nothing."""
    nothing()


def mark(name: str) -> None:
    """Enqueue a mark."""
    note(name)


def trip(number: int) -> object:
    """There and back."""
    return echo(number).get(blocking=True, timeout=60)
