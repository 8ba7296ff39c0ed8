"""Jobs as a worker gets them, an app that has their tasks, and recorders of what becomes of them."""

import asyncio
import threading
from typing import Any

from msgspec import Raw, json

from flashq import App, JobRecord
from flashq.tasks.context import NO_LINK
from flashq.tasks.outcome import Outcome
from flashq.tasks.run import Prepared, prepare

SOON = 10
"""Seconds after which a test that waits has failed."""


def job(id: int = 1, task: str = "work", args: tuple[Any, ...] = (), **members: Any) -> JobRecord:
    """A pulled job."""
    payload = Raw(json.encode({"task": task, "args": args}))
    return JobRecord(id, "q", payload, **{"token": "t1", "max_attempts": 3, **members})


def ready(app: App, record: JobRecord) -> Prepared:
    """The job, ready to run."""
    prepared = prepare(app, record, NO_LINK)
    assert isinstance(prepared, Prepared), prepared
    return prepared


async def until(condition: Any) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(SOON):
        while not condition():
            await asyncio.sleep(0.002)


def wait_for(event: threading.Event) -> None:
    """Wait for another thread."""
    assert event.wait(SOON)


class Ends:
    """Hears how jobs end.

    Attributes:
        all: (record, outcome) in the order of their ends.
    """

    def __init__(self) -> None:
        self.all: list[tuple[JobRecord, Outcome]] = []

    def __call__(self, record: JobRecord, outcome: Outcome) -> None:
        self.all.append((record, outcome))

    @property
    def outcomes(self) -> list[Outcome]:
        """Without the records."""
        return [outcome for _, outcome in self.all]

    async def come(self, count: int) -> list[Outcome]:
        """The outcomes, as soon as there are so many."""
        await until(lambda: len(self.all) >= count)
        return self.outcomes
