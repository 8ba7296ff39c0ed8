"""The app whose workers are killed: its jobs note when they begin and when they end, and nothing else.

A note is one write to a file opened for appending, so that no kill leaves half of one and no two run into each other.
"""

import asyncio
import os
import time

from flashq.tasks import App, Context

app = App("flashq://127.0.0.1:1", default_queue="crash")


def note(path: str, what: str, context: Context) -> None:
    """One line: what, job, attempt, ms since the Unix epoch, process."""
    line = f"{what} {context.id} {context.attempt} {time.time_ns() // 1_000_000} {os.getpid()}\n"
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)


@app.task(name="plain")
def plain(context: Context, notes: str, ms: int) -> None:
    """A plain function that takes its time."""
    note(notes, "begin", context)
    time.sleep(ms / 1_000)
    note(notes, "end", context)


@app.task(name="coroutine")
async def coroutine(context: Context, notes: str, ms: int) -> None:
    """A coroutine that takes its time."""
    note(notes, "begin", context)
    await asyncio.sleep(ms / 1_000)
    note(notes, "end", context)
