"""``manage.py flashq_worker``: ``flashq worker`` for the app of a Django backend, with the same options.

Django brings the settings, and with ``DEBUG`` the worker starts anew when a source file changes, as ``runserver`` does.
"""

import os
import sys
from argparse import SUPPRESS, BooleanOptionalAction
from collections.abc import Iterator
from typing import Any, Final

import click
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from flashq.cli.program import program
from flashq.cli.worker import worker
from flashq.contrib.django import target
from flashq.contrib.django.backend import FlashQBackend
from flashq.contrib.django.framework import DEFAULT_TASK_BACKEND_ALIAS, task_backends

NOT_PASSED: Final = ("reload", "url", "token", "json")
"""Options of ``flashq worker`` that the settings decide here."""


class Command(BaseCommand):
    """The command."""

    help = "Run the jobs of Django's tasks until SIGTERM or Ctrl-C. Running jobs may finish then."

    def add_arguments(self, parser: CommandParser) -> None:
        """The options of ``flashq worker``, and which backend."""
        parser.add_argument("--backend", default=DEFAULT_TASK_BACKEND_ALIAS, help="The alias in TASKS.")
        parser.add_argument(
            "--reload",
            action=BooleanOptionalAction,
            help="Start anew when a source file below the current folder changes; default: DEBUG, unless --burst.",
        )
        for option in passed():
            more = {"action": "store_true" if option.is_flag else "append"} if option.is_flag or option.multiple else {}
            text = (option.help or "").replace("%", "%%")
            parser.add_argument(*option.opts, dest=option.name, default=SUPPRESS, help=text, **more)

    def handle(self, *_: Any, backend: str, reload: bool | None, **given: Any) -> None:  # noqa: ANN401 - Django's signature
        """Run the worker; ends the process with its exit code."""
        found = task_backends[backend] if backend in task_backends.settings else None
        if not isinstance(found, FlashQBackend):
            raise CommandError(f"TASKS has no backend {backend!r} of FlashQ's")
        given.setdefault("queue", list(dict.fromkeys([*found.listed_queues, *getattr(target, backend).queues])))
        if reload is None:
            reload = settings.DEBUG and not given.get("burst")
        # What is started from here finds the project where `manage.py` has found it.
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [sys.path[0], os.environ.get("PYTHONPATH")]))
        words = ["worker", f"{target.__name__}:{backend}", *(["--reload"] if reload else []), *_words(given)]
        program.main(args=words, prog_name="flashq")


def passed() -> Iterator[click.Option]:
    """The options that are handed on as they are."""
    for option in worker.params:
        if isinstance(option, click.Option) and not option.hidden and option.name not in NOT_PASSED:
            yield option


def _words(given: dict[str, Any]) -> Iterator[str]:
    for option in passed():
        values = given.get(option.name or "", [])
        for value in values if isinstance(values, list) else [values]:
            yield option.opts[-1] if option.is_flag else f"{option.opts[-1]}={value}"
