"""A job that was enqueued, and what becomes of it."""

from datetime import date, timedelta

import pytest
from msgspec import Raw

from flashq import CallTimeout, JobFailed, JobLost
from flashq.client import Ending
from unit.tasks.recorder import recorded


def test_a_result_has_the_type_that_the_task_says() -> None:
    """Also from a job that is known by its id only, as plain JSON then."""
    app, client = recorded()

    @app.task
    def today() -> date:
        return date.min

    client.endings += [Ending(1, "completed", Raw(b'"2026-01-02"'))] * 3
    assert today.job(5).result() == date(2026, 1, 2)
    assert today.delay().result(timeout=timedelta(seconds=1)) == date(2026, 1, 2)
    assert app.job(1).result() == "2026-01-02"
    assert client.waited == [(5, None), (1, 1_000), (1, None)]


async def test_a_job_can_be_awaited() -> None:
    """As long as it takes, or with a limit."""
    app, client = recorded()

    @app.task
    async def add(a: int, b: int) -> int:
        return a + b

    client.endings += [Ending(1, "completed", Raw(b"3"))] * 2
    job = await add.adelay(1, 2)
    assert await job == 3
    assert await job.aresult(timeout=5) == 3
    assert client.waited == [(1, None), (1, 5)]


@pytest.mark.parametrize(
    ("ending", "error", "text"),
    [
        (Ending(1, "failed", error="ValueError: no"), JobFailed, "ValueError: no"),
        (Ending(1, "failed"), JobFailed, "no reason"),
        (Ending(1, "unknown", error="cancelled"), JobLost, "job 1 will not complete: cancelled"),
        (Ending(1, "unknown"), JobLost, "not known"),
        (Ending(1, "delayed"), CallTimeout, "job 1 is still delayed"),
        (Ending(1, "active"), CallTimeout, "job 1 is still active"),
    ],
)
def test_other_ends_are_errors(ending: Ending, error: type[Exception], text: str) -> None:
    """Each of its own kind, so that a program can tell a failure from impatience."""
    app, client = recorded()
    client.endings.append(ending)
    with pytest.raises(error, match=text):
        app.job(1).result()


def test_a_failed_job_names_itself() -> None:
    """The error can be looked up among the dead letters."""
    app, client = recorded()
    client.endings.append(Ending(9, "failed", error="x"))
    with pytest.raises(JobFailed) as caught:
        app.job(9, "t").result()
    assert caught.value.id == 9
    assert "Job 9 of 't'" in repr(app.job(9, "t"))


def test_a_result_of_another_type_comes_as_it_is() -> None:
    """Such as the null of a result that was forgotten: a wrong type is no reason to lose the answer."""
    app, client = recorded()

    @app.task
    def today() -> date:
        return date.min

    client.endings += [Ending(1, "completed"), Ending(1, "completed", Raw(b"[1]"))]
    assert today.delay().result() is None
    assert today.delay().result() == [1]
