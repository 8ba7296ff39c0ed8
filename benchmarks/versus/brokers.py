"""What stands between those who push and those who work: a Redis for the others, a server for FlashQ.

Each is new for each round: a folder that goes with it, a free port of the loopback. The Redis gets no
snapshots (``save ""``), which would only add to its append-only file and cost it a fork now and then.
"""

import os
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path
from time import monotonic, sleep
from types import TracebackType
from typing import Final, Protocol, Self

from benchmarks.server import Server
from benchmarks.throughput import counters
from benchmarks.versus.contestants import Promise

REDIS: Final = "redis-server"
FSYNC: Final[dict[Promise, str]] = {"full": "always", "relaxed": "everysec"}
READY_SECONDS: Final = 10
STOP_SECONDS: Final = 10


class Broker(Protocol):
    """A context manager with an address."""

    @property
    def url(self) -> str:
        """Where it listens, once it is started."""

    def check(self, completed: int) -> None:
        """Compare our count of the tasks that were done with that of the broker, if it has one.

        Raises:
            RuntimeError: they differ.
        """

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class FlashQBroker:
    """``flashq serve``."""

    def __init__(self, promise: Promise, *, pinned: bool) -> None:
        """Args: ``pinned``: as for `Server`; not beside others, whose broker is not pinned either."""
        self._server = Server(promise, pinned=pinned)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"flashq://127.0.0.1:{self._server.port}"

    def check(self, completed: int) -> None:
        """Compare with the server's counters.

        Raises:
            RuntimeError: they differ.
        """
        found = counters(self._server)
        if (found["completed"], found["queued"], found["dlq"]) != (completed, 0, 0):
            raise RuntimeError(f"{completed} jobs should be completed and none left, the server says {found}")

    def __enter__(self) -> Self:
        self._server.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.__exit__(kind, error, trace)


class RedisBroker:
    """``redis-server`` with an append-only file."""

    def __init__(self, promise: Promise) -> None:
        self._fsync = FSYNC[promise]
        self._folder = Path(tempfile.mkdtemp(prefix="versus-redis-"))
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"redis://127.0.0.1:{self._port}/0"

    def check(self, completed: int) -> None:
        """Nothing: it knows only keys, and each system counts in its own way, if at all."""

    def __enter__(self) -> Self:
        options = {
            "bind": "127.0.0.1",
            "port": str(self._port),
            "dir": str(self._folder),
            "appendonly": "yes",
            "appendfsync": self._fsync,
            "save": "",
        }
        command = [REDIS, *(word for name, value in options.items() for word in (f"--{name}", value))]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            self._wait()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _wait(self) -> None:
        """Until it answers.

        Raises:
            RuntimeError: it does not.
        """
        deadline = monotonic() + READY_SECONDS
        while monotonic() < deadline:
            try:
                with socket.create_connection(("127.0.0.1", self._port), 1) as connection:
                    connection.sendall(b"PING\r\n")
                    if connection.recv(64).startswith(b"+PONG"):
                        return
            except OSError:
                pass
            sleep(0.01)
        raise RuntimeError(f"{REDIS} did not answer within {READY_SECONDS} s")


def free_port() -> int:
    """A port of the loopback that was free a moment ago; Redis cannot choose one itself and tell."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def find_redis() -> str | None:
    """Version of the Redis that is there; it is installed by Debian's packages where that is allowed and needed.

    Returns:
        None when there is none and none could be had.
    """
    if shutil.which(REDIS) is None and os.geteuid() == 0 and shutil.which("apt-get") is not None:
        environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        for words in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", REDIS]):
            subprocess.run(["apt-get", *words], env=environment, stdout=subprocess.DEVNULL, check=False)
    if shutil.which(REDIS) is None:
        return None
    said = subprocess.run([REDIS, "--version"], capture_output=True, text=True, check=True).stdout
    return next((word[2:] for word in said.split() if word.startswith("v=")), "of unknown version")
