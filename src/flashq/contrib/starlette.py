"""FlashQ in a Starlette or FastAPI application: a lifespan that closes the clients, and can run the worker.

Nothing is needed to enqueue: ``await task.adelay(...)`` connects by itself. What an application needs is an end in good
order, and, while it is small, a worker without a process of its own. Imports nothing of Starlette, for a lifespan is a
plain function: it serves every framework that follows the same form.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from flashq.tasks import App
from flashq.worker import Worker

log = logging.getLogger("flashq.worker")

Lifespan = Callable[[Any], AbstractAsyncContextManager[Mapping[str, Any]]]
Inner = Callable[[Any], AbstractAsyncContextManager[Mapping[str, Any] | None]]


def lifespan(app: App, *, inner: Inner | None = None, worker: bool = False, **options: Any) -> Lifespan:  # noqa: ANN401
    """A lifespan for ``Starlette(lifespan=...)`` and ``FastAPI(lifespan=...)``.

    ::

        api = FastAPI(lifespan=lifespan(app, worker=True, concurrency=20))

    What ``inner`` opens is there before the worker takes its first job and until its last one has ended; ``inner`` may
    enqueue at both ends.

    Args:
        app: whose clients are closed at the end, and whose jobs the worker runs.
        inner: your own lifespan; its state is passed on.
        worker: run a worker in the same event loop. Jobs and requests then share one process: right for a small
            application, where both mostly wait. A server that runs several processes runs as many workers.
        options: of `Worker`; the server should be given more time to stop than ``stop_timeout_ms``.
    """

    @asynccontextmanager
    async def whole(application: Any) -> AsyncIterator[Mapping[str, Any]]:  # noqa: ANN401 - whatever has a lifespan
        async with app, (inner or _nothing)(application) as state:
            if worker:
                async with _working(Worker(app, **options)):
                    yield state or {}
            else:
                yield state or {}

    return whole


@asynccontextmanager
async def _nothing(_: object) -> AsyncIterator[None]:
    yield


@asynccontextmanager
async def _working(worker: Worker) -> AsyncIterator[None]:
    running = asyncio.create_task(worker.run())
    running.add_done_callback(_tell)
    try:
        yield
    finally:
        worker.stop()
        await asyncio.wait({running})


def _tell(running: "asyncio.Task[None]") -> None:
    """A worker that failed must not go unnoticed: the requests go on without it."""
    error = None if running.cancelled() else running.exception()
    if error is not None:
        log.error("the worker has ended: %s", error, exc_info=error)
