"""A program with all the processes that it starts: how much memory and processor time they use, and their end.

They are found by their session, which a program gets of its own when it is started and which its children inherit.
"""

import os
import re
import signal
import subprocess
from pathlib import Path
from time import monotonic, sleep
from types import TracebackType
from typing import Final, Self

from benchmarks.machine import cpu_seconds, resident_bytes

STOP_SECONDS: Final = 5
"""For a worker without work to end in good order; what is left is killed."""

_SESSION_FIELD: Final = 3
"""Of /proc/PID/stat, counted behind the name of the program."""


class Program:
    """A command with a session of its own; a context manager that leaves nothing behind.

    Attributes:
        started: monotonic seconds at which it was started.
    """

    def __init__(self, command: list[str], environment: dict[str, str], folder: Path) -> None:
        """Args: ``folder``: where it runs, and where its ``log`` goes."""
        self._log = folder / "log"
        with self._log.open("ab") as log:
            self.started = monotonic()
            self._process = subprocess.Popen(
                command, env=environment, cwd=folder, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                start_new_session=True,
            )  # fmt: skip

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            pass
        while left := members(self._process.pid):
            for pid in left:
                _kill(pid)
            self._process.poll()
            sleep(0.01)
        self._process.wait()

    def wait_for(self, path: Path, seconds: float) -> None:
        """Until a file is there.

        Raises:
            RuntimeError: it did not come within ``seconds``, or the program ended; the text is the end of its log.
        """
        deadline = monotonic() + seconds
        while not path.exists():
            if self._process.poll() is not None or monotonic() > deadline:
                said = self._log.read_text(encoding="utf-8", errors="replace")[-2_000:]
                raise RuntimeError(f"no {path.name} mark after {monotonic() - self.started:.1f} s; it said: {said}")
            sleep(0.005)

    def resident_bytes(self) -> int:
        """What its processes hold in RAM, added up."""
        return sum(resident_bytes(pid) for pid in members(self._process.pid))

    def proportional_bytes(self) -> int:
        """The same, but pages that processes share count once."""
        return sum(proportional_bytes(pid) for pid in members(self._process.pid))

    def cpu_seconds(self) -> float:
        """Processor time of all its processes that are alive."""
        return sum(cpu_seconds(pid) for pid in members(self._process.pid))


def members(session: int) -> list[int]:
    """The living processes of a session."""
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit() and _belongs(entry, session)]


def proportional_bytes(pid: int) -> int:
    """The share of a process in what it and others hold in RAM."""
    found = re.search(r"^Pss:\s+(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii"), re.MULTILINE)
    if found is None:
        raise RuntimeError(f"process {pid} has no memory of its own")
    return int(found[1]) * 1024


def _belongs(entry: Path, session: int) -> bool:
    try:
        fields = (entry / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return False
    return int(fields[_SESSION_FIELD]) == session and fields[0] != "Z"


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
