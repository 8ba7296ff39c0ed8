"""`flashq worker` as users have it: a real server, a real worker process, real signals."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest
from tests.fakes.ports import kept_ports
from tests.fakes.server_process import MEMORY, ServerProcess

from flashq import FlashQ, JobRecord
from flashq.cli import exits

SOON_S = 20
SILENCE_MS = 6_000
"""Where a test is about it, the server misses a worker so soon. Two thirds of it may go by between two beats: longer
than a busy machine stands still."""

misses_soon = pytest.mark.parametrize("server", [{"WORKER_SILENCE": str(SILENCE_MS)}], indirect=True, ids=["soon"])

TASKS = """
import asyncio, os, threading, time
from pathlib import Path
from flashq import App, Context, Snooze

app = App(default_queue="q")

def note(word):
    with open("notes", "a") as notes:
        notes.write(word + "\\n")

@app.task(name="add")
async def add(a: int, b: int) -> int:
    return a + b

@app.task(name="plain")
def plain(word: str) -> str:
    note(word)
    return word.upper()

@app.task(name="fail", max_attempts=1)
async def fail() -> None:
    raise ValueError("no\\nway \\x1b[2J")

@app.task(name="until_told")
async def until_told() -> str:
    note("begun")
    while not Path("go").exists():
        await asyncio.sleep(0.01)
    note("ended")
    return "told"

@app.task(name="hang")
async def hang() -> None:
    note("begun")
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        note("cancelled")
        raise

@app.task(name="hang_in_thread")
def hang_in_thread(context: Context) -> None:
    note("begun")
    try:
        while True:
            time.sleep(0.005)
            context.check()
    except BaseException as error:
        note(f"{type(error).__name__}: {error}")
        raise

@app.task(name="block_the_loop")
async def block_the_loop(seconds: float) -> str:
    note("begun")
    time.sleep(seconds)
    return "done"

@app.task(name="progress")
def progress(context: Context) -> None:
    context.progress(40, "on the way")
    note("begun")
    while not Path("go").exists():
        time.sleep(0.01)

@app.cron("*/1", name="every second")
@app.task(name="tick", queue="ticks")
async def tick() -> None:
    note("tick")
"""


class WorkerProcess:
    """``flashq worker`` in a folder with such an app.

    Args:
        folder: holds ``tasks.py`` and ``notes``, what the jobs wrote down.
        url: of the server.
        arguments: more of the command line.
        environment: more variables.
    """

    def __init__(
        self,
        folder: Path,
        url: str,
        *arguments: str,
        verb: str = "worker",
        environment: dict[str, str] | None = None,
    ) -> None:
        self.folder = folder
        (folder / "tasks.py").write_text(TASKS)
        self._log = folder / "worker.log"
        inherited = {"PATH": os.environ.get("PATH", ""), "FLASHQ_URL": url, "PYTHONUNBUFFERED": "1"}
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "flashq", verb, "tasks:app", *arguments],
                cwd=folder,
                env=inherited | (environment or {}),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def __enter__(self) -> "WorkerProcess":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and wait for the end; gives the exit code."""
        self.process.send_signal(number)
        return self.process.wait(SOON_S)

    @property
    def log(self) -> str:
        """What it said so far."""
        return self._log.read_text()

    @property
    def notes(self) -> list[str]:
        """What its jobs wrote down so far."""
        path = self.folder / "notes"
        return path.read_text().split("\n")[:-1] if path.exists() else []

    def until(self, condition: Callable[[], Any]) -> None:
        """Wait until something is so."""
        deadline = time.monotonic() + SOON_S
        while not condition():
            assert time.monotonic() < deadline, self.log
            time.sleep(0.01)


@pytest.fixture(scope="module")
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server, set up as the test says."""
    settings = {"DEFAULT_BACKOFF": "0"} | getattr(request, "param", {})
    with ServerProcess(tmp_path_factory.mktemp("server"), url=MEMORY, environment=settings) as process:
        yield process


@pytest.fixture
def url(server: ServerProcess) -> str:
    """Where it is."""
    return f"flashq://127.0.0.1:{server.port}"


@pytest.fixture
def q(url: str) -> Iterator[FlashQ]:
    """Its client. The queues are empty afterwards, whatever the test left."""
    with FlashQ(url) as client:
        yield client
        for cron in client.crons():
            client.delete_cron(cron.name)
        for view in client.queues():
            while job := client.pull(view.name, timeout=0):
                client.ack(job)
            client.purge_dead_letters(view.name)


def push(q: FlashQ, task: str, *args: Any, **options: Any) -> int:
    """Push a job of a task, as a program in any language would."""
    return q.push("q", {"task": task, "args": args}, **options)


def job(q: FlashQ, id: int) -> JobRecord:
    """What the server knows of a job."""
    found = q.job(id)
    assert found is not None
    return found


@pytest.mark.parametrize("executor", ["async", "thread", "process"])
def test_jobs_are_run(tmp_path: Path, url: str, q: FlashQ, executor: str) -> None:
    """Coroutines and plain functions end with their results, failures among the dead letters with their trace."""
    with WorkerProcess(tmp_path, url, "--executor", executor, "-q", "q") as worker:
        added, spoken, failed = push(q, "add", 1, 2), push(q, "plain", "hello"), push(q, "fail", max_attempts=1)
        assert [q.wait_job(id, timeout=SOON_S * 1_000).result for id in (added, spoken)] == [3, "HELLO"]
        end = q.wait_job(failed, timeout=SOON_S * 1_000)
        assert end.state == "failed"
        assert end.error is not None
        assert "ValueError: no\nway" in end.error
        assert 'raise ValueError("no' in end.error
        assert worker.stop() == exits.OK
        assert "\x1b" not in worker.log
        assert q.workers() == []


@pytest.mark.slow
@misses_soon
def test_jobs_are_run_over_http(tmp_path: Path, server: ServerProcess, q: FlashQ) -> None:
    """A worker that reaches its server over HTTP runs jobs, outlives the silence after which it would be missed, and
    gives back what it has not begun.
    """
    url = f"http://127.0.0.1:{server.http_port}"
    with WorkerProcess(tmp_path, url, "-c", "1", "--prefetch", "5", "-q", "q", "--name", "far") as worker:
        added, failed = push(q, "add", 1, 2), push(q, "fail", max_attempts=1)
        assert q.wait_job(added, timeout=SOON_S * 1_000).result == 3
        assert q.wait_job(failed, timeout=SOON_S * 1_000).state == "failed"
        running, waiting = push(q, "until_told"), push(q, "plain", "later")
        worker.until(lambda: q.state(waiting) == "active")
        (one,) = q.workers()
        assert (one.id, one.active) == ("far", 2)
        began = time.monotonic()
        worker.until(lambda: time.monotonic() - began > 1.2 * SILENCE_MS / 1_000)
        assert q.state(running) == "active"
        worker.process.send_signal(signal.SIGTERM)
        worker.until(lambda: q.state(waiting) == "waiting")
        (tmp_path / "go").touch()
        assert worker.process.wait(SOON_S) == exits.OK, worker.log
        assert q.result(running) == "told"
        assert (job(q, running).attempts, job(q, waiting).attempts) == (0, 0)
        assert q.workers() == []
        assert f"  server    {url}\n" in worker.log
        assert "WARNING" not in worker.log


def test_what_it_says_at_the_start(tmp_path: Path, url: str, q: FlashQ) -> None:
    """The banner names app, server, queues, tasks and executor; the server knows the worker by its name."""
    with WorkerProcess(tmp_path, url, "--name", "w1", "-c", "7", "-q", "q,r") as worker:
        worker.until(lambda: [one.id for one in q.workers()] == ["w1"])
        (one,) = q.workers()
        assert (one.queues, one.concurrency, one.pid) == (["q", "r"], 7, worker.process.pid)
        assert "  queues    q, r\n" in worker.log
        assert f"  server    {url}\n" in worker.log
        assert "no task of the app has its jobs in r" in worker.log
        worker.stop()


@pytest.mark.parametrize("executor", ["async", "process"])
def test_a_burst_runs_what_is_there_and_leaves(tmp_path: Path, url: str, q: FlashQ, executor: str) -> None:
    """With all of it done, by itself; a delayed job is left for another time."""
    ids = [push(q, "plain", f"word {number}") for number in range(50)]
    later = push(q, "plain", "later", delay=3_600_000)
    with WorkerProcess(tmp_path, url, "--burst", "-q", "q", "--executor", executor, "-c", "2") as worker:
        assert worker.process.wait(SOON_S) == exits.OK, worker.log
        assert sorted(worker.notes) == sorted(f"word {number}" for number in range(50))
    assert {q.state(id) for id in ids} == {"completed"}
    assert q.state(later) == "delayed"
    q.cancel(later)


def test_a_stop_lets_what_runs_end(tmp_path: Path, url: str, q: FlashQ) -> None:
    """After SIGTERM the running job ends, its result is told, and a job that waited goes back uncounted."""
    with WorkerProcess(tmp_path, url, "-c", "1", "--prefetch", "5", "-q", "q") as worker:
        running = push(q, "until_told")
        worker.until(lambda: worker.notes == ["begun"])
        waiting = push(q, "plain", "later")
        worker.until(lambda: q.state(waiting) == "active")
        worker.process.send_signal(signal.SIGTERM)
        worker.until(lambda: q.state(waiting) == "waiting")
        assert q.state(running) == "active"
        (tmp_path / "go").touch()
        assert worker.process.wait(SOON_S) == exits.OK
        assert q.result(running) == "told"
        assert job(q, waiting).attempts == 0
        assert worker.notes == ["begun", "ended"]


def test_a_second_signal_stops_at_once(tmp_path: Path, url: str, q: FlashQ) -> None:
    """The running job is cancelled and goes back uncounted, and the exit code says that it was cut short."""
    with WorkerProcess(tmp_path, url, "-q", "q") as worker:
        id = push(q, "hang")
        worker.until(lambda: worker.notes)
        worker.process.send_signal(signal.SIGINT)
        worker.until(lambda: "stopping: 1 jobs run" in worker.log)
        assert worker.stop(signal.SIGINT) == exits.INTERRUPTED
        assert worker.notes == ["begun", "cancelled"]
        assert (q.state(id), job(q, id).attempts) == ("waiting", 0)


def test_a_job_that_does_not_end_in_time_goes_back(tmp_path: Path, url: str, q: FlashQ) -> None:
    """A thread that cannot be ended does not keep the worker: its job is another's, uncounted."""
    with WorkerProcess(tmp_path, url, "--stop-timeout", "50", "-q", "q") as worker:
        id = push(q, "until_told")
        worker.until(lambda: worker.notes)
        assert worker.stop() == exits.OK
        assert (q.state(id), job(q, id).attempts) == ("waiting", 0)


@pytest.mark.parametrize(
    ("task", "noted"), [("hang", "cancelled"), ("hang_in_thread", "Cancelled: cancelled")], ids=["coroutine", "thread"]
)
def test_a_cancelled_job_hears_of_it(tmp_path: Path, url: str, q: FlashQ, task: str, noted: str) -> None:
    """CANCEL reaches the running code within a moment, and not only at the next beat."""
    with WorkerProcess(tmp_path, url, "-q", "q") as worker:
        id = push(q, task)
        worker.until(lambda: worker.notes)
        q.cancel(id)
        worker.until(lambda: worker.notes == ["begun", noted])
        worker.stop()


@pytest.mark.parametrize(
    ("task", "noted"),
    [("hang", "cancelled"), ("hang_in_thread", "Cancelled: Job timed out")],
    ids=["coroutine", "thread"],
)
def test_a_job_has_its_time(tmp_path: Path, url: str, q: FlashQ, task: str, noted: str) -> None:
    """When the timeout is over the code is ended, and the attempt has failed."""
    with WorkerProcess(tmp_path, url, "-q", "q") as worker:
        id = push(q, task, timeout=300, max_attempts=1)
        end = q.wait_job(id, timeout=SOON_S * 1_000)
        assert (end.state, end.error) == ("failed", "Job timed out")
        worker.until(lambda: worker.notes == ["begun", noted])
        worker.stop()


@pytest.mark.slow
@misses_soon
def test_a_blocked_loop_does_not_stop_the_heart(tmp_path: Path, url: str, q: FlashQ) -> None:
    """A coroutine that blocks the loop for longer than the silence that loses a worker loses nothing."""
    with WorkerProcess(tmp_path, url, "-q", "q") as worker:
        id = push(q, "block_the_loop", 1.2 * SILENCE_MS / 1_000)
        end = q.wait_job(id, timeout=SOON_S * 1_000)
        assert (end.state, end.result) == ("completed", "done")
        assert worker.notes == ["begun"]
        assert "given this worker up" not in worker.log
        worker.stop()


@pytest.mark.slow
@misses_soon
def test_a_worker_that_was_stopped_for_a_while(tmp_path: Path, url: str, q: FlashQ) -> None:
    """The server gives its job away; when it wakes up it hears of it, cancels the job, and works on."""
    with WorkerProcess(tmp_path, url, "-q", "q") as worker:
        id = push(q, "hang", max_attempts=1)
        worker.until(lambda: worker.notes)
        worker.process.send_signal(signal.SIGSTOP)
        end = q.wait_job(id, timeout=SOON_S * 1_000)
        assert (end.state, end.error) == ("failed", "worker lost")
        worker.process.send_signal(signal.SIGCONT)
        worker.until(lambda: worker.notes == ["begun", "cancelled"])
        worker.until(q.workers)
        assert q.wait_job(push(q, "add", 1, 1), timeout=SOON_S * 1_000).result == 2
        worker.stop()


@pytest.mark.slow
@misses_soon
def test_a_server_that_was_stopped_for_a_while(tmp_path: Path, server: ServerProcess, q: FlashQ) -> None:
    """Heard nobody meanwhile, and so misses nobody: what runs goes on and runs once."""
    with WorkerProcess(tmp_path, f"flashq://127.0.0.1:{server.port}", "-q", "q") as worker:
        id = push(q, "until_told")
        worker.until(lambda: worker.notes)
        server.signal(signal.SIGSTOP)
        began = time.monotonic()
        worker.until(lambda: time.monotonic() - began > 1.5 * SILENCE_MS / 1_000)
        server.signal(signal.SIGCONT)
        (tmp_path / "go").touch()
        end = q.wait_job(id, timeout=SOON_S * 1_000)
        assert (end.state, end.result) == ("completed", "told")
        assert worker.notes == ["begun", "ended"]
        worker.stop()


def test_a_server_that_restarts(tmp_path: Path) -> None:
    """What ran while the server was away is told when it is back; the worker pulls again."""
    with ServerProcess(tmp_path / "server", environment=kept_ports()) as server:
        url = f"flashq://127.0.0.1:{server.port}"
        with FlashQ(url) as q, WorkerProcess(tmp_path, url, "-q", "q") as worker:
            running = push(q, "until_told")
            worker.until(lambda: worker.notes)
            server.kill()
            (tmp_path / "go").touch()
            worker.until(lambda: "ended" in worker.notes)
            server.start()
            assert q.wait_job(running, timeout=SOON_S * 1_000).result == "told"
            assert q.wait_job(push(q, "add", 2, 2), timeout=SOON_S * 1_000).result == 4
            assert worker.stop() == exits.OK


def test_progress_is_seen(tmp_path: Path, url: str, q: FlashQ) -> None:
    """What a job says on the way is known while it runs."""
    with WorkerProcess(tmp_path, url, "-q", "q") as worker:
        id = push(q, "progress")
        worker.until(lambda: worker.notes)
        worker.until(lambda: q.get_progress(id).progress == 40)
        assert q.get_progress(id).message == "on the way"
        (tmp_path / "go").touch()
        worker.until(lambda: q.state(id) == "completed")
        worker.stop()


def test_schedules_run(tmp_path: Path, url: str, q: FlashQ) -> None:
    """A worker that starts registers the app's schedules, and their jobs come."""
    with WorkerProcess(tmp_path, url) as worker:
        worker.until(lambda: "tick" in worker.notes)
        assert [cron.name for cron in q.crons()] == ["every second"]
        worker.stop()


def test_the_log_for_programs(tmp_path: Path, url: str, q: FlashQ) -> None:
    """Every line is a JSON object, and one of them tells of the failure with its trace."""
    with WorkerProcess(tmp_path, url, "--log-format", "json", "--log-level", "debug", "-q", "q") as worker:
        failed = push(q, "fail", max_attempts=1)
        q.wait_job(failed, timeout=SOON_S * 1_000)
        q.wait_job(push(q, "add", 1, 2), timeout=SOON_S * 1_000)
        worker.stop()
        lines = [json.loads(line) for line in worker.log.splitlines()]
    by_message = {line["message"]: line for line in lines}
    assert by_message["failed for good"]["job"] == failed
    assert "raise ValueError" in by_message["failed for good"]["trace"]
    assert by_message["completed"]["task"] == "add"
    assert by_message["starting"]["queues"] == ["q"]


def test_several_processes(tmp_path: Path, url: str, q: FlashQ) -> None:
    """--processes runs so many workers; one that is killed is replaced, and all stop together."""
    with WorkerProcess(tmp_path, url, "--processes", "2", "-q", "q") as worker:
        worker.until(lambda: len(q.workers()) == 2)
        before = {one.id: one.pid for one in q.workers()}
        killed = min(before)
        pid = before[killed]
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        worker.until(lambda: killed not in {one.id for one in q.workers()} and len(q.workers()) == 2)
        assert q.wait_job(push(q, "add", 1, 2), timeout=SOON_S * 1_000).result == 3
        assert worker.stop() == exits.OK
        assert q.workers() == []


def test_a_change_of_the_code_is_taken_up(tmp_path: Path, url: str, q: FlashQ) -> None:
    """--reload starts anew with what was saved."""
    with WorkerProcess(tmp_path, url, "--reload", "-q", "q") as worker:
        assert q.wait_job(push(q, "add", 1, 2), timeout=SOON_S * 1_000).result == 3
        (tmp_path / "tasks.py").write_text(TASKS.replace("return a + b", "return a * b * 100"))
        worker.until(lambda: "reloading" in worker.log)
        worker.until(lambda: q.wait_job(push(q, "add", 1, 2), timeout=SOON_S * 1_000).result == 200)
        worker.stop()


@pytest.mark.parametrize(
    ("target", "source", "sentence", "code"),
    [
        ("nothing:app", "", "there is no module 'nothing'", exits.FAILED),
        ("bad:app", "import missing_package", "cannot be imported", exits.FAILED),
        ("bad:app", "raise RuntimeError('broken')", "RuntimeError: broken", exits.FAILED),
        ("bad:other", "", "has no app called 'other'", exits.FAILED),
        ("bad:app", "app = 7", "not a flashq.App", exits.FAILED),
        ("bad:app", "from flashq import App\napp = App()", "has no tasks", exits.FAILED),
    ],
)
def test_an_app_that_cannot_be(tmp_path: Path, url: str, target: str, source: str, sentence: str, code: int) -> None:
    """It is told in one line what is wrong with it, after the trace if it is the app's own code that fails."""
    (tmp_path / "bad.py").write_text(source)
    command = [sys.executable, "-m", "flashq", "worker", target, "--url", url]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=SOON_S)
    assert done.returncode == code
    assert sentence in done.stderr.splitlines()[-1]
    assert ("Traceback" in done.stderr) is ("cannot be imported" in done.stderr.splitlines()[-1])


def test_dev(tmp_path: Path) -> None:
    """One command has a server and a worker that run jobs; Ctrl-C stops both in good order."""
    ports = kept_ports()
    http_port = {"HTTP_PORT": ports["HTTP_PORT"]}
    options = ("--port", ports["PORT"], "-q", "q")
    with WorkerProcess(tmp_path, "flashq://127.0.0.1:1", *options, verb="dev", environment=http_port) as dev:
        dev.until(lambda: "server | flashq" in dev.log)
        with FlashQ(f"flashq://127.0.0.1:{ports['PORT']}") as q:
            assert q.wait_job(push(q, "add", 20, 22), timeout=SOON_S * 1_000).result == 42
        dev.until(lambda: "completed" in dev.log)
        assert dev.stop(signal.SIGINT) == exits.OK
        assert "worker | " in dev.log
