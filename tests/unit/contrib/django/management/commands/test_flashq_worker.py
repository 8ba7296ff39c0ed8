"""The command: options, and what it makes of them. The examples' tests run it for real."""

from collections.abc import Callable
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import override_settings

from flashq.cli.worker import worker
from flashq.contrib.django.management.commands import flashq_worker

Run = Callable[..., list[str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Gives the words of ``flashq`` that a command line comes to."""
    heard: list[list[str]] = []
    monkeypatch.setattr(
        flashq_worker, "program", type("Program", (), {"main": staticmethod(lambda args, **_: heard.append(args))})
    )
    monkeypatch.setenv("PYTHONPATH", "")

    def run(*words: str) -> list[str]:
        call_command("flashq_worker", *words)
        return heard.pop()

    return run


def test_without_options(run: Run) -> None:
    """The queues of the settings in their order, and no more."""
    assert run() == ["worker", "flashq.contrib.django.target:default", "--queue=default", "--queue=mails"]


def test_options_are_handed_on(run: Run) -> None:
    """Those of ``flashq worker``, short and long, once and several times."""
    assert run("--backend", "safe", "-c", "3", "-q", "a", "-q", "b", "--executor=thread", "--stop-timeout", "0") == [
        "worker",
        "flashq.contrib.django.target:safe",
        "--queue=a",
        "--queue=b",
        "--concurrency=3",
        "--executor=thread",
        "--stop-timeout=0",
    ]


def test_reload_is_what_debug_says(run: Run) -> None:
    """As with ``runserver``, and it can be said otherwise."""
    assert "--reload" in run("--reload")
    with override_settings(DEBUG=True):
        assert "--reload" in run()
        assert "--reload" not in run("--no-reload")


def test_a_burst_is_run_once(run: Run) -> None:
    """A flag goes on as a flag; what leaves by itself is not started anew, unless somebody insists."""
    with override_settings(DEBUG=True):
        words = run("--burst")
    assert "--burst" in words
    assert "--reload" not in words


def test_every_option_is_there() -> None:
    """An option that ``flashq worker`` gets one day is one here, or is left out on purpose."""
    names = {option.name for option in flashq_worker.passed()}
    assert {"queue", "concurrency", "executor", "processes", "max_jobs", "name", "log_format"} <= names
    hidden = {"target", "supervised"}
    assert {option.name for option in worker.params} - names - hidden <= set(flashq_worker.NOT_PASSED)


@pytest.mark.parametrize("alias", ["nobody", "here"])
def test_no_such_backend(run: Run, alias: str) -> None:
    """The command says what is missing."""
    with pytest.raises(CommandError, match=alias):
        run("--backend", alias)


def test_help(capsys: Any) -> None:
    """The options stand in Django's own help."""
    with pytest.raises(SystemExit):
        call_command("flashq_worker", "--help")
    assert "--concurrency" in capsys.readouterr().out
