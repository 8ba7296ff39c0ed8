"""``flashq dev``: a server and a worker that reloads, in one terminal.

Both are ordinary processes, started with the commands that production uses; this one only passes on what they say,
each line with its origin in front, and stops the worker before the server.
"""

import asyncio
import signal
import sys
from typing import Final

import click

from flashq.cli import exits
from flashq.cli.reach import Local
from flashq.worker.supervisor import STOP_MARGIN_MS

STOP_TIMEOUT_MS: Final = 5_000
"""How long running jobs have at a stop: somebody sits there and waits."""

LINE_BYTES: Final = 1024 * 1024
"""The longest line that is passed on in one piece."""

_STOPS: Final = (signal.SIGTERM, signal.SIGINT)

_EPILOG: Final = "\b\nExit codes:\n" + "\n".join(
    (
        "    0  stopped by SIGTERM or Ctrl-C",
        "    1  the server or the worker could not run; what it said stands above",
        "    2  the command is wrong",
    )
)


@click.command(cls=Local, epilog=_EPILOG)
@click.argument("target", metavar="MODULE:APP")
@click.option("--port", type=click.IntRange(1, 65_535), default=6789, help="Of the server, on this machine; 6789.")
@click.option("--data-dir", help="Keep jobs in this folder; default: in memory, gone with the stop.")
@click.option("-q", "--queue", multiple=True, help="As for flashq worker.")
@click.option("-c", "--concurrency", type=click.IntRange(1), help="As for flashq worker.")
@click.option("--executor", type=click.Choice(("async", "thread", "process")), help="As for flashq worker.")
def dev(
    target: str,
    port: int,
    data_dir: str | None,
    queue: tuple[str, ...],
    concurrency: int | None,
    executor: str | None,
) -> int:
    r"""Run a server and a worker that starts anew whenever a source file changes. For development.

    \b
    Example:
      flashq dev shop.tasks:app
    """
    kept = [f"--data-dir={data_dir}"] if data_dir else ["--database-url=memory://"]
    server = ["serve", f"--port={port}", *kept]
    worker = ["worker", target, "--reload", "--log-level=debug", f"--stop-timeout={STOP_TIMEOUT_MS}"]
    worker += [f"--url=flashq://127.0.0.1:{port}", *(f"--queue={name}" for name in queue)]
    worker += [f"--concurrency={concurrency}"] if concurrency else []
    worker += [f"--executor={executor}"] if executor else []
    return asyncio.run(_both(server, worker))


async def _both(server: list[str], worker: list[str]) -> int:
    """Run both until told to stop, or until one ends by itself."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in _STOPS:
        loop.add_signal_handler(number, stopping.set)
    told = asyncio.create_task(stopping.wait())
    serving = await _Part.start("server", server)
    try:
        await _first(serving.ready, serving.ended, told)
        if serving.ended.done() or told.done():
            return exits.OK if told.done() else exits.FAILED
        working = await _Part.start("worker", worker)
        try:
            await _first(serving.ended, working.ended, told)
        finally:
            await working.stop((STOP_TIMEOUT_MS + 2 * STOP_MARGIN_MS) / 1_000)
    finally:
        told.cancel()
        await serving.stop(STOP_MARGIN_MS / 1_000)
    return exits.OK if stopping.is_set() else exits.FAILED


async def _first(*ends: "asyncio.Task[None] | asyncio.Task[bool] | asyncio.Task[int]") -> None:
    await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)


class _Part:
    """One of the processes.

    Attributes:
        ready: done when it has said something on stdout, as a server does when it listens, or has closed it.
        ended: done when it has ended and all it said was passed on; gives its code.
    """

    def __init__(self, name: str, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        assert process.stderr is not None
        self._name = name
        self._process = process
        said = asyncio.Event()
        self._pumps = [
            asyncio.create_task(self._pass_on(process.stdout, said)),
            asyncio.create_task(self._pass_on(process.stderr, asyncio.Event())),
        ]
        self.ready = asyncio.create_task(said.wait())
        self.ended = asyncio.create_task(self._end())

    @classmethod
    async def start(cls, name: str, command: list[str]) -> "_Part":
        """Start ``flashq`` with this command, in a group of its own: Ctrl-C comes to us alone."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-u", "-m", "flashq", *command),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            process_group=0,
            limit=LINE_BYTES,
        )
        return cls(name, process)

    async def stop(self, limit_s: float) -> None:
        """End it in good order, or kill it after ``limit_s``."""
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)
            await asyncio.wait({self.ended}, timeout=limit_s)
        if self._process.returncode is None:
            self._process.kill()
        await self.ended
        self.ready.cancel()

    async def _end(self) -> int:
        code = await self._process.wait()
        await asyncio.gather(*self._pumps)
        return code

    async def _pass_on(self, stream: asyncio.StreamReader, said: asyncio.Event) -> None:
        while line := await _line(stream):
            said.set()
            click.echo(f"{self._name} | {line.decode(errors='replace').rstrip()}", err=True)
        said.set()


async def _line(stream: asyncio.StreamReader) -> bytes:
    """The next line; one that is too long comes in pieces; empty at the end."""
    try:
        return await stream.readuntil()
    except asyncio.IncompleteReadError as error:
        return error.partial
    except asyncio.LimitOverrunError:
        return await stream.read(LINE_BYTES)
