"""Database connections around jobs: Django closes old ones around each request, and a job is no request.

A worker that keeps a connection for ever meets one day one that its database has closed.
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from asgiref.sync import sync_to_async
from django.db import close_old_connections

from flashq.tasks.context import Context
from flashq.tasks.middleware import Middleware


class DatabaseMiddleware(Middleware):
    """Closes connections that are broken or older than ``CONN_MAX_AGE``, before and after each job.

    The backend adds it to its app by itself; an app of your own that uses Django's models needs it in its list.
    """

    @contextmanager
    def around_run(self, context: Context) -> Iterator[Any]:  # noqa: ARG002 - the hook's signature
        """In the thread of the job: its connections are its own."""
        close_old_connections()
        try:
            yield
        finally:
            close_old_connections()

    @asynccontextmanager
    async def aaround_run(self, context: Context) -> AsyncIterator[Any]:  # noqa: ARG002 - the hook's signature
        """In the thread where Django's models do the work of coroutines."""
        close = sync_to_async(close_old_connections, thread_sensitive=True)
        await close()
        try:
            yield
        finally:
            await close()
