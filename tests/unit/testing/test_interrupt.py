"""Running a job up to a point."""

import asyncio

from tests.unit.testing import ledger

from flashq.client.results import JobRecord
from flashq.tasks.context import NO_LINK
from flashq.tasks.outcome import Done
from flashq.tasks.run import Prepared, prepare
from flashq.testing import LocalApp
from flashq.testing.interrupt import CoroutineRun, PlainRun, run_of

steps: list[str] = []


@ledger.app.task(name="plain")
def plain() -> None:
    """Two steps of its own and one of the program's, in a called function."""
    steps.append("a")
    called()
    sorted([2, 1], key=str)
    steps.append("c")


class Held:
    """What a process holds as long as it lives; part of a reference cycle, as a connection of sqlite3 is."""

    living = 0

    def __init__(self) -> None:
        self.itself = self
        Held.living += 1

    def __del__(self) -> None:
        Held.living -= 1


@ledger.app.task(name="holding")
def holding() -> None:
    """Holds something over a line."""
    held = Held()
    steps.append("held")
    del held


def called() -> None:
    """A part of the program."""
    steps.append("b")


@ledger.app.task(name="coroutine")
async def coroutine() -> int:
    """Waits twice, once through a function that does not really wait in between, and catches what is thrown in."""
    steps.append("a")
    await through()
    try:
        await asyncio.wait_for(asyncio.Event().wait(), 0.001)
    except TimeoutError:
        steps.append("c")
    return 7


async def through() -> None:
    """Waits really."""
    await asyncio.sleep(0)
    steps.append("b")


def prepared(name: str) -> Prepared:
    """A job of a task, as a worker has it."""
    steps.clear()
    with LocalApp(ledger.app) as local:
        ledger.app.tasks[name].delay()
        record = local.client.pull("default", timeout=0)
    assert isinstance(record, JobRecord)
    made = prepare(ledger.app, record, NO_LINK)
    assert isinstance(made, Prepared)
    return made


def test_the_points_of_a_plain_function() -> None:
    """One before each line, also of what it calls, but not of what it only uses."""
    run = run_of(prepared("plain"))
    assert run.start(None) == Done()
    assert [point.partition("`")[2] for point in run.points] == [
        'steps.append("a")`',
        "called()`",
        'steps.append("b")`',
        "sorted([2, 1], key=str)`",
        'steps.append("c")`',
    ]


def test_a_plain_function_dies_before_its_line() -> None:
    """What stands before the point is done, the rest is not."""
    left = []
    for at in range(6):
        run = PlainRun(prepared("plain"))
        run.start(at)
        left.append("".join(steps))
    assert left == ["", "a", "a", "ab", "ab", "abc"]


def test_the_dead_hold_nothing() -> None:
    """A connection left open by a killed attempt would keep its locks, and the next attempt would fail for it."""
    run = PlainRun(prepared("holding"))
    assert run.start(3) is None
    assert run.points[-1].endswith('`steps.append("held")`')
    assert Held.living == 0


def test_a_coroutine_stops_where_it_waits_and_goes_on() -> None:
    """Nothing of it runs while it stands, and afterwards it ends as if nothing had been."""
    run = CoroutineRun(prepared("coroutine"))
    assert run.start(0) is None
    assert (steps, run.points[0].partition("`")[2]) == (["a"], "await asyncio.sleep(0)`")
    assert run.go_on() == Done(b"7")
    assert steps == ["a", "b", "c"]
    assert len(run.points) >= 2
    run.close()


def test_a_coroutine_that_is_left_standing_is_cleared_away() -> None:
    """Closing ends its waits and its loop; what was standing never went on."""
    run = CoroutineRun(prepared("coroutine"))
    assert run.start(1) is None
    run.close()
    assert steps == ["a", "b"]
