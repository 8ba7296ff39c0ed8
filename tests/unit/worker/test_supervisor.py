"""Worker processes kept alive, stopped and started anew; with small programs in the place of workers."""

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from tests.fakes.line_server import OK, LineServer, Request, line

from flashq.client import AsyncFlashQ
from flashq.worker import reload, supervisor
from flashq.worker.reload import Watch
from flashq.worker.supervisor import KILLED, Supervisor

SOON: Final = 20

WORKER: Final = """
import os, pathlib, signal, sys, time
folder, act = pathlib.Path(sys.argv[1]), sys.argv[2]
name = sys.argv[sys.argv.index("--name") + 1]
assert "--supervised" in sys.argv
def told(*_):
    with open(folder / "told", "a") as file:
        file.write(name + "\\n")
    if act != "deaf":
        os._exit(int(act) if act.isdigit() else 0)
signal.signal(signal.SIGTERM, told)
(folder / (name + ".tmp")).write_text(str(os.getpid()))
(folder / (name + ".tmp")).rename(folder / name)
if act == "fail":
    sys.exit(3)
if act == "usage":
    sys.exit(2)
sys.stdin.read()
(folder / "orphaned").touch()
"""


class Crew:
    """A supervisor whose workers write their names into a folder."""

    def __init__(self, folder: Path, act: str, processes: int, server: LineServer, watch: Watch | None) -> None:
        self.folder = folder
        self.server = server
        self.supervisor = Supervisor(
            [sys.executable, "-S", "-c", WORKER, str(folder), act],
            processes,
            name="w",
            client=lambda: AsyncFlashQ(server.url),
            stop_timeout_ms=1_000,
            watch=watch,
        )
        self.running = asyncio.ensure_future(self.supervisor.run())

    def names(self) -> list[str]:
        """The workers that have started so far."""
        return sorted(path.name for path in self.folder.glob("w.*") if path.suffix != ".tmp")

    async def started(self, count: int) -> dict[str, int]:
        """Wait until so many have started; their names and processes."""
        await until(lambda: len(self.names()) >= count)
        return {name: int((self.folder / name).read_text()) for name in self.names()}

    def byes(self) -> list[Request]:
        """What the server was told."""
        return [request for request in self.server.requests if request["cmd"] == "BYE"]

    async def code(self) -> int:
        """The exit code, once it has ended."""
        async with asyncio.timeout(SOON):
            return await self.running


async def until(reached: Any) -> None:
    """Wait for something to become true."""
    async with asyncio.timeout(SOON):
        while not reached():
            await asyncio.sleep(0.01)


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start again at once."""
    monkeypatch.setattr(supervisor, "FIRST_BACKOFF_MS", 1)


@asynccontextmanager
async def crew(folder: Path, act: str = "", processes: int = 1, watch: Watch | None = None) -> AsyncIterator[Crew]:
    """A supervisor at work; stopped at the end."""
    with LineServer(lambda request: line(ok=True, id=1) if request["cmd"] != "BYE" else OK) as server:
        made = Crew(folder, act, processes, server, watch)
        try:
            yield made
        finally:
            if not made.running.done():
                made.supervisor.stop()
                made.supervisor.stop()
                await made.code()


async def test_stopped_in_good_order(tmp_path: Path) -> None:
    """Each process has a name of its own, is told to stop once, and the supervisor ends when all have."""
    async with crew(tmp_path, processes=3) as here:
        names = await here.started(3)
        assert sorted(name.rpartition(".")[0] for name in names) == ["w.1", "w.2", "w.3"]
        os.kill(os.getpid(), signal.SIGTERM)
        assert await here.code() == 0
        assert sorted((tmp_path / "told").read_text().split()) == sorted(names)
        assert here.byes() == []


async def test_the_worst_exit_code(tmp_path: Path) -> None:
    """What a worker answers to the stop is what the supervisor ends with."""
    async with crew(tmp_path, "7", processes=2) as here:
        await here.started(2)
        here.supervisor.stop()
        assert await here.code() == 7


@pytest.mark.usefixtures("no_waiting")
async def test_a_death_is_told_and_made_good(tmp_path: Path) -> None:
    """The server hears at once which worker died and how, and another one starts under another name."""
    async with crew(tmp_path) as here:
        ((name, pid),) = (await here.started(1)).items()
        os.kill(pid, signal.SIGKILL)
        await here.started(2)
        assert [(bye["worker"], bye["error"]) for bye in here.byes()] == [
            (name, "worker process died: killed by SIGKILL")
        ]


@pytest.mark.usefixtures("no_waiting")
async def test_deaths_by_signal_never_end_it(tmp_path: Path) -> None:
    """A job that kills worker after worker is the server's to bury; the supervisor goes on."""
    async with crew(tmp_path) as here:
        killed: set[int] = set()
        for count in range(1, supervisor.MAX_FAILED_STARTS + 3):
            (pid,) = set((await here.started(count)).values()) - killed
            killed.add(pid)
            os.kill(pid, signal.SIGKILL)


@pytest.mark.usefixtures("no_waiting")
async def test_a_server_that_is_away(tmp_path: Path) -> None:
    """A death that nobody can be told of is made good all the same."""
    async with crew(tmp_path) as here:
        here.server.close()
        os.kill(*(await here.started(1)).values(), signal.SIGKILL)
        await here.started(2)


@pytest.mark.usefixtures("no_waiting")
async def test_gives_up_what_cannot_start(tmp_path: Path) -> None:
    """Workers that fail again and again end the supervisor, with their exit code and without the others."""
    async with crew(tmp_path, "fail") as here:
        assert await here.code() == 3
        assert len(here.names()) == supervisor.MAX_FAILED_STARTS


async def test_a_wrong_command_is_not_tried_again(tmp_path: Path) -> None:
    """A command line that the worker refuses is refused once."""
    async with crew(tmp_path, "usage") as here:
        assert await here.code() == 2
        assert len(here.names()) == 1


async def test_later_and_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that fails at once is started again after longer and longer waits."""
    monkeypatch.setattr(supervisor, "FIRST_BACKOFF_MS", 100)
    began = time.monotonic()
    async with crew(tmp_path, "fail") as here:
        await here.code()
    assert time.monotonic() - began >= (100 + 200 + 400 + 800) / 1_000


async def test_a_deaf_worker_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that does not stop is asked a second time on the second signal, then killed; its jobs go back."""
    told = tmp_path / "told"
    async with crew(tmp_path, "deaf") as here:
        ((name, _),) = (await here.started(1)).items()
        here.supervisor.stop()
        await until(told.exists)
        here.supervisor.stop()
        await until(lambda: told.read_text().split() == [name, name])
        # Only now may its time be over, which a halt of the machine would use up before it was asked twice.
        loop = asyncio.get_running_loop()
        now, patience_s = loop.time, (1_000 + supervisor.STOP_MARGIN_MS) / 1_000
        monkeypatch.setattr(loop, "time", lambda: now() + patience_s)
        assert await here.code() == KILLED + signal.SIGKILL
        assert told.read_text().split() == [name, name]
        assert [(bye["worker"], bye.get("error")) for bye in here.byes()] == [(name, None)]


async def test_a_stop_during_the_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stop does not wait for the next start."""
    monkeypatch.setattr(supervisor, "FIRST_BACKOFF_MS", 600_000)
    monkeypatch.setattr(supervisor, "LAST_BACKOFF_MS", 600_000)
    async with crew(tmp_path) as here:
        os.kill(*(await here.started(1)).values(), signal.SIGKILL)
        await until(here.byes)
        here.supervisor.stop()
        assert await here.code() == KILLED + signal.SIGKILL


# --- reload ---


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A source file that is watched, closely."""
    monkeypatch.setattr(reload, "POLL_MS", 20)
    file = tmp_path / "source" / "tasks.py"
    file.parent.mkdir()
    file.write_text("x = 1\n")
    return file


async def test_reloaded(tmp_path: Path, source: Path) -> None:
    """A change of a source file stops all workers in good order and starts as many anew."""
    async with crew(tmp_path, processes=2, watch=Watch([source.parent])) as here:
        before = await here.started(2)
        source.write_text("x = 2\n")
        after = await here.started(4)
        assert sorted((tmp_path / "told").read_text().split()) == sorted(before)
        assert len(after) == 4
        assert here.byes() == []


async def test_a_syntax_error_keeps_what_runs(tmp_path: Path, source: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Code that cannot be parsed is told, and the code that runs stays until the next change."""
    async with crew(tmp_path, watch=Watch([source.parent])) as here:
        await here.started(1)
        source.write_text("x = (\n")
        await until(lambda: any("not reloaded" in text for text in caplog.messages))
        assert f"{source}: '(' was never closed" in caplog.text
        assert len(here.names()) == 1
        source.write_text("x = 3\n")
        await here.started(2)


async def test_waits_for_a_change(tmp_path: Path, source: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Code that cannot run is not run again and again, but once for each change."""
    async with crew(tmp_path, "fail", watch=Watch([source.parent])) as here:
        for count in range(1, supervisor.MAX_FAILED_STARTS + 2):
            await here.started(count)
            await until(lambda count=count: caplog.text.count("waiting for a change") == count)
            source.write_text(f"x = {count}\n")


async def test_a_stop_while_it_waits_for_a_change(
    tmp_path: Path, source: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A supervisor that waits for a change can be stopped like any other."""
    async with crew(tmp_path, "fail", watch=Watch([source.parent])) as here:
        await until(lambda: "waiting for a change" in caplog.text)
        here.supervisor.stop()
        assert await here.code() == 3


# --- the whole ---


def test_a_killed_supervisor_takes_its_workers_along(tmp_path: Path) -> None:
    """The workers' standard input ends when the supervisor is killed, so that none is left over."""
    program = (
        "import sys\nfrom flashq.client import AsyncFlashQ\nfrom flashq.worker import supervisor\n"
        "sys.exit(supervisor.run(sys.argv[1:], 1, name='w', client=AsyncFlashQ, stop_timeout_ms=1_000))\n"
    )
    command = [sys.executable, "-c", program, sys.executable, "-S", "-c", WORKER, str(tmp_path), ""]
    pid = os.spawnv(os.P_NOWAIT, sys.executable, command)
    deadline = time.monotonic() + SOON
    while not any(path.suffix != ".tmp" for path in tmp_path.glob("w.*")):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    while not (tmp_path / "orphaned").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_arguments_reach_it(tmp_path: Path) -> None:
    """`run` ends with the exit code of its workers."""
    command = [sys.executable, "-S", "-c", WORKER, str(tmp_path), "usage"]
    with LineServer() as server:
        code = supervisor.run(command, 1, name="w", client=lambda: AsyncFlashQ(server.url), stop_timeout_ms=1_000)
        assert code == supervisor.USAGE
        assert json.dumps(server.requests).count("exited with status 2") == 1
