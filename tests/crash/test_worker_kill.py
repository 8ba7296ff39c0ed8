"""kill -9 of workers, of their child processes, of their supervisor, and of all at once: no job is lost or doubled.

``FLASHQ_WORKER_KILLS`` sets how often, ``FLASHQ_SEED`` when and whom.
"""

import json
import logging
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import pytest
from tests.crash.attempts import busy, reruns, stories, violations
from tests.fakes.server_process import EndOfAnswers, LineClient, ServerProcess
from tests.tidy.source import ROOT

KILLS: Final = int(os.environ.get("FLASHQ_WORKER_KILLS", "50"))
"""For each kind of worker."""
SEED: Final = int(os.environ.get("FLASHQ_SEED", "0")) or random.randrange(1, 10**6)

SILENCE_MS: Final = 8_000
WORKERS: Final = 2
CONCURRENCY: Final = 3
BACKLOG: Final = 60
"""Jobs that wait while kills go on: always some to run, and soon done when they end."""
PATIENCE_S: Final = 60

PROGRAM: Final = (
    "from flashq.worker import supervisor\n"
    "supervisor.LAST_BACKOFF_MS = 200\n"  # who is killed so often is not left waiting for that
    "from flashq.cli.main import main\n"
    "main()\n"
)

log = logging.getLogger(__name__)


class Listener(threading.Thread):
    """Keeps every event that the server tells."""

    def __init__(self, client: LineClient) -> None:
        super().__init__(daemon=True)
        self.events: list[dict[str, Any]] = []
        self._client = client
        client.ok("SUBSCRIBE", queue="*", events=["retrying", "failed", "completed"])
        client.socket.settimeout(None)

    def ended(self) -> int:
        """How many jobs have ended."""
        return sum(event["event_type"] != "retrying" for event in self.events)

    def run(self) -> None:
        """Listen until the server is gone."""
        with suppress(EndOfAnswers, OSError):
            while True:
                said = self._client.receive()
                assert "lagged" not in said, "events were lost: nothing can be judged"
                self.events.append(said["event"])


class Fleet:
    """Worker processes under a supervisor, of which any may be killed.

    Args:
        server: where they work.
        notes: what their jobs write; their log is beside it.
        executor: where their jobs run.
        chance: whom to kill.
    """

    def __init__(self, server: ServerProcess, notes: Path, executor: str, chance: random.Random) -> None:
        self._notes = notes
        self._log = notes.with_name("workers.log")
        self._chance = chance
        self._command = [
            *(sys.executable, "-c", PROGRAM, "worker", "tests.crash.worker_app:app", "--executor", executor),
            *("--concurrency", str(CONCURRENCY), "--processes", str(WORKERS), "--stop-timeout", "10000"),
            *("--url", f"flashq://127.0.0.1:{server.port}"),
        ]
        self.killed: Counter[str] = Counter()
        self.start()

    def start(self) -> None:
        """Start a supervisor."""
        with self._log.open("ab") as out:
            self._process = subprocess.Popen(self._command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=out, stderr=out)

    def strike(self, whom: str) -> bool:
        """Kill somebody in the middle of a job; False if nobody of that kind is at work just now."""
        workers = {pid: worker_of(pid) for pid in busy(self._notes) if is_alive(pid)}
        at_work = [pid for pid, worker in workers.items() if worker]
        if not at_work:
            return False
        pid = self._chance.choice(at_work)
        worker = workers[pid]
        victims = {
            "worker": [worker],
            "child": [pid],
            "both": self._chance.sample([worker, pid], 2),
            "supervisor": [self._process.pid],
            # Workers of a supervisor that was killed just now may still be ending in good order.
            "all": [self._process.pid, *children(self._process.pid), *map(workers.__getitem__, at_work), *at_work],
        }[whom]
        for victim in victims:
            with suppress(ProcessLookupError):
                os.kill(victim, signal.SIGKILL)
        if self._process.pid in victims:
            self._process.wait()
            self.start()
        self.killed[whom] += 1
        return True

    def stop(self) -> int:
        """Stop it in good order. Returns the exit code."""
        self._process.terminate()
        return self._process.wait(PATIENCE_S)

    def kill(self) -> None:
        """End what is left."""
        if self._process.poll() is None:
            workers = children(self._process.pid)
            self._process.kill()
            self._process.wait()
            for worker in workers:
                with suppress(ProcessLookupError):
                    os.kill(worker, signal.SIGKILL)

    def said(self) -> str:
        """The end of its log."""
        return self._log.read_text(encoding="utf-8", errors="replace")[-4_000:]


class Pusher:
    """Keeps some jobs waiting."""

    def __init__(self, client: LineClient, notes: Path, chance: random.Random) -> None:
        self._client = client
        self._notes = str(notes)
        self._chance = chance
        self.pushed: dict[int, int] = {}

    def left(self) -> int:
        """Jobs that have not ended."""
        stats = self._client.ok("STATS")
        return int(stats["queued"] + stats["processing"] + stats["delayed"])

    def fill(self) -> None:
        """Push until enough wait; every third job may only be killed twice."""
        bounds = [self._chance.choice((0, 0, 3)) for _ in range(BACKLOG - self.left())]
        if bounds:
            jobs = [
                {"data": self._payload(), "max_attempts": bound, "backoff": self._chance.choice((0, 1, 50))}
                for bound in bounds
            ]
            self.pushed |= zip(self._client.ok("PUSHB", queue="crash", jobs=jobs)["ids"], bounds, strict=True)

    def _payload(self) -> dict[str, object]:
        task = self._chance.choice(("plain", "coroutine"))
        return {"task": task, "args": [self._notes, self._chance.randrange(10, 250)]}

    def states(self) -> dict[int, str]:
        """How each job ended."""
        return {id: self._client.ok("GETSTATE", id=id)["state"] for id in self.pushed}


def children(pid: int) -> list[int]:
    """The processes that a process has started and not buried."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def is_alive(pid: int) -> bool:
    """Whether a process runs."""
    try:
        return state_of(pid)[0] != "Z"
    except OSError:
        return False


def parent(pid: int) -> int:
    """Who has started a process; 0 if it is gone."""
    try:
        return int(state_of(pid)[1])
    except OSError:
        return 0


def state_of(pid: int) -> list[str]:
    """What the system says of a process: its state, its parent, and more."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()


def is_worker(pid: int) -> bool:
    """Whether it is a worker, and not the child of one."""
    try:
        return b"--supervised" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def worker_of(pid: int) -> int:
    """The worker that a process is or belongs to; 0: its worker is dead, and it is about to end.

    A process without its parent belongs to the first one of the system, or to none: no signal may go there.
    """
    worker = pid if is_worker(pid) else parent(pid)
    return worker if is_worker(worker) else 0


def await_that(reached: Callable[[], bool], what: Callable[[], str]) -> None:
    """Wait for something; say what is the case when it does not come."""
    deadline = time.monotonic() + PATIENCE_S
    while not reached():
        assert time.monotonic() < deadline, what()
        time.sleep(0.05)


def run(folder: Path, executor: str, plan: list[str]) -> Counter[str]:
    """Kill as planned while jobs run, let the rest be done, and check.

    Args:
        folder: for everything.
        executor: of the workers.
        plan: whom to kill, one after another.

    Returns:
        How many attempts ended by which kind of death.
    """
    chance = random.Random(SEED)
    notes = folder / "notes"
    notes.touch()
    server = ServerProcess(folder, environment={"WORKER_SILENCE": str(SILENCE_MS)})
    with server.start(), server.client() as client, server.client() as listening:
        listener = Listener(listening)
        listener.start()
        pusher = Pusher(client, notes, chance)
        pusher.fill()
        fleet = Fleet(server, notes, executor, chance)
        try:
            await_that(lambda: notes.stat().st_size > 0, fleet.said)
            for whom in plan:
                time.sleep(chance.uniform(0, 0.4))  # the fault comes when it comes
                pusher.fill()
                await_that(lambda whom=whom: fleet.strike(whom), fleet.said)
            await_that(lambda: pusher.left() == 0, lambda: f"{pusher.left()} left\n{fleet.said()}")
            assert fleet.stop() == 0, fleet.said()
        finally:
            fleet.kill()
        await_that(
            lambda: sum(e["event_type"] != "retrying" for e in listener.events) >= len(pusher.pushed), fleet.said
        )
        found = stories(pusher.pushed, pusher.states(), notes, listener.events)
    deaths = reruns(found)
    log.info(
        "seed %d, %s: %d jobs, killed %s, attempts that died: %s",
        *(SEED, executor, len(found), json.dumps(fleet.killed), json.dumps(deaths)),
    )
    wrong = violations(found)
    assert not wrong, f"FLASHQ_SEED={SEED}: {len(wrong)} violations, such as {wrong[:5]}\n{fleet.said()}"
    return deaths


def test_killed_a_few_times(tmp_path: Path) -> None:
    """Short enough for every day: a child, a worker, both; their jobs run again at once, and none is lost."""
    deaths = run(tmp_path, "process", ["child", "worker", "both", "child"])
    assert set(deaths) == {
        "worker process died: killed by SIGKILL",
        "worker child process died: killed by SIGKILL",
    }


@pytest.mark.slow
@pytest.mark.timeout(120 + 6 * KILLS)
@pytest.mark.parametrize("executor", ["async", "process"])
def test_killed_many_times(executor: str, tmp_path: Path) -> None:
    """The same for each kind of worker, and for supervisors, and for everything at once as when a machine dies."""
    chance = random.Random(SEED)
    kinds = ["worker"] if executor == "async" else ["worker", "child", "child", "both"]
    plan = [chance.choice(kinds) for _ in range(KILLS - 3)] + ["supervisor", "all", "supervisor"]
    chance.shuffle(plan)
    deaths = run(tmp_path, executor, plan)
    assert deaths["worker lost"] > 0
    assert deaths["worker process died: killed by SIGKILL"] > 0
