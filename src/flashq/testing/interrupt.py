"""Runs one job up to a chosen point and no further, as if its process had died or stood still there.

A plain function has a point before each of its lines, and before each line of what it calls, the standard library and
installed packages left out. The end there is an exception that no ``except Exception`` catches: ``finally`` and the
ends of ``with`` blocks do run, which a real death would not grant them.

A coroutine has a point wherever it really waits. The event loop stops there and is not run again, so nothing of the
coroutine runs any more, as in a real death; or later it is, as for a process that stood still.
"""

import asyncio
import gc
import linecache
import os
import sys
import sysconfig
from collections.abc import Callable, Generator
from contextlib import suppress
from pathlib import Path
from traceback import clear_frames
from types import CodeType, FrameType
from typing import Any, Final, Protocol

from flashq.tasks.outcome import Outcome
from flashq.tasks.run import Prepared, run_async, run_plain

FOREIGN: Final = tuple(
    f"{path}{os.sep}"
    for path in {*(sysconfig.get_paths()[name] for name in ("stdlib", "purelib", "platlib")), *(
        str(Path(__file__).parent.parent),)}
)  # fmt: skip
"""Folders of code that is not the program under test."""


class Killed(BaseException):
    """The process of a plain function dies here."""


class Run(Protocol):
    """One attempt at a job, of either kind.

    Attributes:
        points: where it came along, as people find the place.
    """

    points: list[str]

    def start(self, at: int | None) -> Outcome | None:
        """Run up to before the given point (0 = the first); None: to the end.

        Returns:
            The outcome; None if it was stopped.
        """

    def go_on(self) -> Outcome:
        """Run on from where it was stopped."""

    def close(self) -> None:
        """Clear away what was left standing."""


def run_of(prepared: Prepared) -> Run:
    """The attempt at a job."""
    return CoroutineRun(prepared) if prepared.is_async else PlainRun(prepared)


class PlainRun:
    """A plain function's attempt. It can be killed; it cannot be held and go on."""

    def __init__(self, prepared: Prepared) -> None:
        self._prepared = prepared
        self._home = _home(prepared)
        self._at: int | None = None
        self.points: list[str] = []

    def start(self, at: int | None) -> Outcome | None:
        """Run; see `Run`."""
        self._at = at
        before = sys.gettrace()
        sys.settrace(self._enter)
        try:
            return run_plain(self._prepared)
        except Killed as killed:
            _bury(killed)
            return None
        finally:
            sys.settrace(before)

    def go_on(self) -> Outcome:
        """It is dead."""
        raise NotImplementedError("a plain function that was killed cannot go on")

    def close(self) -> None:
        """Nothing is left."""

    def _enter(self, frame: FrameType, event: str, _: object) -> "Callable[..., Any] | None":
        del event
        return self._line if _ours(frame.f_code, self._home) else None

    def _line(self, frame: FrameType, event: str, _: object) -> "Callable[..., Any]":
        if event == "line":
            self.points.append(_place(frame.f_code, frame.f_lineno))
            if self._at is not None and len(self.points) > self._at:
                raise Killed
        return self._line


def _bury(killed: Killed) -> None:
    """Let go of what the dead held, as a process does: a connection would keep its locks.

    Those of sqlite3 are part of a reference cycle, so that only the collector finds them.
    """
    clear_frames(killed.__traceback__)
    gc.collect()


class CoroutineRun:
    """A coroutine's attempt, on an event loop of its own."""

    def __init__(self, prepared: Prepared) -> None:
        self._home = _home(prepared)
        self._coroutine = run_async(prepared)
        self._at: int | None = None
        self._loop = asyncio.new_event_loop()
        self._task: asyncio.Task[Outcome] | None = None
        self.points: list[str] = []

    def start(self, at: int | None) -> Outcome | None:
        """Run; see `Run`."""
        self._at = at
        self._task = self._loop.create_task(self._gate())
        self._task.add_done_callback(lambda _: self._loop.stop())
        self._loop.run_forever()
        return self._task.result() if self._task.done() else None

    def go_on(self) -> Outcome:
        """Run on; see `Run`."""
        assert self._task is not None
        self._loop.run_forever()
        return self._task.result()

    def close(self) -> None:
        """End what stands still, and the loop."""
        try:
            for task in asyncio.all_tasks(self._loop):
                task.cancel()
                with suppress(asyncio.CancelledError, Exception):
                    self._loop.run_until_complete(task)
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        finally:
            self._coroutine.close()
            self._loop.close()

    async def _gate(self) -> Outcome:
        outcome: Outcome = await _Watched(self._coroutine, self._waits)
        return outcome

    def _waits(self) -> None:
        """The coroutine waits for something now."""
        self.points.append(self._where())
        if self._at is not None and len(self.points) == self._at + 1:
            self._loop.stop()

    def _where(self) -> str:
        """The innermost line of the program under test that waits."""
        found = "a middleware"
        waits: Any = self._coroutine
        while waits is not None:
            frame = getattr(waits, "cr_frame", None)
            if frame is not None and _ours(frame.f_code, self._home):
                found = _place(frame.f_code, frame.f_lineno)
            waits = getattr(waits, "cr_await", None)
        return found


class _Watched:
    """Awaits a coroutine and tells each time it waits."""

    def __init__(self, coroutine: Any, waits: Callable[[], None]) -> None:  # noqa: ANN401 - any coroutine
        self._coroutine = coroutine
        self._waits = waits

    def __await__(self) -> Generator[Any, Any, Any]:
        step: Callable[[], Any] = lambda: self._coroutine.send(None)
        while True:
            try:
                waited = step()
            except StopIteration as end:
                return end.value
            self._waits()
            try:
                yield waited
            except BaseException as error:
                thrown = error
                step = lambda: self._coroutine.throw(thrown)  # noqa: B023 - called before it changes
            else:
                step = lambda: self._coroutine.send(None)


def _home(prepared: Prepared) -> str:
    """The file of the task: its own even where it is an installed package."""
    code: CodeType | None = getattr(prepared.task.function, "__code__", None)
    return code.co_filename if code is not None else ""


def _ours(code: CodeType, home: str) -> bool:
    name = code.co_filename
    return name == home or not name.startswith(("<", *FOREIGN))


def _place(code: CodeType, line: int) -> str:
    text = linecache.getline(code.co_filename, line).strip()
    return f"{Path(code.co_filename).name}:{line} `{text}`"
