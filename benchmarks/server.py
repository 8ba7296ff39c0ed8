"""A real server in a process of its own, on a free port of the loopback, with a folder that goes when it goes."""

import os
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tools.postgres import Cluster

from benchmarks.load import ask, connect
from benchmarks.machine import pin_server
from benchmarks.report import Durability

READY_SECONDS: Final = 60
STOP_SECONDS: Final = 30
POSTGRES: Final = {"shared_buffers": "128MB", "max_wal_size": "1GB"}
"""What PostgreSQL has by itself; a cluster for tests is smaller."""

MAX_MEMORY: Final = 4 * 1024**3
"""Room for every benchmark's jobs; the default of the server would refuse the largest."""


class Server:
    """``flashq serve`` from start to stop; a context manager.

    Attributes:
        durability: memory, relaxed, full, or postgres: a PostgreSQL of its own beside it, with its own defaults.
        folder: data and socket.
        port, http_port: of its doors, once it is started.

    Args:
        pinned: it gets the first core to itself; else those of the process that starts it.
    """

    def __init__(self, durability: Durability, *, pinned: bool = True) -> None:
        self.durability = durability
        self._pinned = pinned
        self.folder = Path(tempfile.mkdtemp(prefix="flashq-bench-"))
        self.port = self.http_port = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._postgres: Cluster | None = None

    def __enter__(self) -> Self:
        try:
            if self.durability == "postgres":
                self.folder.chmod(0o711)  # PostgreSQL runs as somebody else where we are root
                self._postgres = Cluster(self.folder / "postgres", **POSTGRES).start()
            self.start()
        except BaseException:
            self._tidy_up()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._tidy_up()

    @property
    def unix_socket(self) -> str:
        """Path of its Unix socket."""
        return str(self.folder / "lines.sock")

    @property
    def pid(self) -> int:
        """The process."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it and wait until its doors are open.

        Raises:
            RuntimeError: it did not start; the text is what it said.
        """
        command = [sys.executable, "-m", "flashq", "serve", "--host", "127.0.0.1", "--port", "0"]
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(command, env=self._environment(), stdout=subprocess.PIPE, stderr=log)
        if self._pinned:
            pin_server(self._process.pid)
        said = self._first_line()
        ready = re.search(rb"ready on [\d.]+:(\d+), http on http://[\d.]+:(\d+)", said)
        if ready is None:
            log_text = (self.folder / "server.log").read_text(encoding="utf-8", errors="replace")
            raise RuntimeError(f"the server did not start: {said!r} {log_text[-2_000:]}")
        self.port, self.http_port = int(ready[1]), int(ready[2])

    def ask(self, line: bytes) -> bytes:
        """One command on a connection of its own; the answer's line."""
        with connect(self) as connection:
            return ask(connection, line)

    def kill(self) -> None:
        """End it as a crash would."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it in good order; by force if it does not."""
        self._end(signal.SIGTERM)

    def _tidy_up(self) -> None:
        self.stop()
        if self._postgres is not None:
            self._postgres.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(number)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()

    def _first_line(self) -> bytes:
        assert self._process is not None
        assert self._process.stdout is not None
        readable, _, _ = select.select([self._process.stdout], [], [], READY_SECONDS)
        return self._process.stdout.readline() if readable else b""

    def _environment(self) -> dict[str, str]:
        """What the server sees: nothing of the settings that happen to be around."""
        kept = {name: value for name, value in os.environ.items() if name in {"PATH", "PYTHONPATH", "TMPDIR", "LANG"}}
        return kept | {
            "DATABASE_URL": self._url(),
            "DURABILITY": "relaxed" if self.durability == "relaxed" else "full",
            "DATA_DIR": str(self.folder),
            "UNIX_SOCKET": self.unix_socket,
            "MAX_MEMORY": str(MAX_MEMORY),
        }

    def _url(self) -> str:
        if self._postgres is not None:
            return self._postgres.url
        return "memory://" if self.durability == "memory" else f"sqlite:///{self.folder / 'flashq.db'}"
