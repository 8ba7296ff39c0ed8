"""The worker's way to the app of a backend."""

import os
import subprocess
import sys

import pytest
from tests.unit.contrib.django.ready import SETTINGS
from tests.unit.contrib.django.shop import tasks

from flashq.contrib.django import FlashQBackend, target
from flashq.worker.target import BadTarget, load


def test_all_tasks_that_may_run_there(backend: FlashQBackend) -> None:
    """Those of the installed applications, also such as are declared for another backend."""
    app = load("flashq.contrib.django.target:default")
    assert app is backend.app
    assert {tasks.add.module_path, tasks.send.module_path, tasks.elsewhere.module_path} <= set(app.tasks)


def test_tasks_of_queues_that_the_backend_does_not_have() -> None:
    """A backend has its queues; a task of another one can never come to it."""
    app = load("flashq.contrib.django.target:safe")
    assert tasks.add.module_path in app.tasks
    assert tasks.send.module_path not in app.tasks


@pytest.mark.parametrize("alias", ["nobody", "here"])
def test_no_such_backend(alias: str) -> None:
    """Another word, or a backend of another kind: the worker says so."""
    with pytest.raises(BadTarget, match=f"no app called '{alias}'"):
        load(f"flashq.contrib.django.target:{alias}")
    with pytest.raises(AttributeError, match=alias):
        getattr(target, alias)


def test_it_sets_django_up() -> None:
    """A child process has nothing but the name of the settings."""
    program = "from flashq.worker.target import load; print(sorted(load('flashq.contrib.django.target:safe').tasks)[0])"
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": SETTINGS}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=60)
    assert (done.stdout.strip(), done.stderr) == (tasks.add.module_path, "")
