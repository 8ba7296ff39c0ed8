"""A real server in a process of its own, and the plainest client for it.

For tests of what only a process has: sockets, signals, exit codes, a folder that outlives it. The client is a socket
and a buffer and knows nothing of our client library, so that the two cannot be wrong in the same way.
"""

import json
import os
import re
import resource
import select
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final

MEMORY: Final = "memory://"
READY: Final = re.compile(r"flashq \S+ ready on (\S+):(\d+)(?:, http on (https?)://\S+:(\d+))?, durability (.+)\n")
COMMAND: Final = (sys.executable, "-m", "flashq", "serve")
START_SECONDS: Final = 30
ANSWER_SECONDS: Final = 20

Answer = dict[str, Any]


class EndOfAnswers(Exception):
    """The server has closed the connection."""


class LineClient:
    """One connection, blocking. Every wait ends: with an answer, with `EndOfAnswers` or with a TimeoutError."""

    def __init__(
        self, address: tuple[str, int] | str, timeout_s: float = ANSWER_SECONDS, source: str | None = None
    ) -> None:
        """Connect to (host, port), or to the path of a Unix socket; ``source``: from this address of the machine."""
        family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
        self.socket = socket.socket(family)
        self.socket.settimeout(timeout_s)
        try:
            if source is not None:
                self.socket.bind((source, 0))
            self.socket.connect(address)
        except BaseException:
            self.socket.close()
            raise
        if family == socket.AF_INET:
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = bytearray()

    def __enter__(self) -> "LineClient":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def send(self, cmd: str, **members: object) -> None:
        """Send one command and wait for nothing."""
        self.send_raw(line(cmd, **members))

    def send_raw(self, data: bytes) -> None:
        """Send exactly these bytes."""
        self.socket.sendall(data)

    def ask(self, cmd: str, **members: object) -> Answer:
        """Send one command and wait for one answer."""
        self.send(cmd, **members)
        return self.receive()

    def ask_raw(self, data: bytes) -> Answer:
        """Send one line, its end added, and wait for one answer."""
        self.send_raw(data + b"\n")
        return self.receive()

    def ok(self, cmd: str, **members: object) -> Answer:
        """The answer to a command that must succeed, without its ``ok``."""
        answer = self.ask(cmd, **members)
        assert answer.pop("ok") is True, f"{cmd} {members} was refused: {answer}"
        return answer

    def refused(self, cmd: str, **members: object) -> tuple[str, str]:
        """Code and sentence of a command that must be refused."""
        answer = self.ask(cmd, **members)
        assert answer["ok"] is False, f"{cmd} {members} was not refused: {answer}"
        return answer["code"], answer["error"]

    def receive(self) -> Answer:
        """The next line."""
        answer: Answer = json.loads(self.receive_raw())
        return answer

    def receive_raw(self) -> bytes:
        """The next line as it came, without its end."""
        start = 0
        while (end := self._buffer.find(b"\n", start)) < 0:
            start = len(self._buffer)
            data = self.socket.recv(1 << 18)
            if not data:
                raise EndOfAnswers
            self._buffer += data
        found = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        return found

    def receive_many(self, count: int) -> list[Answer]:
        """The next ``count`` lines."""
        return [self.receive() for _ in range(count)]

    def rest(self) -> list[Answer]:
        """Everything until the server closes."""
        answers = []
        while True:
            try:
                answers.append(self.receive())
            except (EndOfAnswers, ConnectionResetError):
                return answers

    def silent(self, seconds: float = 0.05) -> bool:
        """Whether nothing came so far, nor within ``seconds``."""
        return not self._buffer and not select.select([self.socket], [], [], seconds)[0]

    def half_close(self) -> None:
        """Say that nothing more will be sent."""
        self.socket.shutdown(socket.SHUT_WR)

    def vanish(self) -> None:
        """Reset the connection, as the death of a machine or a hasty client does."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def close(self) -> None:
        """Close it."""
        self.socket.close()


def line(cmd: str, **members: object) -> bytes:
    """A command as it is sent."""
    return json.dumps({"cmd": cmd, **members}, separators=(",", ":")).encode() + b"\n"


class ServerProcess:
    """``flashq serve`` on a folder. `start` may be called again after it has ended: the folder stays.

    Attributes:
        folder: of the database, the Unix socket and the log.
        url: of the database.
        port, http_port: where it listens.
        mode: what the server said about durability when it was ready.
        start_seconds: how long the last start took, interpreter and all.
    """

    def __init__(
        self,
        folder: Path,
        *,
        url: str | None = None,
        environment: dict[str, str] | None = None,
        before: Sequence[str] = (),
        command: Sequence[str] = COMMAND,
        unix: bool = False,
    ) -> None:
        """Nothing runs until `start`.

        Args:
            folder: made if it is missing; the database is in ``data`` below it.
            url: DATABASE_URL; None = the default, SQLite in the folder.
            environment: more variables; nothing is inherited from the environment of the tests.
            before: words in front of the command, such as strace and its options.
            command: that starts a server.
            unix: listen on a Unix socket as well.
        """
        self.folder = folder
        self.data = folder / "data"
        self.log = folder / "server.log"
        self.socket_path = folder / "lines.sock"
        self.port = self.http_port = 0
        self.mode = ""
        self.start_seconds = 0.0
        self._before = before
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None
        self.environment = {"PATH": os.environ.get("PATH", ""), "PYTHONUNBUFFERED": "1", "DATA_DIR": str(self.data)}
        self.environment["PORT"] = "0"
        self.url = url or f"sqlite:///{self.data}/flashq.db"
        if url is not None:
            self.environment["DATABASE_URL"] = url
        if unix:
            self.environment["UNIX_SOCKET"] = str(self.socket_path)
        self.environment |= environment or {}

    def __enter__(self) -> "ServerProcess":
        return self if self.running else self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def start(self) -> "ServerProcess":
        """Start it and wait until it is ready."""
        began = time.monotonic()
        self.launch()
        self.await_ready(began)
        return self

    def launch(self) -> None:
        """Start it and wait for nothing."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*self._before, *self._command],
                env=self.environment,
                stdout=subprocess.PIPE,
                stderr=log,
                stdin=subprocess.DEVNULL,
            )

    def await_ready(self, began: float) -> None:
        """Wait for the line that says where it listens."""
        assert self._process is not None
        assert self._process.stdout is not None
        said = b""
        deadline = began + START_SECONDS
        descriptor = self._process.stdout.fileno()
        while not said.endswith(b"\n"):
            readable, _, _ = select.select([descriptor], [], [], max(0, deadline - time.monotonic()))
            piece = os.read(descriptor, 4096) if readable else b""
            if not piece:
                self.kill()
                raise AssertionError(f"the server did not start; it said {said!r}\n{self.errors()[-1_000:]}")
            said += piece
        ready = READY.fullmatch(said.decode())
        assert ready is not None, said
        self.port, self.http_port, self.mode = int(ready[2]), int(ready[4] or 0), ready[5]
        self.start_seconds = time.monotonic() - began

    def run_to_end(self, timeout_s: float = START_SECONDS) -> tuple[int, str]:
        """Start a server that is expected not to stay. Returns the exit code and what it said on stderr."""
        before = len(self.errors())
        self.launch()
        code = self.wait(timeout_s)
        return code, self.errors()[before:]

    @property
    def pid(self) -> int:
        """Of the process (of the tracer, when there are words before the command)."""
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it runs."""
        return self._process is not None and self._process.poll() is None

    def client(self, timeout_s: float = ANSWER_SECONDS) -> LineClient:
        """A new connection over TCP."""
        return LineClient(("127.0.0.1", self.port), timeout_s)

    def unix_client(self, timeout_s: float = ANSWER_SECONDS) -> LineClient:
        """A new connection over the Unix socket."""
        return LineClient(str(self.socket_path), timeout_s)

    def signal(self, number: int = signal.SIGTERM) -> None:
        """Send it a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    def wait(self, timeout_s: float = 20) -> int:
        """Wait until it has ended. Returns the exit code, negative for a signal."""
        assert self._process is not None
        try:
            code = self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"the server did not end within {timeout_s} s\n{self.errors()[-1_000:]}") from None
        self._close_pipe()
        return code

    def stop(self, timeout_s: float = 20) -> int:
        """End it in good order."""
        self.signal(signal.SIGTERM)
        return self.wait(timeout_s)

    def kill(self) -> None:
        """End it as a power switch would, if it runs."""
        if self._process is not None:
            if self._process.poll() is None:
                self._process.kill()
            self._process.wait()
            self._close_pipe()

    def restart(self) -> "ServerProcess":
        """Kill it and start it again on the same folder."""
        self.kill()
        return self.start()

    def errors(self) -> str:
        """What it said on stderr so far."""
        return self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""

    def resident_bytes(self) -> int:
        """Memory that it occupies."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text(encoding="ascii").split()[1])
        return pages * resource.getpagesize()

    def limit_file_size(self, most: int) -> None:
        """From now on no file of the server may grow beyond ``most`` bytes: its disk is full."""
        resource.prlimit(self.pid, resource.RLIMIT_FSIZE, (most, most))

    def open_files(self) -> int:
        """Descriptors that it has open."""
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))

    def _close_pipe(self) -> None:
        if self._process is not None and self._process.stdout is not None:
            self._process.stdout.close()
