"""Results made of what the server tells."""

from datetime import UTC, datetime

import pytest
from django.test import override_settings
from tests.unit.contrib.django.shop import tasks

from flashq import Context
from flashq.contrib.django.results import UNKNOWN_WORKER, error_of, moment, running


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("ValueError: no\n  File ...", "builtins.ValueError"),
        ("shop.errors.NoStock: none left", "shop.errors.NoStock"),
        ("KeyboardInterrupt", "builtins.KeyboardInterrupt"),
        ("Job timed out", "flashq.errors.JobFailed"),
        ("", "flashq.errors.JobFailed"),
    ],
)
def test_the_class_of_an_error(text: str, path: str) -> None:
    """The text of a failure begins with it, unless nothing was raised."""
    assert error_of(text).exception_class_path == path
    assert error_of(text).traceback == text


def test_moments() -> None:
    """Aware times, or naive ones in the project's zone where it says so."""
    assert moment(1_500) == datetime(1970, 1, 1, 0, 0, 1, 500_000, UTC)
    with override_settings(USE_TZ=False, TIME_ZONE="Asia/Tokyo"):
        assert moment(0) == datetime(1970, 1, 1, 9)


def test_the_number_of_workers_is_the_number_of_attempts() -> None:
    """Django counts attempts by workers; those of earlier attempts are not known."""
    result = running(tasks.add, "x", "default", Context(task="t", attempt=3))
    assert result.worker_ids[:2] == [UNKNOWN_WORKER] * 2
    assert (result.attempts, result.worker_ids[2] != UNKNOWN_WORKER) == (3, True)
