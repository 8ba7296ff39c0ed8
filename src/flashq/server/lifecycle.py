"""From the command line to the exit code: choose the loop, listen to signals, run one server to its end.

A signal that comes while the server starts ends the process there and then. The event loop hears nothing at that time:
it waits for a database that does not answer, or for a long recovery. And there is nothing to be put in order. Nobody
was promised anything yet, and what storage holds is whole at every moment, as it must be for a process that is killed.
"""

import asyncio
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Thread
from typing import Any, Final

try:
    import uvloop
except ImportError:  # not on every platform; plain asyncio is supported and tested
    uvloop = None  # type: ignore[assignment]

from flashq.config import Config
from flashq.errors import FlashQError, StorageError
from flashq.logs import set_up
from flashq.server.allocator import give_memory_back
from flashq.server.app import SWITCH_INTERVAL_S, Server

log = logging.getLogger("flashq")

EXIT_CONFIG: Final = 1

STOPS: Final = (signal.SIGTERM, signal.SIGINT)

SHORT_TOKEN_CHARS: Final = 16
"""Below it a token is rather a word that somebody chose than one that was drawn."""


def run(config: Config, ready: Callable[[Server], None]) -> int:
    """Run a server until it is told to stop.

    Args:
        config: its settings.
        ready: called once its doors are open.

    Returns:
        The exit code: 0 after a stop, 1 when it could not start, 70 after a broken invariant, 74 after a storage
        failure. A failure has been told in one line on the error stream.
    """
    give_memory_back()
    set_up(config.log_level, config.log_format)
    try:
        factory = _loop_factory(config.loop)
        with asyncio.Runner(loop_factory=factory) as runner:
            return runner.run(_serve(config, ready))
    except StorageError as error:
        return _give_up(f"{error}", EXIT_CONFIG)
    except (FlashQError, OSError, ValueError) as error:
        return _give_up(f"cannot start: {error}", EXIT_CONFIG)


async def _serve(config: Config, ready: Callable[[Server], None]) -> int:
    server = Server(config)
    loop = asyncio.get_running_loop()
    for number in STOPS:
        loop.add_signal_handler(number, server.stop)
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    with _leaving_at_once():
        await server.start()
    loop.add_signal_handler(signal.SIGHUP, server.reload)
    if server.exposed:
        log.warning("listening on %s without tokens: everybody who reaches this address may do everything", config.host)
    if any(len(token) < SHORT_TOKEN_CHARS for token in config.auth_tokens):
        log.warning("AUTH_TOKENS holds a token of under %d characters: it can be guessed", SHORT_TOKEN_CHARS)
    ready(server)
    return await server.run()


@contextmanager
def _leaving_at_once() -> Iterator[None]:
    """Inside, the numbers of signals go to a thread instead of the loop, and the first one to stop ends the process."""
    heard, told = socket.socketpair()
    told.setblocking(False)
    thread = Thread(target=_leave_when_told, args=(heard,), name="flashq-starting", daemon=True)
    thread.start()
    of_the_loop = signal.set_wakeup_fd(told.fileno())
    try:
        yield
    finally:
        signal.set_wakeup_fd(of_the_loop)
        told.close()
        thread.join()
        heard.close()


def _leave_when_told(heard: socket.socket) -> None:
    while numbers := heard.recv(16):
        if any(number in STOPS for number in numbers):
            print("flashq: told to stop while starting", file=sys.stderr, flush=True)  # noqa: T201  # as in _give_up
            os._exit(0)


def _loop_factory(name: str) -> Callable[[], Any] | None:
    if name == "asyncio" or (name == "auto" and uvloop is None):
        return None
    if uvloop is None:
        raise ValueError("LOOP=uvloop is asked for, and uvloop is not installed")
    factory: Callable[[], Any] = uvloop.new_event_loop
    return factory


def _give_up(sentence: str, exit_code: int) -> int:
    line = " ".join(sentence.split())  # some of what the system says comes in several
    print(f"flashq: {line}", file=sys.stderr)  # noqa: T201  # one clear line, also when logging is off
    return exit_code
