"""What a job costs a worker, in Python calls: a number that is the same on every machine, busy or not.

Counted is all that happens between a pulled record and its outcome with the acks: the roster, the executor, the task's
own layer. What is paid for each batch (pulling, acknowledging) is left out; tests of `Acks` count its requests.
"""

import asyncio
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, Final

import pytest
from tests.unit.worker.jobs import job, until

from flashq import App, JobRecord
from flashq.tasks.outcome import Outcome
from flashq.worker.fetch import Pace
from flashq.worker.inprocess import InProcess
from flashq.worker.reports import ReportLink
from flashq.worker.roster import Roster

JOBS: Final = 500

OURS: Final = str(Path("src", "flashq"))
"""Calls of the event loop's own code are left out: uvloop has none."""

BUDGET: Final = {"coroutine": 18, "plain": 15}
"""Python calls of our own for each job, on the loop's thread (the thread that runs a plain function has some more).
Whoever makes it cheaper lowers the number; whoever must raise it says why in the commit."""

app = App()


@app.task(name="coroutine")
async def coroutine() -> None:
    """Does nothing."""


@app.task(name="plain")
def plain() -> None:
    """Does nothing."""


class Counted:
    """Stands for the acks: counts the ends."""

    full = False

    def __init__(self) -> None:
        self.ends = 0

    def add(self, record: JobRecord, outcome: Outcome) -> None:
        self.ends += 1


@pytest.mark.parametrize("task", BUDGET)
async def test_what_a_job_costs(task: str) -> None:
    """A job that does nothing stays within its budget of calls, whichever way it runs."""
    acks = Counted()
    links: Callable[[JobRecord], ReportLink] = lambda record: ReportLink(None, record)  # type: ignore[arg-type]
    roster = Roster(
        8,
        Pace(8, JOBS),
        acks,  # type: ignore[arg-type]
        lambda: None,
        lambda finished: InProcess(app, 8, finished, links, on_loop=True),
    )
    roster.take([job(0, task)])  # what is done once is done by now
    await until(lambda: acks.ends == 1)
    names: list[str] = []

    def count(frame: FrameType, event: str, _: Any) -> None:
        if event == "call" and OURS in frame.f_code.co_filename:
            names.append(frame.f_code.co_qualname)

    sys.setprofile(count)
    try:
        roster.take([job(id, task) for id in range(1, JOBS + 1)])
        while acks.ends <= JOBS:
            await asyncio.sleep(0)
    finally:
        sys.setprofile(None)
    assert len(names) / JOBS <= BUDGET[task], Counter(names).most_common()
    await roster.executor.stop(0)
