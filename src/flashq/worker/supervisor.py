"""Keeping worker processes alive: ``--processes`` and ``--reload``.

Each is a whole worker with a connection, a heartbeat and a name of its own, so none depends on another, and this
process, which runs no user's code, has nothing that could fail with them. When one dies, its supervisor tells the
server at once which worker it was; otherwise its jobs would wait for the end of its silence.

The workers' standard input is a pipe that this process holds open and never writes: it ends when this process is
killed, and ``--supervised`` makes a worker stop then, so that whoever starts the program anew has it once, not twice.

A worker that is started again gets another name: under the old one its heartbeats would keep the attempts of the
dead one alive.
"""

import asyncio
import logging
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from secrets import token_hex
from typing import Final

from flashq.client import AsyncFlashQ
from flashq.errors import FlashQError, NotFound
from flashq.worker.deaths import how
from flashq.worker.reload import Watch, faults

log = logging.getLogger("flashq.worker")

FIRST_BACKOFF_MS: Final = 500
LAST_BACKOFF_MS: Final = 30_000
"""Wait before a process is started again, doubled each time it did not stay."""

STAYED_MS: Final = 10_000
"""A process that ran so long had started well: the next failure is a new one."""

MAX_FAILED_STARTS: Final = 5
"""Processes of one place that end with an exit code before they have stayed, one after another, until the supervisor
gives up: some eight seconds of trying. A death by a signal never counts: it may be a job's doing, and the next job's
worker is as good as any."""

USAGE: Final = 2
"""The exit code of a command line that can never work: nothing is tried again."""

STOP_MARGIN_MS: Final = 10_000
"""What a worker may take beyond its own time to stop, before it is killed: for its children, its acknowledgements and
its farewell."""

BYE_TIMEOUT_MS: Final = 5_000
"""How long the server may take to hear of a death: after that the worker's silence tells."""

KILLED: Final = 128
"""Added to the number of a signal: the exit code of what it killed, as shells count it."""

_STOPS: Final = (signal.SIGTERM, signal.SIGINT)


def run(
    command: Sequence[str],
    processes: int,
    *,
    name: str,
    client: Callable[[], AsyncFlashQ],
    stop_timeout_ms: int,
    reload_paths: Sequence[Path] | None = None,
) -> int:
    """Run worker processes until this process is told to stop by SIGTERM or SIGINT.

    The first signal stops the workers in good order, the second at once. A worker that has not ended
    ``stop_timeout_ms`` and `STOP_MARGIN_MS` after the first is killed.

    Args:
        command: starts one worker; ``--name NAME`` is added.
        processes: how many.
        name: what the workers' names begin with.
        client: connects to the server, for saying that a worker died.
        stop_timeout_ms: how long a worker may take over its running jobs when it is told to stop.
        reload_paths: folders and files; when a source file in them changes, the workers stop in good order and start
            anew. None: no such watch.

    Returns:
        The worst exit code of the workers as they stopped; of one that was killed 128 and the signal's number.
    """
    watch = Watch(reload_paths) if reload_paths is not None else None
    supervisor = Supervisor(command, processes, name=name, client=client, stop_timeout_ms=stop_timeout_ms, watch=watch)
    return asyncio.run(supervisor.run())


class Supervisor:
    """Some worker processes, and what happens to all of them.

    Args:
        command, processes, name, client, stop_timeout_ms: see `run`.
        watch: the files whose change starts all workers anew.
    """

    def __init__(
        self,
        command: Sequence[str],
        processes: int,
        *,
        name: str,
        client: Callable[[], AsyncFlashQ],
        stop_timeout_ms: int,
        watch: Watch | None = None,
    ) -> None:
        self._client = client
        self._watch = watch
        places = range(1, processes + 1)
        self._places = [_Place(command, f"{name}.{place}", self, stop_timeout_ms + STOP_MARGIN_MS) for place in places]
        self.waits_for_change = watch is not None

    async def run(self) -> int:
        """Run until stopped. Returns the exit code."""
        loop = asyncio.get_running_loop()
        for number in _STOPS:
            loop.add_signal_handler(number, self.stop)
        watching = loop.create_task(self._restart_on_change()) if self._watch is not None else None
        try:
            return max(await asyncio.gather(*(place.keep() for place in self._places)))
        finally:
            for number in _STOPS:
                loop.remove_signal_handler(number)
            if watching is not None:
                watching.cancel()

    def stop(self) -> None:
        """Stop all workers; a second call: at once."""
        for place in self._places:
            place.stop()

    async def _restart_on_change(self) -> None:
        assert self._watch is not None
        while True:
            paths = await self._watch.next_change()
            found = faults(paths)
            if found:
                log.error("not reloaded, the running code stays until the next change: %s", "; ".join(found))
                continue
            log.info("reloading: %s", ", ".join(str(path) for path in paths[:3]) + (" ..." if paths[3:] else ""))
            for place in self._places:
                place.restart()

    async def tell(self, worker: str, error: str | None) -> None:
        """Tell the server that a worker is gone.

        Args:
            worker: its name.
            error: what its attempts fail with; None: they go back uncounted.
        """
        try:
            async with asyncio.timeout(BYE_TIMEOUT_MS / 1_000), self._client() as client:
                await client.bye(worker, error=error)
        except NotFound:
            pass  # it died before it said hello, or after it said goodbye
        except (FlashQError, OSError, TimeoutError) as failure:
            log.warning("the server was not told that worker %s is gone, and will miss it later: %s", worker, failure)


class _Place:
    """One of the worker processes, and its successors.

    Args:
        command: starts it.
        name: what the names of the workers here begin with.
        owner: tells the server of deaths.
        patience_ms: how long one may take to stop.
    """

    def __init__(self, command: Sequence[str], name: str, owner: Supervisor, patience_ms: int) -> None:
        self._command = command
        self._name = name
        self._owner = owner
        self._patience_s = patience_ms / 1_000
        self._process: asyncio.subprocess.Process | None = None
        self._killer: asyncio.TimerHandle | None = None
        self._wake = asyncio.Event()
        self._stopping = False
        self._restarting = False
        self._failed = 0

    # --- what the supervisor wants ---

    def stop(self) -> None:
        """End the process and start no other. Each call passes a signal on: to the worker the second one means now."""
        self._stopping = True
        self._end()

    def restart(self) -> None:
        """End the process in good order and start another."""
        if not self._stopping and not self._restarting:
            self._restarting = True
            self._end()

    def _end(self) -> None:
        self._wake.set()
        process = self._process
        if process is None or process.returncode is not None:
            return
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        if self._killer is None:
            self._killer = asyncio.get_running_loop().call_later(self._patience_s, self._kill, process)

    def _kill(self, process: asyncio.subprocess.Process) -> None:
        log.error("worker process %d does not stop: killed", process.pid)
        with suppress(ProcessLookupError):
            process.kill()

    # --- its life ---

    async def keep(self) -> int:
        """Have a worker run here until told to stop, or until none can. Returns the last one's exit code."""
        while True:
            self._wake.clear()
            self._restarting = False
            code, lived_ms = await self._live()
            if not (self._stopping or self._restarting):
                if self._is_hopeless(code, lived_ms):
                    self._owner.stop()
                else:
                    await self._pause(code)
            if self._stopping:
                return _exit_code(code)

    async def _live(self) -> tuple[int, float]:
        """One worker from start to end. Returns its return code and the ms it lived."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        worker = f"{self._name}.{token_hex(4)}"
        options = ("--name", worker, "--supervised")
        try:
            process = await asyncio.create_subprocess_exec(
                *self._command, *options, stdin=asyncio.subprocess.PIPE, process_group=0
            )
        except OSError as error:  # no memory, no process, no descriptor left: not for ever
            log.warning("a worker process cannot be started: %s", error)
            return -signal.SIGKILL, 0
        self._process = process
        if self._wake.is_set():  # told to end while it was being started
            self._end()
        code = await process.wait()
        if self._killer is not None:
            self._killer.cancel()
            self._killer = None
        await self._report(worker, process.pid, code)
        return code, (loop.time() - began) * 1_000

    async def _report(self, worker: str, pid: int, code: int) -> None:
        """Say how it ended, here and to the server. One that ended by itself with 0 has said goodbye."""
        if code == 0:
            return
        died = f"worker process died: {how(code)}"
        asked = self._stopping or self._restarting
        if not asked:
            log.error("%s", died, extra={"flashq": {"worker": worker, "pid": pid}})
        await self._owner.tell(worker, None if asked else died)

    def _is_hopeless(self, code: int, lived_ms: float) -> bool:
        """Whether another start can be expected to end like this one."""
        self._failed = 0 if lived_ms >= STAYED_MS else self._failed + 1
        if self._owner.waits_for_change or code <= 0:
            return False
        return code == USAGE or self._failed >= MAX_FAILED_STARTS

    async def _pause(self, code: int) -> None:
        """Wait before the next start: for the next change of the code, if this code cannot run."""
        if self._owner.waits_for_change and code > 0:
            log.error("waiting for a change of the source files before the next start")
            await self._wake.wait()
            return
        if self._failed == 0:
            return
        wait_ms = min(FIRST_BACKOFF_MS << (self._failed - 1), LAST_BACKOFF_MS)
        with suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), wait_ms / 1_000)


def _exit_code(code: int) -> int:
    """The exit code of a worker that was told to stop; one that the first signal met while it started had no job."""
    if code == -signal.SIGTERM:
        return 0
    return code if code >= 0 else KILLED - code
