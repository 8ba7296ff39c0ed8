"""An app whose tasks do what jobs in child processes do: work, hang, crash, print, fork.

Imported by the children that the tests start, and never by the tests themselves for more than its names.
"""

import asyncio
import logging
import os
import signal
import stat
import sys
import time
from contextlib import suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from flashq.tasks import App, Context, Snooze

app = App("flashq://127.0.0.1:1")

hoard: list[bytearray] = []

left_over: ContextVar[str] = ContextVar("left_over")
left_behind: list[Context] = []


@app.task(name="add")
def add(a: int, b: int) -> int:
    """The plainest task."""
    return a + b


@app.task(name="pid")
def pid() -> int:
    """Which process runs it."""
    return os.getpid()


@app.task(name="nothing")
def nothing() -> None:
    """Returns nothing."""


@app.task(name="fail")
def fail(text: str) -> None:
    """Fails with a text."""
    raise ValueError(text)


@app.task(name="snooze")
def snooze() -> None:
    """Asks to be run later."""
    raise Snooze(7_000)


@app.task(name="double_later")
async def double_later(n: int) -> int:
    """A coroutine that awaits."""
    await asyncio.sleep(0)
    return 2 * n


@app.task(name="hang")
def hang(begun: str, tidied: str) -> None:
    """Hangs until it is interrupted, and tidies up then."""
    try:
        Path(begun).touch()
        while True:
            time.sleep(60)
    finally:
        Path(tidied).touch()


@app.task(name="ahang")
async def ahang(begun: str, tidied: str) -> None:
    """The same as a coroutine."""
    try:
        Path(begun).touch()
        await asyncio.Event().wait()
    finally:
        Path(tidied).touch()


@app.task(name="stubborn")
def stubborn(begun: str) -> None:
    """Ignores every interruption, and starts a process that would outlive it."""
    while True:
        with suppress(BaseException):
            child = os.fork()
            if child == 0:
                signal.pause()
            Path(begun).write_text(str(child))
            while True:
                time.sleep(60)


@app.task(name="spin")
def spin(begun: str) -> None:
    """Computes and never waits."""
    Path(begun).touch()
    while True:
        pass


@app.task(name="die_by")
def die_by(number: int) -> None:
    """Ends its process by a signal."""
    os.kill(os.getpid(), number)
    time.sleep(60)


@app.task(name="exit_with")
def exit_with(code: int) -> None:
    """Ends its process without a word."""
    os._exit(code)


@app.task(name="sys_exit")
def sys_exit() -> None:
    """Asks the interpreter to end."""
    sys.exit(4)


@app.task(name="signal_itself")
def signal_itself() -> str:
    """Gets the signals that a terminal or a service manager sends to every process."""
    os.kill(os.getpid(), signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGINT)
    return "still here"


@app.task(name="tell")
def tell(context: Context) -> None:
    """Says all that a job can say while it runs."""
    context.progress(40, "half \udc80 a word")
    context.heartbeat()
    context.log("at work", step=2, thing=Path("here"), huge=2**70)
    try:
        raise KeyError("lost")
    except KeyError:
        logging.getLogger("shop").exception("it went %s", "wrong")
    logging.getLogger("shop").info("%d arguments are missing")


@app.task(name="grow")
def grow(mb: int) -> int:
    """Keeps memory."""
    hoard.append(bytearray(os.urandom(1)) * (mb * 1024 * 1024))
    return os.getpid()


@app.task(name="say")
def say(text: str) -> None:
    """Prints."""
    sys.stdout.write(text + "\n")


@app.task(name="fork_and_die")
def fork_and_die(into: str) -> None:
    """Leaves a process behind that holds all that it holds, and dies."""
    child = os.fork()
    if child == 0:
        signal.pause()
    Path(into).write_text(str(child))
    os._exit(5)


@app.task(name="close_everything")
def close_everything() -> None:
    """Closes what is not its own, as programs do that make themselves daemons."""
    os.closerange(3, 1_000)


@app.task(name="scribble")
def scribble(text: str) -> None:
    """Writes into every descriptor that is a socket, as a bug may."""
    for descriptor in range(3, 100):
        with suppress(OSError):
            if stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                os.write(descriptor, text.encode())
    time.sleep(60)


@app.task(name="variable")
def variable() -> Any:
    """What the jobs before left in a context variable."""
    found = left_over.get("nothing")
    left_over.set("something")
    return found


@app.task(name="keep_context")
def keep_context(context: Context) -> None:
    """As a thread does that outlives its job."""
    left_behind.append(context)


@app.task(name="speak_for_both")
def speak_for_both(context: Context) -> None:
    """What an earlier job left behind says something while another runs."""
    left_behind[-1].progress(99, "of the one before")
    left_behind[-1].heartbeat()
    context.progress(1, "of this one")
