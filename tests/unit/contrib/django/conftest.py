"""Sets the project up, and puts the apps of its backends on a server of the test's own."""

from collections.abc import Iterator

import pytest
import tests.unit.contrib.django.ready as project  # before anything of Django's
from django.db import connections

from flashq.contrib.django import FlashQBackend
from flashq.contrib.django.framework import task_backends
from flashq.testing import LocalApp, LocalServer


@pytest.fixture(autouse=True)
def time_zone() -> Iterator[None]:
    """A test may change the project's, which is the process's."""
    yield
    project.leave_the_time_zone()


@pytest.fixture
def backend() -> FlashQBackend:
    """The project's first backend."""
    found = task_backends["default"]
    assert isinstance(found, FlashQBackend)
    return found


@pytest.fixture
def local(backend: FlashQBackend, server: LocalServer) -> Iterator[LocalApp]:
    """Its app on a server of the test's own."""
    with LocalApp(backend.app, server) as local:
        yield local


@pytest.fixture
def safe(server: LocalServer) -> Iterator[LocalApp]:
    """The app of the backend that enqueues when the transaction commits."""
    found = task_backends["safe"]
    assert isinstance(found, FlashQBackend)
    with LocalApp(found.app, server) as local:
        yield local


@pytest.fixture(autouse=True)
def no_connection_is_left() -> Iterator[None]:
    """Closes what a test has opened."""
    yield
    connections.close_all()
