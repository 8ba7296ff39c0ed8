"""The tasks for Celery."""

import os

from celery import Celery

from benchmarks.versus.driver import BROKER, note_time

app = Celery("versus", broker=os.environ[BROKER], backend=os.environ[BROKER])
app.conf.broker_connection_retry_on_startup = True
app.conf.worker_prefetch_multiplier = 128  # what its guide to optimizing says for many short tasks


@app.task(ignore_result=True)
def nothing() -> None:
    """Do nothing."""


@app.task(ignore_result=True)
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


def trip(number: int) -> object:
    """There and back."""
    result = echo.delay(number)
    value = result.get()
    result.forget()
    return value
