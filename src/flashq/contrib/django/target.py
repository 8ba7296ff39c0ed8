"""Where a worker finds the app of a Django backend: ``flashq.contrib.django.target:default``.

The attribute is the backend's alias. Importing this module sets Django up, as ``DJANGO_SETTINGS_MODULE`` says, so that
a worker, each of its child processes and ``flashq worker`` itself get a whole project. Looking an app up imports the
module ``tasks`` of every installed application, and makes the tasks in them known.
"""

from collections.abc import Iterator
from importlib import import_module
from types import ModuleType

import django
from django.apps import apps
from django.utils.module_loading import module_has_submodule

from flashq.contrib.django.backend import FlashQBackend
from flashq.contrib.django.framework import Task, task_backends
from flashq.tasks import App

TASKS_MODULE = "tasks"

if not apps.ready:
    django.setup()


def __getattr__(alias: str) -> App:
    """The app of a backend, with all tasks that may run on it.

    Raises:
        AttributeError: no such backend, or it is not FlashQ's.
    """
    backend = task_backends[alias] if alias in task_backends.settings else None
    if not isinstance(backend, FlashQBackend):
        raise AttributeError(f"TASKS has no backend {alias!r} of FlashQ's")  # noqa: TRY004 - what getattr understands
    for module in _modules():
        for value in vars(module).values():
            # Also those declared for another backend: `using(backend=...)` may send them here.
            if isinstance(value, Task) and (not backend.queues or value.queue_name in backend.queues):
                backend.validate_task(value)
    return backend.app


def _modules() -> Iterator[ModuleType]:
    for config in apps.get_app_configs():
        if config.module is not None and module_has_submodule(config.module, TASKS_MODULE):
            yield import_module(f"{config.name}.{TASKS_MODULE}")
