"""Unit tests of `flashq.server.lifecycle`. What a process of its own does is in tests/integration/test_start.py."""

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from flashq.config import Config
from flashq.server import lifecycle
from flashq.server.app import SWITCH_INTERVAL_S, Server
from flashq.server.lifecycle import EXIT_CONFIG, _loop_factory, run


@pytest.fixture(autouse=True)
def whole_process() -> Iterator[None]:
    """A server changes how often threads take turns, and the log; the tests after it shall not notice."""
    root = logging.getLogger()
    before = sys.getswitchinterval(), root.handlers[:], root.level
    yield
    sys.setswitchinterval(before[0])
    root.handlers[:], root.level = before[1:]


@pytest.mark.parametrize("loop", ["auto", "uvloop", "asyncio"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_runs_until_a_signal(tmp_path: Path, loop: str, number: int) -> None:
    """On every loop, with every signal: 0."""
    config = Config(port=0, http_port=0, data_dir=str(tmp_path), loop=loop)  # type: ignore[arg-type]
    addresses: list[tuple[str, int]] = []

    def ready(server: Server) -> None:
        addresses.append(server.address)
        os.kill(os.getpid(), number)

    assert run(config, ready) == 0
    assert addresses[0][1] > 0


def test_threads_take_turns_quickly() -> None:
    """Also without a writer: while a page of metrics is made in a thread, clients are to be answered."""
    stop = lambda _: os.kill(os.getpid(), signal.SIGTERM)
    assert run(Config(port=0, http=False, database_url="memory://"), stop) == 0
    assert sys.getswitchinterval() == pytest.approx(SWITCH_INTERVAL_S)


def test_a_failure_to_start_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever the reason says, it is one line on the error stream, and 1."""
    (tmp_path / "flashq.db").write_bytes(b"no database at all\n" * 100)
    assert run(Config(port=0, http_port=0, data_dir=str(tmp_path)), lambda _: None) == EXIT_CONFIG
    said = capsys.readouterr().err
    assert said.startswith("flashq: ")
    assert said.count("\n") == 1


def test_loops(monkeypatch: pytest.MonkeyPatch) -> None:
    """Asyncio's own where uvloop is not asked for or not there; asking for it where it is not is an error."""
    assert _loop_factory("asyncio") is None
    factory = _loop_factory("uvloop")
    assert factory is not None
    loop = factory()
    assert isinstance(loop, asyncio.AbstractEventLoop)
    loop.close()
    monkeypatch.setattr(lifecycle, "uvloop", None)
    assert _loop_factory("auto") is None
    with pytest.raises(ValueError, match="uvloop is not installed"):
        _loop_factory("uvloop")
