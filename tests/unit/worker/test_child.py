"""A child process by itself: what it does without a worker, and what it says that only a child can get wrong."""

import logging
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from msgspec import Raw, json
from tests.tidy.source import ROOT

from flashq.client.results import JobRecord
from flashq.tasks.outcome import Done
from flashq.worker import child
from flashq.worker.child import LogMouth, Mouth, MouthLink
from flashq.worker.frames import Broken, Ended, Frames, Heartbeat, Logged, Progress, Ready, Run, Stop, Up, frame

SOON = 20


class Parent:
    """The worker's end of a child's socket."""

    def __init__(self, target: str) -> None:
        self.socket, theirs = socket.socketpair()
        self.socket.settimeout(SOON)
        descriptor = theirs.fileno()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "flashq.worker.child", target, str(descriptor), "20", "0", "0"],
            pass_fds=[descriptor],
            process_group=0,
            cwd=ROOT,
            stderr=subprocess.PIPE,
        )
        theirs.close()
        self._frames: Frames[Up] = Frames(Up)
        self._heard: list[Up] = []

    def hear(self) -> Up | None:
        """The next thing it says; None at the end."""
        while not self._heard:
            data = self.socket.recv(65_536)
            if not data:
                return None
            self._heard += self._frames.feed(data)
        return self._heard.pop(0)

    def run(self, task: str, *args: object) -> None:
        """Have it run a job."""
        payload = Raw(json.encode({"task": task, "args": args}))
        self.socket.sendall(frame(Run(json.encode(JobRecord(id=1, queue="q", payload=payload)))))


@contextmanager
def parent(target: str = "tests.unit.worker.workshop:app") -> Iterator[Parent]:
    """A child with its worker; both are gone at the end."""
    made = Parent(target)
    try:
        yield made
    finally:
        made.socket.close()
        made.process.kill()
        made.process.communicate()


def await_file(path: Path) -> None:
    """Wait until a file exists and has its content."""
    deadline = time.monotonic() + SOON
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_it_leaves_when_told() -> None:
    """A child that is told to stop ends with 0, its last outcome told."""
    with parent() as here:
        assert here.hear() == Ready()
        here.run("add", 1, 2)
        here.socket.sendall(frame(Stop()))
        assert here.hear() == Ended(Done(b"3"))
        assert here.hear() is None
        assert here.process.wait(SOON) == 0


def test_a_broken_app_is_told() -> None:
    """An app that cannot be imported is told in one line to the worker, and with its trace on stderr."""
    with parent("tests.unit.worker.broken_app") as here:
        said = here.hear()
        assert isinstance(said, Broken)
        assert said.error == "module 'tests.unit.worker.broken_app' cannot be imported: RuntimeError: no paper"
        assert here.process.wait(SOON) == child.EXIT_BROKEN
        assert here.process.stderr is not None
        assert b'raise RuntimeError("no paper")' in here.process.stderr.read()


def test_the_worker_dies() -> None:
    """An idle child ends with its worker."""
    with parent() as here:
        assert here.hear() == Ready()
        here.socket.close()
        assert here.process.wait(SOON) != 0


@pytest.mark.parametrize("task", ["stubborn", "spin"])
def test_the_worker_dies_in_the_middle_of_a_job(task: str, tmp_path: Path) -> None:
    """A job of a worker that is gone ends at once, with the processes it has started: another worker will run it."""
    with parent() as here:
        assert here.hear() == Ready()
        here.run(task, str(tmp_path / "begun"))
        await_file(tmp_path / "begun")
        here.socket.close()
        assert here.process.wait(SOON) == -signal.SIGKILL
        started = (tmp_path / "begun").read_text()
        if started:
            deadline = time.monotonic() + SOON
            with suppress(FileNotFoundError, ProcessLookupError):  # it may be buried between two looks, or during one
                while " Z " not in Path(f"/proc/{started}/stat").read_text():
                    assert time.monotonic() < deadline
                    time.sleep(0.01)


class Ear:
    """Hears what a mouth says in this process."""

    def __init__(self) -> None:
        ours, self._theirs = socket.socketpair()
        self.mouth = Mouth(ours)
        self._ours = ours

    def hear(self) -> list[Up]:
        """Everything that was said, to the end."""
        self.mouth.close()
        self._ours.close()
        frames: Frames[Up] = Frames(Up)
        heard: list[Up] = []
        with self._theirs:
            while data := self._theirs.recv(65_536):
                heard += frames.feed(data)
        return heard


def test_too_much_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that does not read costs a bounded memory: progress is dropped then, outcomes are not."""
    monkeypatch.setattr(child, "MAX_UNSENT", 3)
    held = threading.Event()
    monkeypatch.setattr(Mouth, "_write", lambda mouth: held.wait())
    mouth = Mouth(None)  # type: ignore[arg-type]
    link = MouthLink(mouth, 7)
    for percent in range(10):
        link.progress(percent, None)
        link.heartbeat()
    mouth.say(Ended(Done(None)))
    held.set()
    said = []
    while True:
        try:
            said += Frames[Up](Up).feed(mouth._unsent.get_nowait() or b"")
        except queue.Empty:
            break
    assert said == [Progress(7, 0, None), Heartbeat(7), Progress(7, 1, None), Ended(Done(None))]


def test_hostile_log_lines() -> None:
    """Half characters, endless text and values of any kind never break the line to the worker."""
    ear = Ear()
    logger = logging.Logger("shop")
    logger.addHandler(LogMouth(ear.mouth))
    logger.info("x\udc80" * 100_000, extra={"flashq": {"a": object, "b": "\udc80", "c": -(2**200), "d": None}})
    heard = ear.hear()
    assert len(heard) == 1
    assert isinstance(heard[0], Logged)
    assert len(heard[0].message) == child.MAX_LOG_CHARS
    assert heard[0].facts == {"a": "<class 'object'>", "b": "?", "c": str(-(2**200)), "d": None}
