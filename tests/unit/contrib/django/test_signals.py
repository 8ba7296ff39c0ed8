"""Django's signals where tasks run."""

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from tests.unit.contrib.django.shop import tasks

from flashq import App, Context
from flashq.contrib.django import FlashQBackend
from flashq.contrib.django.framework import task_finished, task_started
from flashq.contrib.django.signals import RESULT_HEADER, SignalsMiddleware
from flashq.tasks.outcome import Done
from flashq.testing import LocalApp


@pytest.fixture
def told() -> Iterator[list[Any]]:
    """What the signals say."""
    heard: list[Any] = []

    def started(sender: type, task_result: Any, **_: Any) -> None:
        assert sender is FlashQBackend
        heard.append(("started", str(task_result.status), task_result.attempts))

    def finished(sender: type, task_result: Any, **_: Any) -> None:
        assert sender is FlashQBackend
        assert task_result.finished_at is not None
        what = [error.exception_class_path for error in task_result.errors] or task_result.return_value
        heard.append(("finished", str(task_result.status), what))

    task_started.connect(started)
    task_finished.connect(finished)
    yield heard
    task_started.disconnect(started)
    task_finished.disconnect(finished)


@pytest.mark.parametrize(("task", "args", "value"), [(tasks.add, (1,), 1), (tasks.send, ("ada",), "sent to ada")])
def test_success(local: LocalApp, told: list[Any], task: Any, args: Any, value: Any) -> None:
    """Start and end of a plain and of a coroutine task, with what it returned."""
    task.enqueue(*args)
    local.drain()
    assert told == [("started", "RUNNING", 1), ("finished", "SUCCESSFUL", value)]


def test_only_the_last_failure_is_an_end(local: LocalApp, told: list[Any]) -> None:
    """A task that will be tried again has not finished."""
    tasks.fail.enqueue()
    local.drain(raises=False)
    failed = ("finished", "FAILED", ["tests.unit.contrib.django.shop.tasks.NoStock"])
    assert told == [("started", "RUNNING", 1), ("started", "RUNNING", 2), failed]


def test_a_result_without_a_json_form_is_a_failure(local: LocalApp, told: list[Any]) -> None:
    """It is told at once, because trying again would not help."""
    tasks.strange.enqueue()
    local.drain(raises=False)
    assert told[1] == ("finished", "FAILED", ["flashq.errors.JobFailed"])


async def test_a_plain_receiver_does_not_hold_up_the_loop(local: LocalApp) -> None:
    """Receivers of a coroutine's signals may use the database: they run in a thread."""
    threads: list[int] = []

    def note(**_: Any) -> None:
        threads.append(threading.get_ident())

    task_started.connect(note)
    try:
        await tasks.send.aenqueue("ada")
        await local.adrain()
    finally:
        task_started.disconnect(note)
    assert threads
    assert threading.get_ident() not in threads


def test_other_jobs_are_left_alone(told: list[Any]) -> None:
    """FlashQ's own tasks have no place among Django's."""
    app = App(middlewares=[SignalsMiddleware(FlashQBackend, "default")])

    @app.task
    def own() -> None:
        pass

    with LocalApp(app) as local:
        own.delay()
        local.drain()
    assert told == []


def test_the_end_of_the_worker_leaves_nothing(told: list[Any]) -> None:
    """No outcome will come, so nothing is kept and nothing is told."""
    middleware = SignalsMiddleware(FlashQBackend, "default")
    context = Context(task=tasks.add.module_path, headers={RESULT_HEADER: "x"})
    with pytest.raises(KeyboardInterrupt), middleware.around_run(context):
        raise KeyboardInterrupt
    assert middleware._running == {}
    asyncio.run(middleware.aafter_run(context, Done()))
    assert told == [("started", "RUNNING", 1)]
