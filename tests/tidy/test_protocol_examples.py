"""Every example of docs/protocol.md is true: it is played against a connection, and what comes back is compared."""

import asyncio
import re
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Final

import pytest
from tests.tidy.source import ROOT

from flashq.commands.session import Context
from flashq.engine.engine import Engine
from flashq.engine.settings import Settings
from flashq.engine.trail import Ring
from flashq.server import clock
from flashq.server.archive import Archive, RingReader
from flashq.server.backups import Backups
from flashq.server.runtime import Runtime
from flashq.storage.backup import Backup
from flashq.transports.tcp import LineConnection

DOCUMENT: Final = ROOT / "docs" / "protocol.md"
LOOP_TURNS: Final = 3
"""How many turns of the loop it takes to answer a question about the past, and to go on behind it."""
_EXAMPLE: Final = re.compile(r"^```flashq\n(.*?)^```", re.MULTILINE | re.DOTALL)


class _Client:
    """The other end of a connection: collects what the server writes."""

    def __init__(self) -> None:
        self.received = b""

    def write(self, data: bytes) -> None:
        self.received += data

    def pause_reading(self) -> None:
        """Nothing is read from it."""

    def resume_reading(self) -> None:
        """Nothing is read from it."""

    def is_closing(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return 0

    def get_extra_info(self, name: str) -> object:
        return {"peername": ("192.0.2.7", 4711)}.get(name)

    def set_write_buffer_limits(self, high: int, low: int) -> None:
        """Nothing is ever buffered here."""


def _no_steps() -> Generator[None, None, Backup]:
    yield from ()
    raise AssertionError


class _Copier:
    """Says at once that a backup was made."""

    def back_up(self, steps: object, done: Callable[[Backup | Exception], None]) -> None:
        """There is no database."""
        del steps
        done(Backup(Path("data/backups/flashq-20260301T120000.000Z.db"), 1_327_104, 4_711))


def _examples() -> list[tuple[str, str]]:
    text = DOCUMENT.read_text(encoding="utf-8")
    found = []
    for example in _EXAMPLE.finditer(text):
        heading = re.findall(r"^#+ (.+)$", text[: example.start()], re.MULTILINE)[-1]
        found.append((heading, example[1]))
    return found


def _pattern(answers: list[str]) -> str:
    """The answers as a regular expression in which `…` stands for anything."""
    return "\n".join(re.escape(answer).replace("…", ".*") for answer in answers) + "\n"


@pytest.mark.parametrize(("heading", "example"), _examples(), ids=[heading for heading, _ in _examples()])
async def test_example(heading: str, example: str) -> None:  # the heading names the test
    """What the specification shows is what a server does, to the letter where the letter is fixed."""
    runtime = Runtime(
        Engine(Settings(), nonce=lambda: "n", now=clock.now()), asyncio.get_running_loop(), clock.now, pytest.fail
    )
    runtime.start(None)
    client = _Client()
    context = Context(runtime.engine, runtime.hub)
    runtime.ring = Ring()
    context.archive = Archive(runtime, asyncio.get_running_loop(), RingReader(runtime.ring, asyncio.get_running_loop()))
    runtime.engine.outbox.auditing = True
    context.backups = Backups(runtime, asyncio.get_running_loop(), _Copier(), _no_steps)
    connection = LineConnection(context, runtime, admit=lambda _: True, left=lambda _: None)
    connection.connection_made(client)  # type: ignore[arg-type]
    steps = [line.split(" ", 1) for line in example.splitlines()]
    assert {mark for mark, _ in steps} <= {"→", "←"}
    wanted: list[str] = []
    for place, (mark, line) in enumerate(steps):
        if mark == "→":
            connection.data_received(line.encode() + b"\n")
            for _ in range(LOOP_TURNS):
                await asyncio.sleep(0)
        else:
            wanted.append(line)
        if place + 1 == len(steps) or (mark == "←" and steps[place + 1][0] == "→"):
            received = client.received.decode()
            assert re.fullmatch(_pattern(wanted), received), f"{wanted}\nbut got\n{received}"
            client.received = b""
            wanted = []
    runtime.stop()


def test_there_are_examples() -> None:
    """The pattern that finds examples finds them: most commands have one."""
    assert len(_examples()) > 25
