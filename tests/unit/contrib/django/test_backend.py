"""The backend: Django's tasks enqueued, run and asked about by Django's own words."""

import sys
from datetime import timedelta
from importlib import import_module

import django
import pytest
from django.db import transaction
from django.test import override_settings
from django.utils import timezone
from tests.unit.contrib.django.settings import TASKS
from tests.unit.contrib.django.shop import tasks

from flashq import App, Middleware
from flashq.contrib.django import FlashQBackend
from flashq.contrib.django.database import DatabaseMiddleware
from flashq.contrib.django.framework import (
    TaskResultDoesNotExist,
    TaskResultStatus,
    task_backends,
    task_enqueued,
)
from flashq.contrib.django.signals import SignalsMiddleware
from flashq.testing import LocalApp

OWN = App(default_queue="own")
"""An app of the project."""


class Mark(Middleware):
    """A middleware by its name."""


def test_a_task_runs_and_its_result_comes_back(local: LocalApp) -> None:
    """Enqueue, look, run, look again: Django's statuses, arguments and return value."""
    result = tasks.add.enqueue(2, b=3)
    assert (result.status, result.args, result.kwargs) == (TaskResultStatus.READY, [2], {"b": 3})
    assert result.enqueued_at is not None
    local.drain()
    result.refresh()
    assert (result.status, result.return_value, result.attempts) == (TaskResultStatus.SUCCESSFUL, 5, 1)
    assert (result.enqueued_at, result.started_at) == (result.last_attempted_at,) * 2
    assert tasks.add.get_result(result.id).return_value == 5


async def test_coroutines(local: LocalApp) -> None:
    """The same with the names that begin with an a, and a task that is a coroutine function."""
    result = await tasks.send.aenqueue("ada")
    assert result.enqueued_at is not None
    [job] = local.enqueued()
    assert (job.queue, job.task) == ("mails", "tests.unit.contrib.django.shop.tasks.send")
    await local.adrain()
    await result.arefresh()
    assert result.return_value == "sent to ada"
    found = await tasks.send.aget_result(result.id)
    assert (found.task.queue_name, found.task.priority) == ("mails", 7)


def test_priority_and_queue(local: LocalApp, backend: FlashQBackend) -> None:
    """What `using` says reaches the server, without changing the task."""
    result = tasks.add.using(priority=-5, queue_name="mails").enqueue(1)
    record = local.client.job_by_custom_id(result.id)
    assert record is not None
    assert (record.queue, record.priority, record.max_attempts) == ("mails", -5, 2)
    assert backend.app.tasks[tasks.add.module_path].defaults.queue == "default"


def test_run_after(local: LocalApp) -> None:
    """A task for later waits until then; one that is late runs at once."""
    now = timezone.now()
    later = tasks.add.using(run_after=now + timedelta(hours=1)).enqueue(1)
    late = tasks.add.using(run_after=now - timedelta(hours=1)).enqueue(1)
    local.drain()
    assert tasks.add.get_result(late.id).is_finished
    assert tasks.add.get_result(later.id).status == TaskResultStatus.READY
    local.clock.advance(timedelta(hours=1))
    local.drain()
    assert tasks.add.get_result(later.id).is_finished


def test_a_failure(local: LocalApp) -> None:
    """A task that may be tried again is ready; one that may not has failed, with the class and text of its error."""
    result = tasks.fail.enqueue()
    [job] = local.enqueued()
    record = local.client.pull("default", timeout=0)
    assert record is not None
    result.refresh()
    assert (result.status, result.attempts) == (TaskResultStatus.RUNNING, 1)
    local.client.release(record)
    local.drain(raises=False)
    result.refresh()
    assert (result.status, result.attempts, job.id) == (TaskResultStatus.FAILED, 2, record.id)
    [error] = result.errors
    assert error.exception_class is tasks.NoStock
    assert "none left" in error.traceback


def test_a_task_that_will_be_tried_again_is_ready(local: LocalApp) -> None:
    """Between two attempts Django's word is ready, and the error can be seen."""
    result = tasks.wait.enqueue()
    local.drain()
    result.refresh()
    assert (result.status, result.attempts) == (TaskResultStatus.READY, 1)
    assert result.errors[0].traceback == "not yet"


def test_the_context(local: LocalApp) -> None:
    """A task that takes its context gets Django's, with the result as it is known while it runs."""
    result = tasks.who.enqueue("here")
    local.drain()
    result.refresh()
    assert result.return_value == ["here", 1, result.id, "RUNNING", ["here"], 1]


@pytest.mark.parametrize("id", ["nobody", "", "x" * 100_000])
async def test_unknown_results(local: LocalApp, backend: FlashQBackend, id: str) -> None:
    """What the server does not know does not exist, and no id is an error of another kind."""
    with pytest.raises(TaskResultDoesNotExist):
        backend.get_result(id)
    with pytest.raises(TaskResultDoesNotExist):
        await backend.aget_result(id)


@pytest.mark.parametrize("payload", ["no envelope", {"task": "os.system", "args": ["true"]}])
def test_other_jobs_are_no_results(local: LocalApp, backend: FlashQBackend, payload: object) -> None:
    """A job that Django did not enqueue is none of its results, and nothing that it names is imported."""
    local.client.push("default", payload, job_id="theirs")
    with pytest.raises(TaskResultDoesNotExist):
        backend.get_result("theirs")


def test_arguments_without_a_json_form(local: LocalApp) -> None:
    """They are refused where they are given."""
    with pytest.raises(TypeError):
        tasks.add.enqueue(object())
    assert local.enqueued() == []


def test_at_once_within_a_transaction(local: LocalApp) -> None:
    """Django's own rule: whoever wants to wait for the commit says so."""
    with transaction.atomic():
        tasks.add.enqueue(1)
        assert len(local.enqueued()) == 1


def test_on_commit(safe: LocalApp) -> None:
    """With ENQUEUE_ON_COMMIT a job exists when the transaction has committed; the result's id is there before."""
    with transaction.atomic():
        result = tasks.add.using(backend="safe").enqueue(1)
        assert (safe.enqueued(), result.enqueued_at) == ([], None)
        with pytest.raises(TaskResultDoesNotExist):
            result.refresh()
    assert result.enqueued_at is not None
    safe.drain()
    result.refresh()
    assert result.return_value == 1


async def test_on_commit_from_a_coroutine(safe: LocalApp) -> None:
    """The transaction is looked for in the thread of the models; without one the job is enqueued at once."""
    result = await tasks.add.using(backend="safe").aenqueue(1)
    assert result.enqueued_at is not None
    assert len(safe.enqueued()) == 1


def test_a_rollback_enqueues_nothing(safe: LocalApp) -> None:
    """What did not happen has no consequences."""
    with transaction.atomic():
        tasks.add.using(backend="safe").enqueue(1)
        transaction.set_rollback(True)
    assert safe.enqueued() == []


async def test_the_signal(local: LocalApp) -> None:
    """Django's signal tells of each enqueued task."""
    told: list[str] = []

    def note(sender: type, task_result: object, **_: object) -> None:
        assert sender is FlashQBackend
        told.append(task_result.id)

    task_enqueued.connect(note)
    try:
        results = [tasks.add.enqueue(1), await tasks.add.aenqueue(1)]
    finally:
        task_enqueued.disconnect(note)
    assert told == [result.id for result in results]


def test_backends_of_one_alias_share_an_app(backend: FlashQBackend) -> None:
    """Django makes a backend for each thread; a connection for each would be one too many."""
    assert FlashQBackend("default", TASKS["default"]).app is backend.app
    assert task_backends["safe"].app is not backend.app


def settings(**options: object) -> object:
    """The project with other options."""
    entry = {"BACKEND": "flashq.contrib.django.FlashQBackend", "OPTIONS": options}
    return override_settings(TASKS={"default": entry})


def test_options_make_the_app() -> None:
    """What `App` takes is said in OPTIONS, middlewares by their dotted names."""
    mine = Mark()
    with settings(url="flashq://elsewhere:1", middlewares=[f"{__name__}.Mark", mine]):
        app = task_backends["default"].app
    assert app.client.address == "flashq://elsewhere:1"
    kinds = [type(each) for each in app.middlewares]
    assert kinds == [Mark, Mark, DatabaseMiddleware, SignalsMiddleware]
    assert app.middlewares[1] is mine


def test_an_app_of_the_project() -> None:
    """OPTIONS may name an app, so that its own tasks and Django's run in one worker; it is extended once."""
    for _ in range(2):
        with settings(app=f"{__name__}:OWN"):
            assert task_backends["default"].app is OWN
            tasks.add.using(priority=1)
        with settings(app=f"{__name__}:OWN", task={}):
            assert task_backends["default"].app is OWN
    assert [type(each) for each in OWN.middlewares] == [DatabaseMiddleware, SignalsMiddleware]
    assert tasks.add.module_path in OWN.tasks


@pytest.mark.parametrize(
    ("gone", "said"), [("django", r"flashq-server\[django\]"), ("django_tasks", "needs Django 6, or")]
)
def test_without_the_extra_the_import_says_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, gone: str, said: str
) -> None:
    """The error names what to install, also beside a Django that has no tasks of its own."""
    monkeypatch.setattr(django, "VERSION", (5, 2))
    monkeypatch.delitem(sys.modules, "flashq.contrib.django.framework")
    monkeypatch.setitem(sys.modules, gone, None)
    with pytest.raises(ImportError, match=said):
        import_module("flashq.contrib.django.framework")
