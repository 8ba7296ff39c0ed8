"""FlashQ's own tasks and Django's transactions."""

import pytest
from django.db import transaction

from flashq import App
from flashq.contrib.django import delay_on_commit
from flashq.testing import LocalApp

app = App()


@app.task
def send(to: str, *, urgent: bool = False) -> None:
    """A task of FlashQ's own."""


def test_a_job_appears_with_the_commit() -> None:
    """Not before, and with the options of the call."""
    with LocalApp(app) as local:
        with transaction.atomic():
            delay_on_commit(send, "ada", urgent=True)
            delay_on_commit(send.options(queue="other"), "bob")
            assert local.enqueued() == []
        assert [(job.queue, list(job.args)) for job in local.enqueued()] == [("default", ["ada"]), ("other", ["bob"])]


def test_a_rollback_leaves_nothing() -> None:
    """What did not happen has no consequences."""
    with LocalApp(app) as local:
        with transaction.atomic():
            delay_on_commit(send, "ada")
            transaction.set_rollback(True)
        assert local.enqueued() == []


def test_without_a_transaction() -> None:
    """There is nothing to wait for."""
    with LocalApp(app) as local:
        delay_on_commit(send, "ada")
        assert len(local.enqueued()) == 1


def test_arguments_are_checked_now() -> None:
    """An error after the commit would come too late."""
    with LocalApp(app), transaction.atomic(), pytest.raises(TypeError):
        delay_on_commit(send, "ada", wrong=1)  # type: ignore[call-arg]
