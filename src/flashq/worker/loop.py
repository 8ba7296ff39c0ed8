"""Running a worker as a program: its event loop, and the signals that stop it."""

import asyncio
import gc
import os
import signal
import sys
from collections.abc import Callable
from typing import Final

from flashq.worker.worker import Worker

STOPS: Final = (signal.SIGTERM, signal.SIGINT)
"""What orchestrators and terminals send. The first stops in good order, the second at once."""


def run(worker: Worker, *, leash: int | None = None) -> bool:
    """Run until SIGTERM or SIGINT; on uvloop where it is installed.

    Args:
        worker: what to run.
        leash: a file descriptor of which another process holds the other end; its end stops the worker too.

    Returns:
        Whether it stopped in good order; False after a second signal.

    Raises:
        FlashQError: as `Worker.run`.
    """
    # What was imported stays: the collector need not look at it again, and forked children can share it.
    gc.collect()
    gc.freeze()
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(_until_signalled(worker, leash))


async def _until_signalled(worker: Worker, leash: int | None) -> bool:
    loop = asyncio.get_running_loop()
    if leash is not None:
        loop.add_reader(leash, _let_go, loop, leash, worker)
    for number in STOPS:
        loop.add_signal_handler(number, worker.stop)
    try:
        await worker.run()
    finally:
        for number in STOPS:
            loop.remove_signal_handler(number)
    return not worker.hurried


def _let_go(loop: asyncio.AbstractEventLoop, leash: int, worker: Worker) -> None:
    """Whoever holds the other end has said something, which means nothing, or has gone."""
    if not os.read(leash, 1_024):
        loop.remove_reader(leash)
        worker.stop()


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """What makes the loop; None: the standard library's own."""
    if sys.platform == "win32":
        return None
    try:
        import uvloop
    except ModuleNotFoundError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory
