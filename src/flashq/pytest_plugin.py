"""Fixtures for pytest. Installed with FlashQ; loads nothing of the server until a test asks for one of them.

- ``flashq_app``: your app on a server inside the test, with a clock that you move (`flashq.testing.LocalApp`). Name
  your app once, in the settings of pytest (``flashq_app = "shop.tasks:app"``), or by a fixture ``flashq_app_target``.
- ``drain``, ``enqueued``, ``assert_enqueued``, ``assert_not_enqueued``: its methods, for short.
- ``flashq_server``: a real server of the test's own on a free port (`flashq.testing.RunningServer`); ``FLASHQ_URL``
  names it while the test runs.

What the fixtures need is imported inside them: pytest loads every installed plugin, wanted or not.
"""

from collections.abc import Callable, Iterator
from importlib import import_module
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from flashq.tasks import App
    from flashq.testing import LocalApp, RunningServer

SETTING = "flashq_app"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Tell pytest of our setting."""
    parser.addini(SETTING, "the app that the fixture flashq_app puts on a server of the test: module:name", default="")


@pytest.fixture
def flashq_app_target(request: pytest.FixtureRequest) -> "App":
    """The app under test: the one that pytest's setting ``flashq_app`` names. Override it to give another."""
    where = str(request.config.getini(SETTING))
    module, _, name = where.partition(":")
    if not module or not name:
        raise pytest.UsageError(
            'the fixture flashq_app does not know your app: set flashq_app = "package.module:app" in the settings of '
            "pytest, or define a fixture flashq_app_target that returns it"
        )
    app: App = getattr(import_module(module), name)
    return app


@pytest.fixture
def flashq_app(flashq_app_target: "App") -> "Iterator[LocalApp]":
    """Your app on an empty server inside this test."""
    from flashq.testing import LocalApp

    with LocalApp(flashq_app_target) as local:
        yield local


@pytest.fixture
def drain(flashq_app: "LocalApp") -> Callable[..., Any]:
    """`LocalApp.drain`: run all jobs that are ready."""
    return flashq_app.drain


@pytest.fixture
def enqueued(flashq_app: "LocalApp") -> Callable[..., Any]:
    """`LocalApp.enqueued`: the jobs of a task."""
    return flashq_app.enqueued


@pytest.fixture
def assert_enqueued(flashq_app: "LocalApp") -> Callable[..., Any]:
    """`LocalApp.assert_enqueued`: fail unless there is a job like this."""
    return flashq_app.assert_enqueued


@pytest.fixture
def assert_not_enqueued(flashq_app: "LocalApp") -> Callable[..., Any]:
    """`LocalApp.assert_not_enqueued`: fail if there is a job like this."""
    return flashq_app.assert_not_enqueued


@pytest.fixture
def flashq_server(monkeypatch: pytest.MonkeyPatch) -> "Iterator[RunningServer]":
    """A real server on a free port, new and empty; ``FLASHQ_URL`` names it while the test runs."""
    from flashq.testing import RunningServer

    with RunningServer() as server:
        monkeypatch.setenv("FLASHQ_URL", server.url)
        yield server
