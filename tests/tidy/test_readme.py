"""The README's commands and programs are run as they stand there: the first thing people try must work."""

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from typing import Final

import pytest
from tests.tidy.source import ROOT

README: Final = (ROOT / "README.md").read_text(encoding="utf-8")

PROGRAMS: Final = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
COMMANDS: Final = re.findall(r"^(?:\.venv/bin/flashq (?!serve)|python3 -c ).*$", README, re.MULTILINE)


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """The port of a server that remembers nothing, started as a user would start it."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        free = probe.getsockname()[1]
    environment = {**os.environ, "PORT": str(free), "DATABASE_URL": "memory://"}
    server = subprocess.Popen([sys.executable, "-m", "flashq", "serve"], env=environment)
    try:
        _wait_until_open(server, free)
        yield free
    finally:
        server.terminate()
        server.wait(20)


def _wait_until_open(server: "subprocess.Popen[bytes]", port: int) -> None:
    for _ in range(400):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            pass
        else:
            return
        try:
            pytest.fail(f"the server ended with exit code {server.wait(0.05)}")
        except subprocess.TimeoutExpired:
            continue
    pytest.fail("the server did not open its door within 20 seconds")


def _run(command: list[str], port: int) -> str:
    """Run something against the server; gives what it printed."""
    environment = {**os.environ, "FLASHQ_URL": f"flashq://127.0.0.1:{port}"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def test_there_is_something_to_run() -> None:
    """The README still has its two programs and three commands, so that the tests below are not empty."""
    assert len(PROGRAMS) == 2
    assert len(COMMANDS) == 3


def test_the_first_program(port: int) -> None:
    """Push, pull and ack as the front door shows them: the more urgent job first, once its delay is over."""
    printed = _run([sys.executable, "-W", "error", "-c", PROGRAMS[0]], port)
    assert sorted(re.findall(r"sending to (\w+)@", printed)) == ["ada", "bob"]
    assert "queued=0" in printed


def test_the_second_program(port: int) -> None:
    """A thousand pushes in flight, one pull, one ack."""
    assert _run([sys.executable, "-W", "error", "-c", PROGRAMS[1]], port) == "1000 done\n"


def test_the_commands(port: int) -> None:
    """The command lines work when they are pasted into a shell one after the other: the pull needs the push."""
    for command in COMMANDS:
        pasted = re.sub(r"^python3", sys.executable, command).replace(".venv/bin/flashq", f"{sys.executable} -m flashq")
        printed = _run(["bash", "-c", pasted.replace("6789", str(port))], port)
        if "socket" in command:
            assert re.fullmatch(r'\{"ok":true,"id":\d+\}\n\n', printed)
