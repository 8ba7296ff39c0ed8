"""Jobs in child processes: run, told, ended, and what becomes of them when their process dies."""

import asyncio
import logging
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import uvloop
from msgspec import Raw, json
from tests.tidy.source import ROOT

from flashq.client.results import JobRecord
from flashq.tasks.outcome import Done, Failed, Gone, Outcome, Snoozed
from flashq.worker import processes
from flashq.worker.executors import TIMED_OUT
from flashq.worker.processes import ChildFailed, ProcessExecutor

BYSTANDERS: set[int] = set()
TARGET = "tests.unit.worker.workshop:app"
SOON = 20
"""Seconds after which what should have happened has not."""


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    """Children find the tests' modules from here."""
    monkeypatch.chdir(ROOT)


@pytest.fixture(autouse=True)
def forbearing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Code that tidies up is not killed for a halt of the machine; tests of code that does not are less patient."""
    monkeypatch.setattr(processes, "KILL_GRACE_MS", SOON * 1_000)


class Floor:
    """Where jobs run, and the notes of how they ended."""

    def __init__(self, target: str, concurrency: int, **limits: int) -> None:
        self.outcomes: dict[int, Outcome] = {}
        self.said: list[tuple[int, object]] = []
        self.broken: list[str] = []
        self.running = 0
        self._ids = 0
        self._changed = asyncio.Event()
        self.executor = ProcessExecutor(target, concurrency, self._finished, self._link, self._break, **limits)

    def start(self, task: str, *args: object) -> JobRecord:
        """Begin a job."""
        self._ids += 1
        payload = Raw(json.encode({"task": task, "args": args}))
        record = JobRecord(id=self._ids, queue="q", payload=payload, token=f"t{self._ids}")
        self.executor.start(record)
        return record

    async def run(self, task: str, *args: object) -> Outcome:
        """Run a job to its end."""
        return await self.outcome(self.start(task, *args))

    async def result(self, task: str, *args: object) -> Any:
        """Run a job that must succeed."""
        outcome = await self.run(task, *args)
        assert isinstance(outcome, Done), outcome
        return json.decode(outcome.result) if outcome.result is not None else None

    async def outcome(self, record: JobRecord) -> Outcome:
        """How a job ended, once it has."""
        await self.until(lambda: record.id in self.outcomes)
        return self.outcomes[record.id]

    async def until(self, reached: Callable[[], object]) -> None:
        """Wait for what the executor tells."""
        async with asyncio.timeout(SOON):
            while not reached():
                self._changed.clear()
                await self._changed.wait()

    def _finished(self, record: JobRecord, outcome: Outcome) -> None:
        assert record.id not in self.outcomes
        self.outcomes[record.id] = outcome
        self._changed.set()

    def _break(self, sentence: str) -> None:
        self.broken.append(sentence)
        self._changed.set()

    def _link(self, record: JobRecord) -> "Notes":
        return Notes(self, record.id)

    def note(self, id: int, what: object) -> None:
        """Something was said."""
        self.said.append((id, what))
        self._changed.set()


class Notes:
    """The link of one job."""

    def __init__(self, floor: Floor, id: int) -> None:
        self._floor = floor
        self._id = id

    def progress(self, percent: int, message: str | None) -> None:
        """How far it is."""
        self._floor.note(self._id, (percent, message))

    def heartbeat(self) -> None:
        """It lives."""
        self._floor.note(self._id, "heartbeat")


@asynccontextmanager
async def floor(concurrency: int = 1, target: str = TARGET, **limits: int) -> AsyncIterator[Floor]:
    """An executor, stopped at the end; no child process is left."""
    made = Floor(target, concurrency, **limits)
    try:
        yield made
    finally:
        await made.executor.stop(0)
        assert children() == []


@pytest.fixture(autouse=True)
def _bystanders() -> Iterator[None]:
    """Processes that this one has started for other tests, such as a database, are none of ours."""
    BYSTANDERS.update(children())
    yield
    BYSTANDERS.clear()


def children() -> list[int]:
    """The processes that this one has started in this test and not buried."""
    found = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return [pid for pid in map(int, found) if pid not in BYSTANDERS]


async def there(path: Path) -> None:
    """Wait until a file exists, and has its content."""
    async with asyncio.timeout(SOON):
        while not path.exists():
            await asyncio.sleep(0.01)


async def gone(pid: int) -> None:
    """Wait until a process has ended, whoever is to bury it."""
    async with asyncio.timeout(SOON):
        with suppress(OSError):
            while Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
                await asyncio.sleep(0.01)


# --- jobs ---


async def test_outcomes_cross_the_pipe() -> None:
    """Every kind of end reaches the worker: a result, nothing, a failure with its place, a snooze, a bad payload."""
    async with floor() as here:
        assert await here.result("add", 2, 3) == 5
        assert await here.run("nothing") == Done(None)
        assert await here.result("double_later", 21) == 42
        assert await here.run("snooze") == Snoozed(7_000)
        failed = await here.run("fail", "no paper")
        assert isinstance(failed, Failed)
        assert failed.error.startswith("ValueError: no paper")
        assert "workshop.py" in failed.error
        unfit = await here.run("add", "two", 3)
        assert isinstance(unfit, Failed)
        assert unfit.dead


async def test_what_a_job_says_while_it_runs(caplog: pytest.LogCaptureFixture) -> None:
    """Progress, signs of life and log lines arrive, in order and before the job's end, whatever they contain."""
    caplog.set_level(logging.INFO)
    async with floor() as here:
        record = here.start("tell")
        assert await here.outcome(record) == Done(None)
        assert here.said == [(record.id, (40, "half ? a word")), (record.id, "heartbeat")]
    line = next(each for each in caplog.records if each.getMessage() == "at work")
    facts = line.flashq  # type: ignore[attr-defined]
    assert (facts["job"], facts["task"], facts["step"], facts["thing"]) == (record.id, "tell", 2, "here")
    assert facts["huge"] == str(2**70)
    wrong = next(each for each in caplog.records if each.name == "shop")
    assert wrong.getMessage() == "it went wrong"
    assert "KeyError: 'lost'" in (wrong.stack_info or "")


async def test_one_process_is_kept() -> None:
    """Children are started for jobs that need one, and not for others."""
    async with floor(concurrency=3) as here:
        first = [await here.result("pid") for _ in range(3)]
        assert len(set(first)) == 1
        assert children() == [first[0]]


async def test_as_many_processes_as_jobs(tmp_path: Path) -> None:
    """Jobs that run at once run in processes of their own, and what was started is used again."""
    async with floor(concurrency=3) as here:
        hung = [here.start("hang", str(tmp_path / f"b{n}"), str(tmp_path / f"t{n}")) for n in range(2)]
        pid = await here.result("pid")
        for n in range(2):
            await there(tmp_path / f"b{n}")
        assert len(children()) == 3
        for record in hung:
            here.executor.cancel(record, "cancelled")
            assert await here.outcome(record) == Gone()
        assert pid in children()
        await asyncio.gather(*(here.run("add", n, n) for n in range(3)))
        assert len(children()) == 3


async def test_jobs_do_not_see_each_others_variables() -> None:
    """Each job has its own context, or one would run with another's user or language."""
    async with floor() as here:
        assert [await here.result("variable") for _ in range(2)] == ["nothing", "nothing"]


async def test_output_passes_through(capfd: pytest.CaptureFixture[str]) -> None:
    """What a job prints is seen when it ends, not when the process does."""
    async with floor() as here:
        await here.run("say", "hello from below")
        assert "hello from below" in capfd.readouterr().out


@pytest.mark.parametrize("loop_factory", [asyncio.SelectorEventLoop, uvloop.new_event_loop])
def test_on_every_loop(loop_factory: Any, tmp_path: Path) -> None:
    """Jobs run, are cancelled, die and are stopped on uvloop as on the loop of the standard library."""

    async def live() -> None:
        async with floor() as here:
            await here.executor.open()
            assert await here.result("add", 1, 2) == 3
            record = here.start("hang", str(tmp_path / "begun"), str(tmp_path / "tidied"))
            await there(tmp_path / "begun")
            here.executor.cancel(record, "cancelled")
            assert await here.outcome(record) == Gone()
            assert await here.run("exit_with", 3) == Failed("worker child process died: exited with status 3")
            assert await here.result("double_later", 4) == 8

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(live())


# --- ends from outside ---


@pytest.mark.parametrize("task", ["hang", "ahang"])
@pytest.mark.parametrize(("reason", "outcome"), [("cancelled", Gone()), (TIMED_OUT, Failed(TIMED_OUT))])
async def test_a_cancelled_job_tidies_up(task: str, reason: str, outcome: Outcome, tmp_path: Path) -> None:
    """Code that hangs is interrupted, its `finally` blocks run, and its process goes on to the next job."""
    async with floor() as here:
        pid = await here.result("pid")
        record = here.start(task, str(tmp_path / "begun"), str(tmp_path / "tidied"))
        await there(tmp_path / "begun")
        here.executor.cancel(record, reason)
        assert await here.outcome(record) == outcome
        assert (tmp_path / "tidied").exists()
        assert await here.result("pid") == pid


async def test_a_stubborn_job_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Code that does not let itself be interrupted loses its process, with all that it started."""
    monkeypatch.setattr(processes, "KILL_GRACE_MS", 200)
    async with floor() as here:
        pid = await here.result("pid")
        record = here.start("stubborn", str(tmp_path / "begun"))
        await there(tmp_path / "begun")
        here.executor.cancel(record, TIMED_OUT)
        assert await here.outcome(record) == Failed(TIMED_OUT)
        await gone(int((tmp_path / "begun").read_text()))
        assert await here.result("pid") != pid


async def test_cancelled_before_a_process_was_there(tmp_path: Path) -> None:
    """A job that still waits for its process to start is not begun any more."""
    async with floor() as here:
        record = here.start("hang", str(tmp_path / "begun"), str(tmp_path / "tidied"))
        here.executor.cancel(record, "cancelled")
        here.executor.cancel(record, "cancelled")
        assert await here.outcome(record) == Gone()
        assert await here.result("add", 1, 1) == 2
        assert not (tmp_path / "begun").exists()
        here.executor.cancel(record, "cancelled")


async def test_a_late_cancel_hits_nobody() -> None:
    """Cancelling jobs at the moment of their end never hurts the job that comes next."""
    async with floor() as here:
        for _ in range(200):
            record = here.start("nothing")
            while record.id not in here.outcomes:
                here.executor.cancel(record, "cancelled")
                await asyncio.sleep(0)
            assert await here.result("add", 1, 2) == 3


# --- deaths ---


@pytest.mark.parametrize(
    ("task", "argument", "how"),
    [
        ("die_by", signal.SIGSEGV, "killed by SIGSEGV"),
        ("die_by", signal.SIGKILL, "killed by SIGKILL"),
        ("exit_with", 3, "exited with status 3"),
    ],
)
async def test_a_death_fails_one_job(task: str, argument: int, how: str) -> None:
    """A job that takes its process down fails, says how, and the next job gets a new process."""
    async with floor() as here:
        assert await here.run(task, int(argument)) == Failed(f"worker child process died: {how}")
        assert await here.result("add", 2, 2) == 4


async def test_sys_exit_is_a_failure_of_the_job() -> None:
    """A task that asks the interpreter to end does not end its process."""
    async with floor() as here:
        pid = await here.result("pid")
        failed = await here.run("sys_exit")
        assert isinstance(failed, Failed)
        assert failed.error.startswith("SystemExit: 4")
        assert await here.result("pid") == pid


async def test_signals_to_everybody_are_not_for_children() -> None:
    """A terminal's Ctrl-C or a service manager's SIGTERM does not end a job: the worker decides."""
    async with floor() as here:
        assert await here.result("signal_itself") == "still here"
        assert await here.result("pid") == children()[0]
        assert os.getpgid(children()[0]) != os.getpgid(0)


async def test_a_copy_of_the_socket_does_not_hide_a_death(tmp_path: Path) -> None:
    """A job that forked and died is noticed, though its copy still holds the socket."""
    async with floor() as here:
        failed = await here.run("fork_and_die", str(tmp_path / "copy"))
        os.kill(int((tmp_path / "copy").read_text()), signal.SIGKILL)
        assert failed == Failed("worker child process died: exited with status 5")


async def test_a_closed_socket_is_a_death() -> None:
    """A job that closes the socket can tell nobody how it ended: its process is ended."""
    async with floor() as here:
        failed = await here.run("close_everything")
        assert isinstance(failed, Failed)
        assert failed.error == "worker child process died: killed by SIGKILL"
        assert await here.result("add", 0, 0) == 0


@pytest.mark.parametrize("text", ["\0\0\0\1\xff", "x" * 100])
async def test_nonsense_is_a_death(text: str) -> None:
    """A job that writes into the socket ends its process, and never the worker."""
    async with floor() as here:
        failed = await here.run("scribble", text)
        assert isinstance(failed, Failed)
        assert "what nobody understands" in failed.error
        assert await here.result("add", 0, 0) == 0


@pytest.mark.parametrize("late", ["_exited", "connection_lost"])
async def test_an_idle_death_is_made_good(
    late: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An idle process that is killed is told in the log, and the next job gets another one, whatever is seen first."""
    seen = getattr(processes._Child, late)
    loop = asyncio.get_running_loop()
    monkeypatch.setattr(processes._Child, late, lambda child, what: loop.call_later(0.1, seen, child, what))
    async with floor() as here:
        pid = await here.result("pid")
        os.kill(pid, signal.SIGKILL)
        await gone(pid)
        async with asyncio.timeout(SOON):
            while "an idle child process died: killed by SIGKILL" not in caplog.messages:
                await asyncio.sleep(0.01)
        assert await here.result("pid") != pid


# --- replaced ---


async def test_replaced_after_so_many_jobs() -> None:
    """A process runs as many jobs as it may, then another takes its place."""
    async with floor(max_jobs=2) as here:
        pids = [await here.result("pid") for _ in range(5)]
    assert [pids.index(pid) for pid in pids] == [0, 0, 2, 2, 4]


async def test_replaced_when_it_has_grown() -> None:
    """A process that occupies too much memory ends its job in peace, then another takes its place."""
    async with floor(max_memory_mb=200) as here:
        small = await here.result("grow", 1)
        assert await here.result("grow", 200) == small
        assert await here.result("grow", 1) != small


# --- starts that fail ---


async def test_a_fault_of_the_app_shows_at_once() -> None:
    """An app that cannot be imported is told when the worker starts, not when its first job comes."""
    async with floor(target="tests.unit.worker.no_such:app") as here:
        with pytest.raises(ChildFailed, match=r"did not start: there is no module 'tests\.unit\.worker\.no_such'"):
            await here.executor.open()


async def test_the_first_child_is_there_at_once() -> None:
    """After `open` a process waits for the first job."""
    async with floor(concurrency=2) as here:
        await here.executor.open()
        assert [await here.result("pid")] == children()


async def test_no_start_succeeds(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Starts are tried again, later and later; when none succeeds the worker is told once, and gets its jobs back."""
    monkeypatch.setattr(processes, "FIRST_BACKOFF_MS", 1)
    monkeypatch.setattr(processes, "MAX_FAILED_STARTS", 3)
    async with floor(target="tests.unit.worker.workshop:missing") as here:
        record = here.start("nothing")
        await here.until(lambda: here.broken)
        assert len([text for text in caplog.messages if "did not start" in text]) == 3
        assert await here.executor.stop(0) == [record]
    assert here.outcomes == {}
    assert here.broken == [
        "no child process can be started any more: module 'tests.unit.worker.workshop' has no app called 'missing'"
    ]


async def test_no_process_can_be_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """A system that refuses processes for a moment delays jobs and loses none."""
    real, refusals = processes.subprocess.Popen, [OSError("no more processes")]

    def popen(*args: Any, **kwargs: Any) -> Any:
        if refusals:
            raise refusals.pop()
        return real(*args, **kwargs)

    monkeypatch.setattr(processes, "FIRST_BACKOFF_MS", 1)
    monkeypatch.setattr(processes.subprocess, "Popen", popen)
    async with floor() as here:
        assert await here.result("add", 1, 1) == 2


async def test_an_import_that_hangs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An app whose import never ends counts as one that cannot be imported."""
    (tmp_path / "endless.py").write_text("import time\ntime.sleep(600)\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(processes, "START_MS", 1_500)
    async with floor(target="endless:app") as here:
        with pytest.raises(ChildFailed, match="not imported"):
            await here.executor.open()


# --- stop ---


async def test_stop_waits_for_what_runs(tmp_path: Path) -> None:
    """A stop lets running jobs end, and then no process is left."""
    async with floor(concurrency=2) as here:
        records = [here.start("add", n, 1) for n in range(2)]
        for record in records:
            await here.outcome(record)
        last = here.start("double_later", 4)
        assert await here.executor.stop(10_000) == []
        assert here.outcomes[last.id] == Done(b"8")
        assert children() == []


async def test_stop_gives_back_what_does_not_end(tmp_path: Path) -> None:
    """What still runs when the time is over is interrupted, tidied up and returned; nothing is reported for it."""
    async with floor(concurrency=2) as here:
        record = here.start("hang", str(tmp_path / "begun"), str(tmp_path / "tidied"))
        await there(tmp_path / "begun")
        waiting = here.start("nothing")
        began = time.monotonic()
        assert await here.executor.stop(100) == [waiting, record]
        assert time.monotonic() - began < SOON
        assert (tmp_path / "tidied").exists()
        assert here.outcomes == {}


async def test_stop_again_with_less_time(tmp_path: Path) -> None:
    """A stop that is given up half way can be begun again, and forgets no job."""
    async with floor(concurrency=2) as here:
        record = here.start("hang", str(tmp_path / "begun"), str(tmp_path / "tidied"))
        await there(tmp_path / "begun")
        waiting = here.start("nothing")
        first = asyncio.ensure_future(here.executor.stop(60_000))
        await asyncio.sleep(0)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        assert await here.executor.stop(0) == [waiting, record]
        assert (tmp_path / "tidied").exists()


async def test_stop_kills_the_stubborn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No job can keep the worker from ending."""
    monkeypatch.setattr(processes, "KILL_GRACE_MS", 200)
    async with floor() as here:
        record = here.start("stubborn", str(tmp_path / "begun"))
        await there(tmp_path / "begun")
        assert await here.executor.stop(0) == [record]


async def test_what_a_job_left_behind_does_not_speak_for_the_next() -> None:
    """A thread that outlives its job has nothing to say about the one that runs in the same child after it."""
    async with floor() as here:
        await here.run("keep_context")
        await here.run("speak_for_both")
        assert here.said == [(2, (1, "of this one"))]
