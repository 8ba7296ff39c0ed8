"""Every answer of a running server is held against the syncs of its log: none leaves before it may.

``FLASHQ_REPLIES`` sets how many are looked at.
"""

import os
import re
import shutil
import threading
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Final

import pytest
from tests.crash.gate_audit import CALLS, Audit, audit, mark
from tests.crash.planted import command
from tests.crash.workload import WebClient
from tests.fakes.server_process import COMMAND, LineClient, ServerProcess, line
from tests.fakes.tools import needs

REPLIES: Final = int(os.environ.get("FLASHQ_REPLIES", "100000"))
WINDOW: Final = 200
ROUND: Final = 2 * WINDOW
APART: Final = "-" * 16
"""Between two copies of a mark, so that the end of a page cuts one of them at most."""


class Traffic(threading.Thread):
    """Pushes, pulls and acknowledges through one door, every request with a mark."""

    def __init__(self, queue: str, connect: Callable[[], LineClient], numbers: "count[int]", rounds: int) -> None:
        super().__init__(daemon=True)
        self.done = 0
        self._queue = queue
        self._connect = connect
        self._numbers = numbers
        self._rounds = rounds

    def run(self) -> None:
        """Window after window."""
        with self._connect() as client:
            for _ in range(self._rounds):
                marks = [mark(next(self._numbers)) for _ in range(WINDOW)]
                self._ask(
                    client, [line("PUSH", queue=self._queue, data=each + APART + each, reqId=each) for each in marks]
                )
                jobs = client.ok("PULLB", queue=self._queue, count=WINDOW)["jobs"]
                marks = [mark(next(self._numbers)) for _ in jobs]
                self._ask(
                    client,
                    [
                        line("ACK", id=job["id"], token=job["token"], result=each + APART + each, reqId=each)
                        for job, each in zip(jobs, marks, strict=True)
                    ],
                )

    def _ask(self, client: LineClient, lines: list[bytes]) -> None:
        client.send_raw(b"".join(lines))
        for _ in lines:
            answer = client.receive()
            assert answer["ok"], answer
            self.done += 1


def traced(folder: Path, replies: int, *, command: tuple[str, ...] = COMMAND) -> Audit:
    """Load a server that strace looks at, and read what it saw."""
    needs(shutil.which("strace") is not None, "strace")
    trace = folder / "trace"
    words = ("strace", "-D", "-f", "--seccomp-bpf", "-y", "-ttt", "-s", "262144", "-o", str(trace))
    server = ServerProcess(folder, unix=True, before=(*words, f"-etrace={','.join(CALLS)}"), command=command)
    with server:
        numbers, rounds = count(1), -(-replies // ROUND // 3)
        doors = {"tcp": server.client, "unix": server.unix_client, "web": lambda: WebClient(server.http_port)}
        crowd = [Traffic(queue, connect, numbers, rounds) for queue, connect in doors.items()]
        for client in crowd:
            client.start()
        for client in crowd:
            client.join(200)
        assert sum(client.done for client in crowd) >= replies
        assert server.stop() == 0
    deadline = time.monotonic() + 20
    while not re.search(rf"^{server.pid} .*\+\+\+$", end_of(trace), re.MULTILINE):
        assert time.monotonic() < deadline, "strace does not end"
        time.sleep(0.01)
    with trace.open(encoding="ascii", errors="replace") as lines:
        return audit(lines)


def end_of(path: Path) -> str:
    """The last of a file."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 500))
        return file.read().decode(errors="replace")


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_no_answer_is_early(tmp_path: Path) -> None:
    """Over lines, the Unix socket and HTTP: each was synced before it was answered or handed out."""
    found = traced(tmp_path, REPLIES)
    assert len(found.answered) >= REPLIES
    assert not found.early, f"{len(found.early)} of {len(found.answered)} early, such as {sorted(found.early)[:5]}"


@pytest.mark.slow
def test_early_answers_are_noticed(tmp_path: Path) -> None:
    """The control: a server without the gate is caught."""
    assert traced(tmp_path, 3_000, command=command("answers_leave_before_the_disk")).early


WAL = "7</data/flashq.db-wal>"
SOCKET = "9<socket:[123]>"
SAFE = [
    f'10 1.0 pwrite64({WAL}, "\\0\\1k00000001--k00000002", 4096, 32) = 4096',
    f"10 1.1 fdatasync({WAL} <unfinished ...>",
    f'11 1.2 pwrite64({WAL}, "k00000003", 4096, 32) = 4096',
    "10 1.3 <... fdatasync resumed>) = 0",
]


@pytest.mark.parametrize(
    ("lines", "early"),
    [
        ([*SAFE, f'11 1.4 write({SOCKET}, "k00000001 k00000002", 9) = 9'], set()),
        ([*SAFE[:3], f'11 1.4 write({SOCKET}, "k00000001"', SAFE[3]], {"k00000001"}),
        ([*SAFE, f'11 1.4 sendto({SOCKET}, "k00000003", 9, 0) = 9'], {"k00000003"}),
        ([*SAFE, f'11 1.4 writev({SOCKET}, [{{iov_base="k00000004"}}], 1 <unfinished ...>'], {"k00000004"}),
        ([SAFE[0], f"10 1.1 fdatasync({WAL}) = 0", f'11 1.4 write({SOCKET}, "k00000002", 9) = 9'], set()),
        ([SAFE[0], "10 1.1 fsync(8</data/x>) = 0", f'11 1.4 write({SOCKET}, "k00000002", 9) = 9'], {"k00000002"}),
    ],
)
def test_how_a_trace_is_read(lines: list[str], early: set[str]) -> None:
    """A sync counts when it has ended, and for what was written before it began."""
    assert audit(lines).early == early
