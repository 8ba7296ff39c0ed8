"""The tasks for FlashQ, as plain functions."""

import os

from benchmarks.versus.driver import BROKER, note_time
from flashq import App

app = App(os.environ[BROKER])


@app.task
def nothing() -> None:
    """Do nothing."""


@app.task
def note(name: str) -> None:
    """Note the time."""
    note_time(name)


@app.task
def echo(number: int) -> int:
    """Give it back."""
    return number


def push() -> None:
    """Enqueue nothing."""
    nothing.delay()


def mark(name: str) -> None:
    """Enqueue a mark."""
    note.delay(name)


def trip(number: int) -> int:
    """There and back; the server wakes who waits."""
    return echo.delay(number).result(timeout=60_000)
