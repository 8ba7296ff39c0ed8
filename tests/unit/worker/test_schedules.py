"""Unit tests of `flashq.worker.schedules`."""

import logging
from datetime import timedelta

import pytest
from tests.fakes.line_server import LineServer, line

from flashq import App, AsyncFlashQ, BadRequest
from flashq.testing import LocalServer
from flashq.worker.schedules import register


def scheduled(schedule: str = "0 9 * * *") -> App:
    """An app with two schedules of one task."""
    app = App()

    @app.cron(schedule, timezone="Europe/Rome", args=["ada"])
    @app.cron("*/5", name="often", args=["bob"])
    @app.task(
        name="greet", queue="mail", priority=3, timeout=timedelta(seconds=9), ttl=8_000, max_attempts=5, tags=["x"]
    )
    def greet(to: str) -> None: ...

    return app


async def test_schedules_are_registered_with_all_that_their_jobs_need() -> None:
    """A job that a schedule pushed is the job that the task would have pushed; registering twice makes it no two."""
    with LocalServer(start=1_000_000) as server:  # far from nine o'clock, when both schedules would fire
        client = server.aclient()
        app = scheduled()
        assert await register(app, client) == 2
        assert await register(app, client) == 2
        crons = {cron.name: cron for cron in await client.crons()}
        assert sorted(crons) == ["greet", "often"]
        assert (crons["greet"].schedule, crons["greet"].timezone) == ("0 9 * * *", "Europe/Rome")
        server.clock.advance(5_000)
        job = await client.pull("mail", timeout=0)
        assert job is not None
        assert job.data == {"task": "greet", "args": ["bob"]}
        assert (job.priority, job.timeout, job.ttl, job.max_attempts, job.tags) == (3, 9_000, 8_000, 5, ["x"])
        await client.close()


async def test_a_schedule_that_cannot_be_read() -> None:
    """It stops the start, with the server's words: a schedule that never fires is found too late otherwise."""
    with LocalServer() as server:
        client = server.aclient()
        with pytest.raises(BadRequest, match="Invalid cron expression"):
            await register(scheduled("every day"), client)
        await client.close()


async def test_a_worker_that_may_not_schedule(caplog: pytest.LogCaptureFixture) -> None:
    """Its token may be for running jobs only; then somebody else registers them."""
    refusal = line(ok=False, error="Forbidden: CRON needs role operator", code="forbidden")
    with LineServer(lambda _: refusal) as server:
        async with AsyncFlashQ(server.url) as client:
            with caplog.at_level(logging.WARNING, "flashq.worker"):
                assert await register(scheduled(), client) == 0
    assert "needs role operator" in caplog.text


async def test_an_app_without_schedules() -> None:
    """Nothing is asked of the server."""
    with LineServer() as server:
        async with AsyncFlashQ(server.url) as client:
            assert await register(App(), client) == 0
        assert server.requests == []
