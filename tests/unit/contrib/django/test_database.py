"""Connections around jobs."""

import threading
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import connection, connections

from flashq import Context
from flashq.contrib.django.database import DatabaseMiddleware


def look() -> Any:
    """Use the database; gives the connection of this thread."""
    connection.ensure_connection()
    return connections["default"]


@pytest.fixture
def file(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database in a file: Django never closes one in memory."""
    connections.close_all()
    monkeypatch.setitem(connection.settings_dict, "NAME", str(tmp_path / "db.sqlite3"))
    monkeypatch.setitem(connection.settings_dict, "CONN_MAX_AGE", 0)


def test_a_plain_job(file: None) -> None:
    """A connection that is older than it may be is gone before the job, and after it."""
    before = look().connection
    with DatabaseMiddleware().around_run(Context(task="t")):
        assert connections["default"].connection is None
        assert look().connection is not before
    assert connections["default"].connection is None


async def test_a_coroutine(file: None) -> None:
    """The same in the thread where Django's models work for coroutines."""

    def note() -> tuple[int, Any]:
        return threading.get_ident(), look()

    async with DatabaseMiddleware().aaround_run(Context(task="t")):
        thread, used = await sync_to_async(note)()
        assert used.connection is not None
    assert await sync_to_async(lambda: (threading.get_ident(), connections["default"].connection))() == (thread, None)


def test_a_failure_closes_them_too(file: None) -> None:
    """A job that fails may have broken its connection."""
    around = DatabaseMiddleware().around_run(Context(task="t"))
    around.__enter__()
    look()
    around.__exit__(ValueError, ValueError("x"), None)
    assert connections["default"].connection is None
