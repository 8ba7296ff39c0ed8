"""The disk of a running server fails or fills up: nobody is told ok any more, and nothing that was told ok is lost.

Where a tool or a right is missing these tests skip with the reason, except with ``FLASHQ_REQUIRE_CHAOS=1``.
"""

import os
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Final

import pytest
from tests.fakes.second_try import second_try
from tests.fakes.server_process import Answer, EndOfAnswers, LineClient, ServerProcess, line
from tests.fakes.tools import needs

EXIT_STORAGE: Final = 74
EXIT_SECONDS: Final = 1
SLACK_SECONDS: Final = 0.5
"""For a machine that is busy with other things."""

WINDOW: Final = 20


class Pusher(threading.Thread):
    """Pushes until it is told no more, and keeps what it was told."""

    def __init__(self, client: LineClient) -> None:
        super().__init__(daemon=True)
        self.confirmed: list[int] = []
        self.refusals: list[Answer] = []
        self.refused_at = 0.0
        self.confirmed_after = 0
        self._client = client

    def run(self) -> None:
        """Push windows of jobs."""
        try:
            while not self.refusals:
                self._client.send_raw(line("PUSH", queue="q", data="x" * 300) * WINDOW)
                for _ in range(WINDOW):
                    self._take(self._client.receive())
        except (EndOfAnswers, OSError):
            pass
        finally:
            self._client.close()

    def _take(self, answer: Answer) -> None:
        if answer["ok"]:
            self.confirmed.append(answer["id"])
        elif not is_away(answer):
            self.refused_at = self.refused_at or time.monotonic()
            self.refusals.append(answer)


def is_away(answer: Answer) -> bool:
    """Whether the disk is only slow, so far, and all may go on yet: under strace every call takes its time."""
    return str(answer["error"]).startswith("The storage does not answer")


def ends_soon(play: Callable[[int], float]) -> None:
    """A server ends within a second of the first refusal, at the first or second try; all else holds at each.

    Args:
        play: one time, of this number. Returns the seconds from the refusal to the end.
    """
    numbers = count()
    took = second_try(lambda: play(next(numbers)), _soon)
    assert _soon(took), f"it ended after {took} s"


def _soon(took: float) -> bool:
    return took < EXIT_SECONDS + SLACK_SECONDS


def push_until_it_ends(server: ServerProcess, spoil: Callable[[], object]) -> tuple[list[Pusher], float]:
    """Four clients push, one waits, two only listen; ``spoil`` ruins the disk, and the server ends as it should.

    Returns:
        Who pushed, and the seconds from the first refusal to the end.
    """
    pushers = [Pusher(server.client()) for _ in range(4)]
    with server.client() as waiting, server.client(), server.client() as deaf:
        waiting.send("PULL", queue="empty")
        deaf.send_raw(line("PUSH", queue="q", data=1) * 3)
        for pusher in pushers:
            pusher.start()
        while not all(pusher.confirmed for pusher in pushers):
            time.sleep(0.001)
        spoil()
        sure = [len(pusher.confirmed) for pusher in pushers]
        code = server.wait(60)
        ended = time.monotonic()
        assert code == EXIT_STORAGE, server.errors()[-2_000:]
    for pusher in pushers:
        pusher.join(10)
        assert not pusher.is_alive()
    told = [pusher.refused_at for pusher in pushers if pusher.refusals]
    assert told, "nobody was told"
    assert "Traceback" not in server.errors()
    for pusher, before in zip(pushers, sure, strict=True):
        pusher.confirmed_after = len(pusher.confirmed) - before
    return pushers, ended - min(told)


def codes_of(pushers: list[Pusher]) -> set[str]:
    """With which codes they were refused, except those who came between the failure and the end."""
    return {answer["code"] for pusher in pushers for answer in pusher.refusals} - {"shutting_down"}


def check_nothing_is_lost(server: ServerProcess, pushers: list[Pusher]) -> None:
    """A server that starts again has everything that was confirmed."""
    server.start()
    with server.client() as client:
        ids = {job["id"] for answer in _everything(client) for job in answer}
    lost = {id for pusher in pushers for id in pusher.confirmed} - ids
    assert not lost, f"{len(lost)} lost, such as {sorted(lost)[:5]}"
    assert sum(len(pusher.confirmed) for pusher in pushers) > 0


def _everything(client: LineClient) -> Iterator[list[Answer]]:
    while jobs := client.ok("PULLB", queue="q", count=10_000, timeout=0)["jobs"]:
        yield jobs


def test_a_file_that_may_not_grow(tmp_path: Path) -> None:
    """Writing fails: an error for everything that was not confirmed, exit 74, nothing confirmed is lost."""

    def play(number: int) -> float:
        with ServerProcess(tmp_path / f"{number}") as server:
            pushers, took = push_until_it_ends(server, lambda: server.limit_file_size(1_000_000))
            codes = codes_of(pushers)
            assert codes
            assert codes <= {"storage_error", "storage_full"}
            check_nothing_is_lost(server, pushers)
        return took

    ends_soon(play)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 8 MiB."""
    needs(os.geteuid() == 0 and shutil.which("mount") is not None, "root and mount, for a small disk")
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(disk)], capture_output=True)
    needs(mounted.returncode == 0, f"the right to mount: {mounted.stderr.decode()}")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def test_a_full_disk(tmp_path: Path, small_disk: Path) -> None:
    """ENOSPC is told by its name. With more room the server starts again and has everything that was confirmed."""

    def play(number: int) -> float:
        data = small_disk / "data"
        with ServerProcess(tmp_path / f"{number}", environment={"DATA_DIR": str(data)}) as server:
            pushers, took = push_until_it_ends(server, lambda: None)  # 8 MiB are full soon
            codes = codes_of(pushers)
            assert codes == {"storage_full"}
            subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
            check_nothing_is_lost(server, pushers)
        shutil.rmtree(data)
        subprocess.run(["mount", "-o", "remount,size=8m", str(small_disk)], check=True)
        return took

    ends_soon(play)


@pytest.mark.slow
def test_no_room_for_a_backup(tmp_path: Path, small_disk: Path) -> None:
    """On a disk of its own, and on that of the database: it is refused, nothing is left of it, the server goes on."""
    elsewhere = ServerProcess(tmp_path / "a", environment={"BACKUP_DIR": str(small_disk / "backups")})
    for server in (elsewhere, ServerProcess(small_disk)):
        with server, server.client() as client:
            client.ok("PUSHB", queue="q", jobs=[{"data": "x" * 50_000}] * 10)
            filler = small_disk / "filler"
            # Its own disk must have room for what the server does by itself as soon as it is quiet: it folds the jobs.
            left = 300_000 if server is elsewhere else 3_000_000
            with filler.open("wb") as file:
                file.write(bytes(shutil.disk_usage(small_disk).free - left))
            code, said = client.refused("BACKUP")
            assert code == "storage_full"
            assert "a backup needs" in said
            client.ok("PUSH", queue="q", data=1)
            filler.unlink()
            folder = server.data / "backups" if server is not elsewhere else small_disk / "backups"
            assert not list(folder.glob("*"))
            if server is elsewhere:
                assert client.ok("BACKUP")["backup"]["path"].startswith(str(small_disk))
                shutil.rmtree(small_disk / "backups")
            assert server.stop() == 0


def _statuses(tasks: Path) -> Iterator[str]:
    """Of the threads that there are; one may end while it is looked at."""
    for task in tasks.iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):
            yield (task / "status").read_text()


def strace(server: ServerProcess, call: str, error: str, path: Path | None = None) -> subprocess.Popen[bytes]:
    """From now on every such call of the server fails; with ``path`` every one that concerns this file."""
    needs(shutil.which("strace") is not None, "strace")
    what = ["-e", f"trace={call}", "-e", f"inject={call}:error={error}"]
    tracer = subprocess.Popen(
        ["strace", "-f", "-qq", "-p", str(server.pid), *what, *([] if path is None else ["-P", str(path)])],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 10
    traced = re.compile(rf"^TracerPid:\s+{tracer.pid}$", re.MULTILINE)
    tasks = Path(f"/proc/{server.pid}/task")
    while not all(traced.search(status) for status in _statuses(tasks)):
        needs(tracer.poll() is None, "the right to trace another process")
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return tracer


@pytest.mark.parametrize(
    ("call", "error", "code"),
    [
        ("fdatasync", "EIO", "storage_error"),
        ("pwrite64", "EIO", "storage_error"),
        ("pwrite64", "ENOSPC", "storage_full"),
    ],
)
def test_a_disk_that_fails(tmp_path: Path, call: str, error: str, code: str) -> None:
    """A failed sync or write is believed: not tried again, no ok after it, exit 74, and nothing confirmed is lost."""

    def play(number: int) -> float:
        with ServerProcess(tmp_path / f"{number}") as server:
            tracers: list[subprocess.Popen[bytes]] = []
            try:
                pushers, took = push_until_it_ends(server, lambda: tracers.append(strace(server, call, error)))
            finally:
                for tracer in tracers:
                    tracer.wait(20)
                    assert tracer.stderr is not None
                    tracer.stderr.close()
            codes = codes_of(pushers)
            assert codes == {code}
            late = max(pusher.confirmed_after for pusher in pushers)
            assert late <= 2 * WINDOW, f"{late} were told ok after the disk had failed"
            check_nothing_is_lost(server, pushers)
        return took

    ends_soon(play)
