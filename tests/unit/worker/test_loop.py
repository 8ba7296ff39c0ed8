"""Unit tests of `flashq.worker.loop`."""

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Callable

import pytest

from flashq.worker import loop as module
from flashq.worker.loop import run


class FakeWorker:
    """Runs until it is told to stop, as often as it wants.

    Args:
        stops: so many it takes.
        begun: called on the loop when it runs.
    """

    def __init__(self, stops: int, begun: Callable[[], None]) -> None:
        self._wanted = stops
        self._begun = begun
        self._enough = asyncio.Event()
        self.stops = 0
        self.loop = ""

    @property
    def hurried(self) -> bool:
        return self.stops > 1

    def stop(self) -> None:
        self.stops += 1
        if self.stops == self._wanted:
            self._enough.set()

    async def run(self) -> None:
        self.loop = type(asyncio.get_running_loop()).__module__
        asyncio.get_running_loop().call_soon(self._begun)
        await asyncio.wait_for(self._enough.wait(), 10)


def kill(number: int) -> Callable[[], None]:
    """Sends this process a signal."""
    return lambda: os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_one_signal_stops_in_good_order(number: int) -> None:
    """Either signal is passed to the worker, and the old handlers are back afterwards."""
    before = signal.getsignal(number)
    worker = FakeWorker(1, kill(number))
    assert run(worker)  # type: ignore[arg-type]
    assert worker.stops == 1
    assert signal.getsignal(number) == before or number == signal.SIGTERM


def test_a_second_signal_is_no_good_order() -> None:
    """Whoever started the worker learns that jobs were cut short."""
    worker = FakeWorker(2, lambda: None)
    again = threading.Thread(target=_twice, args=(worker,))
    worker._begun = again.start
    assert not run(worker)  # type: ignore[arg-type]
    again.join()


def _twice(worker: FakeWorker) -> None:
    os.kill(os.getpid(), signal.SIGTERM)
    while not worker.stops:
        threading.Event().wait(0.001)
    os.kill(os.getpid(), signal.SIGTERM)


def test_the_end_of_the_leash_stops_the_worker() -> None:
    """When whoever started it has gone the worker leaves in good order; what is said there means nothing."""
    ours, theirs = os.pipe()

    def let_go() -> None:
        os.write(theirs, b"x")
        os.close(theirs)

    worker = FakeWorker(1, let_go)
    assert run(worker, leash=ours)  # type: ignore[arg-type]
    assert worker.stops == 1
    os.close(ours)


def test_uvloop_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """And the loop of the standard library where there is none."""
    pytest.importorskip("uvloop")
    worker = FakeWorker(1, kill(signal.SIGTERM))
    run(worker)  # type: ignore[arg-type]
    assert worker.loop.startswith("uvloop")
    monkeypatch.setitem(sys.modules, "uvloop", None)
    worker = FakeWorker(1, kill(signal.SIGTERM))
    run(worker)  # type: ignore[arg-type]
    assert worker.loop.startswith("asyncio")
    assert module._loop_factory() is None
