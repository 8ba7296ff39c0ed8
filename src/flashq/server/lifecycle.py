"""From the command line to the exit code: choose the loop, listen to signals, run one server to its end."""

import asyncio
import logging
import signal
import sys
from collections.abc import Callable
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
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, server.stop)
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    await server.start()
    loop.add_signal_handler(signal.SIGHUP, server.reload)
    if server.exposed:
        log.warning("listening on %s without tokens: everybody who reaches this address may do everything", config.host)
    if any(len(token) < SHORT_TOKEN_CHARS for token in config.auth_tokens):
        log.warning("AUTH_TOKENS holds a token of under %d characters: it can be guessed", SHORT_TOKEN_CHARS)
    ready(server)
    return await server.run()


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
