"""A child process of the process executor: imports the app, then runs one job after another.

Started as ``python -m flashq.worker.child``, never forked: a copy of a process with threads and an event loop inherits
locks that nobody will ever release. Three threads, each blind to the others' work: the main one runs the jobs, so that
a signal can interrupt their code; one reads what the worker says; one writes what is said to it, so that an
interrupted job never leaves half a frame behind.

A job that is to end is reached in the main thread by SIGTERM, which this process sends to itself: `Cancelled` is raised
there and ``finally`` blocks run. A SIGTERM or SIGINT from anywhere else does nothing: the worker decides when its
children end, also where a service manager or a terminal signals all processes at once.

When the worker dies, the end of its socket ends this process at once, in the middle of a job: the server gives the job
to somebody else. Code that holds the interpreter lock delays that, as it delays every other thread, until it lets go.
"""

import asyncio
import faulthandler
import logging
import os
import signal
import socket
import sys
import threading
import traceback
from contextlib import suppress
from contextvars import copy_context
from queue import SimpleQueue
from types import FrameType
from typing import Final, NoReturn

from msgspec import json

from flashq.client.results import JobRecord
from flashq.tasks import App, Cancelled
from flashq.tasks.outcome import Failed, Gone, Outcome
from flashq.tasks.run import Prepared, describe, prepare, run_async, run_plain
from flashq.worker.frames import (
    MAX_LOG_CHARS,
    Broken,
    BrokenFrame,
    Cancel,
    Down,
    Ended,
    Frames,
    Heartbeat,
    Logged,
    Progress,
    Ready,
    Run,
    Stop,
    Up,
    frame,
)
from flashq.worker.memory import resident_mb
from flashq.worker.target import BadTarget, load

EXIT_BROKEN: Final = 1
"""The app could not be imported."""
EXIT_ORPHAN: Final = 2
"""The worker is gone, or cannot be reached any more."""

MAX_UNSENT: Final = 10_000
"""Frames that may wait for a worker that does not read; progress and logs beyond it are dropped, outcomes never."""

RECEIVE_BYTES: Final = 256 * 1024

_read_record = json.Decoder(JobRecord).decode


class Mouth:
    """What this process says, in order, written by a thread of its own. Any thread may speak; nobody waits."""

    def __init__(self, wire: socket.socket) -> None:
        self._wire = wire
        self._unsent: SimpleQueue[bytes | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._write, name="flashq-says", daemon=True)
        self._thread.start()

    def say(self, said: Up) -> None:
        """Say what must be said."""
        self._unsent.put(frame(said))

    def mention(self, said: Up) -> None:
        """Say what may be left out when too much is unsaid already."""
        if self._unsent.qsize() < MAX_UNSENT:
            self._unsent.put(frame(said))

    def close(self) -> None:
        """Say what is left, then nothing more."""
        self._unsent.put(None)
        self._thread.join()

    def _write(self) -> None:
        try:
            while (said := self._unsent.get()) is not None:
                self._wire.sendall(said)
        except OSError:
            die()


class MouthLink:
    """How the context of a job reaches the server: through the worker. ``job``: the how-manieth of this child."""

    def __init__(self, mouth: Mouth, job: int) -> None:
        self._mouth = mouth
        self._job = job

    def progress(self, percent: int, message: str | None) -> None:
        """Say how far the job is."""
        self._mouth.mention(Progress(self._job, percent, message))

    def heartbeat(self) -> None:
        """Ask to have the lease renewed."""
        self._mouth.mention(Heartbeat(self._job))


class LogMouth(logging.Handler):
    """Hands log lines to the worker, which writes them as it writes its own."""

    def __init__(self, mouth: Mouth) -> None:
        super().__init__()
        self._mouth = mouth
        self._traces = logging.Formatter()

    def emit(self, record: logging.LogRecord) -> None:
        """One line. One whose arguments do not fit is reported as logging does it, and no job fails for it."""
        try:
            trace = self._traces.formatException(record.exc_info) if record.exc_info else ""
            facts = {str(name): _plain(value) for name, value in getattr(record, "flashq", {}).items()}
            self._mouth.mention(Logged(record.name, record.levelno, _clean(record.getMessage()), facts, _clean(trace)))
        except Exception:
            self.handleError(record)


class Child:
    """Runs jobs as they are said to come.

    Args:
        app: whose tasks.
        mouth: where to say how they ended.
        max_jobs: jobs after which it leaves; 0 = no bound.
        max_memory_mb: resident MiB after a job from which on it leaves; 0 = no bound.
    """

    def __init__(self, app: App, mouth: Mouth, max_jobs: int, max_memory_mb: int) -> None:
        self._app = app
        self._mouth = mouth
        self._jobs = 0
        self._max_jobs = max_jobs
        self._max_memory_mb = max_memory_mb
        self._main = threading.main_thread().ident
        self._inbox: SimpleQueue[JobRecord | None] = SimpleQueue()
        self._cancel: Cancel | None = None
        self._prepared: Prepared | None = None
        self._coroutine: asyncio.Task[Outcome] | None = None
        self._interruptible = False

    # --- said by the worker, in the thread that reads ---

    def hear(self, said: Down) -> None:
        """What the worker says. A cancellation holds until the next job: it may come before its job has begun."""
        match said:
            case Run(record):
                self._cancel = None
                self._inbox.put(_read_record(record))
            case Cancel():
                self._cancel = said
                self._reach()
            case Stop():
                self._inbox.put(None)

    def _reach(self) -> None:
        """Let the running job know that it was cancelled, if it was. Both threads call it: neither can be late."""
        prepared, cancel = self._prepared, self._cancel
        if prepared is None or cancel is None or prepared.context.id != cancel.id:
            return
        prepared.context.cancel(cancel.reason)
        coroutine = self._coroutine
        if coroutine is not None:
            coroutine.get_loop().call_soon_threadsafe(coroutine.cancel)
        elif not prepared.is_async and self._main is not None:
            signal.pthread_kill(self._main, signal.SIGTERM)

    # --- the main thread ---

    def on_signal(self, _number: int, _where: FrameType | None) -> None:
        """Raise `Cancelled` in a job that was cancelled, once; any other signal is not for this process to obey."""
        if self._interruptible and self._prepared is not None and self._prepared.context.cancelled:
            self._interruptible = False
            raise Cancelled(self._prepared.context.reason)

    def serve(self) -> None:
        """Run jobs until it is time to leave."""
        count = 0
        with asyncio.Runner() as runner:
            while (record := self._inbox.get()) is not None:
                outcome = self._run(record, runner)
                count += 1
                _flush()
                leaving = self._why_leave(count)
                self._tell(outcome, leaving)
                if leaving:
                    break
            with suppress(Exception):  # the connections of the app; nobody waits for what they have to say
                runner.run(self._app.aclose())

    def _run(self, record: JobRecord, runner: asyncio.Runner) -> Outcome:
        self._jobs += 1
        prepared = prepare(self._app, record, MouthLink(self._mouth, self._jobs))
        if isinstance(prepared, Failed):
            return prepared
        self._prepared = prepared
        self._reach()
        try:
            if prepared.is_async:
                return runner.run(self._run_async(prepared), context=copy_context())
            try:
                self._interruptible = True
                return Gone() if prepared.context.cancelled else copy_context().run(run_plain, prepared)
            finally:
                self._interruptible = False
        except BaseException as error:  # sys.exit() in a task ends the task, not the process
            return Gone() if prepared.context.cancelled else Failed(describe(error))
        finally:
            self._prepared = None

    async def _run_async(self, prepared: Prepared) -> Outcome:
        self._coroutine = asyncio.current_task()
        try:
            return Gone() if prepared.context.cancelled else await run_async(prepared)
        finally:
            self._coroutine = None

    def _why_leave(self, count: int) -> str:
        """Why no further job may come; empty if one may."""
        if self._max_jobs and count >= self._max_jobs:
            return f"{count} jobs"
        if self._max_memory_mb and (resident := resident_mb()) > self._max_memory_mb:
            return f"{resident} MiB resident (max {self._max_memory_mb})"
        return ""

    def _tell(self, outcome: Outcome, leaving: str) -> None:
        try:
            self._mouth.say(Ended(outcome, leaving))
        except (BrokenFrame, UnicodeError) as error:
            self._mouth.say(Ended(Failed(f"how the job ended cannot be told: {error}"), leaving))


def die() -> NoReturn:
    """End at once, with all processes that the job has started: there is nobody to work for any more."""
    if os.getpgrp() == os.getpid():
        os.killpg(os.getpgrp(), signal.SIGKILL)
    os._exit(EXIT_ORPHAN)


def _plain(value: object) -> str | int | float | bool | None:
    """A value that any reader of frames understands."""
    if value is None or isinstance(value, bool | float) or (isinstance(value, int) and abs(value) < 2**63):
        return value
    return _clean(str(value))


def _clean(text: str) -> str:
    """Text that can be sent: no half characters, not endless."""
    return text[:MAX_LOG_CHARS].encode(errors="replace").decode()


def _flush() -> None:
    """What a job printed is seen when it ends, and not lost if a later one takes the process down."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()


def _listen(wire: socket.socket, child: Child) -> None:
    """Hear what the worker says until it is gone; then there is nobody to work for."""
    frames: Frames[Down] = Frames(Down)
    with suppress(OSError, BrokenFrame):
        while data := wire.recv(RECEIVE_BYTES):
            for said in frames.feed(data):
                child.hear(said)
    die()


def main() -> None:
    """Be a child: ``TARGET DESCRIPTOR LOG_LEVEL MAX_JOBS MAX_MEMORY_MB``."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    faulthandler.enable()
    target = sys.argv[1]
    descriptor, level, max_jobs, max_memory_mb = map(int, sys.argv[2:6])
    wire = socket.socket(fileno=descriptor)
    wire.set_inheritable(False)
    mouth = Mouth(wire)
    logging.basicConfig(level=level, handlers=[LogMouth(mouth)])
    try:
        app = load(target)
    except BadTarget as error:
        traceback.print_exception(error.__cause__ or error)
        mouth.say(Broken(_clean(str(error))))
        mouth.close()
        sys.exit(EXIT_BROKEN)
    child = Child(app, mouth, max_jobs, max_memory_mb)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, child.on_signal)
    threading.Thread(target=_listen, args=(wire, child), name="flashq-hears", daemon=True).start()
    mouth.say(Ready())
    child.serve()
    app.close()
    mouth.close()


if __name__ == "__main__":
    main()
